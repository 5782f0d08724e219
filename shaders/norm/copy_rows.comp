#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
SL_PUSH(sl_push_copy_rows);

// As integers, so that every bit arrives.
void copy(uvec2 x, uvec2 y, uint begin, uint end)
{
    if (((x.x | y.x) & 15u) == 0u && (end & 3u) == 0u) {
        for (uint i = begin / 4u + gl_LocalInvocationIndex; i < end / 4u; i += WORKGROUP)
            U32x4(y).at[i] = U32x4(x).at[i];
    } else {
        for (uint i = begin + gl_LocalInvocationIndex; i < end; i += WORKGROUP)
            U32(y).at[i] = U32(x).at[i];
    }
}

void main()
{
    const uint begin = gl_WorkGroupID.x * SL_TILE_X, end = min(begin + SL_TILE_X, p.n);
    for (uint r = gl_WorkGroupID.y; r < p.rows; r += gl_NumWorkGroups.y) {
        const uint source = U32(p.index).at[r];
        const uvec2 y = offset_mul(p.y, r, p.y_stride * 4u);
        if (source != SL_NO_INDEX)
            copy(offset_mul(p.x, source, p.x_stride * 4u), y, begin, end);
        else
            for (uint i = begin + gl_LocalInvocationIndex; i < end; i += WORKGROUP)
                U32(y).at[i] = 0u;
    }
}
