/* Tuning of an engine: what is kept, who sees it, and that text stays the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_device.h"
#include "tests/support/test_engine.h"

#include <stdio.h>
#include <string.h>

enum { PROMPT = 20, TOKENS = 12 };

typedef struct listener {
    uint32_t choices, ladder; /* ladder: those of its points */
    uint64_t done, total;
} listener;

static void note_choice(void *user, const sl_tuned_choice *choice)
{
    listener *l = user;
    assert_true(choice->kernel[0] && choice->shape[0] && choice->variant[0] && choice->fallback[0]);
    assert_true(choice->candidates >= 2 && choice->us >= 0);
    /* A ladder never goes back: a kernel of one of its points may be the second best there. */
    const bool ladder = !strcmp(choice->kernel, "products") || !strcmp(choice->kernel, "experts");
    assert_true(ladder || choice->fallback_us >= choice->us);
    l->ladder += ladder;
    l->choices++;
}

static void note_progress(void *user, uint64_t done, uint64_t total)
{
    listener *l = user;
    assert_true(done >= l->done && done <= total);
    l->done = done;
    l->total = total;
}

static sl_engine *open_with(const char *cache, bool no_tuning)
{
    const sl_engine_options options = {.context_tokens = 64,
                                       .batch_tokens = 32,
                                       .max_outputs = 8,
                                       .cache_dir = cache,
                                       .no_tuning = no_tuning};
    return sl_test_engine_open(sl_test_golden_path("tiny-qwen3.gguf"), &options);
}

static void generate(sl_engine *engine, uint32_t out[TOKENS])
{
    uint32_t prompt[PROMPT];
    for (uint32_t i = 0; i < PROMPT; i++)
        prompt[i] = (i * 37 + 11) % 256;
    sl_test_generate(engine, NULL, prompt, PROMPT, out, TOKENS);
}

static sl_engine_info info_of(sl_engine *engine)
{
    sl_engine_info info;
    sl_engine_get_info(engine, &info);
    return info;
}

static void test_tune_and_keep(void **state)
{
    (void)state;
    char cache[256];
    sl_diag diag;
    sl_tune_report report;
    uint32_t before[TOKENS], after[TOKENS];
    snprintf(cache, sizeof cache, "%s", sl_test_path("tuned"));
    sl_engine *engine = open_with(cache, false);
    assert_string_equal(info_of(engine).tuned, "no");
    assert_int_equal(info_of(engine).tuned_choices, 0);
    generate(engine, before);

    listener l = {0};
    const sl_tune_options options = {.progress = note_progress, .choice = note_choice, .user = &l};
    EXPECT_OK(sl_engine_tune(engine, &options, &report, &diag));
    assert_string_equal(info_of(engine).tuned, "full");
    assert_int_not_equal(report.measured, 0); /* the switch points at least */
    assert_int_equal(report.left, 0);
    assert_int_equal(report.measured, l.choices);
    assert_int_not_equal(l.ladder, 0);
    assert_non_null(strstr(info_of(engine).switch_points, "matmul"));
    generate(engine, after); /* on memory that is as if nothing had happened */
    assert_memory_equal(after, before, sizeof before);

    const uint32_t choices = info_of(engine).tuned_choices;
    EXPECT_OK(sl_engine_tune(engine, NULL, &report, &diag));
    assert_int_equal(report.measured, 0); /* everything is known */
    sl_engine_close(engine);

    engine = open_with(cache, false);
    assert_string_equal(info_of(engine).tuned, "full");
    assert_int_equal(info_of(engine).tuned_choices, choices);
    generate(engine, after);
    assert_memory_equal(after, before, sizeof before);
    EXPECT_OK(sl_engine_tune(engine, &(sl_tune_options){.force = true}, &report, &diag));
    assert_int_not_equal(report.measured, 0);
    sl_engine_close(engine);

    engine = open_with(cache, true);
    assert_string_equal(info_of(engine).tuned, "no");
    assert_int_equal(info_of(engine).tuned_choices, 0);
    sl_engine_close(engine);
}

/* A quick one does not make a full one known, and leaves no cache where there is none. */
static void test_quick(void **state)
{
    (void)state;
    sl_diag diag;
    sl_tune_report report;
    sl_engine *engine = open_with("", false);
    EXPECT_OK(sl_engine_tune(engine, &(sl_tune_options){.quick = true}, &report, &diag));
    assert_string_equal(info_of(engine).tuned, "quick");
    EXPECT_OK(sl_engine_tune(engine, &(sl_tune_options){.seconds_max = 1e-9}, &report, &diag));
    assert_int_not_equal(report.left, 0);
    assert_string_equal(info_of(engine).tuned, "quick");
    sl_engine_close(engine);
    engine = open_with("", false);
    assert_string_equal(info_of(engine).tuned, "no");
    sl_engine_close(engine);
}

/* Sessions would lose what their KV cache holds. */
static void test_not_with_sessions(void **state)
{
    (void)state;
    sl_diag diag;
    sl_engine *engine = open_with("", false);
    sl_session *session = sl_test_session(engine, NULL);
    EXPECT_STATUS(SL_ERR_BUSY, sl_engine_tune(engine, NULL, NULL, &diag));
    sl_session_destroy(session);
    EXPECT_OK(sl_engine_tune(engine, &(sl_tune_options){.quick = true}, NULL, &diag));
    sl_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tune_and_keep),
        cmocka_unit_test(test_quick),
        cmocka_unit_test(test_not_with_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
