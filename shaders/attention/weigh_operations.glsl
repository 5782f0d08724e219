// weigh_operations.glsl - from scores to weights where a device has operations on matrices (NV_cooperative_matrix2, those
// of subgroup scope): all stays in registers. Included by attention_prefill_matrix.comp.
#extension GL_NV_cooperative_matrix2 : require

Accumulator maximum;    // of each row so far, in all its elements
Accumulator weight_sum; // each element that of its own columns; a row is added up at the end

float larger(const in float a, const in float b) { return max(a, b); }
float add(const in float a, const in float b) { return a + b; }
float larger_of(const in uint row, const in uint column, const in float a, const in float b) { return max(a, b); }
float power(const in uint row, const in uint column, const in float e) { return exp2(e); }
float inverse(const in uint row, const in uint column, const in float e) { return e > 0.0 ? 1.0 / e : 0.0; }

float softened(const in uint row, const in uint column, const in float e, const in float cap) { return soften(e, cap); }

float masked(const in uint row, const in uint column, const in float e, const in uint first, const in uvec4 run)
{
    const uint r = row0 + row, key = first + column;
    const uvec2 range = row_range[r];
    return r >= run.x && r < run.y && key >= range.x && key < range.y ? e : MASKED;
}

void begin_rows()
{
    maximum = Accumulator(LOWEST);
    weight_sum = Accumulator(0.0);
}

// Turns the scores of keys first .. first + KEYS - 1 into weights, and scales what was summed before.
void weigh(uint first, bool edge, uvec4 run)
{
    if (SOFTCAP != 0u && p.softcap > 0.0) {
        UNROLL for (uint j = 0u; j < SCORES; j++)
            coopMatPerElementNV(scores[j], scores[j], softened, p.softcap * LOG2_E);
    }
    if (edge) {
        UNROLL for (uint j = 0u; j < SCORES; j++)
            coopMatPerElementNV(scores[j], scores[j], masked, first + j * N, run);
    }
    // The maximum so far takes part in the reduction: so all elements of a row are one value to the compiler, and what is
    // made of them is computed once a row, not once an element.
    Accumulator largest = maximum;
    UNROLL for (uint j = 0u; j < SCORES; j++) coopMatPerElementNV(largest, largest, larger_of, scores[j]);
    coopMatReduceNV(largest, largest, gl_CooperativeMatrixReduceRowNV, larger);

    Accumulator factor = maximum - largest;
    coopMatPerElementNV(factor, factor, power);
    maximum = largest;
    weight_sum = weight_sum * factor;
    UNROLL for (uint j = 0u; j < SUMS; j++) sums[j] = sums[j] * factor;
    UNROLL for (uint j = 0u; j < SCORES; j++) {
        scores[j] = scores[j] - largest;
        coopMatPerElementNV(scores[j], scores[j], power);
        weight_sum = weight_sum + scores[j];
    }
}

MatrixA weights(uint k) { return MatrixA(scores[k]); }

float stored(const in uint row, const in uint column, const in float e, const in uint d)
{
    const uint r = row0 + row, token = first_token + r;
    if (token < p.n_tokens) {
        const float v = row_range[r].y != 0u ? e : 0.0;
        if (p.format == SL_ROWS_F16)
            put_half(offset_mul(p.y, token, p.y_stride * 2u), head * D + d + column, v);
        else
            F32(offset_mul(p.y, token, p.y_stride * 4u)).at[head * D + d + column] = v;
    }
    return e;
}

void store_rows()
{
    coopMatReduceNV(weight_sum, weight_sum, gl_CooperativeMatrixReduceRowNV, add);
    coopMatPerElementNV(weight_sum, weight_sum, inverse);
    UNROLL for (uint j = 0u; j < SUMS; j++) {
        sums[j] = sums[j] * weight_sum;
        coopMatPerElementNV(sums[j], sums[j], stored, j * N);
    }
}
