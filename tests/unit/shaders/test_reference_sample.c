/* The C sides of argmax, topk, sample and penalize against plain definitions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "shaders/registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N 700

static uint32_t random_bits(void)
{
    static uint32_t state = 7;
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static uint64_t at(const void *p)
{
    return (uintptr_t)p;
}

static sl_kernel_task task_of(const void *push)
{
    return (sl_kernel_task){.push = push, .count = 1};
}

/* Ties, NaNs, infinities, zeros of both signs. */
static void fill(float *x)
{
    for (int i = 0; i < N; i++) {
        const uint32_t kind = random_bits() % 50;
        x[i] = kind == 0   ? NAN
               : kind == 1 ? -INFINITY
               : kind == 2 ? -0.0f
               : kind == 3 ? 0
                           : (float)(random_bits() % 200) / 16 - 6;
    }
}

/* Does a come before b? */
static bool is_before(const float *x, uint32_t a, uint32_t b)
{
    if (isnan(x[a]) || isnan(x[b])) return isnan(x[a]) == isnan(x[b]) ? a < b : isnan(x[b]);
    return x[a] > x[b] || (x[a] == x[b] && a < b);
}

static uint32_t rank_of(const float *x, uint32_t i)
{
    uint32_t rank = 0;
    for (uint32_t j = 0; j < N; j++)
        rank += is_before(x, j, i);
    return rank;
}

static void test_argmax(void **state)
{
    (void)state;
    for (int turn = 0; turn < 20; turn++) {
        float x[N];
        uint32_t id = 12345;
        fill(x);
        const sl_kernel_task task = task_of(&(struct sl_push_argmax){at(x), at(&id), N, 1, N});
        sl_host_argmax(&task);
        assert_true(id < N && rank_of(x, id) == 0);
    }
    float nans[3] = {NAN, NAN, NAN};
    uint32_t id = 12345;
    const sl_kernel_task task = task_of(&(struct sl_push_argmax){at(nans), at(&id), 3, 1, 3});
    sl_host_argmax(&task);
    assert_int_equal(id, 0);
}

static void test_topk(void **state)
{
    (void)state;
    static const uint32_t ks[] = {1, 2, 3, 40, 255, 256};
    for (size_t turn = 0; turn < sizeof ks / sizeof *ks; turn++) {
        float x[N], values[SL_TOPK_MAX], lse;
        uint32_t ids[SL_TOPK_MAX];
        fill(x);
        const sl_kernel_task task = task_of(&(struct sl_push_topk){.x = at(x),
                                                                   .ids = at(ids),
                                                                   .values = at(values),
                                                                   .lse = at(&lse),
                                                                   .n = N,
                                                                   .rows = 1,
                                                                   .k = ks[turn]});
        sl_host_topk(&task);
        double sum = 0;
        for (int i = 0; i < N; i++)
            sum += isnan(x[i]) ? 0 : exp((double)x[i]);
        for (uint32_t i = 0; i < ks[turn]; i++) {
            assert_int_equal(rank_of(x, ids[i]), i);
            assert_memory_equal(&values[i], &x[ids[i]], sizeof *x);
        }
        assert_true(fabs((double)lse - log(sum)) < 1e-5);
    }
}

static void test_topk_lse_of_infinities(void **state)
{
    (void)state;
    float x[3] = {1, INFINITY, INFINITY}, value, lse;
    uint32_t id;
    const struct sl_push_topk push = {
        .x = at(x), .ids = at(&id), .values = at(&value), .lse = at(&lse), .n = 3, .rows = 1, .k = 1};
    const sl_kernel_task task = task_of(&push);
    sl_host_topk(&task);
    assert_int_equal(id, 1);
    assert_true(lse == INFINITY);
}

#define K     6
#define DRAWS 40000

/* Counts of DRAWS draws with one set of parameters. */
static void draw_many(const float *values, struct sl_sample_params params, uint32_t counts[K])
{
    static const uint32_t ids[K] = {100, 101, 102, 103, 104, 105};
    memset(counts, 0, K * sizeof *counts);
    for (uint32_t i = 0; i < DRAWS; i++) {
        uint32_t token = 0;
        params.counter = i;
        const sl_kernel_task task = task_of(
            &(struct sl_push_sample){at(ids), at(values), at(&params), at(&token), .k = K, .rows = 1});
        sl_host_sample(&task);
        assert_true(token >= 100 && token < 100 + K);
        counts[token - 100]++;
    }
}

/* The counts follow softmax(values / temperature) over the first n, within five standard deviations. */
static void expect_distribution(const float *values, struct sl_sample_params params, uint32_t n)
{
    uint32_t counts[K];
    double total = 0;
    draw_many(values, params, counts);
    for (uint32_t i = 0; i < n; i++)
        total += exp((double)(values[i] - values[0]) / (double)params.temperature);
    for (uint32_t i = 0; i < K; i++) {
        const double p =
            i < n ? exp((double)(values[i] - values[0]) / (double)params.temperature) / total : 0;
        const double allowed = 5 * sqrt(DRAWS * p * (1 - p));
        if (fabs(counts[i] - DRAWS * p) > allowed)
            fail_msg("candidate %u: %u of %d draws, wanted %.0f", i, counts[i], DRAWS, DRAWS * p);
    }
}

static void test_sample(void **state)
{
    (void)state;
    /* probabilities 0.4 0.25 0.15 0.1 0.06 0.04 */
    const float v[K] = {logf(0.4f), logf(0.25f), logf(0.15f), logf(0.1f), logf(0.06f), logf(0.04f)};
    expect_distribution(v, (struct sl_sample_params){.temperature = 1, .top_p = 1}, K);
    expect_distribution(v, (struct sl_sample_params){.temperature = 2, .top_p = 1, .seed_low = 9}, K);
    expect_distribution(v, (struct sl_sample_params){.temperature = 1, .top_p = 1, .top_k = 2}, 2);
    expect_distribution(v, (struct sl_sample_params){.temperature = 1, .top_p = 0.7f},
                        3); /* 0.65 is not enough */
    expect_distribution(v, (struct sl_sample_params){.temperature = 3, .top_p = 1, .min_p = 0.2f}, 4);
    /* top_p counts among what top_k left: 0.4 + 0.25 of 0.8 is 0.81 */
    expect_distribution(
        v, (struct sl_sample_params){.temperature = 1, .top_p = 0.8f, .top_k = 3, .seed_high = 1}, 2);
    expect_distribution(v, (struct sl_sample_params){.temperature = 1, .top_p = 0}, 1);
    expect_distribution(v, (struct sl_sample_params){.temperature = 1, .top_p = 1, .min_p = 7}, 1);
}

static void test_sample_edges(void **state)
{
    (void)state;
    uint32_t counts[K];
    const float v[K] = {3, 3, 2, 1, NAN, NAN};
    draw_many(v, (struct sl_sample_params){.temperature = 0}, counts);
    assert_int_equal(counts[0], DRAWS);
    draw_many(v, (struct sl_sample_params){.temperature = NAN}, counts);
    assert_int_equal(counts[0], DRAWS);
    draw_many(v, (struct sl_sample_params){.temperature = 1e-20f, .top_p = 1}, counts);
    assert_int_equal(counts[0] + counts[1], DRAWS);
    assert_true(counts[0] > DRAWS * 0.48 && counts[0] < DRAWS * 0.52);
    draw_many(v, (struct sl_sample_params){.temperature = 1, .top_p = 1}, counts);
    assert_int_equal(counts[4] + counts[5], 0);
    const float infinite[K] = {INFINITY, INFINITY, 4, 3, -INFINITY, -INFINITY};
    draw_many(infinite, (struct sl_sample_params){.temperature = 1, .top_p = 0.9f}, counts);
    assert_int_equal(counts[0] + counts[1], DRAWS);
}

static void test_penalize(void **state)
{
    (void)state;
    float logits[6] = {2, -2, 0, 4, -INFINITY, 1};
    const uint32_t entries[6][2] = {{0, 1}, {1, 3}, {3, 0}, {4, 2}, {6, 1}, {0xffffffffu, 1}};
    const struct sl_penalty_params params = {.repeat = 2, .frequency = 0.25f, .presence = 0.5f};
    const struct sl_push_penalize push = {at(logits), at(entries), at(&params), 6, 1, 6, 6};
    const sl_kernel_task task = task_of(&push);
    sl_host_penalize(&task);
    const float wanted[6] = {1 - 0.75f, -4 - 1.25f, 0, 4, -INFINITY, 1};
    for (int i = 0; i < 6; i++)
        assert_true(logits[i] == wanted[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_argmax),
        cmocka_unit_test(test_topk),
        cmocka_unit_test(test_topk_lse_of_infinities),
        cmocka_unit_test(test_sample),
        cmocka_unit_test(test_sample_edges),
        cmocka_unit_test(test_penalize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
