#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "vectors.glsl"
SL_PUSH(sl_push_act_mul);

// The argument of tanh is clamped: beyond 10 it is 1 in f32, and drivers compute tanh by an exp that could overflow.
#define SILU(x) ((x) / (1.0 + exp(-(x))))
#define GELU(x) (0.5 * (x) * (1.0 + tanh(clamp(0.7978845608028654 * ((x) + 0.044715 * (x) * (x) * (x)), -10.0, 10.0))))

// Elements begin .. end - 1 of type `vec`, which `rows` (F32, F32x4) views.
#define PART(rows, vec, begin, end)                                                                                    \
    for (uint i = (begin) + gl_LocalInvocationIndex; i < (end); i += WORKGROUP) {                                      \
        const vec g = rows(gate).at[i];                                                                                \
        rows(y).at[i] = (p.act == SL_ACT_GELU ? GELU(g) : SILU(g)) * rows(up).at[i];                                   \
    }

void main()
{
    const uint begin = gl_WorkGroupID.x * SL_TILE_X, end = min(begin + SL_TILE_X, p.n);
    for (uint r = gl_WorkGroupID.y; r < p.rows; r += gl_NumWorkGroups.y) {
        const uvec2 gate = offset_mul(p.gate, r, p.gate_stride * 4u), up = offset_mul(p.up, r, p.up_stride * 4u);
        const uvec2 y = offset_mul(p.y, r, p.y_stride * 4u);
        if (in_vectors(gate.x | up.x | y.x, p.n)) {
            PART(F32x4, vec4, begin / 4u, end / 4u)
        } else {
            PART(F32, float, begin, end)
        }
    }
}
