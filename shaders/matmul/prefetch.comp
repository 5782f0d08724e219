#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// prefetch: SL_TILE_X sectors of 32 bytes a workgroup, one word of each.
SL_PUSH(sl_push_prefetch);

void main()
{
    const uint begin = gl_WorkGroupID.x * SL_TILE_X + gl_LocalInvocationIndex;
    uint words = 0u;
    [[unroll]] for (uint j = 0u; j < SL_TILE_X; j += 256u) {
        const uint i = begin + j;
        if (i < p.sectors) words |= U32(p.address).at[i * 8u];
    }
    if (words == p.never) U32(p.sink).at[0] = words; // so that the loads count for something
}
