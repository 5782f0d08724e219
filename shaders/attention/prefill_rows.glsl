// prefill_rows.glsl - the query rows of a workgroup of attention_prefill: ROWS consecutive tokens from `first_token` on,
// what they see, and runs of them that belong to one sequence.
// Before: the push block `p` of attention, ROWS, THREADS, and the variables `lane` and `first_token`.
shared uvec2 row_range[ROWS]; // keys that a row sees: x <= key < y

void load_rows()
{
    for (uint row = lane; row < ROWS; row += THREADS) {
        const uint token = first_token + row;
        uvec2 range = uvec2(0u);
        if (token < p.n_tokens) range = visible(U32(p.positions).at[token], p.window);
        row_range[row] = range;
    }
    barrier();
}

// Of a row that sees a key.
uint sequence_of(uint row) { return U32(p.sequences).at[first_token + row]; }

// The run that begins at the first row from `row` on that sees a key: its rows x .. y - 1 and the keys z .. w - 1 that
// they see. Rows without keys (padding) do not end it. Without such a row: an empty run whose numbers are valid all the
// same, because lavapipe (Mesa 26.1) still does the uniform loads of a loop that all invocations have left.
// With RUNS_SIDE_BY_SIDE every subgroup finds out for itself, its lanes side by side: faster on an H100, but with NVK
// (Turing) everything after it takes twice the registers.
#if RUNS_SIDE_BY_SIDE
uvec4 next_run(uint row)
{
    uint begin = ROWS;
    for (uint r = gl_SubgroupInvocationID; r < ROWS; r += gl_SubgroupSize)
        if (r >= row && row_range[r].y != 0u) begin = min(begin, r);
    begin = subgroupMin(begin);
    if (begin == ROWS) return uvec4(0u, 0u, 0u, 1u);

    const uint sequence = sequence_of(begin);
    uint other = ROWS;
    for (uint r = gl_SubgroupInvocationID; r < ROWS; r += gl_SubgroupSize)
        if (r > begin && row_range[r].y != 0u) {
            if (sequence_of(r) != sequence) other = min(other, r);
        }
    other = subgroupMin(other);

    uint end = begin;
    uvec2 keys = uvec2(0xffffffffu, 0u);
    for (uint r = gl_SubgroupInvocationID; r < ROWS; r += gl_SubgroupSize) {
        const uvec2 range = row_range[r];
        if (r >= begin && r < other && range.y != 0u) {
            end = max(end, r + 1u);
            keys = uvec2(min(keys.x, range.x), max(keys.y, range.y));
        }
    }
    return uvec4(begin, subgroupMax(end), subgroupMin(keys.x), subgroupMax(keys.y));
}
#else
uvec4 next_run(uint row)
{
    while (row < ROWS && row_range[row].y == 0u)
        row++;
    if (row == ROWS) return uvec4(0u, 0u, 0u, 1u);
    uvec4 run = uvec4(row, row, 0xffffffffu, 1u);
    const uint sequence = sequence_of(row);
    for (; row < ROWS; row++) {
        const uvec2 range = row_range[row];
        if (range.y == 0u) continue;
        if (sequence_of(row) != sequence) break;
        run = uvec4(run.x, row + 1u, min(run.z, range.x), max(run.w, range.y));
    }
    return run;
}
#endif
