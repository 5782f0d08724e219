/* A profile in which the Nth device call or host allocation fails, N = 1, 2, ... until nothing fails any
 * more: the status says what was asked for, and the engine generates the right tokens afterwards, resident
 * and streaming, without having been opened anew (unless the device was lost). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_engine.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/fault/fault.h"
#include "runtime/engine/engine.h"

#include <string.h>

enum { TOKENS = 3, STRIDE = 29, CALLS_MAX = 100000, STREAMED_LESS_BYTES = 400 << 10 };

static const uint32_t prompt[] = {1, 17, 5, 80, 42};
static uint32_t expected[TOKENS];
static uint64_t streaming_budget;
static sl_device *wrapper; /* of the engine that was opened last */

static sl_status wrap(sl_device *inner, sl_device **out, sl_diag *diag)
{
    sl_status st = sl_fault_wrap(inner, out, diag);
    if (st == SL_OK) wrapper = *out;
    return st;
}

static sl_engine *open_engine(bool streaming)
{
    const sl_engine_options options = {
        .context_tokens = 64, .batch_tokens = 16, .vram_bytes = streaming ? streaming_budget : 0};
    return sl_test_engine_open(sl_test_golden_path("tiny-qwen3.gguf"), &options);
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
    sl_engine_stats stats;
    sl_set_log(0, silent, NULL);
    sl_engine *engine = open_engine(false);
    sl_test_generate(engine, NULL, prompt, SL_COUNTOF(prompt), expected, TOKENS);
    sl_engine_get_stats(engine, &stats);
    streaming_budget = stats.vram_peak_bytes - STREAMED_LESS_BYTES;
    sl_engine_close(engine);
    sl_engine_hooks.wrap_device = wrap;
    return 0;
}

static sl_status profile(sl_engine *engine, sl_diag *diag)
{
    const sl_profile_options options = {
        .mode = SL_PROFILE_CONCURRENT, .prompt_tokens = 6, .decode_steps = 1, .depth_tokens = 2};
    sl_profile *p = NULL;
    sl_status st = sl_engine_profile(engine, &options, &p, diag);
    if (st == SL_OK) {
        sl_profile_view view;
        sl_profile_get(p, &view);
        assert_int_equal(view.pass_count, 4);
    } else {
        assert_null(p);
        assert_true(diag->code == st && diag->message[0]);
    }
    sl_profile_destroy(p);
    return st;
}

/* What the stream met while it read ahead is told by the next generation, once. */
static void check_afterwards(sl_engine *engine, bool streaming, const char *what, uint64_t n)
{
    uint32_t tokens[TOKENS], count = 0;
    sl_diag diag = {0};
    sl_status st = SL_OK;
    for (int attempt = 0; attempt < (streaming ? 2 : 1) && count != TOKENS; attempt++)
        st = sl_test_generate_try(engine, prompt, SL_COUNTOF(prompt), tokens, TOKENS, &count, &diag);
    if (st != SL_OK || count != TOKENS || memcmp(tokens, expected, sizeof expected) != 0)
        fail_msg("%s, %llu: the generation afterwards: %s: %s", what, (unsigned long long)n,
                 sl_status_name(st), diag.message);
}

/* The stream polls, so that a streaming profile has a thousand calls. */
static uint64_t stride(bool streaming)
{
    return !sl_test_device_is_cpu() ? STRIDE : streaming ? 7 : 1;
}

static void device_calls(bool streaming, sl_status status)
{
    const char *what = streaming ? "device call (streaming)" : "device call (resident)";
    sl_engine *engine = open_engine(streaming);
    uint64_t n = 1, failed = 0;
    for (bool fired = true; fired && n < CALLS_MAX; n += stride(streaming)) {
        sl_diag diag = {0};
        sl_fault_arm(wrapper, n, status);
        const sl_status st = profile(engine, &diag);
        fired = sl_fault_fired(wrapper);
        if (st != SL_OK && st != status)
            fail_msg("%s, %llu: gave %s: %s", what, (unsigned long long)n, sl_status_name(st), diag.message);
        sl_fault_arm(wrapper, 0, SL_OK);
        failed += st != SL_OK;
        if (fired && status == SL_ERR_DEVICE_LOST) {
            sl_engine_close(engine);
            engine = open_engine(streaming);
        } else {
            check_afterwards(engine, streaming, what, n);
        }
    }
    print_message("%s, %s: %llu failed\n", what, sl_status_name(status), (unsigned long long)failed);
    assert_true(n < CALLS_MAX && failed > 30 / stride(streaming));
    sl_engine_close(engine);
}

static void test_device_calls(void **state)
{
    (void)state;
    for (int streaming = 0; streaming < 2; streaming++) {
        device_calls(streaming, SL_ERR_DEVICE_MEMORY);
        if (sl_test_device_is_cpu()) device_calls(streaming, SL_ERR_DEVICE_LOST);
    }
}

static void host_allocations(bool streaming)
{
    const char *what = streaming ? "allocation (streaming)" : "allocation (resident)";
    sl_engine *engine = open_engine(streaming);
    uint64_t n = 1, failed = 0;
    for (bool fired = true; fired && n < CALLS_MAX; n += stride(streaming)) {
        sl_diag diag = {0};
        const uint64_t before = sl_alloc_count();
        sl_alloc_fail_at(n);
        const sl_status st = profile(engine, &diag);
        fired = sl_alloc_count() - before >= n;
        sl_alloc_fail_at(0);
        if (st != SL_OK && st != SL_ERR_NO_MEMORY && st != SL_ERR_DEVICE_MEMORY)
            fail_msg("%s, %llu: gave %s: %s", what, (unsigned long long)n, sl_status_name(st), diag.message);
        failed += st != SL_OK;
        check_afterwards(engine, streaming, what, n);
    }
    print_message("%s: %llu failed\n", what, (unsigned long long)failed);
    assert_true(n < CALLS_MAX && failed > 30 / stride(streaming));
    sl_engine_close(engine);
}

static void test_host_allocations(void **state)
{
    (void)state;
    host_allocations(false);
    host_allocations(true);
}

/* What a caller can get wrong. */
static void test_arguments(void **state)
{
    (void)state;
    sl_engine *engine = open_engine(false);
    sl_profile *p = NULL;
    sl_diag diag = {0};
    const struct {
        sl_profile_options options;
        sl_status status;
    } cases[] = {
        {{.mode = SL_PROFILE_SERIAL}, SL_ERR_ARGUMENT},
        {{.mode = (sl_profile_mode)3, .decode_steps = 1}, SL_ERR_ARGUMENT},
        {{.prompt_tokens = 60, .depth_tokens = 5}, SL_ERR_CONTEXT_FULL},
        {{.decode_steps = 60, .depth_tokens = 5}, SL_ERR_CONTEXT_FULL},
        {{.decode_steps = UINT32_MAX, .depth_tokens = UINT32_MAX}, SL_ERR_CONTEXT_FULL},
        {{.decode_steps = 1, .sequences = 2}, SL_ERR_BUSY},
    };
    for (size_t i = 0; i < SL_COUNTOF(cases); i++) {
        assert_int_equal(sl_engine_profile(engine, &cases[i].options, &p, &diag), cases[i].status);
        assert_true(diag.message[0] && !p);
    }
    sl_profile_destroy(NULL);
    check_afterwards(engine, false, "arguments", 0);
    sl_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_device_calls),
        cmocka_unit_test(test_host_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
