#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "vectors.glsl"
#include "rows_out.glsl"
#include "activation.glsl"
SL_PUSH(sl_push_act_mul);

// Elements begin .. end - 1 of type `vec`, which `rows` (F32, F32x4) views.
#define PART(rows, vec, begin, end)                                                                                    \
    for (uint i = (begin) + gl_LocalInvocationIndex; i < (end); i += WORKGROUP) {                                      \
        const vec g = rows(gate).at[i];                                                                                \
        PUT(rows, i, ACTIVATED(p.act, g) * rows(up).at[i]);                                                            \
    }

#if SL_KEY == SL_ROWS_F16
// What `rows` is for 32-bit elements, as halves.
#define F32_PUT(i, v)   put_half(y, i, v)
#define F32x4_PUT(i, v) put_halves(y, i, v)
#define PUT(rows, i, v) rows##_PUT(i, v)
#else
#define PUT(rows, i, v) rows(y).at[i] = v
#endif

void main()
{
    const uint begin = gl_WorkGroupID.x * SL_TILE_X, end = min(begin + SL_TILE_X, p.n);
    for (uint r = gl_WorkGroupID.y; r < p.rows; r += gl_NumWorkGroups.y) {
        const uvec2 gate = offset_mul(p.gate, r, p.gate_stride * 4u), up = offset_mul(p.up, r, p.up_stride * 4u);
        const uvec2 y = offset_mul(p.y, r, bytes_of_row(SL_KEY, p.y_stride));
#if SL_KEY == SL_ROWS_Q8
        for (uint block = begin / 32u + gl_LocalInvocationIndex; block < end / 32u; block += WORKGROUP) {
            vec4 v[8];
            [[unroll]] for (uint j = 0u; j < 8u; j++) {
                const vec4 g = F32x4(gate).at[block * 8u + j];
                v[j] = ACTIVATED(p.act, g) * F32x4(up).at[block * 8u + j];
            }
            put_block(y, p.n, block, v);
        }
#else
        if (in_vectors(gate.x | up.x | (SL_KEY == SL_ROWS_F32 ? y.x : y.x << 1), p.n)) {
            PART(F32x4, vec4, begin / 4u, end / 4u)
        } else {
            PART(F32, float, begin, end)
        }
#endif
    }
}
