#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "common.glsl"
#include "pairs.glsl"
// act_mul for CPUs.
SL_PUSH(sl_push_act_mul);

vec2 silu(vec2 x) { return x / (1.0 + exp(-x)); }

// The argument of tanh is clamped: beyond 10 it is 1 in f32, and drivers compute tanh by an exp that could overflow.
vec2 gelu(vec2 x)
{
    const vec2 z = 0.7978845608028654 * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + tanh(clamp(z, vec2(-10.0), vec2(10.0))));
}

void main()
{
    const uint end = min((gl_WorkGroupID.x + 1u) * (SL_TILE_X / 2u), pairs_of(p.n));
    for (uint r = gl_WorkGroupID.y; r < p.rows; r += gl_NumWorkGroups.y) {
        const uvec2 gate = offset_mul(p.gate, r, p.gate_stride * 4u), up = offset_mul(p.up, r, p.up_stride * 4u);
        const uvec2 y = offset_mul(p.y, r, p.y_stride * 4u);
        for (uint i = gl_WorkGroupID.x * (SL_TILE_X / 2u) + gl_LocalInvocationIndex; i < end; i += WORKGROUP) {
            const vec2 g = load2(gate, i, p.n);
            store2(y, i, p.n, (p.act == SL_ACT_GELU ? gelu(g) : silu(g)) * load2(up, i, p.n));
        }
    }
}
