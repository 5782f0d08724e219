#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
SL_PUSH(sl_push_rms_norm);

// Rows up to ROW_OF_SUBGROUP long (norms of heads) have a subgroup each, longer ones the whole workgroup.
// Keep in step with rms_norm.c.
const uint ROW_OF_SUBGROUP = 512u;

F32 row(uvec2 base, uint r, uint stride) { return F32(offset_mul(base, r, stride * 4u)); }

float value(F32 x, F32 before, uint i) { return x.at[i] + (given(p.before) ? before.at[i] : 0.0); }

void main()
{
    const bool small = p.n <= ROW_OF_SUBGROUP;
    const uint r = small ? gl_WorkGroupID.x * gl_NumSubgroups + gl_SubgroupID : gl_WorkGroupID.x;
    const uint first = small ? gl_SubgroupInvocationID : gl_LocalInvocationIndex;
    const uint step = small ? gl_SubgroupSize : WORKGROUP;
    if (small && r >= p.rows) return; // a whole subgroup; the branch below has no workgroup barrier for it

    F32 x = row(p.x, r, p.x_stride), before = row(p.before, r, p.x_stride);
    float squares = 0.0;
    for (uint i = first; i < p.n; i += step) {
        const float v = value(x, before, i);
        squares += v * v;
    }
    squares = small ? subgroupAdd(squares) : workgroup_sum(squares);
    const float scale = inversesqrt(squares / float(p.n) + p.eps);

    F32 weight = F32(p.weight), after = row(p.after, r, p.y_stride);
    F32 y = row(p.y, r, p.y_stride), sum = row(p.sum, r, p.x_stride);
    for (uint i = first; i < p.n; i += step) {
        const float v = value(x, before, i);
        if (given(p.sum)) sum.at[i] = v;
        float result = v * scale;
        if (given(p.weight)) result *= weight.at[i];
        if (given(p.after)) result += after.at[i];
        y.at[i] = result;
    }
}
