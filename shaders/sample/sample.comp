#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// One invocation a row. Probabilities are integers of SCALE_BITS bits relative to the most likely token, so that the
// C side draws the same token; keep in step with sample.c.
SL_PUSH(sl_push_sample);

layout(buffer_reference, std430, buffer_reference_align = 4) buffer Params { sl_sample_params at[]; };

const float SCALE = 1048576.0; // 2^20: 256 candidates sum up below 2^32

uint weight(float value, float first, float temperature)
{
    return uint(exp((value - first) / temperature) * SCALE + 0.5);
}

// A counter-based random number: two rounds of the PCG output permutation over (seed, counter).
uint pcg(uint v)
{
    v = v * 747796405u + 2891336453u;
    const uint word = ((v >> ((v >> 28) + 4u)) ^ v) * 277803737u;
    return (word >> 22) ^ word;
}

void main()
{
    const uint r = gl_GlobalInvocationID.x;
    if (r >= p.rows) return;
    const sl_sample_params s = Params(p.params).at[r];
    const uint base = r * p.k;
    F32 v = F32(p.values);
    U32 ids = U32(p.ids);
    U32 token = U32(p.token);
    if (s.temperature <= 0.0) {
        token.at[r] = ids.at[base];
        return;
    }
    const float first = v.at[base];
    uint n = s.top_k == 0u ? p.k : min(s.top_k, p.k);
    if (s.top_p < 1.0) {
        uint total = 0u, sum = 0u, kept = 0u;
        for (uint i = 0u; i < n; i++)
            total += weight(v.at[base + i], first, 1.0);
        const uint enough = uint(s.top_p * float(total));
        while (kept < n && (kept == 0u || sum < enough))
            sum += weight(v.at[base + kept++], first, 1.0);
        n = kept;
    }
    if (s.min_p > 0.0) {
        const uint least = uint(s.min_p * SCALE);
        uint kept = 1u;
        while (kept < n && weight(v.at[base + kept], first, 1.0) >= least)
            kept++;
        n = kept;
    }
    uint total = 0u;
    for (uint i = 0u; i < n; i++)
        total += weight(v.at[base + i], first, s.temperature);
    uint target, low;
    umulExtended(pcg(pcg(pcg(s.seed_low) ^ s.seed_high) ^ s.counter), total, target, low);
    uint chosen = 0u, sum = weight(first, first, s.temperature);
    while (chosen + 1u < n && sum <= target)
        sum += weight(v.at[base + ++chosen], first, s.temperature);
    token.at[r] = ids.at[base + chosen];
}
