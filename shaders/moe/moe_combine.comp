#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "vectors.glsl"
SL_PUSH(sl_push_moe_combine);

// Elements begin .. end - 1 of type `vec`, which `rows` (F32, F32x4) views.
#define PART(rows, vec, begin, end)                                                                                    \
    for (uint i = (begin) + gl_LocalInvocationIndex; i < (end); i += WORKGROUP) {                                      \
        vec sum = vec(0.0);                                                                                            \
        if (given(p.add)) sum = rows(add).at[i];                                                                       \
        for (uint s = 0u; s < p.n_used; s++)                                                                           \
            sum += weights.at[s] * rows(offset_mul(x, s, p.n * 4u)).at[i];                                             \
        rows(y).at[i] = sum;                                                                                           \
    }

void main()
{
    const uint begin = gl_WorkGroupID.x * SL_TILE_X, end = min(begin + SL_TILE_X, p.n);
    for (uint t = gl_WorkGroupID.y; t < p.n_tokens; t += gl_NumWorkGroups.y) {
        F32 weights = F32(offset_mul(p.weights, t, p.n_used * 4u));
        const uvec2 x = offset_mul(p.x, t * p.n_used, p.n * 4u);
        const uvec2 y = offset_mul(p.y, t, p.y_stride * 4u);
        const uvec2 add = given(p.add) ? offset_mul(p.add, t, p.y_stride * 4u) : p.add;
        if (in_vectors(x.x | y.x | add.x, p.n)) {
            PART(F32x4, vec4, begin / 4u, end / 4u)
        } else {
            PART(F32, float, begin, end)
        }
    }
}
