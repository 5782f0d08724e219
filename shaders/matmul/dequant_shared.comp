#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
// dequant by decode_shared.glsl: a test of that. A workgroup makes SL_TILE_X rows, and walks along them.
SL_PUSH(sl_push_dequant);
#define N_K p.n_k
#include "matmul/decode_shared.glsl"

void main()
{
    const uint row_vectors = p.n_k / 8u;
    for (uint row0 = gl_WorkGroupID.x * SL_TILE_X; row0 < p.n_rows; row0 += gl_NumWorkGroups.x * SL_TILE_X) {
        place_weights(row0, p.n_rows);
        for (uint k0 = 0u; k0 < p.n_k; k0 += DEPTH) {
            fetch_weights(k0);
            barrier();
            store_weights(k0);
            barrier();
            for (uint i = gl_LocalInvocationIndex; i < SL_TILE_X * DEPTH / 8u; i += WORKGROUP) {
                const uint r = i / (DEPTH / 8u), v = i % (DEPTH / 8u), at = k0 / 8u + v;
                if (row0 + r < p.n_rows && at < row_vectors)
                    U32x4(p.y).at[(p.first_row + row0 + r) * row_vectors + at] = w_tile[r * W_STRIDE + v];
            }
        }
    }
}
