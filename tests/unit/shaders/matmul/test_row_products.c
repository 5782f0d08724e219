/* The host products of every type against sums in double of weights decoded by the definition: all tails of
 * rows, of columns and of the strips along k; and that a share writes nothing but its rows. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "hal/base/checked.h"
#include "hal/base/half.h"
#include "shaders/matmul/row_products.h"
#include "shaders/weights.h"

static uint32_t random_state = 12345;

static uint32_t random_bits(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static float random_float(void)
{
    return (float)(random_bits() & 0xffff) / 32768.0f - 1.0f;
}

static void put_half(uint8_t *p, float v)
{
    const uint16_t h = sl_float_to_half(v);
    memcpy(p, &h, sizeof h);
}

static void fill_block(uint32_t type, uint8_t *b, uint32_t bytes)
{
    const float v = random_float();
    const uint16_t bf16 = sl_float_to_bf16(v);
    for (uint32_t i = 0; i < bytes; i++)
        b[i] = (uint8_t)random_bits();
    switch (type) {
    case SL_WEIGHT_F32:
        memcpy(b, &v, sizeof v);
        break;
    case SL_WEIGHT_BF16:
        memcpy(b, &bf16, sizeof bf16);
        break;
    case SL_WEIGHT_Q6_K:
        put_half(b + 208, v * 0.01f);
        break;
    case SL_WEIGHT_Q4_1:
    case SL_WEIGHT_Q4_K:
        put_half(b + 2, random_float() * 0.1f);
        put_half(b, v * 0.1f);
        break;
    default:
        put_half(b, v * 0.1f);
        break;
    }
}

typedef struct shape {
    uint32_t n_out, n_k, n_tokens;
    uint64_t begin, end;
    bool bias, add;
} shape;

static double error_of(const sl_row_products *job, const shape *s, const float *before, float *row)
{
    double error = 0, norm = 0;
    for (uint64_t r = 0; r < s->n_out; r++) {
        sl_weights_to_f32(job->type, job->w + r * job->row_bytes, row, job->n_k);
        for (uint32_t t = 0; t < job->n_tokens; t++) {
            const uint64_t at = t * job->y_stride + r;
            if (r < s->begin || r >= s->end) {
                assert_memory_equal(&job->y[at], &before[at], sizeof *before);
                continue;
            }
            double want = (s->bias ? (double)job->bias[r] : 0) + (s->add ? (double)before[at] : 0);
            for (uint32_t k = 0; k < job->n_k; k++)
                want += (double)row[k] * (double)job->x[t * job->x_stride + k];
            error += (want - (double)job->y[at]) * (want - (double)job->y[at]);
            norm += want * want;
        }
    }
    assert_true(norm > 0);
    return error / norm;
}

static void check(uint32_t type, const shape *s)
{
    uint32_t weights = 1, bytes = 1;
    assert_true(sl_weight_block(type, &weights, &bytes));
    const uint32_t n_k = (s->n_k + weights - 1) / weights * weights;
    const uint64_t row_bytes = n_k / weights * bytes, x_stride = n_k + 3, y_stride = s->n_out + 2;
    uint8_t *w = malloc(row_bytes * s->n_out);
    float *x = malloc(x_stride * s->n_tokens * 4), *y = malloc(y_stride * s->n_tokens * 4);
    float *before = malloc(y_stride * s->n_tokens * 4), *bias = malloc(s->n_out * 4ull),
          *row = malloc(n_k * 4ull);
    assert_true(w && x && y && before && bias && row);
    for (uint64_t i = 0; i < row_bytes * s->n_out; i += bytes)
        fill_block(type, w + i, bytes);
    for (uint64_t i = 0; i < x_stride * s->n_tokens; i++)
        x[i] = random_float();
    for (uint64_t i = 0; i < y_stride * s->n_tokens; i++)
        before[i] = y[i] = random_float();
    for (uint32_t i = 0; i < s->n_out; i++)
        bias[i] = random_float();
    const sl_row_products job = {.type = type,
                                 .w = w,
                                 .row_bytes = row_bytes,
                                 .x = x,
                                 .bias = s->bias ? bias : NULL,
                                 .add = s->add ? y : NULL,
                                 .y = y,
                                 .x_stride = x_stride,
                                 .y_stride = y_stride,
                                 .n_k = n_k,
                                 .n_tokens = s->n_tokens};
    sl_row_products_run(&job, s->begin, s->end);
    const double error = error_of(&job, s, before, row);
    if (!(error < 1e-11))
        fail_msg("type %u n_out=%u n_k=%u tokens=%u: error %g", type, s->n_out, n_k, s->n_tokens, error);
    free(w);
    free(x);
    free(y);
    free(before);
    free(bias);
    free(row);
}

static void agrees_with_definition(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {1, 4, 1, 0, 1, false, false},     {8, 576, 1, 0, 8, true, false},
        {19, 516, 1, 8, 19, false, true},  {9, 100, 2, 0, 9, true, true},
        {16, 1540, 3, 0, 8, false, false}, {11, 64, 4, 0, 11, false, true},
        {24, 260, 5, 16, 24, true, false}, {3, 36, 131, 0, 3, false, true},
        {10, 513, 7, 0, 10, false, false},
    };
#define X(NAME, name, number, weights, bytes)                                                                \
    for (size_t i = 0; i < SL_COUNTOF(shapes); i++)                                                          \
        check(number, &shapes[i]);
    SL_WEIGHT_TYPES(X)
#undef X
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_definition)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
