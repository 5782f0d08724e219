// decode_shared.glsl - the other way of matmul_decode to decode weights: the workgroup decodes 32 at a time an invocation, by
// half_blocks.glsl, into shared memory, from where the matrix is loaded. Before: N_K, push block `p`. Workgroups of 256.
//   place_weights(row0, rows)  says which rows: row0 .. row0 + SL_TILE_X - 1, of `rows` that there are
//   fetch_weights(k0)    reads their weights k0 .. k0 + DEPTH - 1 into registers
//   store_weights(k0)    decodes these to `w_tile`, K-contiguous, W_STRIDE vectors from row to row
#ifndef SL_DECODE_SHARED_GLSL
#define SL_DECODE_SHARED_GLSL
#define ROW_BYTES p.row_bytes
#include "matmul/half_blocks.glsl"

#define W_STRIDE (DEPTH / 8u + 1u) // padded, so that rows lie in different banks
#define W_ITEMS  (SL_TILE_X * ITEMS / 256u)

shared uvec4 w_tile[SL_TILE_X * W_STRIDE];
Raw w_next[W_ITEMS];
uint w_place[W_ITEMS];

uint tile_row(uint n) { return gl_LocalInvocationIndex / ITEMS + n * (256u / ITEMS); }

void place_weights(uint row0, uint rows)
{
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++) w_place[n] = row_place(min(row0 + tile_row(n), rows - 1u), ROW_BYTES);
}

void fetch_weights(uint k0)
{
    const uint i = gl_LocalInvocationIndex % ITEMS;
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++)
        if (k0 < N_K && raw_exists(k0, i)) w_next[n] = raw_load(p.w, w_place[n], k0, i);
}

// Chunks of half_blocks.glsl have an order of their own; here all go back to that of k, which is the order of x.
void store_weights(uint k0)
{
    const uint i = gl_LocalInvocationIndex % ITEMS;
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++) {
        uvec4 part[4] = uvec4[4](uvec4(0u), uvec4(0u), uvec4(0u), uvec4(0u));
        if (k0 < N_K && raw_exists(k0, i)) raw_parts(w_next[n], w_place[n], k0, i, part);
        [[unroll]] for (uint j = 0u; j < 4u; j++)
            w_tile[tile_row(n) * W_STRIDE + source_chunk(j * ITEMS + i)] = chunk_order(part[j]);
    }
}
#endif
