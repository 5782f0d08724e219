/* activation.h - the activations of feed-forward halves (SL_ACT_*), for the C sides of kernels. */
#ifndef SL_ACTIVATION_H
#define SL_ACTIVATION_H

#include <math.h>

static inline float sl_silu(float x)
{
    return x / (1 + expf(-x));
}

/* tanh approximation */
static inline float sl_gelu(float x)
{
    return 0.5f * x * (1 + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

#endif
