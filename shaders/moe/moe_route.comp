#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
// One workgroup of one subgroup a token (its barriers are cheap, and wider ones would cost more than they share): the sum of exponentials over the experts, then the largest logit, n_used times. The choice is
// by logits, not by their exponentials, which drivers round differently.
SL_PUSH(sl_push_moe_route);

shared uint keys[1024]; // 0: taken

struct Slot {
    uint id;
    float weight; // before it is normalised
};
shared Slot slots[32];

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
        if (gl_LocalInvocationIndex == 0u) {
            keys[id] = 0u;
            slots[s] = Slot(id, chosen);
        }
        barrier();
    }
    for (uint s = gl_LocalInvocationIndex; s < p.n_used; s += WORKGROUP) {
        const uint at = t * p.n_used + s;
        U32(p.ids).at[at] = slots[s].id;
        F32(p.weights).at[at] = slots[s].weight / (p.normalize != 0u ? chosen_sum : total) * p.scale;
    }
}
