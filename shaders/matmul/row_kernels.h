/* row_kernels.h - the loops of row_products.c, included once for each instruction set.
 *
 * Before: ROW_FN(name) makes a name, ROW_TARGET is the function attribute, ROW_LANES the floats of a vector.
 *
 * Method: a strip of SL_ROW_GROUP rows is decoded to f32 once, into a buffer that stays in the first-level
 * cache, then multiplied with all columns of a block of tokens, in tiles of 4 rows x 3 columns whose sums are
 * vectors in registers. Decoding costs as much as one column. The decoders are plain loops that compilers
 * vectorize; the tiles are written with vector types, since their sums may not be reordered otherwise.
 */

typedef float ROW_FN(vector) __attribute__((vector_size(ROW_LANES * 4)));
typedef float ROW_FN(unaligned) __attribute__((vector_size(ROW_LANES * 4), aligned(4), may_alias));

/* ---- decoders: `count` blocks to f32 ---- */

ROW_TARGET static void ROW_FN(decode_f32)(const uint8_t *b, float *out, uint32_t count)
{
    memcpy(out, b, count * sizeof *out);
}

ROW_TARGET static void ROW_FN(decode_f16)(const uint8_t *b, float *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        out[i] = sl_half_to_float((uint16_t)(b[2 * i] | b[2 * i + 1] << 8));
}

ROW_TARGET static void ROW_FN(decode_bf16)(const uint8_t *b, float *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        out[i] = sl_bf16_to_float((uint16_t)(b[2 * i] | b[2 * i + 1] << 8));
}

/* out = d * q + m for 16 unsigned bytes. */
ROW_TARGET static inline void ROW_FN(scale_16)(bytes_16 q, float d, float m, float *restrict out)
{
    uint8_t byte[16];
    memcpy(byte, &q, sizeof byte);
    ROW_ROLLED
    for (int i = 0; i < 16; i++)
        out[i] = d * (float)byte[i] + m;
}

ROW_TARGET static void ROW_FN(decode_q4_0)(const uint8_t *b, float *out, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++, b += 18, out += 32) {
        const bytes_16 q = load_16(b + 2);
        const float d = half_at(b), m = -8.0f * d;
        ROW_FN(scale_16)(q & 15, d, m, out);
        ROW_FN(scale_16)(q >> 4, d, m, out + 16);
    }
}

ROW_TARGET static void ROW_FN(decode_q4_1)(const uint8_t *b, float *out, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++, b += 20, out += 32) {
        const bytes_16 q = load_16(b + 4);
        const float d = half_at(b), m = half_at(b + 2);
        ROW_FN(scale_16)(q & 15, d, m, out);
        ROW_FN(scale_16)(q >> 4, d, m, out + 16);
    }
}

/* 16 where bit i of `bits` is set, for i = 0 .. 15. */
ROW_TARGET static inline bytes_16 ROW_FN(fifth_bits)(uint32_t bits)
{
    const bytes_16 select = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const words_2 halves = {0x0101010101010101ull * (bits & 255), 0x0101010101010101ull * (bits >> 8 & 255)};
    return (bytes_16)(((bytes_16)halves & select) != 0) & 16;
}

ROW_TARGET static void ROW_FN(decode_q5_0)(const uint8_t *b, float *out, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++, b += 22, out += 32) {
        const bytes_16 q = load_16(b + 6);
        const float d = half_at(b), m = -16.0f * d;
        ROW_FN(scale_16)((q & 15) | ROW_FN(fifth_bits)(b[2] | (uint32_t)b[3] << 8), d, m, out);
        ROW_FN(scale_16)(q >> 4 | ROW_FN(fifth_bits)(b[4] | (uint32_t)b[5] << 8), d, m, out + 16);
    }
}

ROW_TARGET static void ROW_FN(decode_q8_0)(const uint8_t *restrict b, float *restrict out, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++, b += 34, out += 32) {
        const float d = half_at(b);
        const int8_t *q = (const int8_t *)(b + 2);
        for (int i = 0; i < 32; i++)
            out[i] = d * (float)q[i];
    }
}

ROW_TARGET static void ROW_FN(decode_q4_k)(const uint8_t *b, float *out, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++, b += 144) {
        const float d = half_at(b), dmin = half_at(b + 2);
        const uint8_t *s = b + 4, *q = b + 16;
        for (int pair = 0; pair < 4; pair++, q += 32, out += 64) {
            float scale[2], m[2];
            for (int i = 0; i < 2; i++) {
                const int g = 2 * pair + i;
                scale[i] = d * (float)(g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4);
                m[i] = -dmin * (float)(g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | (s[g] >> 6) << 4);
            }
            for (int i = 0; i < 32; i += 16) {
                const bytes_16 v = load_16(q + i);
                ROW_FN(scale_16)(v & 15, scale[0], m[0], out + i);
                ROW_FN(scale_16)(v >> 4, scale[1], m[1], out + 32 + i);
            }
        }
    }
}

ROW_TARGET static void ROW_FN(decode_q6_k)(const uint8_t *b, float *out, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++, b += 210, out += 256) {
        const float d = half_at(b + 208);
        const int8_t *scales = (const int8_t *)(b + 192);
        for (int half = 0; half < 2; half++)
            for (int i = 0; i < 4;
                 i++) { /* 16 bytes of low nibbles: weights from 16 i and from 64 + 16 i on */
                const bytes_16 low = load_16(b + half * 64 + i * 16);
                const bytes_16 high = load_16(b + 128 + half * 32 + i % 2 * 16) >> (uint8_t)(i / 2 * 2);
                const float d0 = d * (float)scales[half * 8 + i], d1 = d * (float)scales[half * 8 + 4 + i];
                ROW_FN(scale_16)((low & 15) | (high & 3) << 4, d0, -32.0f * d0, out + half * 128 + i * 16);
                ROW_FN(scale_16)
                (low >> 4 | (high >> 4 & 3) << 4, d1, -32.0f * d1, out + half * 128 + 64 + i * 16);
            }
    }
}

ROW_TARGET static void ROW_FN(decode)(uint32_t type, const uint8_t *b, float *out, uint32_t blocks)
{
    switch (type) {
#define X(NAME, name, number, weights, bytes)                                                                \
    case number:                                                                                             \
        ROW_FN(decode_##name)(b, out, blocks);                                                               \
        break;
        SL_WEIGHT_TYPES(X)
#undef X
    }
}

/* ---- tiles: sums[column][row] += w[row] . x[column] over n floats ---- */

#if ROW_LANES == 8
#define ROW_HALVES(v) (__builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7))
#else
#define ROW_HALVES(v) (v)
#endif

/* The sums of the lanes of four vectors, as one vector: two rounds of pairwise addition. */
#define ROW_LANE_SUMS(a, b, c, d, out)                                                                       \
    do {                                                                                                     \
        const quad a_ = ROW_HALVES(a), b_ = ROW_HALVES(b), c_ = ROW_HALVES(c), d_ = ROW_HALVES(d);           \
        const quad ab =                                                                                      \
            __builtin_shufflevector(a_, b_, 0, 4, 1, 5) + __builtin_shufflevector(a_, b_, 2, 6, 3, 7);       \
        const quad cd =                                                                                      \
            __builtin_shufflevector(c_, d_, 0, 4, 1, 5) + __builtin_shufflevector(c_, d_, 2, 6, 3, 7);       \
        out = __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);     \
    } while (0)

#define ROW_TILE(rows, columns)                                                                              \
    ROW_TARGET static void ROW_FN(tile_##rows##x##columns)(const float *w, const float *x,                   \
                                                           uint64_t x_stride, uint32_t n, float *sums)       \
    {                                                                                                        \
        ROW_FN(vector) acc[columns][rows];                                                                   \
        for (int c = 0; c < columns; c++)                                                                    \
            for (int r = 0; r < rows; r++)                                                                   \
                acc[c][r] = (ROW_FN(vector)){0};                                                             \
        uint32_t k = 0;                                                                                      \
        for (; k + ROW_LANES <= n; k += ROW_LANES) {                                                         \
            ROW_FN(vector) xv[columns];                                                                      \
            for (int c = 0; c < columns; c++)                                                                \
                xv[c] = *(const ROW_FN(unaligned) *)(x + c * x_stride + k);                                  \
            for (int r = 0; r < rows; r++) {                                                                 \
                const ROW_FN(vector) wv = *(const ROW_FN(unaligned) *)(w + r * STRIP + k);                   \
                for (int c = 0; c < columns; c++)                                                            \
                    acc[c][r] += wv * xv[c];                                                                 \
            }                                                                                                \
        }                                                                                                    \
        for (int c = 0; c < columns; c++)                                                                    \
            for (int r = 0; r < rows; r += 4) {                                                              \
                quad four;                                                                                   \
                ROW_LANE_SUMS(acc[c][r], acc[c][r + 1], acc[c][r + 2], acc[c][r + 3], four);                 \
                for (int i = 0; i < 4; i++)                                                                  \
                    sums[c * SL_ROW_GROUP + r + i] += four[i];                                               \
            }                                                                                                \
        for (; k < n; k++)                                                                                   \
            for (int c = 0; c < columns; c++)                                                                \
                for (int r = 0; r < rows; r++)                                                               \
                    sums[c * SL_ROW_GROUP + r] += w[r * STRIP + k] * x[c * x_stride + k];                    \
    }

ROW_TILE(8, 1)
ROW_TILE(4, 2)
ROW_TILE(4, 3)

/* Rows first .. first + rows - 1 (at most SL_ROW_GROUP) times the tokens begin .. begin + count - 1. */
ROW_TARGET static void ROW_FN(group)(const sl_row_products *job, uint64_t first, uint32_t rows,
                                     uint32_t begin, uint32_t count)
{
    _Alignas(64) float w[SL_ROW_GROUP * STRIP];
    _Alignas(64) float sums[TOKEN_BLOCK * SL_ROW_GROUP];
    uint32_t block_weights = 1, block_bytes = 1;
    sl_weight_block(job->type, &block_weights, &block_bytes);
    memset(sums, 0, count * SL_ROW_GROUP * sizeof *sums);
    if (rows < SL_ROW_GROUP) memset(w, 0, sizeof w);
    for (uint32_t k = 0; k < job->n_k; k += STRIP) {
        const uint32_t n = job->n_k - k < STRIP ? job->n_k - k : STRIP;
        for (uint32_t r = 0; r < rows; r++)
            ROW_FN(decode)
        (job->type, job->w + (first + r) * job->row_bytes + k / block_weights * block_bytes, w + r * STRIP,
         n / block_weights);
        const float *x = job->x + begin * job->x_stride + k;
        uint32_t t = 0;
        for (; t + 3 <= count; t += 3)
            for (uint32_t r = 0; r < SL_ROW_GROUP; r += 4)
                ROW_FN(tile_4x3)
        (w + r * STRIP, x + t * job->x_stride, job->x_stride, n, sums + t * SL_ROW_GROUP + r);
        if (count - t == 2)
            for (uint32_t r = 0; r < SL_ROW_GROUP; r += 4)
                ROW_FN(tile_4x2)
        (w + r * STRIP, x + t * job->x_stride, job->x_stride, n, sums + t * SL_ROW_GROUP + r);
        else if (count - t == 1)
            ROW_FN(tile_8x1)(w, x + t * job->x_stride, job->x_stride, n, sums + t * SL_ROW_GROUP);
    }
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t r = 0; r < rows; r++) {
            const uint64_t at = (begin + t) * job->y_stride + first + r;
            float v = sums[t * SL_ROW_GROUP + r];
            if (job->bias) v += job->bias[first + r];
            if (job->add) v += job->add[at];
            job->y[at] = v;
        }
}

#undef ROW_TILE
#undef ROW_LANE_SUMS
#undef ROW_HALVES
#undef ROW_FN
#undef ROW_TARGET
#undef ROW_LANES
