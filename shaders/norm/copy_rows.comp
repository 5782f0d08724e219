#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
SL_PUSH(sl_push_copy_rows);

void main()
{
    const uint r = gl_WorkGroupID.y, source = U32(p.index).at[r];
    F32 x = F32(offset_mul(p.x, source == SL_NO_INDEX ? 0u : source, p.x_stride * 4u));
    F32 y = F32(offset_mul(p.y, r, p.y_stride * 4u));
    const uint end = min((gl_WorkGroupID.x + 1u) * SL_TILE_X, p.n);
    for (uint i = gl_WorkGroupID.x * SL_TILE_X + gl_LocalInvocationIndex; i < end; i += WORKGROUP)
        y.at[i] = source == SL_NO_INDEX ? 0.0 : x.at[i];
}
