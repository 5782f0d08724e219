#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// Tiles of SL_TILE_X vectors; a workgroup of fewer invocations has as many loads in flight before it stores.
SL_PUSH(sl_push_measure_copy);

#define UNROLL (SL_TILE_X / 256u)

void main()
{
    U32x4 x = U32x4(p.x), y = U32x4(p.y);
    for (uint tile = gl_WorkGroupID.x * SL_TILE_X; tile < p.n_vectors; tile += gl_NumWorkGroups.x * SL_TILE_X) {
        if (tile + SL_TILE_X <= p.n_vectors && WORKGROUP == 256u) {
            uvec4 v[UNROLL];
            [[unroll]] for (uint n = 0u; n < UNROLL; n++) v[n] = x.at[tile + n * 256u + gl_LocalInvocationIndex];
            [[unroll]] for (uint n = 0u; n < UNROLL; n++) y.at[tile + n * 256u + gl_LocalInvocationIndex] = v[n];
        } else {
            const uint end = min(tile + SL_TILE_X, p.n_vectors);
            for (uint i = tile + gl_LocalInvocationIndex; i < end; i += WORKGROUP) y.at[i] = x.at[i];
        }
    }
}
