#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
// dequant by what matmul_decode decodes with, one weight after another: a test of that. An invocation makes eight.
SL_PUSH(sl_push_dequant);
#include "matmul/decode_blocks.glsl"

float16_t weight_at(uint r, uint k)
{
    const uint block = r * (p.n_k / BLOCK_WEIGHTS) + k / BLOCK_WEIGHTS;
    return block_weight(Block(offset_mul(p.w, block, BLOCK_BYTES)), k % BLOCK_WEIGHTS);
}

void main()
{
    const uint row_vectors = p.n_k / 8u, items = row_vectors * p.n_rows;
    for (uint item = gl_GlobalInvocationID.x; item < items; item += gl_NumWorkGroups.x * WORKGROUP) {
        const uint r = item / row_vectors, k = item % row_vectors * 8u;
        uvec4 y;
        [[unroll]] for (uint i = 0u; i < 4u; i++)
            y[i] = packFloat2x16(f16vec2(weight_at(r, k + 2u * i), weight_at(r, k + 2u * i + 1u)));
        U32x4(p.y).at[(p.first_row + r) * row_vectors + k / 8u] = y;
    }
}
