#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// One workgroup a row: exponentials by all invocations, the choice by one. Probabilities are integers relative to the
// most likely token, so that the C side draws the same token; keep in step with sample.c.
SL_PUSH(sl_push_sample);

layout(buffer_reference, std430, buffer_reference_align = 4) buffer Params { sl_sample_params at[]; };

const float SCALE = 1048576.0; // 2^20: 256 candidates sum up below 2^32

shared uint plain[SL_TOPK_MAX], tempered[SL_TOPK_MAX]; // weights at temperature 1 and at that of the draw

uint weight(float value, float first, float temperature)
{
    if (floatBitsToUint(value) == floatBitsToUint(first)) return uint(SCALE); // infinite ones too
    if ((floatBitsToUint(value) & 0x7fffffffu) > 0x7f800000u) return 0u;
    return uint(exp((value - first) / temperature) * SCALE + 0.5);
}

// A counter-based random number: rounds of the PCG output permutation over (seed, counter).
uint pcg(uint v)
{
    v = v * 747796405u + 2891336453u;
    const uint word = ((v >> ((v >> 28) + 4u)) ^ v) * 277803737u;
    return (word >> 22) ^ word;
}

// How many of the first n remain: the fewest whose probabilities reach top_p of theirs, none below min_p.
uint narrow(uint n, float top_p, float min_p)
{
    if (top_p < 1.0) {
        uint total = 0u, sum = 0u, kept = 0u;
        for (uint i = 0u; i < n; i++)
            total += plain[i];
        const uint enough = uint(max(top_p, 0.0) * float(total));
        while (kept < n && (kept == 0u || sum < enough))
            sum += plain[kept++];
        n = kept;
    }
    if (min_p > 0.0) {
        const uint least = uint(min(min_p, 1.0) * SCALE);
        uint kept = 1u;
        while (kept < n && plain[kept] >= least)
            kept++;
        n = kept;
    }
    return n;
}

uint draw(uint n, uint random)
{
    uint total = 0u, target, low;
    for (uint i = 0u; i < n; i++)
        total += tempered[i];
    umulExtended(random, total, target, low);
    uint chosen = 0u, sum = tempered[0];
    while (chosen + 1u < n && sum <= target)
        sum += tempered[++chosen];
    return chosen;
}

void main()
{
    const uint r = gl_WorkGroupID.x;
    const sl_sample_params s = Params(p.params).at[r];
    F32 v = F32(offset_mul(p.values, r, p.k * 4u));
    U32 ids = U32(offset_mul(p.ids, r, p.k * 4u));
    const uint n = min(s.top_k == 0u ? p.k : min(s.top_k, p.k), SL_TOPK_MAX);
    const bool first_only = !(s.temperature > 0.0);
    if (!first_only)
        for (uint i = gl_LocalInvocationIndex; i < n; i += WORKGROUP) {
            plain[i] = weight(v.at[i], v.at[0], 1.0);
            tempered[i] = weight(v.at[i], v.at[0], s.temperature);
        }
    barrier();
    if (gl_LocalInvocationIndex != 0u) return;
    uint chosen = 0u;
    if (!first_only)
        chosen = draw(narrow(n, s.top_p, s.min_p), pcg(pcg(pcg(s.seed_low) ^ s.seed_high) ^ s.counter));
    U32(p.token).at[r] = ids.at[chosen];
}
