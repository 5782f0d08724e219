/* Time of recorded phases, by the host's clock: timestamps of the device drain its queue on some drivers. */
#include "runtime/tune/tune_internal.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "runtime/step/record.h"
#include "runtime/stream/stream.h"

#include <stdlib.h>
#include <string.h>

#define PART_SECONDS 0.003 /* long against the cost of a submission, some 30 us */
#define SLOW_SECONDS 0.05  /* from here on fewer rounds do: nothing is lost in the clock's noise */
#define ROUNDS       7u
#define ROUNDS_SLOW  3u
#define DEPTH_TOKENS 1024u /* keys that a decode step reads */

static sl_status run_once(sl_device *device, sl_semaphore *done, uint64_t *value,
                          const sl_recording *recording, double *out_seconds, sl_diag *diag)
{
    const sl_semaphore_point signal = {done, ++*value};
    const sl_submission s = {.commands = &recording->segments[0].commands,
                             .command_count = 1,
                             .signals = &signal,
                             .signal_count = 1};
    const uint64_t begin = sl_now_ns();
    sl_status st = sl_queue_submit(device, SL_QUEUE_COMPUTE, &s, diag);
    if (st == SL_OK) st = sl_semaphore_wait(done, *value, UINT64_MAX, diag);
    *out_seconds = (double)(sl_now_ns() - begin) / 1e9;
    return st;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

sl_status sl_tuner_time(const sl_tuner *tuner, const sl_step *const *steps, uint32_t count,
                        double *out_seconds, sl_diag *diag)
{
    sl_device *device = tuner->device;
    sl_semaphore *done = NULL;
    uint64_t value = 0;
    double slowest = 0;
    sl_recording *recordings = sl_calloc(count, sizeof *recordings);
    double(*times)[ROUNDS] = sl_calloc(count, sizeof *times);
    sl_status st = SL_OK;
    if (!recordings || !times) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "tuning: recordings");
        goto cleanup;
    }
    SL_TRY(sl_semaphore_create(device, 0, &done, diag));
    for (uint32_t i = 0; i < count; i++) {
        double seconds;
        SL_TRY(sl_record(device, steps[i], 0, NULL, SL_TIMING_NONE, &recordings[i], diag));
        SL_TRY(run_once(device, done, &value, &recordings[i], &seconds, diag)); /* warms caches */
        slowest = SL_MAX(slowest, seconds);
    }
    const uint32_t rounds = slowest > SLOW_SECONDS ? ROUNDS_SLOW : ROUNDS;
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < count; i++)
            SL_TRY(run_once(device, done, &value, &recordings[i], &times[i][round], diag));
    for (uint32_t i = 0; i < count; i++)
        out_seconds[i] = median(times[i], rounds);
cleanup:
    if (st != SL_OK) sl_settle(device);
    for (uint32_t i = 0; recordings && i < count; i++)
        sl_recording_clear(&recordings[i]);
    sl_semaphore_destroy(done);
    sl_free(recordings);
    sl_free(times);
    return st;
}

sl_status sl_tuner_layers(const sl_tuner *tuner, const sl_step *part, uint32_t *out_layers, sl_diag *diag)
{
    double seconds;
    sl_status st = sl_tuner_time(tuner, &part, 1, &seconds, diag);
    if (st != SL_OK) return st;
    const double layers = PART_SECONDS / SL_MAX(seconds, 1e-6);
    *out_layers = layers < 1 ? 1 : (uint32_t)layers + 1;
    return SL_OK;
}

/* ---- the batch ---- */

static uint32_t *words(sl_range host)
{
    return sl_host(host.begin);
}

/* Tokens of one sequence one after another, or one token each of several sequences that have DEPTH_TOKENS. */
static void fill_batch(const sl_tuner *t, const sl_shape *shape)
{
    const sl_batch *b = &t->batch_host;
    const sl_limits *limits = &t->layout->limits;
    const uint32_t context = limits->pages_per_session * SL_KV_PAGE_TOKENS;
    for (uint32_t i = 0; i < shape->n_tokens; i++) {
        words(b->tokens)[i] = (uint32_t)(1103515245ull * i + 12345) % SL_MAX(t->layout->model->h.n_vocab, 1);
        words(b->positions)[i] =
            (shape->prefill ? i : SL_MIN(DEPTH_TOKENS, context) - 1) % SL_MAX(context, 1);
        words(b->sequences)[i] = shape->prefill ? 0 : i % SL_MAX(limits->sessions, 1);
    }
    for (uint32_t i = 0; i < shape->n_outputs; i++)
        words(b->out_index)[i] = i % SL_MAX(shape->n_tokens, 1);
    for (uint32_t i = 0; i < limits->sessions * limits->pages_per_session; i++)
        words(b->block_table)[i] = i; /* there is a page for each */
}

/* With streamed weights nothing is run: the ring holds anything, and experts chosen by it could be any
 * number. */
sl_status sl_tuner_prepare(const sl_tuner *tuner, const sl_shape *shape, uint64_t load_ns, sl_diag *diag)
{
    const bool cpu = sl_device_get_info(tuner->device)->type == SL_DEVICE_CPU;
    sl_semaphore *done = NULL;
    sl_recording recording = {0};
    sl_step step = {0};
    uint64_t value = 0;
    double seconds;
    sl_status st = SL_OK;
    fill_batch(tuner, shape);
    if (tuner->layout->plan->stage_count) return SL_OK;
    SL_TRY(sl_step_build(tuner->layout, tuner->kernels, shape, &step, diag));
    SL_TRY(sl_record(tuner->device, &step, 0, NULL, SL_TIMING_NONE, &recording, diag));
    SL_TRY(sl_semaphore_create(tuner->device, 0, &done, diag));
    const uint64_t begin = sl_now_ns();
    do {
        SL_TRY(run_once(tuner->device, done, &value, &recording, &seconds, diag));
    } while (!cpu && sl_now_ns() - begin < load_ns);
cleanup:
    if (st != SL_OK) sl_settle(tuner->device);
    sl_recording_clear(&recording);
    sl_semaphore_destroy(done);
    sl_step_clear(&step);
    return st;
}
