/* Checked arithmetic at its edges, allocation with its hooks, diagnostics, the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "hal/base/diag.h"
#include "hal/base/log.h"

#include <errno.h>
#include <string.h>

static void checked_arithmetic(void **state)
{
    (void)state;
    uint64_t out = 77;
    assert_true(sl_checked_add(UINT64_MAX - 1, 1, &out));
    assert_true(out == UINT64_MAX);
    out = 77;
    assert_false(sl_checked_add(UINT64_MAX, 1, &out));
    assert_false(sl_checked_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
    assert_false(sl_checked_mul(UINT64_MAX, 2, &out));
    assert_false(sl_checked_align(UINT64_MAX - 2, 4, &out));
    assert_false(sl_checked_align(8, 0, &out));
    assert_false(sl_checked_align(8, 24, &out));
    assert_int_equal(out, 77); /* untouched by every failure */
    assert_true(sl_checked_mul(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &out));
    assert_true(out == UINT64_MAX - UINT32_MAX);
    assert_true(sl_checked_mul(0, UINT64_MAX, &out));
    assert_int_equal(out, 0);
    static const uint64_t aligned[][3] = {{0, 16, 0}, {1, 16, 16}, {16, 16, 16}, {17, 16, 32}, {5, 1, 5}};
    for (size_t i = 0; i < SL_COUNTOF(aligned); i++) {
        assert_true(sl_checked_align(aligned[i][0], aligned[i][1], &out));
        assert_int_equal(out, aligned[i][2]);
        assert_int_equal(sl_align_up(aligned[i][0], aligned[i][1]), aligned[i][2]);
    }
    assert_true(sl_checked_align(UINT64_MAX - 3, 4, &out));
    assert_true(out == UINT64_MAX - 3);
    assert_int_equal(sl_align_down(31, 16), 16);
    assert_int_equal(sl_div_up(0, 7), 0);
    assert_int_equal(sl_div_up(14, 7), 2);
    assert_int_equal(sl_div_up(15, 7), 3);
    assert_true(sl_div_up(UINT64_MAX, 2) == UINT64_C(1) << 63);
}

static void allocation(void **state)
{
    (void)state;
    unsigned char *zeroed = sl_calloc(100, 3);
    assert_non_null(zeroed);
    for (int i = 0; i < 300; i++)
        assert_int_equal(zeroed[i], 0);
    sl_free(zeroed);
    void *aligned = sl_aligned_alloc(4096, 5);
    assert_non_null(aligned);
    assert_int_equal((uintptr_t)aligned % 4096, 0);
    sl_free(aligned);
    assert_null(sl_aligned_alloc(24, 5));
    assert_null(sl_aligned_alloc(64, SIZE_MAX - 3));
    assert_null(sl_realloc(NULL, SIZE_MAX / 2, 3));
    char *text = sl_strdup("sluice");
    assert_string_equal(text, "sluice");
    char *part = sl_strndup(text, 3);
    assert_string_equal(part, "slu");
    assert_null(sl_strndup(text, SIZE_MAX));
    text = sl_realloc(text, 100, 2);
    assert_string_equal(text, "sluice");
    sl_free(text);
    sl_free(part);
    void *empty = sl_malloc(0);
    assert_non_null(empty);
    sl_free(empty);
    sl_free(NULL);
}

static void allocation_hooks(void **state)
{
    (void)state;
    void *got[5];
    const uint64_t before = sl_alloc_count();
    sl_alloc_fail_at(3);
    got[0] = sl_malloc(8);
    got[1] = sl_calloc(1, 8);
    got[2] = sl_strdup("third");
    got[3] = sl_aligned_alloc(64, 8);
    sl_alloc_fail_at(1);
    got[4] = sl_realloc(got[0], 2, 8); /* the old block stays alive */
    assert_int_equal(sl_alloc_count() - before, 5);
    assert_non_null(got[0]);
    assert_non_null(got[1]);
    assert_null(got[2]);
    assert_non_null(got[3]);
    assert_null(got[4]);
    sl_alloc_fail_at(1);
    sl_alloc_fail_at(0);
    got[4] = sl_malloc(1);
    assert_non_null(got[4]);
    sl_free(got[0]);
    sl_free(got[1]);
    sl_free(got[3]);
    sl_free(got[4]);
}

static void diagnostics(void **state)
{
    (void)state;
    sl_diag diag = {0};
    assert_int_equal(sl_fail(&diag, SL_ERR_FORMAT, "field %s: %d", "x", 7), SL_ERR_FORMAT);
    assert_int_equal(diag.code, SL_ERR_FORMAT);
    assert_int_equal(diag.sys_errno, 0);
    assert_int_equal(diag.line, __LINE__ - 3);
    assert_non_null(strstr(diag.file, "test_base.c"));
    assert_string_equal(diag.message, "field x: 7");
    sl_diag_prefix(&diag, "file '%s'", "a.gguf");
    assert_string_equal(diag.message, "file 'a.gguf': field x: 7");
    assert_int_equal(diag.code, SL_ERR_FORMAT);
    assert_int_equal(sl_fail_errno(&diag, SL_ERR_IO, ENOENT, "open '%s'", "b"), SL_ERR_IO);
    assert_int_equal(diag.sys_errno, ENOENT);
    assert_non_null(strstr(diag.message, "open 'b': "));
    assert_non_null(strstr(diag.message, strerror(ENOENT)));
    assert_int_equal(sl_fail(NULL, SL_ERR_BUSY, "nobody reads this"), SL_ERR_BUSY);
    sl_diag_prefix(NULL, "nor this");
}

/* Long messages are cut, never run over. */
static void long_diagnostics(void **state)
{
    (void)state;
    char text[3 * SL_DIAG_MESSAGE_BYTES];
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    sl_diag diag;
    assert_int_equal(sl_fail_errno(&diag, SL_ERR_IO, EIO, "%s", text), SL_ERR_IO);
    assert_int_equal(strlen(diag.message), SL_DIAG_MESSAGE_BYTES - 1);
    sl_diag_prefix(&diag, "%s", text);
    assert_int_equal(strlen(diag.message), SL_DIAG_MESSAGE_BYTES - 1);
    assert_int_equal(sl_fail(&diag, SL_ERR_IO, "short"), SL_ERR_IO);
    sl_diag_prefix(&diag, "%s", text);
    assert_int_equal(strlen(diag.message), SL_DIAG_MESSAGE_BYTES - 1);
}

static void names_of_statuses(void **state)
{
    (void)state;
    for (int a = 0; a < SL_STATUS_COUNT; a++) {
        assert_true(strlen(sl_status_name((sl_status)a)) > 1);
        assert_string_not_equal(sl_status_name((sl_status)a), "unknown status");
        for (int b = 0; b < a; b++)
            assert_string_not_equal(sl_status_name((sl_status)a), sl_status_name((sl_status)b));
    }
    assert_string_equal(sl_status_name((sl_status)1000), "unknown status");
    assert_string_equal(sl_status_name((sl_status)-1), "unknown status");
}

typedef struct captured {
    int lines;
    sl_log_level level;
    char last[2048];
} captured;

static void capture(void *user, sl_log_level level, const char *line)
{
    captured *c = user;
    c->lines++;
    c->level = level;
    strncpy(c->last, line, sizeof c->last - 1);
}

static void log_lines(void **state)
{
    (void)state;
    captured c = {0};
    sl_log_set(SL_LOG_INFO, capture, &c);
    sl_log(SL_LOG_DEBUG, "dropped");
    assert_int_equal(c.lines, 0);
    sl_log(SL_LOG_INFO, "%d bytes", 5);
    assert_int_equal(c.lines, 1);
    assert_string_equal(c.last, "5 bytes");
    sl_log(SL_LOG_ERROR, "%2000s", "right");
    assert_int_equal(c.level, SL_LOG_ERROR);
    assert_true(strlen(c.last) < 1024);
    sl_log_set(SL_LOG_WARN, NULL, NULL);
    sl_log(SL_LOG_INFO, "dropped");
    assert_int_equal(c.lines, 2);
}

static void clock_goes_on(void **state)
{
    (void)state;
    const uint64_t start = sl_now_ns();
    nanosleep(&(struct timespec){0, 3000000}, NULL);
    assert_true(sl_now_ns() - start >= 3000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checked_arithmetic), cmocka_unit_test(allocation),
        cmocka_unit_test(allocation_hooks),   cmocka_unit_test(diagnostics),
        cmocka_unit_test(long_diagnostics),   cmocka_unit_test(names_of_statuses),
        cmocka_unit_test(log_lines),          cmocka_unit_test(clock_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
