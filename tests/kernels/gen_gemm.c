/* gen_gemm.c - cases of dequant and gemm: every tail of tiles, steps and vectors. */
#include "tests/kernels/gen_weights.h"

#include "hal/base/checked.h"
#include "hal/base/half.h"
#include "shaders/matmul/gemm.h"

#include <stdio.h>

bool sl_gen_dequant(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t blocks, tail, rows; /* a row has so many blocks (of 32 weights at least), and a tail where it can */
    } cases[] = {{1, 0, 1}, {1, 0, 2}, {3, 8, 1}, {2, 0, 5}, {5, 24, 7}, {18, 16, 33}, {7, 8, 64}};
    if (index >= SL_COUNTOF(cases)) return false;
    const uint32_t type = variant->key, rows = cases[index].rows;
    uint32_t weights = 1, bytes = 0;
    sl_weight_block(type, &weights, &bytes);
    const uint32_t n_k = weights == 1 ? cases[index].blocks * 32 + cases[index].tail : cases[index].blocks * weights;
    struct sl_push_dequant *p = (struct sl_push_dequant *)c->push;
    *p = (struct sl_push_dequant){
        .n_k = n_k, .n_rows = rows, .row_bytes = sl_gen_row_bytes(type, n_k), .weight_type = type};
    void *w = sl_case_operand_add(c, offsetof(struct sl_push_dequant, w), SL_CASE_IN, SL_CASE_BYTES,
                                  (uint64_t)p->row_bytes * rows);
    sl_gen_weights(c, type, w, rows, n_k);
    if (type == SL_WEIGHT_F32 && rows > 1) { /* beyond the range of f16 */
        ((float *)w)[n_k] = 7e4f;
        ((float *)w)[n_k + 9] = -1e30f;
    }
    sl_case_rows_add(c, offsetof(struct sl_push_dequant, y), SL_CASE_OUT, SL_ROWS_F16, rows, n_k, n_k);
    snprintf(c->name, sizeof c->name, "n_k=%u rows=%u", n_k, rows);
    return true;
}

static void add_halves(sl_kernel_case *c, uint32_t at, uint64_t n, float range)
{
    uint16_t *data = sl_case_operand_add(c, at, SL_CASE_IN, SL_CASE_F16, n * sizeof *data);
    for (uint64_t i = 0; i < n; i++)
        data[i] = sl_float_to_half(sl_case_random_float(c, -range, range));
}

bool sl_gen_gemm(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    enum add { NONE, ADD, IN_PLACE };
    static const struct {
        uint32_t n_out, n_k, n_tokens, y_pad;
        enum add add;
        float x_range;
    } cases[] = {
        {1, 8, 1, 7, NONE, 1},         {96, 576, 64, 0, IN_PLACE, 1},   {40, 24, 33, 0, ADD, 1},
        {256, 128, 128, 0, ADD, 4},    {130, 72, 65, 6, NONE, 1},       {256, 64, 256, 8, IN_PLACE, 1},
        {64, 96, 32, 0, IN_PLACE, 1},  {520, 136, 130, 0, IN_PLACE, 1}, {192, 776, 9, 0, NONE, 300},
        {512, 192, 128, 0, NONE, 1},
    };
    /* Sizes are compiled in: on a CPU, which compiles for seconds, every second case is enough. */
    if (variant->matrix == SL_MATRIX(8, 8, 8)) index *= 2;
    if (index >= SL_COUNTOF(cases)) return false;
    const uint32_t n_out = cases[index].n_out, n_k = cases[index].n_k, n_tokens = cases[index].n_tokens;
    const enum add add = cases[index].add;
    struct sl_push_gemm *p = (struct sl_push_gemm *)c->push;
    *p = (struct sl_push_gemm){
        .n_out = n_out, .n_k = n_k, .n_tokens = n_tokens, .y_stride = n_out + cases[index].y_pad};
    add_halves(c, offsetof(struct sl_push_gemm, w), (uint64_t)n_out * n_k, 1);
    add_halves(c, offsetof(struct sl_push_gemm, x), (uint64_t)n_tokens * n_k, cases[index].x_range);
    const uint64_t ys = (uint64_t)(n_tokens - 1) * p->y_stride + n_out;
    float *y = sl_case_operand_add(c, offsetof(struct sl_push_gemm, y),
                                   add == IN_PLACE ? SL_CASE_IN | SL_CASE_OUT : SL_CASE_OUT, SL_CASE_F32, 4 * ys);
    if (add == IN_PLACE) {
        sl_case_fill_floats(c, y, ys, -9, 9);
        sl_case_alias(c, offsetof(struct sl_push_gemm, add), offsetof(struct sl_push_gemm, y));
    }
    if (add == ADD)
        sl_case_fill_floats(
            c, sl_case_operand_add(c, offsetof(struct sl_push_gemm, add), SL_CASE_IN, SL_CASE_F32, 4 * ys), ys, -9, 9);
    c->spec_count = SL_GEMM_SPECS;
    sl_gemm_spec(p, variant, c->spec);
    snprintf(c->name, sizeof c->name, "n_out=%u n_k=%u tokens=%u y_pad=%u add=%d", n_out, n_k, n_tokens,
             cases[index].y_pad, (int)add);
    return true;
}
