#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "attention/attention.glsl"

// One workgroup: one token (x) and head (y). WORKGROUP splits at a time, their weights exp(maximum - largest maximum)
// are put into shared memory, and each invocation adds up its elements of them.
SL_PUSH(sl_push_attention_combine);

shared float maxima[WORKGROUP]; // of each subgroup
shared vec2 weights[WORKGROUP]; // of a split: for its elements, times its sum

float largest_maximum(F32 part, uint stride)
{
    float largest = NO_SCORE;
    for (uint s = gl_LocalInvocationIndex; s < p.n_splits; s += WORKGROUP)
        if (part.at[s * stride + p.head_dim + 1u] > 0.0) largest = max(largest, part.at[s * stride + p.head_dim]);
    largest = subgroupMax(largest);
    if (subgroupElect()) maxima[gl_SubgroupID] = largest;
    barrier();
    for (uint i = 0u; i < gl_NumSubgroups; i++)
        largest = max(largest, maxima[i]);
    return largest;
}

void main()
{
    uint lane = gl_LocalInvocationIndex, stride = p.head_dim + 2u;
    F32 part = F32(offset_mul(p.partial, gl_WorkGroupID.x * p.n_heads + gl_WorkGroupID.y, p.n_splits * stride * 4u));
    F32 y = F32(offset(offset_mul(p.y, gl_WorkGroupID.x, p.y_stride * 4u), gl_WorkGroupID.y * p.head_dim * 4u));
    float largest = largest_maximum(part, stride);

    for (uint first_d = 0u; first_d < p.head_dim; first_d += WORKGROUP) {
        uint d = min(first_d + lane, p.head_dim - 1u);
        float total = 0.0, sum = 0.0;
        for (uint first = 0u; first < p.n_splits; first += WORKGROUP) {
            uint count = min(WORKGROUP, p.n_splits - first), at = first * stride;
            if (lane < count) {
                float split_sum = part.at[at + lane * stride + p.head_dim + 1u];
                float weight = split_sum > 0.0 ? exp(part.at[at + lane * stride + p.head_dim] - largest) : 0.0;
                weights[lane] = vec2(weight, weight * split_sum);
            }
            barrier();
            uint s = 0u;
            for (; s + 4u <= count; s += 4u) { // four loads in flight
                vec4 e = vec4(part.at[at + s * stride + d], part.at[at + (s + 1u) * stride + d],
                              part.at[at + (s + 2u) * stride + d], part.at[at + (s + 3u) * stride + d]);
                [[unroll]] for (uint i = 0u; i < 4u; i++) {
                    total += weights[s + i].x * e[i];
                    sum += weights[s + i].y;
                }
            }
            for (; s < count; s++) {
                total += weights[s].x * part.at[at + s * stride + d];
                sum += weights[s].y;
            }
            barrier();
        }
        if (first_d + lane < p.head_dim) y.at[d] = sum > 0.0 ? total / sum : 0.0;
    }
}
