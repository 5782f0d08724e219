/* A model file that is deleted, truncated, replaced or written to while it streams: every token before is
 * right, and then there is an error that names the file, not a wrong token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_engine.h"

#include "hal/base/checked.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 48, STEPS_BEFORE = 3, CONTEXT = 64, STREAMED_LESS_BYTES = 400 << 10 };

static uint32_t expected[STEPS];
static uint64_t streaming_budget;

typedef enum change {
    CHANGE_DELETE,
    CHANGE_TRUNCATE,
    CHANGE_REPLACE,
    CHANGE_OVERWRITE,
    CHANGE_OVERWRITE_ALL
} change;

static void write_at(const char *path, off_t offset, size_t count)
{
    static char noise[1 << 20];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)(i * 37 + 11);
    assert_true(count <= sizeof noise);
    const int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, noise, count, offset), count);
    assert_int_equal(close(fd), 0);
}

static void make_change(change what, const char *path)
{
    char other[1024];
    switch (what) {
    case CHANGE_DELETE:
        assert_int_equal(unlink(path), 0);
        break;
    case CHANGE_TRUNCATE:
        assert_int_equal(truncate(path, 300000), 0);
        break;
    case CHANGE_REPLACE:
        snprintf(other, sizeof other, "%s", sl_test_copy_file(path, "other.gguf"));
        assert_int_equal(rename(other, path), 0);
        break;
    case CHANGE_OVERWRITE:
        write_at(path, 500000, 4096);
        break;
    case CHANGE_OVERWRITE_ALL:
        write_at(path, 100000, 700000);
        break;
    }
}

static sl_status step(sl_engine *engine, sl_session *session, uint32_t token, uint32_t *out_next,
                      sl_diag *diag)
{
    return sl_engine_step(engine, &session, &token, 1, out_next, diag);
}

static void check_change(change what, const char *io_engine, sl_status wanted)
{
    char path[1024];
    snprintf(path, sizeof path, "%s",
             sl_test_copy_file(sl_test_golden_path("tiny-qwen3.gguf"), "changing.gguf"));
    const sl_engine_options options = {.context_tokens = CONTEXT,
                                       .batch_tokens = 16,
                                       .vram_bytes = streaming_budget,
                                       .io_engine = io_engine};
    sl_engine *engine = sl_test_engine_open(path, &options);
    sl_session *session = sl_test_session(engine, NULL);
    /* Time stamps of files move in ticks of some milliseconds. */
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    uint32_t token = 1, steps = 0;
    sl_diag diag = {0};
    sl_status st = SL_OK;
    for (; steps < STEPS && st == SL_OK; steps++) {
        if (steps == STEPS_BEFORE) make_change(what, path);
        st = step(engine, session, token, &token, &diag);
        if (st == SL_OK && token != expected[steps]) fail_msg("change %d: token %u is wrong", what, steps);
        if (st != SL_OK) break;
    }
    if (st != wanted)
        fail_msg("change %d, %s: gave %s: %s", what, io_engine, sl_status_name(st), diag.message);
    assert_true(steps >= STEPS_BEFORE);
    assert_int_equal(sl_session_length(session), steps);
    assert_non_null(strstr(diag.message, "changing.gguf"));
    /* It does not heal by itself. */
    assert_int_not_equal(step(engine, session, token, &token, &diag), SL_OK);
    assert_int_equal(sl_session_length(session), steps);
    sl_session_destroy(session);
    sl_engine_close(engine);
}

static void test_changes(void **state)
{
    (void)state;
    static const char *const engines[] = {"auto", "threads"};
    for (size_t i = 0; i < SL_COUNTOF(engines); i++) {
        check_change(CHANGE_DELETE, engines[i], SL_ERR_NOT_FOUND);
        check_change(CHANGE_TRUNCATE, engines[i], SL_ERR_TRUNCATED);
        check_change(CHANGE_REPLACE, engines[i], SL_ERR_TRUNCATED);
        check_change(CHANGE_OVERWRITE, engines[i], SL_ERR_TRUNCATED);
        check_change(CHANGE_OVERWRITE_ALL, engines[i], SL_ERR_TRUNCATED);
    }
}

/* A file that was cut before it is opened: the header says what is missing. */
static void test_truncated_before(void **state)
{
    (void)state;
    char path[1024];
    const char *original = sl_test_golden_path("tiny-qwen3.gguf");
    static const off_t sizes[] = {0, 3, 23, 4096, 100000, 800000};
    for (size_t i = 0; i < SL_COUNTOF(sizes); i++) {
        snprintf(path, sizeof path, "%s", sl_test_copy_file(original, "cut.gguf"));
        assert_int_equal(truncate(path, sizes[i]), 0);
        sl_engine *engine = NULL;
        sl_diag diag = {0};
        const sl_status st = sl_test_engine_try(path, NULL, &engine, &diag);
        if (st != SL_ERR_TRUNCATED && st != SL_ERR_FORMAT)
            fail_msg("%ld bytes: %s: %s", (long)sizes[i], sl_status_name(st), diag.message);
        assert_non_null(strstr(diag.message, "cut.gguf"));
        assert_null(engine);
    }
}

static void silent(void *user, int level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
}

static int set_up(void **state)
{
    (void)state;
    sl_set_log(0, silent, NULL);
    const sl_engine_options options = {.context_tokens = CONTEXT, .batch_tokens = 16};
    sl_engine *engine = sl_test_engine_open(sl_test_golden_path("tiny-qwen3.gguf"), &options);
    sl_session *session = sl_test_session(engine, NULL);
    sl_engine_stats stats;
    sl_diag diag = {0};
    uint32_t token = 1;
    for (uint32_t i = 0; i < STEPS; i++) {
        if (step(engine, session, token, &token, &diag) != SL_OK) fail_msg("%s", diag.message);
        expected[i] = token;
    }
    sl_engine_get_stats(engine, &stats);
    streaming_budget = stats.vram_peak_bytes - STREAMED_LESS_BYTES;
    sl_session_destroy(session);
    sl_engine_close(engine);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_truncated_before),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
