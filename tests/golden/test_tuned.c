/* Tuning with every kernel of products that the device can run, on models that are small enough for a CPU's
 * driver: what is measured, that it is kept, and that logits stay what they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_device.h"
#include "tests/support/test_engine.h"

#include "runtime/engine/engine.h"
#include "shaders/tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 64, POINTS = 6 };

#define NMSE_MAX 1e-3 /* f32 and f16 activations, as between kernels */

typedef struct listener {
    uint32_t choices, most_candidates; /* of 64 columns: kernels that were compared */
    uint32_t experts;                  /* points of their ladder */
} listener;

static void note_choice(void *user, const sl_tuned_choice *choice)
{
    listener *l = user;
    l->choices++;
    if (!strcmp(choice->kernel, "experts")) l->experts++;
    if (!strcmp(choice->kernel, "products") && strstr(choice->shape, ", 64 columns") &&
        choice->candidates > l->most_candidates)
        l->most_candidates = choice->candidates;
}

static sl_engine *open_engine(const char *model, const char *cache)
{
    const sl_engine_options options = {
        .context_tokens = TOKENS, .batch_tokens = TOKENS, .max_outputs = TOKENS, .cache_dir = cache};
    return sl_test_engine_open(sl_test_golden_path(model), &options);
}

/* Of a prompt of TOKENS tokens; the caller frees them. */
static float *logits_of(sl_engine *engine)
{
    uint32_t prompt[TOKENS];
    sl_diag diag;
    const size_t n = engine->model.h.n_vocab;
    float *logits = malloc(TOKENS * n * sizeof *logits);
    assert_non_null(logits);
    for (uint32_t i = 0; i < TOKENS; i++)
        prompt[i] = (i * 37 + 11) % 256;
    sl_session *session = sl_test_session(engine, NULL);
    EXPECT_OK(sl_session_eval(session, prompt, TOKENS, logits, &diag));
    sl_session_destroy(session);
    return logits;
}

static double difference(const float *a, const float *b, size_t count)
{
    double errors = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        errors += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        squares += (double)a[i] * (double)a[i];
    }
    return errors / squares;
}

/* How many kernels multiply matrices of the model's type, by 64 columns: all of the ladder but the mat-vec.
 */
static uint32_t rivals_of(sl_engine *e)
{
    const uint32_t type = (uint32_t)sl_model_find(&e->model, SL_PART_Q, 0)->file->type;
    const uint32_t rungs = sl_step_rungs(&e->limits, sl_kernel_set_tuning(e->kernels), type);
    return (uint32_t)__builtin_popcount(rungs) - 1;
}

static void check_tuned(const char *model, bool experts)
{
    char cache[256];
    listener l = {0};
    sl_diag diag;
    sl_tune_report report;
    const sl_tune_options options = {.choice = note_choice, .user = &l};
    snprintf(cache, sizeof cache, "%s", sl_test_path(model));
    sl_engine *engine = open_engine(model, cache);
    const uint32_t rivals = rivals_of(engine), size = engine->model.h.n_vocab * TOKENS;
    const bool groups = sl_step_groups_experts(&engine->layout, engine->kernels);
    if (rivals < 2) {
        sl_engine_close(engine);
        print_message("skipped: products of many columns have one kernel here\n");
        skip();
    }
    float *before = logits_of(engine);
    EXPECT_OK(sl_engine_tune(engine, &options, &report, &diag));
    print_message("%s: %u choices, %u kernels for 64 columns, in %.1f s; %s\n", model, l.choices,
                  l.most_candidates, report.seconds, engine->switch_points);
    assert_int_equal(report.measured, l.choices);
    assert_int_equal(report.left, 0);
    assert_int_equal(l.most_candidates, rivals);
    /* Plain tiles are not for the smallest of the points. */
    assert_in_range(l.experts, experts && groups ? 1 : 0, experts && groups ? POINTS : 0);
    float *tuned = logits_of(engine);
    assert_true(difference(before, tuned, size) <= NMSE_MAX);

    /* Whoever opens the model next has the same kernels, and so the same bits. */
    sl_tuning kept = *sl_kernel_set_tuning(engine->kernels);
    const uint32_t choices = kept.choice_count;
    sl_engine_close(engine);
    engine = open_engine(model, cache);
    const sl_tuning *loaded = sl_kernel_set_tuning(engine->kernels);
    assert_memory_equal(loaded->columns, kept.columns, sizeof kept.columns);
    assert_int_equal(loaded->experts_alone, kept.experts_alone);
    assert_int_equal(loaded->choice_count, choices);
    float *again = logits_of(engine);
    assert_memory_equal(again, tuned, size * sizeof *again);
    sl_engine_close(engine);
    free(before);
    free(tuned);
    free(again);
}

static void test_dense(void **state)
{
    (void)state;
    check_tuned("tiny-qwen3.gguf", false);
}

static void test_experts(void **state)
{
    (void)state;
    check_tuned("tiny-qwen3moe.gguf", true);
}

/* The rate of gemm is among the ceilings of a device that multiplies by it. */
static void test_ceilings(void **state)
{
    (void)state;
    sl_ceilings c;
    sl_diag diag;
    sl_engine *engine = open_engine("tiny-qwen3.gguf", "");
    EXPECT_OK(sl_engine_measure_ceilings(engine, &c, &diag));
    print_message("best product %s, %.3g flop/s of %.3g\n", c.product, c.product_flops_per_s,
                  c.matmul_flops_per_s);
    assert_true(c.product_flops_per_s > 0 && c.product[0]);
    assert_true(c.matmul_flops_per_s >= c.product_flops_per_s);
    assert_true(c.matmul_flops_per_s >= c.matrix_f16_flops_per_s);
    assert_true(c.matmul_flops_per_s >= c.matrix_i8_flops_per_s);
    sl_engine_close(engine);
}

/* Kernels of GPUs on a CPU's driver as well, wherever it can run them. */
static int everything(void **state)
{
    (void)state;
    sl_engine_hooks.half_rung = SL_RUNG_matmul_skinny;
    sl_engine_hooks.gemm_format = SL_ROWS_F16;
    return 0;
}

static int as_usual(void **state)
{
    (void)state;
    sl_engine_hooks.half_rung = 0;
    sl_engine_hooks.gemm_format = SL_ROWS_F32;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_dense, everything, as_usual),
        cmocka_unit_test_setup_teardown(test_experts, everything, as_usual),
        cmocka_unit_test_setup_teardown(test_ceilings, everything, as_usual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
