#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "attention/attention.glsl"

// One workgroup: one token (x) and head (y). An invocation makes every WORKGROUP-th element; each reads the maxima and
// sums of all splits again, which come from the cache.
SL_PUSH(sl_push_attention_combine);

void main()
{
    uint stride = p.head_dim + 2u;
    F32 part = F32(offset_mul(p.partial, gl_WorkGroupID.x * p.n_heads + gl_WorkGroupID.y, p.n_splits * stride * 4u));
    F32 y = F32(offset(offset_mul(p.y, gl_WorkGroupID.x, p.y_stride * 4u), gl_WorkGroupID.y * p.head_dim * 4u));

    float maximum = NO_SCORE;
    for (uint s = 0u; s < p.n_splits; s++)
        if (part.at[s * stride + p.head_dim + 1u] > 0.0)
            maximum = max(maximum, part.at[s * stride + p.head_dim]);

    for (uint d = gl_LocalInvocationIndex; d < p.head_dim; d += WORKGROUP) {
        float total = 0.0, sum = 0.0;
        for (uint s = 0u; s < p.n_splits; s++) {
            float split_sum = part.at[s * stride + p.head_dim + 1u];
            if (split_sum > 0.0) {
                float weight = exp(part.at[s * stride + p.head_dim] - maximum);
                sum += weight * split_sum;
                total += weight * part.at[s * stride + d];
            }
        }
        y.at[d] = sum > 0.0 ? total / sum : 0.0;
    }
}
