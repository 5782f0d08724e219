/* The stream lets whole characters through, whatever the cuts between pushes, and replaces what is broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hal/base/checked.h"
#include "runtime/tokenizer/utf8.h"

#define FFFD "\xef\xbf\xbd"

static const struct {
    const char *in, *out;
} cases[] = {
    {"plain", "plain"},
    {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82"},
    {"a\x80z", "a" FFFD "z"},
    {"a\xffz", "a" FFFD "z"},
    {"\xc0\xaf", FFFD FFFD},                   /* overlong */
    {"\xe0\x80\xaf", FFFD FFFD FFFD},          /* overlong */
    {"\xed\xa0\x80", FFFD FFFD FFFD},          /* surrogate */
    {"\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD}, /* beyond U+10FFFF */
    {"\xf0\x9f\x99!", FFFD "!"},               /* one replacement for a cut beginning */
    {"\xe2\x82\xe2\x82\xac", FFFD "\xe2\x82\xac"},
    {"\xe2\x82", FFFD},
    {"\xf0\x9f\x99", FFFD},
    {"\xc3", FFFD},
    {"\xf0\xc3\xa9", FFFD "\xc3\xa9"},
};

static size_t run(const char *in, size_t n, size_t step, char *out)
{
    sl_utf8_stream stream = {0};
    size_t written = 0;
    for (size_t at = 0; at < n; at += step) {
        const size_t part = SL_MIN(step, n - at);
        const size_t got = sl_utf8_stream_push(&stream, in + at, part, out + written);
        assert_true(got <= SL_UTF8_STREAM_BYTES(part));
        /* Only whole characters, at each push. */
        for (size_t i = written; i < written + got;) {
            const size_t length = sl_utf8_length(out + i, written + got - i);
            assert_true(length > 0);
            i += length;
        }
        written += got;
    }
    return written + sl_utf8_stream_flush(&stream, out + written);
}

static void test_stream(void **state)
{
    (void)state;
    for (size_t i = 0; i < SL_COUNTOF(cases); i++) {
        for (size_t step = 1; step <= 6; step++) {
            char out[256];
            const size_t n = run(cases[i].in, strlen(cases[i].in), step, out);
            if (n != strlen(cases[i].out) || memcmp(out, cases[i].out, n) != 0)
                fail_msg("case %zu, step %zu", i, step);
        }
    }
}

static void test_pending(void **state)
{
    (void)state;
    sl_utf8_stream stream = {0};
    char out[64];
    assert_int_equal(sl_utf8_stream_push(&stream, "a\xf0\x9f", 3, out), 1);
    assert_int_equal(sl_utf8_stream_push(&stream, "\x99", 1, out), 0);
    assert_int_equal(sl_utf8_stream_push(&stream, "\x82", 1, out), 4);
    assert_memory_equal(out, "\xf0\x9f\x99\x82", 4);
    assert_int_equal(sl_utf8_stream_flush(&stream, out), 0);
    assert_int_equal(sl_utf8_stream_push(&stream, "", 0, out), 0);
}

/* Any bytes, any cuts: the same as in one push. */
static void test_cuts(void **state)
{
    (void)state;
    uint32_t random = 99;
    for (int round = 0; round < 2000; round++) {
        static const unsigned char alphabet[] = {0xf0, 0x9f, 0x99, 0x82, 0xe2, 0x82,
                                                 0xac, 0xc3, 'a',  0xed, 0xa0, 0xff};
        char in[24], whole[128], cut[128];
        for (size_t i = 0; i < sizeof in; i++) {
            random = random * 1664525u + 1013904223u;
            in[i] = (char)alphabet[(random >> 16) % sizeof alphabet];
        }
        const size_t n = run(in, sizeof in, sizeof in, whole);
        for (size_t step = 1; step < 6; step++) {
            assert_int_equal(run(in, sizeof in, step, cut), n);
            assert_memory_equal(cut, whole, n);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_pending),
        cmocka_unit_test(test_cuts),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
