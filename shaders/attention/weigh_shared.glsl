// weigh_shared.glsl - from scores to weights where which element of a matrix is whose is not known (KHR_cooperative_matrix
// alone): scores go through the subgroup's own piece of shared memory, where LANES / M lanes share a row.
// Included by attention_prefill_matrix.comp.

#define ROW_LANES    (LANES / M)
#define SHARE        (KEYS / 4 / ROW_LANES) // vec4 of a row's scores that a lane has
#define SCORE_STRIDE (KEYS / 4 + 1)
#define WARP_SCORES  (M * SCORE_STRIDE)
#define WARP_FACTORS (M * N / 4)
shared uvec4 score_rows[WARPS * WARP_SCORES];
shared uvec4 factor_rows[WARPS * WARP_FACTORS];

float maximum, weight_sum; // of the lane's row; weight_sum: of the lane's share

// Orders the subgroup's accesses to its piece of shared memory. Lanes of a software driver run in step, and there a
// barrier of a subgroup in divergent flow is wrong (lavapipe, Mesa 26.1).
void order()
{
    subgroupMemoryBarrierShared();
#if LANES >= 16
    subgroupBarrier();
#endif
}

uint my_row() { return gl_SubgroupInvocationID / ROW_LANES; }
uint my_part() { return gl_SubgroupInvocationID % ROW_LANES; }

// A matrix whose rows have each lane's number in all their elements.
Accumulator spread(float of_row)
{
    const uint at = gl_SubgroupID * WARP_FACTORS;
    [[unroll]] for (uint i = 0u; i < N / 4 / ROW_LANES; i++)
        factor_rows[at + my_row() * (N / 4) + i * ROW_LANES + my_part()] = uvec4(floatBitsToUint(of_row));
    order();
    Accumulator m;
    coopMatLoad(m, factor_rows, at, N / 4, gl_CooperativeMatrixLayoutRowMajor);
    return m;
}

void begin_rows()
{
    maximum = LOWEST;
    weight_sum = 0.0;
}

void mask(uint first, uvec4 run, inout vec4 s[SHARE])
{
    const uint row = row0 + my_row();
    const uvec2 range = row >= run.x && row < run.y ? row_range[row] : uvec2(0u);
    [[unroll]] for (uint i = 0u; i < SHARE; i++)
        [[unroll]] for (uint e = 0u; e < 4u; e++) {
            const uint key = first + (i * ROW_LANES + my_part()) * 4u + e;
            if (key < range.x || key >= range.y) s[i][e] = MASKED;
        }
}

// Turns the scores of keys first .. first + KEYS - 1 into weights, and scales what was summed before.
void weigh(uint first, bool edge, uvec4 run)
{
    const uint at = gl_SubgroupID * WARP_SCORES, row_at = at + my_row() * SCORE_STRIDE;
    order();
    UNROLL for (uint j = 0u; j < SCORES; j++)
        coopMatStore(scores[j], score_rows, at + j * (N / 4), SCORE_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
    order();
    vec4 s[SHARE];
    [[unroll]] for (uint i = 0u; i < SHARE; i++)
        s[i] = uintBitsToFloat(score_rows[row_at + i * ROW_LANES + my_part()]);
    if (SOFTCAP != 0u && p.softcap > 0.0) {
        [[unroll]] for (uint i = 0u; i < SHARE; i++)
            [[unroll]] for (uint e = 0u; e < 4u; e++) s[i][e] = soften(s[i][e], p.softcap * LOG2_E);
    }
    if (edge) mask(first, run, s);

    vec4 most = s[0];
    [[unroll]] for (uint i = 1u; i < SHARE; i++) most = max(most, s[i]);
    float largest = max(max(most.x, most.y), max(most.z, most.w));
    [[unroll]] for (uint step = 1u; step < ROW_LANES; step *= 2u)
        largest = max(largest, subgroupShuffleXor(largest, step));
    largest = max(largest, maximum);
    const float factor = exp2(maximum - largest);
    maximum = largest;

    order(); // a row's other lanes have read it
    vec4 sum = vec4(0.0);
    [[unroll]] for (uint i = 0u; i < SHARE; i++) {
        const vec4 w = exp2(s[i] - largest);
        const uint pair = i * ROW_LANES + my_part();
        sum += w;
        score_rows[row_at + pair / 2u][pair % 2u * 2u] = packHalf2x16(w.xy);
        score_rows[row_at + pair / 2u][pair % 2u * 2u + 1u] = packHalf2x16(w.zw);
    }
    weight_sum = weight_sum * factor + sum.x + sum.y + sum.z + sum.w;
    if (subgroupAny(factor != 1.0)) {
        const Accumulator factors = spread(factor);
        UNROLL for (uint j = 0u; j < SUMS; j++) sums[j] = sums[j] * factors;
    }
    order();
}

MatrixA weights(uint k)
{
    MatrixA w;
    coopMatLoad(w, score_rows, gl_SubgroupID * WARP_SCORES + k * (K / 8), SCORE_STRIDE,
                gl_CooperativeMatrixLayoutRowMajor);
    return w;
}

void store_rows()
{
    const uint at = gl_SubgroupID * WARP_FACTORS;
    [[unroll]] for (uint step = 1u; step < ROW_LANES; step *= 2u)
        weight_sum += subgroupShuffleXor(weight_sum, step);
    order();
    const Accumulator factors = spread(weight_sum > 0.0 ? 1.0 / weight_sum : 0.0);
    UNROLL for (uint j = 0u; j < SUMS; j++) {
        sums[j] = sums[j] * factors;
        order();
        coopMatStore(sums[j], factor_rows, at, N / 4, gl_CooperativeMatrixLayoutRowMajor);
        order();
        for (uint i = gl_SubgroupInvocationID; i < WARP_FACTORS; i += LANES) {
            const uint r = row0 + i / (N / 4), token = first_token + r;
            if (token >= p.n_tokens) continue;
            const uint element = head * (D / 4) + j * (N / 4) + i % (N / 4); // the vec4 of the row
            const vec4 v = row_range[r].y != 0u ? uintBitsToFloat(factor_rows[at + i]) : vec4(0.0);
            if (p.format == SL_ROWS_F16)
                put_halves(offset_mul(p.y, token, p.y_stride * 2u), element, v);
            else
                F32x4(offset_mul(p.y, token, p.y_stride * 4u)).at[element] = v;
        }
    }
}
