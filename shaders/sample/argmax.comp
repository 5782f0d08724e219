#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
#include "vectors.glsl"
// One workgroup a row. A row of NaNs gives 0.
SL_PUSH(sl_push_argmax);

void main()
{
    const uvec2 x = offset_mul(p.x, gl_WorkGroupID.x, p.x_stride * 4u);
    uint best = 0u, at = 0xffffffffu;
    const uint count = vectors_of(p.n), step = 4u * WORKGROUP;
    for (uint first = gl_LocalInvocationIndex; first < count; first += step) {
        vec4 v[4]; // four loads in flight
        [[unroll]] for (uint j = 0u; j < 4u; j++) v[j] = load4(x, first + j * WORKGROUP, p.n);
        [[unroll]] for (uint j = 0u; j < 4u; j++)
            [[unroll]] for (uint c = 0u; c < 4u; c++) {
                const uint i = 4u * (first + j * WORKGROUP) + c, key = ordered(v[j][c]);
                if (key > best && i < p.n) {
                    best = key;
                    at = i;
                }
            }
    }
    const uint most = workgroup_max(best);
    const uint index = workgroup_min(best == most ? at : 0xffffffffu);
    if (gl_LocalInvocationIndex == 0u) U32(p.ids).at[gl_WorkGroupID.x] = index == 0xffffffffu ? 0u : index;
}
