#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "vectors.glsl"
SL_PUSH(sl_push_moe_combine);

void main()
{
    const uint end = min((gl_WorkGroupID.x + 1u) * (SL_TILE_X / 4u), vectors_of(p.n));
    for (uint t = gl_WorkGroupID.y; t < p.n_tokens; t += gl_NumWorkGroups.y) {
        F32 weights = F32(offset_mul(p.weights, t, p.n_used * 4u));
        const uvec2 add = offset_mul(p.add, t, p.y_stride * 4u), y = offset_mul(p.y, t, p.y_stride * 4u);
        for (uint i = gl_WorkGroupID.x * (SL_TILE_X / 4u) + gl_LocalInvocationIndex; i < end; i += WORKGROUP) {
            vec4 sum = given(p.add) ? load4(add, i, p.n) : vec4(0.0);
            for (uint s = 0u; s < p.n_used; s++)
                sum += weights.at[s] * load4(offset_mul(p.x, t * p.n_used + s, p.n * 4u), i, p.n);
            store4(y, i, p.n, sum);
        }
    }
}
