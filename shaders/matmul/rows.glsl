// rows.glsl - ROWS rows of weights times COLUMNS vectors by one subgroup: each weight is read and decoded once.
//
// Invocations lie along a row, a chunk each, so that a subgroup reads consecutive bytes; the rows of an invocation share
// the activations it has loaded, and are as many independent loads in flight. No shared memory: a subgroup owns its rows.
// Before: blocks.glsl, the push block `p` with n_k, n_out and row_bytes, and the constant COLUMNS.
#ifndef SL_ROWS_GLSL
#define SL_ROWS_GLSL

#define ROWS 4u

// sums[c][r] = w[row0 + first + r] . x[c], the same in every invocation of the subgroup; x[c] is x_stride floats after x[0].
// Rows beyond n_out repeat the last one.
void rows_times_columns(uvec2 w, uint row0, uvec2 x, uint x_stride, uint first, out float sums[COLUMNS][ROWS])
{
    Row row[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; r++) row[r] = row_at(w, row0 + min(first + r, p.n_out - 1u), p.row_bytes);
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
        [[unroll]] for (uint r = 0u; r < ROWS; r++) sums[c][r] = 0.0;

    const uint count = chunk_count(p.n_k);
    for (uint i = gl_SubgroupInvocationID; i < count; i += gl_SubgroupSize) {
        Chunk chunk[ROWS];
        [[unroll]] for (uint r = 0u; r < ROWS; r++) chunk[r] = chunk_load(row[r], i, p.n_k);
        [[dont_unroll]] for (uint which = 0u; which < CHUNK_RUNS; which++) {
            const uint k = chunk_k(i, which);
            Run weights[ROWS];
            [[unroll]] for (uint r = 0u; r < ROWS; r++) weights[r] = chunk_run(chunk[r], which);
            [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
                const Run activations = load_x(x, c * x_stride, k, p.n_k);
                [[unroll]] for (uint r = 0u; r < ROWS; r++)
                    sums[c][r] = run_dot(weights[r], activations, sums[c][r]);
            }
        }
    }
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
        [[unroll]] for (uint r = 0u; r < ROWS; r++) sums[c][r] = subgroupAdd(sums[c][r]);
}

// The sum that this invocation writes: row first + gl_SubgroupInvocationID.
float own_sum(float sums[ROWS])
{
    float v = sums[0];
    [[unroll]] for (uint r = 1u; r < ROWS; r++) v = gl_SubgroupInvocationID == r ? sums[r] : v;
    return v;
}
#endif
