#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
// One workgroup a token: softmax over the experts in shared memory, then the largest, n_used times.
SL_PUSH(sl_push_moe_route);

shared float probability[1024];

void main()
{
    const uint t = gl_WorkGroupID.x;
    F32 logits = F32(offset_mul(p.logits, t, p.logits_stride * 4u));
    float most = uintBitsToFloat(0xff800000u);
    for (uint e = gl_LocalInvocationIndex; e < p.n_experts; e += WORKGROUP)
        most = max(most, logits.at[e]);
    most = workgroup_max(most);
    float sum = 0.0;
    for (uint e = gl_LocalInvocationIndex; e < p.n_experts; e += WORKGROUP) {
        probability[e] = exp(logits.at[e] - most);
        sum += probability[e];
    }
    const float total = workgroup_sum(sum);

    float mine = 0.0; // what invocation s keeps for slot s
    uint my_id = 0u;
    float chosen_sum = 0.0;
    for (uint s = 0u; s < p.n_used; s++) {
        uint best = 0u, at = 0xffffffffu;
        for (uint e = gl_LocalInvocationIndex; e < p.n_experts; e += WORKGROUP) {
            const uint key = ordered(probability[e]);
            if (key > best) {
                best = key;
                at = e;
            }
        }
        const uint key = workgroup_max(best);
        const uint id = workgroup_min(best == key ? at : 0xffffffffu) % p.n_experts;
        const float chosen = from_ordered(key);
        chosen_sum += chosen;
        if (gl_LocalInvocationIndex == s) {
            mine = chosen;
            my_id = id;
        }
        if (gl_LocalInvocationIndex == 0u) probability[id] = -1.0; // below every probability
        barrier();
    }
    if (gl_LocalInvocationIndex < p.n_used) {
        const uint at = t * p.n_used + gl_LocalInvocationIndex;
        U32(p.ids).at[at] = my_id;
        F32(p.weights).at[at] = mine / (p.normalize != 0u ? chosen_sum : total) * p.scale;
    }
}
