#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
#include "vectors.glsl"
#include "rows_out.glsl"
SL_PUSH(sl_push_rms_norm);

// Rows up to ROW_OF_SUBGROUP long (norms of heads) have a subgroup each, longer ones the whole workgroup; with small
// subgroups every row has one, since a barrier costs a CPU behind Vulkan more than a whole row. Keep in step with
// rms_norm.c.
const uint ROW_OF_SUBGROUP = 512u;

uvec2 row(uvec2 base, uint r, uint stride) { return given(base) ? offset_mul(base, r, stride * 4u) : base; }

// Two passes over a row of n elements of type `vec`, which `rows` (F32, F32x4) views.
#define SQUARES(rows, vec, n)                                                                                          \
    for (uint i = first; i < (n); i += step) {                                                                         \
        const vec v = given(p.before) ? rows(x).at[i] + rows(before).at[i] : rows(x).at[i];                            \
        squares += dot(v, v);                                                                                          \
    }
#define WRITE(rows, vec, n)                                                                                            \
    for (uint i = first; i < (n); i += step) {                                                                         \
        const vec v = given(p.before) ? rows(x).at[i] + rows(before).at[i] : rows(x).at[i];                            \
        if (given(p.sum)) rows(sum).at[i] = v;                                                                         \
        vec result = v * scale;                                                                                        \
        if (given(p.weight)) result *= rows(p.weight).at[i];                                                           \
        if (given(p.after)) result += rows(after).at[i];                                                               \
        PUT(rows, i, result);                                                                                          \
    }

#if SL_KEY == SL_ROWS_F16
// What `rows` is for 32-bit elements, as halves.
#define F32_PUT(i, v)   put_half(y, i, v)
#define F32x4_PUT(i, v) put_halves(y, i, v)
#define PUT(rows, i, v) rows##_PUT(i, v)
#else
#define PUT(rows, i, v) rows(y).at[i] = v
#endif

void main()
{
    const bool small = SUBGROUP < 16u || p.n <= ROW_OF_SUBGROUP;
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint r = small ? group * gl_NumSubgroups + gl_SubgroupID : group;
    const uint first = small ? gl_SubgroupInvocationID : gl_LocalInvocationIndex;
    const uint step = small ? gl_SubgroupSize : WORKGROUP;
    if (r >= p.rows) return; // a workgroup, or subgroups of one that has no barrier

    const uvec2 x = row(p.x, r, p.x_stride), before = row(p.before, r, p.x_stride);
    const uvec2 sum = row(p.sum, r, p.x_stride), after = row(p.after, r, p.y_stride);
    const uvec2 y = offset_mul(p.y, r, bytes_of_row(SL_KEY, p.y_stride));
    const uint addresses = x.x | before.x | sum.x | after.x | p.weight.x | (SL_KEY == SL_ROWS_F32 ? y.x : y.x << 1);
#if SL_KEY == BLOCK_FORMAT
    const bool wide = true;
#else
    const bool wide = in_vectors(addresses, p.n);
#endif
    float squares = 0.0;
    if (wide) {
        SQUARES(F32x4, vec4, p.n / 4u)
    } else {
        SQUARES(F32, float, p.n)
    }
    squares = small ? subgroupAdd(squares) : workgroup_sum(squares);
    const float scale = inversesqrt(squares / float(p.n) + p.eps);
#if SL_KEY == BLOCK_FORMAT
    // An invocation makes whole blocks.
    for (uint block = first; block < p.n / 32u; block += step) {
        vec4 v[8];
        [[unroll]] for (uint j = 0u; j < 8u; j++) {
            const uint i = block * 8u + j;
            v[j] = F32x4(x).at[i];
            if (given(p.before)) v[j] += F32x4(before).at[i];
            if (given(p.sum)) F32x4(sum).at[i] = v[j];
            v[j] *= scale;
            if (given(p.weight)) v[j] *= F32x4(p.weight).at[i];
            if (given(p.after)) v[j] += F32x4(after).at[i];
        }
        put_block(y, p.n, block, v);
    }
#else
    if (wide) {
        WRITE(F32x4, vec4, p.n / 4u)
    } else {
        WRITE(F32, float, p.n)
    }
#endif
}
