/* gen_gemm.c - cases of dequant, rotate, gemm and gemm_gated: every tail of tiles, steps and vectors. */
#include "tests/kernels/gen_weights.h"

#include "hal/base/checked.h"
#include "hal/base/half.h"
#include "shaders/matmul/gemm.h"
#include "shaders/matmul/rotated.h"

#include <stdio.h>

/* A row has so many blocks (of 32 weights at least), and a tail where the type has no blocks. */
typedef struct rows_case {
    uint32_t blocks, tail, rows;
} rows_case;

/* Rows of the matrix before and after those that a case writes. */
enum { BEFORE = 3, AFTER = 2 };

/* Returns the weights. */
static void *fill_rows(sl_kernel_case *c, const rows_case *k, uint32_t type, uint32_t format)
{
    uint32_t weights = 1, bytes = 0;
    sl_weight_block(type, &weights, &bytes);
    const uint32_t n_k = weights == 1 ? k->blocks * 32 + k->tail : k->blocks * weights, rows = k->rows;
    struct sl_push_dequant *p = (struct sl_push_dequant *)c->push;
    const uint32_t before = rows > 1 ? BEFORE : 0, all = before + rows + (rows > 1 ? AFTER : 0);
    *p = (struct sl_push_dequant){.n_k = n_k,
                                  .n_rows = rows,
                                  .row_bytes = sl_gen_row_bytes(type, n_k),
                                  .weight_type = type,
                                  .first_row = before,
                                  .all_rows = all};
    void *w = sl_case_operand_add(c, offsetof(struct sl_push_dequant, w), SL_CASE_IN, SL_CASE_BYTES,
                                  (uint64_t)p->row_bytes * rows);
    sl_gen_weights(c, type, w, rows, n_k);
    sl_case_rows_add(c, offsetof(struct sl_push_dequant, y), SL_CASE_IN | SL_CASE_OUT, format, all, n_k, n_k);
    snprintf(c->name, sizeof c->name, "n_k=%u rows=%u", n_k, rows);
    return w;
}

bool sl_gen_dequant(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const rows_case cases[] = {{1, 0, 1},  {1, 0, 2},    {3, 8, 1}, {2, 0, 5},
                                      {5, 24, 7}, {18, 16, 33}, {7, 8, 64}};
    if (index >= SL_COUNTOF(cases)) return false;
    float *w = fill_rows(c, &cases[index], variant->key, SL_ROWS_F16);
    if (variant->key == SL_WEIGHT_F32) { /* beyond the range of f16 */
        w[0] = 7e4f;
        w[9] = -1e30f;
    }
    return true;
}

bool sl_gen_rotate(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const rows_case cases[] = {{1, 0, 1},  {1, 16, 3},  {2, 0, 2},   {3, 0, 1},
                                      {18, 0, 9}, {48, 0, 33}, {64, 32, 2}, {130, 0, 1}};
    if (index >= SL_COUNTOF(cases)) return false;
    rows_case k = cases[index];
    uint32_t weights = 1, bytes = 0;
    sl_weight_block(variant->key, &weights, &bytes);
    if (weights > 32 && k.blocks > 64) k.blocks = 60; /* the longest rows that there are */
    float *w = fill_rows(c, &k, variant->key, SL_ROWS_S8);
    if (variant->key == SL_WEIGHT_F32) { /* an outlier, and a row of zeros */
        w[5] = -7e4f;
        const uint32_t n_k = ((struct sl_push_dequant *)c->push)->n_k;
        for (uint32_t i = 0; k.rows > 1 && i < n_k; i++)
            w[n_k + i] = 0;
    }
    return true;
}

typedef enum added { NONE, ADD, IN_PLACE } added;

typedef struct gemm_case {
    uint32_t n_out, n_k, n_tokens, y_pad;
    added add;
    float x_range;
} gemm_case;

static const gemm_case gemm_cases[] = {
    {1, 16, 1, 7, NONE, 1},       {96, 576, 64, 0, IN_PLACE, 1},   {40, 48, 33, 0, ADD, 1},
    {256, 128, 128, 0, ADD, 4},   {130, 80, 65, 6, NONE, 1},       {256, 64, 256, 8, IN_PLACE, 1},
    {64, 96, 32, 0, IN_PLACE, 1}, {520, 144, 130, 0, IN_PLACE, 1}, {192, 784, 9, 0, NONE, 300},
    {512, 256, 128, 0, NONE, 1},
};

static void add_rows(sl_kernel_case *c, uint32_t at, uint32_t format, uint32_t rows, uint32_t n, float range)
{
    void *data = sl_case_rows_add(c, at, SL_CASE_IN, format, rows, n, n);
    const uint64_t count = (uint64_t)rows * n;
    for (uint64_t i = 0; i < count; i++)
        if (format == SL_ROWS_F16)
            ((uint16_t *)data)[i] = sl_float_to_half(sl_case_random_float(c, -range, range));
        else
            ((int8_t *)data)[i] = (int8_t)((int)sl_case_random_below(c, 255) - 127);
    if (format == SL_ROWS_S8)
        sl_case_fill_floats(c, sl_s8_scales(data, rows, n), rows, -range / 127, range / 127);
}

static void fill_gemm(sl_kernel_case *c, const gemm_case *k, const sl_variant *variant)
{
    struct sl_push_gemm *p = (struct sl_push_gemm *)c->push;
    *p = (struct sl_push_gemm){.n_out = k->n_out,
                               .n_k = k->n_k,
                               .n_tokens = k->n_tokens,
                               .y_stride = k->n_out + k->y_pad,
                               .format = variant->key};
    add_rows(c, offsetof(struct sl_push_gemm, w), variant->key, k->n_out, k->n_k, 1);
    add_rows(c, offsetof(struct sl_push_gemm, x), variant->key, k->n_tokens, k->n_k, k->x_range);
    snprintf(c->name, sizeof c->name, "n_out=%u n_k=%u tokens=%u y_pad=%u add=%d", k->n_out, k->n_k,
             k->n_tokens, k->y_pad, (int)k->add);
}

/* Sizes are compiled in: on a CPU, which compiles for seconds, every second case is enough. */
static uint32_t case_of(uint32_t index, const sl_variant *variant)
{
    return variant->matrix == SL_MATRIX(8, 8, 8) ? 2 * index : index;
}

bool sl_gen_gemm(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    index = case_of(index, variant);
    if (index >= SL_COUNTOF(gemm_cases)) return false;
    const gemm_case *k = &gemm_cases[index];
    struct sl_push_gemm *p = (struct sl_push_gemm *)c->push;
    fill_gemm(c, k, variant);
    const uint64_t ys = (uint64_t)(k->n_tokens - 1) * p->y_stride + k->n_out;
    float *y =
        sl_case_operand_add(c, offsetof(struct sl_push_gemm, y),
                            k->add == IN_PLACE ? SL_CASE_IN | SL_CASE_OUT : SL_CASE_OUT, SL_CASE_F32, 4 * ys);
    if (k->add == IN_PLACE) {
        sl_case_fill_floats(c, y, ys, -9, 9);
        sl_case_alias(c, offsetof(struct sl_push_gemm, add), offsetof(struct sl_push_gemm, y));
    }
    if (k->add == ADD)
        sl_case_fill_floats(
            c, sl_case_operand_add(c, offsetof(struct sl_push_gemm, add), SL_CASE_IN, SL_CASE_F32, 4 * ys),
            ys, -9, 9);
    c->spec_count = SL_GEMM_SPECS;
    sl_gemm_spec(p, variant, c->spec);
    return true;
}

bool sl_gen_gemm_gated(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    index = case_of(index, variant);
    if (index >= SL_COUNTOF(gemm_cases)) return false;
    const gemm_case *k = &gemm_cases[index];
    struct sl_push_gemm *p = (struct sl_push_gemm *)c->push;
    fill_gemm(c, k, variant);
    p->act = index % 2 ? SL_ACT_SILU : SL_ACT_GELU;
    add_rows(c, offsetof(struct sl_push_gemm, w2), variant->key, k->n_out, k->n_k, 1);
    sl_case_rows_add(c, offsetof(struct sl_push_gemm, y), SL_CASE_OUT, SL_ROWS_F16, k->n_tokens, p->y_stride,
                     k->n_out);
    c->spec_count = SL_GEMM_SPECS;
    sl_gemm_spec(p, variant, c->spec);
    return true;
}
