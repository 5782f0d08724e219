// activation.glsl - the activations of feed-forward halves (SL_ACT_*), of one element.
#ifndef SL_ACTIVATION_GLSL
#define SL_ACTIVATION_GLSL

// The argument of tanh is clamped: beyond 10 it is 1 in f32, and drivers compute tanh by an exp that could overflow.
float activation_of(uint act, float x)
{
    const float inner = clamp(0.7978845608028654 * (x + 0.044715 * x * x * x), -10.0, 10.0);
    return act == SL_ACT_GELU ? 0.5 * x * (1.0 + tanh(inner)) : x / (1.0 + exp(-x));
}
#endif
