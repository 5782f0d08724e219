#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// A workgroup a chunk, of which it keeps UNROLL loads of 16 bytes an invocation in flight.
SL_PUSH(sl_push_measure_read);

#define UNROLL 8u

shared uint parts[64];

void main()
{
    const uint chunk = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (chunk >= p.n_chunks) return;
    U32x4 x = U32x4(offset_mul(p.x, chunk, 16u * p.chunk_vectors));
    uvec4 all = uvec4(0u);
    uint i = gl_LocalInvocationIndex;
    for (; i + (UNROLL - 1u) * WORKGROUP < p.chunk_vectors; i += UNROLL * WORKGROUP) {
        uvec4 v[UNROLL];
        [[unroll]] for (uint n = 0u; n < UNROLL; n++) v[n] = x.at[i + n * WORKGROUP];
        [[unroll]] for (uint n = 0u; n < UNROLL; n++) all ^= v[n];
    }
    for (; i < p.chunk_vectors; i += WORKGROUP) all ^= x.at[i];
    const uint part = subgroupXor(all.x ^ all.y ^ all.z ^ all.w);
    if (subgroupElect()) parts[gl_SubgroupID] = part;
    barrier();
    if (gl_LocalInvocationIndex == 0u) {
        uint sum = 0u;
        for (uint n = 0u; n < gl_NumSubgroups; n++) sum ^= parts[n];
        U32(p.y).at[chunk] = sum;
    }
}
