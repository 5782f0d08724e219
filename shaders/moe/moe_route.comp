#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
// One workgroup of one subgroup a token: the sum of exponentials over the experts, then the largest logit, n_used times.
// The choice is by logits, not by their exponentials, which drivers round differently. An invocation reads and changes
// only the keys of its own experts, so that nothing waits for anything but the reductions.
SL_PUSH(sl_push_moe_route);

shared uint keys[1024]; // 0: taken

struct Slot {
    uint id;
    float weight; // before it is normalised
};
shared Slot slots[32];

void main()
{
    const uint t = gl_WorkGroupID.x, lane = gl_SubgroupInvocationID;
    F32 logits = F32(offset_mul(p.logits, t, p.logits_stride * 4u));
    uint largest = 0u;
    for (uint e = lane; e < p.n_experts; e += gl_SubgroupSize) {
        keys[e] = max(ordered(logits.at[e]), 1u); // a NaN may be taken, after all others
        largest = max(largest, keys[e]);
    }
    const float most = from_ordered(subgroupMax(largest));
    float sum = 0.0;
    for (uint e = lane; e < p.n_experts; e += gl_SubgroupSize) sum += exp(logits.at[e] - most);
    const float total = subgroupAdd(sum);

    float chosen_sum = 0.0;
    for (uint s = 0u; s < p.n_used; s++) {
        uint best = 0u, at = 0xffffffffu;
        for (uint e = lane; e < p.n_experts; e += gl_SubgroupSize)
            if (keys[e] > best) {
                best = keys[e];
                at = e;
            }
        const uint key = subgroupMax(best);
        const uint id = min(subgroupMin(best == key ? at : 0xffffffffu), p.n_experts - 1u);
        const float chosen = exp((key == 1u ? logits.at[id] : from_ordered(key)) - most);
        chosen_sum += chosen;
        if (at == id) keys[id] = 0u;
        if (lane == 0u) slots[s] = Slot(id, chosen);
    }
    barrier();
    for (uint s = lane; s < p.n_used; s += gl_SubgroupSize) {
        const uint at = t * p.n_used + s;
        U32(p.ids).at[at] = slots[s].id;
        F32(p.weights).at[at] = slots[s].weight / (p.normalize != 0u ? chosen_sum : total) * p.scale;
    }
}
