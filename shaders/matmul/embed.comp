#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// embed: an invocation decodes a run of 16 weights of one token's row.
SL_PUSH(sl_push_embed);
#include "matmul/blocks.glsl"

void main()
{
    const uint j = gl_GlobalInvocationID.x;
    if (j >= run_count(p.n_embd)) return;
    for (uint t = gl_WorkGroupID.y; t < p.n_tokens; t += gl_NumWorkGroups.y) {
        const uint token = U32(p.tokens).at[t];
        const Row row = row_at(p.table, min(token, p.n_vocab - 1u), p.row_bytes);
        const uvec2 y = offset_mul(p.y, t, 4u * p.y_stride);
        const Run run = chunk_run(chunk_load(row, run_chunk(j), p.n_embd), run_which(j));
        [[unroll]] for (uint i = 0u; i < 16u; i++)
            if (16u * j + i < p.n_embd)
                F32(y).at[16u * j + i] = token < p.n_vocab ? p.scale * run.v[i / 4u][i % 4u] : 0.0;
    }
}
