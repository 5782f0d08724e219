/* Sessions: what truncation, a full context, wrong arguments and company do to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_device.h"
#include "tests/support/test_engine.h"

#include "hal/base/checked.h"
#include "runtime/engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 150, SESSIONS = 4, STEPS = 20, PROMPT_MAX = 80 };

static sl_engine *engine;
static sl_engine_info info;
static uint32_t prompt[PROMPT_MAX];

/* *state: the type of the KV cache. */
static int set_up(void **state)
{
    const sl_engine_options options = {
        .context_tokens = CONTEXT, .max_sessions = SESSIONS, .batch_tokens = 32, .kv_type = *state};
    engine = sl_test_engine_open(sl_test_golden_path("tiny-qwen3.gguf"), &options);
    sl_engine_get_info(engine, &info);
    for (uint32_t i = 0; i < PROMPT_MAX; i++)
        prompt[i] = (i * 37 + 11) % 256;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_engine_close(engine);
    return 0;
}

static uint32_t step(sl_session *session, uint32_t token)
{
    sl_diag diag;
    uint32_t next;
    EXPECT_OK(sl_engine_step(engine, &session, &token, 1, &next, &diag));
    return next;
}

static void eval(sl_session *session, const uint32_t *tokens, size_t count)
{
    sl_diag diag;
    EXPECT_OK(sl_session_eval(session, tokens, count, NULL, &diag));
}

/* Greedy tokens after `tokens`, the last of which is not in the session yet. */
static void continue_from(sl_session *session, uint32_t token, uint32_t *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        token = out[i] = step(session, token);
}

/* Logits do not depend on how the tokens came: at once, in pieces, one by one. */
static void test_eval_in_pieces(void **state)
{
    (void)state;
    const size_t n = PROMPT_MAX, bytes = n * info.vocabulary * sizeof(float);
    float *whole = malloc(bytes), *parts = malloc(bytes);
    assert_true(whole && parts);
    sl_diag diag;
    sl_session *a = sl_test_session(engine, NULL);
    EXPECT_OK(sl_session_eval(a, prompt, n, whole, &diag));
    static const size_t sizes[] = {1, 7, 32, 33};
    for (size_t k = 0; k < SL_COUNTOF(sizes); k++) {
        sl_session_truncate(a, 0);
        for (size_t i = 0; i < n; i += sizes[k])
            EXPECT_OK(
                sl_session_eval(a, prompt + i, SL_MIN(sizes[k], n - i), parts + i * info.vocabulary, &diag));
        for (size_t i = 0; i < n * info.vocabulary; i++)
            assert_true(fabsf(whole[i] - parts[i]) < 2e-2f);
    }
    sl_session_destroy(a);
    free(whole);
    free(parts);
}

static void test_truncate(void **state)
{
    (void)state;
    uint32_t first[STEPS], again[STEPS];
    sl_session *s = sl_test_session(engine, NULL);
    eval(s, prompt, 70);
    continue_from(s, prompt[70], first, STEPS);
    assert_int_equal(sl_session_length(s), 70 + STEPS);
    sl_session_truncate(s, 1000); /* more than there is: nothing happens */
    assert_int_equal(sl_session_length(s), 70 + STEPS);
    sl_session_truncate(s, 70);
    continue_from(s, prompt[70], again, STEPS);
    assert_memory_equal(first, again, sizeof first);
    sl_session_truncate(s, 3);
    eval(s, prompt + 3, 67);
    continue_from(s, prompt[70], again, STEPS);
    assert_memory_equal(first, again, sizeof first);
    sl_session_destroy(s);
}

static void test_context_full(void **state)
{
    (void)state;
    sl_diag diag;
    uint32_t out[STEPS], next, again[STEPS];
    uint32_t many[CONTEXT + 1] = {0};
    sl_session *s = sl_test_session(engine, NULL);
    EXPECT_STATUS(SL_ERR_CONTEXT_FULL, sl_session_eval(s, many, CONTEXT + 1, NULL, &diag));
    assert_int_equal(sl_session_length(s), 0);
    eval(s, prompt, 10);
    EXPECT_STATUS(SL_ERR_CONTEXT_FULL, sl_session_eval(s, many, CONTEXT - 9, NULL, &diag));
    assert_int_equal(sl_session_length(s), 10);
    continue_from(s, prompt[10], out, STEPS);
    sl_session_truncate(s, 10);
    eval(s, many, CONTEXT - 10); /* to the last place */
    EXPECT_STATUS(SL_ERR_CONTEXT_FULL, sl_engine_step(engine, &s, prompt, 1, &next, &diag));
    assert_int_equal(sl_session_length(s), CONTEXT);
    sl_session_truncate(s, 10);
    continue_from(s, prompt[10], again, STEPS);
    assert_memory_equal(out, again, sizeof out);
    sl_session_destroy(s);
}

/* Sessions of different lengths, stepped together, give what each gives alone. */
static void test_company(void **state)
{
    (void)state;
    static const uint32_t lengths[SESSIONS] = {1, 17, 64, 79};
    uint32_t alone[SESSIONS][STEPS];
    sl_session *s[SESSIONS];
    sl_diag diag;
    for (uint32_t i = 0; i < SESSIONS; i++) {
        s[i] = sl_test_session(engine, NULL);
        eval(s[i], prompt, lengths[i]);
        continue_from(s[i], i, alone[i], STEPS);
        sl_session_truncate(s[i], lengths[i]);
    }
    sl_session *one_more;
    EXPECT_STATUS(SL_ERR_BUSY, sl_session_create(engine, NULL, &one_more, &diag));
    uint32_t tokens[SESSIONS] = {0, 1, 2, 3};
    for (uint32_t n = 0; n < STEPS; n++) {
        EXPECT_OK(sl_engine_step(engine, s, tokens, SESSIONS, tokens, &diag));
        for (uint32_t i = 0; i < SESSIONS; i++)
            assert_int_equal(tokens[i], alone[i][n]);
    }
    /* One goes, another takes its place; the pages it left have old keys in them. */
    sl_session_destroy(s[2]);
    s[2] = sl_test_session(engine, NULL);
    eval(s[2], prompt, lengths[0]);
    uint32_t again[STEPS];
    continue_from(s[2], 0, again, STEPS);
    assert_memory_equal(again, alone[0], sizeof again);
    for (uint32_t i = 0; i < SESSIONS; i++)
        sl_session_destroy(s[i]);
}

static void test_step_errors(void **state)
{
    (void)state;
    sl_diag diag;
    uint32_t tokens[SESSIONS + 1] = {1, 2, 3, 4, 5}, next[SESSIONS + 1];
    sl_session *s[SESSIONS + 1] = {0};
    const sl_engine_options options = {.context_tokens = 64, .batch_tokens = 16};
    sl_engine *other = sl_test_engine_open(sl_test_golden_path("tiny-qwen3.gguf"), &options);
    sl_session *foreign = sl_test_session(other, NULL);
    s[0] = sl_test_session(engine, NULL);
    s[1] = sl_test_session(engine, NULL);
    eval(s[0], prompt, 5);
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_engine_step(engine, s, tokens, 0, next, &diag));
    sl_session *twice[] = {s[0], s[1], s[0]};
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_engine_step(engine, twice, tokens, 3, next, &diag));
    sl_session *mixed[] = {s[0], foreign};
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_engine_step(engine, mixed, tokens, 2, next, &diag));
    sl_session *too_many[SESSIONS + 1] = {s[0], s[1], s[0], s[1], s[0]};
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_engine_step(engine, too_many, tokens, SESSIONS + 1, next, &diag));
    tokens[1] = info.vocabulary;
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_engine_step(engine, s, tokens, 2, next, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_session_eval(s[0], tokens, 2, NULL, &diag));
    assert_int_equal(sl_session_length(s[0]), 5);
    assert_int_equal(sl_session_length(s[1]), 0);
    /* One of two has no room: both are as before. */
    uint32_t fill[CONTEXT] = {0};
    eval(s[1], fill, CONTEXT);
    tokens[1] = 2;
    EXPECT_STATUS(SL_ERR_CONTEXT_FULL, sl_engine_step(engine, s, tokens, 2, next, &diag));
    assert_int_equal(sl_session_length(s[0]), 5);
    assert_int_equal(sl_session_length(s[1]), CONTEXT);
    EXPECT_OK(sl_engine_step(engine, s, tokens, 1, next, &diag));
    sl_session_destroy(s[0]);
    sl_session_destroy(s[1]);
    sl_session_destroy(foreign);
    sl_engine_close(other);
}

static void test_engine_options(void **state)
{
    (void)state;
    sl_diag diag;
    sl_engine *e = NULL;
    const char *path = sl_test_golden_path("tiny-qwen3.gguf");
    static const sl_engine_options wrong[] = {
        {.max_sessions = 5000},       {.batch_tokens = 65536},    {.max_outputs = 5000},
        {.context_tokens = 1u << 25}, {.io_engine = "telepathy"}, {.kv_type = "q8"},
    };
    for (size_t i = 0; i < SL_COUNTOF(wrong); i++)
        EXPECT_STATUS(SL_ERR_ARGUMENT, sl_test_engine_try(path, &wrong[i], &e, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_test_engine_try("", NULL, &e, &diag));
    EXPECT_STATUS(SL_ERR_NOT_FOUND, sl_test_engine_try("/nowhere/model.gguf", NULL, &e, &diag));
    assert_non_null(strstr(diag.message, "/nowhere/model.gguf"));
    assert_null(e);
    sl_engine_close(NULL);
    sl_session_destroy(NULL);
}

static void sampling_out_of_range_is_refused(void **state)
{
    (void)state;
    const sl_sampling bad[] = {{.temperature = INFINITY}, {.temperature = NAN},
                               {.top_p = -0.5f},          {.min_p = 1.5f},
                               {.repeat_penalty = -1},    {.frequency_penalty = INFINITY},
                               {.presence_penalty = NAN}};
    for (size_t i = 0; i < SL_COUNTOF(bad); i++) {
        sl_session *session = NULL;
        sl_diag diag = {0};
        assert_int_equal(sl_session_create(engine, &bad[i], &session, &diag), SL_ERR_ARGUMENT);
        assert_null(session);
        assert_true(diag.message[0]);
    }
}

/* A talk that goes on with the tokens it was given, with others, in company and alone, with a session that
 * goes and another that takes its place. `out`: the tokens given. */
static uint32_t talk(const sl_sampling *sampling, uint32_t *out)
{
    sl_diag diag;
    uint32_t n = 0, tokens[2] = {prompt[5], prompt[6]};
    sl_session *s[2] = {sl_test_session(engine, sampling), sl_test_session(engine, sampling)};
    eval(s[0], prompt, 5);
    eval(s[1], prompt + 1, 17);
    for (uint32_t i = 0; i < 6; i++, n += 2) {
        EXPECT_OK(sl_engine_step(engine, s, tokens, 2, tokens, &diag));
        memcpy(out + n, tokens, sizeof tokens);
    }
    tokens[1] = tokens[1] == 7 ? 8 : 7; /* not what it was given */
    for (uint32_t i = 0; i < 3; i++, n += 2) {
        EXPECT_OK(sl_engine_step(engine, s, tokens, 2, tokens, &diag));
        memcpy(out + n, tokens, sizeof tokens);
    }
    for (uint32_t i = 0; i < 4; i++) /* alone */
        out[n++] = tokens[0] = step(s[0], tokens[0]);
    sl_session_truncate(s[0], 9);
    out[n++] = tokens[0] = step(s[0], tokens[0]);
    const uint32_t length = sl_session_length(s[0]);
    sl_session_destroy(s[0]);
    s[0] = sl_test_session(engine, sampling); /* the same place, as many tokens, but others */
    eval(s[0], prompt + 20, length);
    out[n++] = tokens[0] = step(s[0], tokens[0]);
    while (sl_session_length(s[0]) < CONTEXT) /* until it is full */
        out[n++] = tokens[0] = step(s[0], tokens[0]);
    sl_session_destroy(s[0]);
    sl_session_destroy(s[1]);
    EXPECT_OK(sl_engine_wait(engine, &diag));
    return n;
}

static void test_work_ahead(void **state)
{
    (void)state;
    static const sl_sampling ways[] = {{0},
                                       {.temperature = 1.5f, .top_k = 20, .seed = 5},
                                       {.repeat_penalty = 1.3f},
                                       {.temperature = 0.7f, .seed = 9}};
    for (size_t i = 0; i < SL_COUNTOF(ways); i++) {
        uint32_t plain[3 * CONTEXT], ahead[3 * CONTEXT];
        sl_engine_stats before, between, after;
        sl_engine_get_stats(engine, &before);
        sl_engine_hooks.work_ahead = false;
        const uint32_t n = talk(&ways[i], plain);
        sl_engine_get_stats(engine, &between);
        sl_engine_hooks.work_ahead = true;
        assert_int_equal(talk(&ways[i], ahead), n);
        sl_engine_get_stats(engine, &after);
        assert_memory_equal(plain, ahead, n * sizeof *plain);
        /* What is chosen on the device alone was worked ahead on, and what was in vain shows. */
        const bool chains = i < 2;
        const uint64_t passes = between.passes - before.passes;
        if (chains)
            assert_true(after.passes - between.passes > passes);
        else
            assert_int_equal(after.passes - between.passes, passes);
    }
    sl_engine_hooks.work_ahead = false;
}

static int set_up_quantized(void **state)
{
    *state = (char *)"q8_0";
    return set_up(state);
}

static int set_up_ahead(void **state)
{
    sl_engine_hooks.work_ahead = true;
    return set_up(state);
}

static int set_up_ahead_quantized(void **state)
{
    *state = (char *)"q4_0";
    return set_up_ahead(state);
}

static int tear_down_ahead(void **state)
{
    sl_engine_hooks.work_ahead = false;
    return tear_down(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_in_pieces),
        cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_context_full),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_step_errors),
        cmocka_unit_test(test_engine_options),
        cmocka_unit_test(sampling_out_of_range_is_refused),
    };
    const struct CMUnitTest ahead[] = {
        cmocka_unit_test(test_eval_in_pieces), cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_context_full),   cmocka_unit_test(test_company),
        cmocka_unit_test(test_work_ahead),
    };
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    failed += cmocka_run_group_tests_name("working ahead", ahead, set_up_ahead, tear_down_ahead);
    failed += cmocka_run_group_tests_name("quantized cache", tests, set_up_quantized, tear_down);
    return failed + cmocka_run_group_tests_name("working ahead, quantized cache", ahead,
                                                set_up_ahead_quantized, tear_down_ahead);
}
