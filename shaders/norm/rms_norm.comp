#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
#include "vectors.glsl"
SL_PUSH(sl_push_rms_norm);

// Rows up to ROW_OF_SUBGROUP long (norms of heads) have a subgroup each, longer ones the whole workgroup.
// Keep in step with rms_norm.c.
const uint ROW_OF_SUBGROUP = 512u;

uvec2 row(uvec2 base, uint r, uint stride) { return given(base) ? offset_mul(base, r, stride * 4u) : base; }

vec4 value(uvec2 x, uvec2 before, uint i)
{
    const vec4 v = load4(x, i, p.n);
    return given(before) ? v + load4(before, i, p.n) : v;
}

void main()
{
    const bool small = p.n <= ROW_OF_SUBGROUP;
    const uint first = small ? gl_SubgroupInvocationID : gl_LocalInvocationIndex;
    const uint step = small ? gl_SubgroupSize : WORKGROUP;
    const uint rows_at_once = small ? gl_NumSubgroups : 1u;
    const uint count = vectors_of(p.n);
    // Small rows end at different turns for the subgroups of a workgroup: no barrier of the workgroup in that case.
    for (uint r = gl_WorkGroupID.x * rows_at_once + (small ? gl_SubgroupID : 0u); r < p.rows;
         r += gl_NumWorkGroups.x * rows_at_once) {
        const uvec2 x = row(p.x, r, p.x_stride), before = row(p.before, r, p.x_stride);
        float squares = 0.0;
        for (uint i = first; i < count; i += step) {
            const vec4 v = value(x, before, i);
            squares += dot(v, v);
        }
        squares = small ? subgroupAdd(squares) : workgroup_sum(squares);
        const float scale = inversesqrt(squares / float(p.n) + p.eps);

        const uvec2 after = row(p.after, r, p.y_stride), sum = row(p.sum, r, p.x_stride);
        const uvec2 y = row(p.y, r, p.y_stride);
        for (uint i = first; i < count; i += step) {
            const vec4 v = value(x, before, i);
            if (given(sum)) store4(sum, i, p.n, v);
            vec4 result = v * scale;
            if (given(p.weight)) result *= load4(p.weight, i, p.n);
            if (given(after)) result += load4(after, i, p.n);
            store4(y, i, p.n, result);
        }
    }
}
