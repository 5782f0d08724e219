#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "common.glsl"
// rms_norm for CPUs (SL_CAP_SCALAR_LOADS): a subgroup a row, no barrier, and 64-bit accesses where rows begin at multiples
// of 8 bytes, because their number decides.
SL_PUSH(sl_push_rms_norm);

layout(buffer_reference, std430, buffer_reference_align = 8) buffer U64 { uint64_t at[]; };

uvec2 row(uvec2 base, uint r, uint stride) { return given(base) ? offset_mul(base, r, stride * 4u) : base; }

bool whole(uvec2 a, uint i) { return (a.x & 7u) == 0u && 2u * i + 2u <= p.n; }

// Elements 2 i and 2 i + 1 of a row; zeros beyond its end.
vec2 load2(uvec2 a, uint i)
{
    if (whole(a, i)) return uintBitsToFloat(unpackUint2x32(U64(a).at[i]));
    vec2 v = vec2(0.0);
    [[unroll]] for (uint c = 0u; c < 2u; c++)
        if (2u * i + c < p.n) v[c] = F32(a).at[2u * i + c];
    return v;
}

void store2(uvec2 a, uint i, vec2 v)
{
    if (whole(a, i)) {
        U64(a).at[i] = packUint2x32(floatBitsToUint(v));
        return;
    }
    [[unroll]] for (uint c = 0u; c < 2u; c++)
        if (2u * i + c < p.n) F32(a).at[2u * i + c] = v[c];
}

vec2 value(uvec2 x, uvec2 before, uint i)
{
    vec2 v = load2(x, i);
    if (given(before)) v += load2(before, i);
    return v;
}

void main()
{
    const uint count = (p.n + 1u) / 2u;
    [[dont_unroll]] for (uint r = gl_WorkGroupID.x; r < p.rows; r += gl_NumWorkGroups.x) {
        const uvec2 x = row(p.x, r, p.x_stride), before = row(p.before, r, p.x_stride);
        float squares = 0.0;
        for (uint i = gl_SubgroupInvocationID; i < count; i += gl_SubgroupSize) {
            const vec2 v = value(x, before, i);
            squares += dot(v, v);
        }
        const float scale = inversesqrt(subgroupAdd(squares) / float(p.n) + p.eps);

        const uvec2 after = row(p.after, r, p.y_stride), y = row(p.y, r, p.y_stride), sum = row(p.sum, r, p.x_stride);
        for (uint i = gl_SubgroupInvocationID; i < count; i += gl_SubgroupSize) {
            const vec2 v = value(x, before, i);
            if (given(sum)) store2(sum, i, v);
            vec2 result = v * scale;
            if (given(p.weight)) result *= load2(p.weight, i);
            if (given(after)) result += load2(after, i);
            store2(y, i, result);
        }
    }
}
