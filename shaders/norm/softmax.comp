#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
// One workgroup a row.
SL_PUSH(sl_push_softmax);

void main()
{
    const uint r = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (r >= p.rows) return; // a whole workgroup
    F32 x = F32(offset_mul(p.x, r, p.x_stride * 4u));
    F32 y = F32(offset_mul(p.y, r, p.y_stride * 4u));
    float most = uintBitsToFloat(0xff800000u); // -inf
    for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP)
        most = max(most, p.scale * x.at[i]);
    most = workgroup_max(most);
    float sum = 0.0;
    for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP)
        sum += exp(p.scale * x.at[i] - most);
    const float inverse = 1.0 / workgroup_sum(sum);
    for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP)
        y.at[i] = exp(p.scale * x.at[i] - most) * inverse;
}
