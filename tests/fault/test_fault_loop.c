/* Every fallible call of a load and a generation of 4 tokens fails once, in turn: calls of the device,
 * allocations of the host, blocks of file reads. Each time: a status that says what was asked for or a right
 * result, no leak (the lane under ASan), and a right generation afterwards, in the same engine where that is
 * alive.
 *
 * On a device that is not the cpu driver only every STRIDEth call is visited, unless SLUICE_FAULT_FULL is
 * set: opening an engine there takes a hundred times as long. */
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

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOKENS = 4,
    STRIDE = 23,
    NO_MEMORY_STRIDE = 5,
    FRESH_EVERY = 16,
    CALLS_MAX = 100000,
    STREAMED_LESS_BYTES = 400 << 10
};

static const uint32_t prompt[] = {1, 17, 5, 80, 42, 9, 23};

/* What is right, and the budget of the streaming runs. */
static uint32_t expected[TOKENS];
static uint64_t streaming_budget;

static const char *model_path(void)
{
    return sl_test_golden_path("tiny-qwen3.gguf");
}

/* ---- what fails ---- */

typedef enum read_fault { READ_FINE, READ_EIO, READ_EAGAIN, READ_SHORT, READ_END, READ_LATE } read_fault;

static struct {
    sl_device *device; /* the wrapper of the engine that was opened last */
    uint64_t nth;
    sl_status status;
    read_fault read;
    uint64_t read_nth;
    _Atomic uint64_t reads; /* blocks since the last arm, over all i/o engines */
} faults;

static sl_status wrap(sl_device *inner, sl_device **out, sl_diag *diag)
{
    sl_status st = sl_fault_wrap(inner, out, diag);
    if (st != SL_OK) return st;
    faults.device = *out;
    sl_fault_arm(*out, faults.nth, faults.status);
    return SL_OK;
}

static void on_read(void *user, const sl_io_fault_event *event, sl_io_fault *fault)
{
    (void)user;
    (void)event;
    if (atomic_fetch_add(&faults.reads, 1) + 1 != faults.read_nth) return;
    switch (faults.read) {
    case READ_FINE:
        break;
    case READ_EIO:
        fault->result = -EIO;
        break;
    case READ_EAGAIN:
        fault->result = -EAGAIN;
        break;
    case READ_SHORT:
        if (fault->result > 1) fault->result /= 2;
        break;
    case READ_END:
        fault->result = 0;
        break;
    case READ_LATE:
        fault->delay_ns = 3000000;
        fault->hold = 2;
        break;
    }
}

static void set_io(sl_io_options *options)
{
    options->fault = on_read;
}

/* ---- one run ---- */

typedef struct run {
    sl_engine *engine;
    sl_status status;
    sl_diag diag;
} run;

static sl_status open_engine(bool streaming, sl_engine **out, sl_diag *diag)
{
    const sl_engine_options options = {
        .context_tokens = 64, .batch_tokens = 16, .vram_bytes = streaming ? streaming_budget : 0};
    return sl_test_engine_try(model_path(), &options, out, diag);
}

static bool right(const uint32_t *tokens, uint32_t count)
{
    return count <= TOKENS && !memcmp(tokens, expected, count * sizeof *tokens);
}

/* A load and a generation. Tokens are right as far as they came, whatever happened. */
static run load_and_generate(bool streaming, const char *what, uint64_t n)
{
    run r = {0};
    uint32_t tokens[TOKENS], count = 0;
    r.status = open_engine(streaming, &r.engine, &r.diag);
    if (r.status == SL_OK)
        r.status =
            sl_test_generate_try(r.engine, prompt, SL_COUNTOF(prompt), tokens, TOKENS, &count, &r.diag);
    else
        assert_null(r.engine);
    if (!right(tokens, count) || (r.status == SL_OK && count != TOKENS))
        fail_msg("%s, %llu: wrong tokens (%s)", what, (unsigned long long)n, sl_status_name(r.status));
    if (r.status != SL_OK && (r.diag.code != r.status || !r.diag.message[0]))
        fail_msg("%s, %llu: %s without a message", what, (unsigned long long)n, sl_status_name(r.status));
    return r;
}

/* Nothing fails any more: the engine, or a fresh one when that is dead, works. What the stream met while it
 * read ahead, after the run was over, is told by the next generation, once. */
static void check_afterwards(run *r, bool streaming, const char *what, uint64_t n)
{
    uint32_t tokens[TOKENS], count = 0;
    sl_diag diag = {0};
    sl_status st = SL_OK;
    const bool ran = r->status == SL_OK, lost = r->status == SL_ERR_DEVICE_LOST;
    if (r->engine)
        st = sl_test_generate_try(r->engine, prompt, SL_COUNTOF(prompt), tokens, TOKENS, &count, &diag);
    if (lost && r->engine) assert_int_equal(st, SL_ERR_DEVICE_LOST); /* a lost device stays lost */
    if (st == SL_ERR_DEVICE_LOST && (lost || ran)) {
        sl_engine_close(r->engine);
        r->engine = NULL;
    }
    if (st != SL_OK && (lost || (ran && streaming))) {
        st = SL_OK;
        count = 0;
    }
    /* The next round of the loop is such a fresh engine, as far as the call that fails there: now and then is
     * enough. */
    if (st == SL_OK && !r->engine && n % FRESH_EVERY != 1) return;
    if (st == SL_OK && !r->engine) st = open_engine(streaming, &r->engine, &diag);
    if (st == SL_OK && !count)
        st = sl_test_generate_try(r->engine, prompt, SL_COUNTOF(prompt), tokens, TOKENS, &count, &diag);
    if (st != SL_OK || count != TOKENS || !right(tokens, count))
        fail_msg("%s, %llu: the generation afterwards: %s: %s", what, (unsigned long long)n,
                 sl_status_name(st), diag.message);
    sl_engine_close(r->engine);
    r->engine = NULL;
}

static uint64_t stride(void)
{
    return sl_test_device_is_cpu() || getenv("SLUICE_FAULT_FULL") ? 1 : STRIDE;
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
    sl_engine *engine = NULL;
    sl_diag diag = {0};
    sl_engine_stats stats;
    const sl_status st = open_engine(false, &engine, &diag);
    if (st != SL_OK) fail_msg("%s", diag.message);
    sl_test_generate(engine, NULL, prompt, SL_COUNTOF(prompt), expected, TOKENS);
    sl_engine_get_stats(engine, &stats);
    streaming_budget = stats.vram_peak_bytes - STREAMED_LESS_BYTES;
    sl_engine_close(engine);
    sl_engine_hooks.wrap_device = wrap;
    sl_engine_hooks.io_options = set_io;
    return 0;
}

/* ---- the loops ---- */

static void device_calls(bool streaming, sl_status status, uint64_t stride)
{
    char what[64];
    snprintf(what, sizeof what, "device call (%s, %s)", streaming ? "streaming" : "resident",
             sl_status_name(status));
    uint64_t n = 1, failed = 0, absorbed = 0;
    for (; n < CALLS_MAX; n += stride) {
        faults.nth = n;
        faults.status = status;
        run r = load_and_generate(streaming, what, n);
        const bool dead = !r.engine; /* and the wrapper with it */
        const bool fired = dead || sl_fault_fired(faults.device);
        if (r.status != SL_OK && r.status != status)
            fail_msg("%s, %llu: gave %s: %s", what, (unsigned long long)n, sl_status_name(r.status),
                     r.diag.message);
        /* Lost while the stream read ahead, after the run: the next generation has to notice. */
        if (r.status == SL_OK && fired && status == SL_ERR_DEVICE_LOST) r.status = status;
        faults.nth = 0;
        if (!dead) sl_fault_arm(faults.device, 0, SL_OK);
        check_afterwards(&r, streaming, what, n);
        if (!fired) break;
        r.status == SL_OK ? absorbed++ : failed++;
    }
    print_message("%s: %llu failed, %llu did without\n", what, (unsigned long long)failed,
                  (unsigned long long)absorbed);
    assert_true(n < CALLS_MAX && failed > 20 / stride);
}

static void test_device_calls_resident(void **state)
{
    (void)state;
    device_calls(false, SL_ERR_DEVICE_MEMORY, stride());
    device_calls(false, SL_ERR_DEVICE_LOST, stride());
    if (stride() == 1) device_calls(false, SL_ERR_NO_MEMORY, NO_MEMORY_STRIDE);
}

static void test_device_calls_streaming(void **state)
{
    (void)state;
    device_calls(true, SL_ERR_DEVICE_MEMORY, stride());
    device_calls(true, SL_ERR_DEVICE_LOST, stride());
    if (stride() == 1) device_calls(true, SL_ERR_NO_MEMORY, NO_MEMORY_STRIDE);
}

static void host_allocations(bool streaming)
{
    const char *what = streaming ? "allocation (streaming)" : "allocation (resident)";
    uint64_t n = 1, failed = 0, absorbed = 0;
    for (; n < CALLS_MAX; n += stride()) {
        const uint64_t before = sl_alloc_count();
        sl_alloc_fail_at(n);
        run r = load_and_generate(streaming, what, n);
        const bool fired = sl_alloc_count() - before >= n;
        sl_alloc_fail_at(0);
        /* The cpu driver's device memory is the host's. */
        if (r.status != SL_OK && r.status != SL_ERR_NO_MEMORY && r.status != SL_ERR_DEVICE_MEMORY)
            fail_msg("%s, %llu: gave %s: %s", what, (unsigned long long)n, sl_status_name(r.status),
                     r.diag.message);
        check_afterwards(&r, streaming, what, n);
        if (!fired) break;
        r.status == SL_OK ? absorbed++ : failed++;
    }
    print_message("%s: %llu failed, %llu did without\n", what, (unsigned long long)failed,
                  (unsigned long long)absorbed);
    assert_true(n < CALLS_MAX && failed > 50 / stride());
}

static void test_host_allocations(void **state)
{
    (void)state;
    host_allocations(false);
    host_allocations(true);
}

typedef struct read_case {
    read_fault fault;
    const char *name;
    sl_status status; /* SL_OK: the engine gets over it; also over an end that, by the file's size, is none */
} read_case;

static void block_reads(bool streaming, const read_case *c)
{
    uint64_t n = 1, failed = 0, absorbed = 0;
    for (; n < CALLS_MAX; n += stride()) {
        atomic_store(&faults.reads, 0);
        faults.read = c->fault;
        faults.read_nth = n;
        run r = load_and_generate(streaming, c->name, n);
        const bool fired = atomic_load(&faults.reads) >= n;
        faults.read_nth = 0;
        /* A block may belong to a stage read ahead that no pass came to. */
        if (r.status != SL_OK && r.status != c->status)
            fail_msg("%s, %llu: gave %s: %s", c->name, (unsigned long long)n, sl_status_name(r.status),
                     r.diag.message);
        if (r.status != SL_OK && !strstr(r.diag.message, "tiny-qwen3.gguf"))
            fail_msg("%s, %llu: no file is named: %s", c->name, (unsigned long long)n, r.diag.message);
        check_afterwards(&r, streaming, c->name, n);
        if (!fired) break;
        r.status == SL_OK ? absorbed++ : failed++;
    }
    print_message("%s (%s): %llu failed, %llu did without\n", c->name, streaming ? "streaming" : "resident",
                  (unsigned long long)failed, (unsigned long long)absorbed);
    assert_true(n < CALLS_MAX && failed + absorbed > 0);
    if (c->status != SL_OK) assert_true(failed > 0);
}

static void test_block_reads(void **state)
{
    (void)state;
    static const read_case cases[] = {
        {READ_EIO, "read gives EIO", SL_ERR_IO},
        {READ_END, "read finds the end", SL_OK},
        {READ_SHORT, "read is short", SL_OK},
        {READ_EAGAIN, "read gives EAGAIN", SL_OK},
        {READ_LATE, "read is late and out of order", SL_OK},
    };
    for (size_t i = 0; i < SL_COUNTOF(cases); i++) {
        block_reads(false, &cases[i]);
        block_reads(true, &cases[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device_calls_resident),
        cmocka_unit_test(test_device_calls_streaming),
        cmocka_unit_test(test_host_allocations),
        cmocka_unit_test(test_block_reads),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
