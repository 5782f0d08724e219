#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "common.glsl"
#include "pairs.glsl"
// rms_norm for CPUs: a subgroup a row, no barrier.
SL_PUSH(sl_push_rms_norm);

uvec2 row(uvec2 base, uint r, uint stride) { return given(base) ? offset_mul(base, r, stride * 4u) : base; }

vec2 value(uvec2 x, uvec2 before, uint i)
{
    vec2 v = load2(x, i, p.n);
    if (given(before)) v += load2(before, i, p.n);
    return v;
}

void main()
{
    const uint count = pairs_of(p.n);
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
            if (given(sum)) store2(sum, i, p.n, v);
            vec2 result = v * scale;
            if (given(p.weight)) result *= load2(p.weight, i, p.n);
            if (given(after)) result += load2(after, i, p.n);
            store2(y, i, p.n, result);
        }
    }
}
