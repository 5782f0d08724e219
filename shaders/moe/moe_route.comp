#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
// One workgroup a token: the sum of exponentials over the experts, then the largest logit, n_used times. The choice is
// by logits, not by their exponentials, which drivers round differently.
SL_PUSH(sl_push_moe_route);

shared uint keys[1024]; // 0: taken

void main()
{
    const uint t = gl_WorkGroupID.x;
    F32 logits = F32(offset_mul(p.logits, t, p.logits_stride * 4u));
    uint largest = 0u;
    for (uint e = gl_LocalInvocationIndex; e < p.n_experts; e += WORKGROUP) {
        keys[e] = max(ordered(logits.at[e]), 1u); // a NaN may be taken, after all others
        largest = max(largest, keys[e]);
    }
    const float most = from_ordered(workgroup_max(largest));
    float sum = 0.0;
    for (uint e = gl_LocalInvocationIndex; e < p.n_experts; e += WORKGROUP)
        sum += exp(logits.at[e] - most);
    const float total = workgroup_sum(sum);

    float mine = 0.0; // what invocation s keeps for slot s
    uint my_id = 0u;
    float chosen_sum = 0.0;
    for (uint s = 0u; s < p.n_used; s++) {
        uint best = 0u, at = 0xffffffffu;
        for (uint e = gl_LocalInvocationIndex; e < p.n_experts; e += WORKGROUP)
            if (keys[e] > best) {
                best = keys[e];
                at = e;
            }
        const uint key = workgroup_max(best);
        const uint id = min(workgroup_min(best == key ? at : 0xffffffffu), p.n_experts - 1u);
        const float chosen = exp(logits.at[id] - most);
        chosen_sum += chosen;
        if (gl_LocalInvocationIndex == s) {
            mine = chosen;
            my_id = id;
        }
        if (gl_LocalInvocationIndex == 0u) keys[id] = 0u;
        barrier();
    }
    if (gl_LocalInvocationIndex < p.n_used) {
        const uint at = t * p.n_used + gl_LocalInvocationIndex;
        U32(p.ids).at[at] = my_id;
        F32(p.weights).at[at] = mine / (p.normalize != 0u ? chosen_sum : total) * p.scale;
    }
}
