#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
// One workgroup a row. A row of NaNs gives 0.
SL_PUSH(sl_push_argmax);

void main()
{
    F32 x = F32(offset_mul(p.x, gl_WorkGroupID.x, p.x_stride * 4u));
    uint best = 0u, at = 0xffffffffu;
    for (uint i = gl_LocalInvocationIndex; i < p.n; i += WORKGROUP) {
        // -0 and 0 are equal: the lower index wins
        const uint key = ordered(x.at[i] == 0.0 ? 0.0 : x.at[i]);
        if (key > best) {
            best = key;
            at = i;
        }
    }
    const uint most = workgroup_max(best);
    const uint index = workgroup_min(best == most ? at : 0xffffffffu);
    if (gl_LocalInvocationIndex == 0u) U32(p.ids).at[gl_WorkGroupID.x] = index == 0xffffffffu ? 0u : index;
}
