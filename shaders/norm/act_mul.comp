#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "vectors.glsl"
SL_PUSH(sl_push_act_mul);

vec4 silu(vec4 x) { return x / (1.0 + exp(-x)); }

// The argument of tanh is clamped: beyond 10 it is 1 in f32, and drivers compute tanh by an exp that could overflow.
vec4 gelu(vec4 x)
{
    const vec4 z = 0.7978845608028654 * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + tanh(clamp(z, vec4(-10.0), vec4(10.0))));
}

void main()
{
    const uint end = min((gl_WorkGroupID.x + 1u) * (SL_TILE_X / 4u), vectors_of(p.n));
    for (uint r = gl_WorkGroupID.y; r < p.rows; r += gl_NumWorkGroups.y) {
        const uvec2 gate = offset_mul(p.gate, r, p.gate_stride * 4u), up = offset_mul(p.up, r, p.up_stride * 4u);
        const uvec2 y = offset_mul(p.y, r, p.y_stride * 4u);
        for (uint i = gl_WorkGroupID.x * (SL_TILE_X / 4u) + gl_LocalInvocationIndex; i < end; i += WORKGROUP) {
            const vec4 g = load4(gate, i, p.n);
            store4(y, i, p.n, (p.act == SL_ACT_GELU ? gelu(g) : silu(g)) * load4(up, i, p.n));
        }
    }
}
