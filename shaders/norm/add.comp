#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
SL_PUSH(sl_push_add);

void main()
{
    const uint end = min((gl_WorkGroupID.x + 1u) * SL_TILE_X, p.n);
    for (uint i = gl_WorkGroupID.x * SL_TILE_X + gl_LocalInvocationIndex; i < end; i += WORKGROUP)
        F32(p.y).at[i] = F32(p.a).at[i] + p.scale * F32(p.b).at[i];
}
