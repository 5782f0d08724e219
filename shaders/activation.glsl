// activation.glsl - the activations of feed-forward halves (SL_ACT_*), of a float or a vector.
#ifndef SL_ACTIVATION_GLSL
#define SL_ACTIVATION_GLSL

#define SILU(x) ((x) / (1.0 + exp(-(x))))
// The argument of tanh is clamped: beyond 10 it is 1 in f32, and drivers compute tanh by an exp that could overflow.
#define GELU(x) (0.5 * (x) * (1.0 + tanh(clamp(0.7978845608028654 * ((x) + 0.044715 * (x) * (x) * (x)), -10.0, 10.0))))
#define ACTIVATED(act, x) ((act) == SL_ACT_GELU ? GELU(x) : SILU(x))
#endif
