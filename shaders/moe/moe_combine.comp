#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
SL_PUSH(sl_push_moe_combine);

void main()
{
    const uint t = gl_WorkGroupID.y;
    F32 weights = F32(offset_mul(p.weights, t, p.n_used * 4u));
    F32 add = F32(offset_mul(p.add, t, p.y_stride * 4u));
    F32 y = F32(offset_mul(p.y, t, p.y_stride * 4u));
    const uint end = min((gl_WorkGroupID.x + 1u) * SL_TILE_X, p.n);
    for (uint i = gl_WorkGroupID.x * SL_TILE_X + gl_LocalInvocationIndex; i < end; i += WORKGROUP) {
        float sum = given(p.add) ? add.at[i] : 0.0;
        for (uint s = 0u; s < p.n_used; s++)
            sum += weights.at[s] * F32(offset_mul(p.x, t * p.n_used + s, p.n * 4u)).at[i];
        y.at[i] = sum;
    }
}
