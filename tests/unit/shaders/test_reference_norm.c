/* The C sides of norm, elementwise and expert kernels against the definitions of push.h, computed in double.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "shaders/registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N    37
#define ROWS 5
#define PAD  3

typedef float rows[ROWS][N + PAD];

static float random_float(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) * 0x1p-23f - 1;
}

static void fill(void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((float *)out)[i] = 3 * random_float();
}

static void run(sl_kernel_host_fn fn, const void *push)
{
    for (uint32_t i = 3; i-- > 0;)
        fn(&(sl_kernel_task){.push = push, .index = i, .count = 3});
}

static void expect_near(double got, double wanted)
{
    if (!(fabs(got - wanted) <= 2e-6 * (1 + fabs(wanted)))) fail_msg("wanted %.9g, got %.9g", wanted, got);
}

static uint64_t at(const void *p)
{
    return (uintptr_t)p;
}

static void test_rms_norm(void **state)
{
    (void)state;
    for (uint32_t what = 0; what < 8; what++) {
        rows x, before, after, sum = {{0}}, y = {{0}};
        float weight[N];
        fill(x, sizeof x / 4);
        fill(before, sizeof before / 4);
        fill(after, sizeof after / 4);
        fill(weight, N);
        const struct sl_push_rms_norm push = {.x = at(x),
                                              .weight = what & 1 ? at(weight) : 0,
                                              .before = what & 2 ? at(before) : 0,
                                              .sum = what & 2 ? at(sum) : 0,
                                              .after = what & 4 ? at(after) : 0,
                                              .y = at(y),
                                              .n = N,
                                              .rows = ROWS,
                                              .x_stride = N + PAD,
                                              .y_stride = N + PAD,
                                              .eps = 0.1f};
        run(sl_host_rms_norm, &push);
        for (int r = 0; r < ROWS; r++) {
            double squares = 0;
            for (int i = 0; i < N; i++)
                squares += pow((double)x[r][i] + (what & 2 ? (double)before[r][i] : 0), 2);
            for (int i = 0; i < N; i++) {
                const double v = (double)x[r][i] + (what & 2 ? (double)before[r][i] : 0);
                expect_near(y[r][i], v / sqrt(squares / N + 0.1) * (what & 1 ? (double)weight[i] : 1) +
                                         (what & 4 ? (double)after[r][i] : 0));
                if (what & 2) expect_near(sum[r][i], v);
            }
            assert_true(y[r][N] == 0);
        }
    }
}

static void test_act_mul(void **state)
{
    (void)state;
    for (uint32_t act = SL_ACT_SILU; act <= SL_ACT_GELU; act++) {
        rows gate, up, y = {{0}};
        fill(gate, sizeof gate / 4);
        fill(up, sizeof up / 4);
        const struct sl_push_act_mul push = {at(gate), at(up),  at(y),   .n = N,    .rows = ROWS,
                                             N + PAD,  N + PAD, N + PAD, .act = act};
        run(sl_host_act_mul, &push);
        for (int r = 0; r < ROWS; r++) {
            for (int i = 0; i < N; i++) {
                const double g = gate[r][i];
                const double a = act == SL_ACT_SILU
                                     ? g / (1 + exp(-g))
                                     : g / 2 * (1 + tanh(sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)));
                expect_near(y[r][i], a * (double)up[r][i]);
            }
            assert_true(y[r][N] == 0);
        }
    }
}

static void test_add(void **state)
{
    (void)state;
    float a[N], b[N], y[N];
    fill(a, N);
    fill(b, N);
    run(sl_host_add, &(struct sl_push_add){at(a), at(b), at(y), .n = N, .scale = -0.5f});
    for (int i = 0; i < N; i++)
        expect_near(y[i], (double)a[i] - 0.5 * (double)b[i]);
}

static void test_copy_rows(void **state)
{
    (void)state;
    rows x, y;
    fill(x, sizeof x / 4);
    memset(y, 0xff, sizeof y);
    const uint32_t index[ROWS] = {4, SL_NO_INDEX, 0, 4, 2};
    run(sl_host_copy_rows, &(struct sl_push_copy_rows){at(x), at(index), at(y), N, ROWS, N + PAD, N + PAD});
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < N; i++)
            assert_true(y[r][i] == (index[r] == SL_NO_INDEX ? 0 : x[index[r]][i]));
        assert_true(isnan(y[r][N]));
    }
}

static void test_softmax(void **state)
{
    (void)state;
    rows x, y;
    fill(x, sizeof x / 4);
    x[1][3] = -INFINITY;
    x[2][0] = 1e4f;
    run(sl_host_softmax, &(struct sl_push_softmax){at(x), at(y), N, ROWS, N + PAD, N + PAD, .scale = 0.7f});
    for (int r = 0; r < ROWS; r++) {
        double most = -INFINITY, sum = 0;
        for (int i = 0; i < N; i++)
            most = fmax(most, (double)(0.7f * x[r][i]));
        for (int i = 0; i < N; i++)
            sum += exp((double)(0.7f * x[r][i]) - most);
        for (int i = 0; i < N; i++)
            expect_near(y[r][i], exp((double)(0.7f * x[r][i]) - most) / sum);
    }
    assert_true(y[1][3] == 0 && y[2][0] == 1);
}

static void test_moe_route(void **state)
{
    (void)state;
    for (uint32_t normalize = 0; normalize < 2; normalize++) {
        rows logits;
        uint32_t ids[ROWS][4];
        float weights[ROWS][4];
        fill(logits, sizeof logits / 4);
        logits[0][9] = logits[0][20] = 8; /* equal: the lower one first */
        const struct sl_push_moe_route push = {at(logits), at(ids),   at(weights),  N, 4, ROWS,
                                               N + PAD,    normalize, .scale = 2.5f};
        run(sl_host_moe_route, &push);
        assert_int_equal(ids[0][0], 9);
        assert_int_equal(ids[0][1], 20);
        for (int r = 0; r < ROWS; r++) {
            double all = 0, used = 0;
            for (int i = 0; i < N; i++)
                all += exp((double)logits[r][i]);
            for (int s = 0; s < 4; s++)
                used += exp((double)logits[r][ids[r][s]]);
            for (int s = 0; s < 4; s++) {
                uint32_t larger = 0; /* experts that come before: as many as slots before */
                for (int i = 0; i < N; i++)
                    larger += logits[r][i] > logits[r][ids[r][s]] ||
                              (logits[r][i] == logits[r][ids[r][s]] && i < (int)ids[r][s]);
                assert_int_equal(larger, s);
                expect_near(weights[r][s],
                            2.5 * exp((double)logits[r][ids[r][s]]) / (normalize ? used : all));
            }
        }
    }
}

static void test_moe_route_of_nans(void **state)
{
    (void)state;
    float logits[3] = {NAN, 1, NAN}, weights[3];
    uint32_t ids[3];
    sl_host_moe_route(&(sl_kernel_task){
        .push = &(struct sl_push_moe_route){at(logits), at(ids), at(weights), 3, 3, 1, 3, 1, 1}, .count = 1});
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[1], 0);
    assert_int_equal(ids[2], 2);
}

static void test_moe_combine(void **state)
{
    (void)state;
    for (uint32_t with_add = 0; with_add < 2; with_add++) {
        float x[ROWS][2][N], weights[ROWS][2];
        rows add, y = {{0}};
        fill(x, sizeof x / 4);
        fill(weights, sizeof weights / 4);
        fill(add, sizeof add / 4);
        run(sl_host_moe_combine, &(struct sl_push_moe_combine){at(x), at(weights), with_add ? at(add) : 0,
                                                               at(y), N, 2, ROWS, N + PAD});
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < N; i++)
                expect_near(y[r][i], (with_add ? (double)add[r][i] : 0) +
                                         (double)weights[r][0] * (double)x[r][0][i] +
                                         (double)weights[r][1] * (double)x[r][1][i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_act_mul),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_copy_rows),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_moe_route),
        cmocka_unit_test(test_moe_route_of_nans),
        cmocka_unit_test(test_moe_combine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
