#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
SL_PUSH(sl_push_act_mul);

float silu(float x) { return x / (1.0 + exp(-x)); }

// The argument of tanh is clamped: beyond 10 it is 1 in f32, and drivers compute tanh by an exp that could overflow.
float gelu(float x)
{
    const float z = 0.7978845608028654 * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + tanh(clamp(z, -10.0, 10.0)));
}

void main()
{
    const uint r = gl_WorkGroupID.y;
    F32 gate = F32(offset_mul(p.gate, r, p.gate_stride * 4u)), up = F32(offset_mul(p.up, r, p.up_stride * 4u));
    F32 y = F32(offset_mul(p.y, r, p.y_stride * 4u));
    const uint end = min((gl_WorkGroupID.x + 1u) * SL_TILE_X, p.n);
    for (uint i = gl_WorkGroupID.x * SL_TILE_X + gl_LocalInvocationIndex; i < end; i += WORKGROUP) {
        const float g = gate.at[i];
        y.at[i] = (p.act == SL_ACT_GELU ? gelu(g) : silu(g)) * up.at[i];
    }
}
