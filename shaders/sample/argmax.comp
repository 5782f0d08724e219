#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
#include "vectors.glsl"
// One workgroup a row. A row of NaNs gives 0.
SL_PUSH(sl_push_argmax);

uint best = 0u, at = 0xffffffffu;

void take(float v, uint i)
{
    const uint key = ordered(v);
    if (key > best) {
        best = key;
        at = i;
    }
}

void main()
{
    const uvec2 x = offset_mul(p.x, gl_WorkGroupID.x, p.x_stride * 4u);
    if (in_vectors(x.x, p.n)) {
        const uint count = p.n / 4u;
        for (uint first = gl_LocalInvocationIndex; first < count; first += 4u * WORKGROUP) {
            vec4 v[4]; // four loads in flight; the last one again beyond the end
            [[unroll]] for (uint j = 0u; j < 4u; j++) v[j] = F32x4(x).at[min(first + j * WORKGROUP, count - 1u)];
            [[unroll]] for (uint j = 0u; j < 4u; j++) {
                const uint i = min(first + j * WORKGROUP, count - 1u);
                // Rarely: at a value that may be larger. The exact comparison is take's.
                if (best == 0u || any(greaterThanEqual(v[j], vec4(from_ordered(best)))))
                    [[unroll]] for (uint c = 0u; c < 4u; c++) take(v[j][c], 4u * i + c);
            }
        }
    } else {
        for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP)
            take(F32(x).at[i], i);
    }
    const uint most = workgroup_max(best);
    const uint index = workgroup_min(best == most ? at : 0xffffffffu);
    if (gl_LocalInvocationIndex == 0u) U32(p.ids).at[gl_WorkGroupID.x] = index == 0xffffffffu ? 0u : index;
}
