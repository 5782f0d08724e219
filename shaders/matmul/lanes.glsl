// lanes.glsl - rows of weights times COLUMNS vectors where lanes are vector elements of a CPU (SL_CAP_SCALAR_LOADS).
//
// There a load is a loop over lanes, one scalar load each, whatever the addresses; arithmetic costs next to nothing, and
// a broadcast from a constant lane is one instruction (a shuffle by
// constants; what is called a broadcast is a search for an active lane). So each lane has rows of its own, whose weights it loads and
// decodes once, and the activations are loaded once a subgroup, two a lane, and broadcast to all. No shared memory, no
// barrier, no reduction.
// Before: lane_blocks.glsl, the push block `p` with n_k, n_out and row_bytes, the constants COLUMNS and LANE_ROWS (rows
// of a lane).
#ifndef SL_LANES_GLSL
#define SL_LANES_GLSL

// 16 activations from x[k] on, each in every lane; zeros beyond n_k.
void broadcast_x(uint64_t x, uint k, out float values[16])
{
    [[unroll]] for (uint s = 0u; s < 8u; s += SUBGROUP) {
        const uint own = s + gl_SubgroupInvocationID, at = k / 2u + own;
        uint64_t word = 0ul;
        bool loads = SUBGROUP <= 8u || own < 8u;
#ifdef LANE_PARTIAL
        loads = loads && 2u * at < p.n_k;
#endif
        if (loads) word = U64(x).at[at];
        const vec2 pair = uintBitsToFloat(unpackUint2x32(word));
        [[unroll]] for (uint n = 0u; n < min(8u, SUBGROUP); n++) {
            values[2u * (s + n)] = subgroupShuffle(pair.x, n);
            values[2u * (s + n) + 1u] = subgroupShuffle(pair.y, n);
        }
    }
}

// sums[c][r] = w[first + r * SUBGROUP + lane] . x[c]; x[c] is x_stride floats after x[0]. Rows beyond n_out repeat the
// last one, columns from `columns` on the last of those before.
void lanes_times_columns(uvec2 w, uvec2 x, uint x_stride, uint columns, uint first,
                         out float sums[COLUMNS][LANE_ROWS])
{
    uint64_t row[LANE_ROWS], last[LANE_ROWS], column[COLUMNS];
    [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) {
        row[r] = address(offset_mul(w, min(first + r * SUBGROUP + gl_SubgroupInvocationID, p.n_out - 1u), p.row_bytes));
        last[r] = 0ul;
    }
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
        column[c] = address(offset_mul(x, min(c, columns - 1u), 4u * x_stride));
        [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) sums[c][r] = 0.0;
    }
    const uint count = chunk_count(p.n_k);
    [[dont_unroll]] for (uint i = 0u; i < count; i++) {
        Chunk chunk[LANE_ROWS];
        [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) chunk[r] = chunk_load(row[r], i, p.n_k, last[r]);
        [[dont_unroll]] for (uint u = 0u; u < LANE_RUNS; u++) {
            float values[COLUMNS][16];
            [[unroll]] for (uint c = 0u; c < COLUMNS; c++) broadcast_x(column[c], run_k(i, u), values[c]);
            [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) {
                float weights[16];
                run_weights(chunk[r], u, weights);
                [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
                    [[unroll]] for (uint n = 0u; n < 16u; n++)
                        sums[c][r] = fma(weights[n], values[c][n], sums[c][r]);
            }
        }
    }
}
#endif
