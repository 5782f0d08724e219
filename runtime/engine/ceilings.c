/* Ceilings of a device, measured with a streaming kernel and with the matrix kernel that prefill uses. */
#include "runtime/engine/engine.h"

#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "shaders/push.h"

#define WARM_NS    500000000ull /* a GPU that idled needs about 200 ms of load to reach its clock */
#define ROUNDS     5
#define MATRIX_MAX 4096u

typedef struct bench {
    sl_engine *e;
    sl_commands *commands;
    sl_semaphore *done;
    uint64_t value;
} bench;

static sl_status run_once(bench *b, double *out_seconds, sl_diag *diag)
{
    const sl_semaphore_point signal = {b->done, ++b->value};
    const sl_submission s = {
        .commands = &b->commands, .command_count = 1, .signals = &signal, .signal_count = 1};
    const uint64_t begin = sl_now_ns();
    sl_status st = sl_queue_submit(b->e->device, SL_QUEUE_COMPUTE, &s, diag);
    if (st == SL_OK) st = sl_semaphore_wait(b->done, b->value, UINT64_MAX, diag);
    *out_seconds = (double)(sl_now_ns() - begin) / 1e9;
    return st;
}

/* Best of ROUNDS after the warm-up: a ceiling is what the device can do, not what it does on average. */
static sl_status best_time(bench *b, double *out_seconds, sl_diag *diag)
{
    const uint64_t begin = sl_now_ns();
    double seconds;
    sl_status st;
    do {
        if ((st = run_once(b, &seconds, diag)) != SL_OK) return st;
    } while (sl_now_ns() - begin < WARM_NS);
    *out_seconds = seconds;
    for (int i = 0; i < ROUNDS; i++) {
        if ((st = run_once(b, &seconds, diag)) != SL_OK) return st;
        *out_seconds = SL_MIN(*out_seconds, seconds);
    }
    return SL_OK;
}

/* Half of what the budget leaves, at most `most`. */
static uint64_t spare_bytes(sl_engine *e, uint64_t most)
{
    sl_memory_report m;
    sl_device_memory(e->device, &m);
    uint64_t left = most;
    if (m.device_limit_bytes) left = SL_MIN(left, (m.device_limit_bytes - m.device_used_bytes) / 2);
    return sl_align_down(left, 4096);
}

/* Zeroes the buffer (random bits may be slow or infinite numbers) and times the dispatch. */
static sl_status time_dispatch(bench *b, const sl_bound_kernel *kernel, const void *push, sl_buffer *buffer,
                               double *out_seconds, sl_diag *diag)
{
    sl_status st;
    SL_TRY(sl_commands_begin(b->commands, diag));
    sl_commands_fill(b->commands, buffer, 0, sl_align_down(sl_buffer_size(buffer), 4), 0);
    SL_TRY(sl_commands_end(b->commands, diag));
    SL_TRY(run_once(b, out_seconds, diag));
    SL_TRY(sl_commands_begin(b->commands, diag));
    sl_bound_kernel_dispatch(b->commands, kernel, push);
    SL_TRY(sl_commands_end(b->commands, diag));
    SL_TRY(best_time(b, out_seconds, diag));
cleanup:
    return st;
}

/* A kernel that streams: y = a + b, so two reads and a write. Not the copy command, which some drivers run at
 * a fraction of what kernels reach. */
static sl_status measure_memory(bench *b, uint64_t bytes, double *out_rate, sl_diag *diag)
{
    const sl_bound_kernel *kernel;
    sl_buffer *buffer = NULL;
    double seconds;
    sl_status st;
    SL_TRY(sl_kernel_set_get(b->e->kernels, SL_K_add, 0, NULL, 0, &kernel, diag));
    SL_TRY(sl_buffer_create(b->e->device, bytes, SL_MEMORY_DEVICE, "ceiling", &buffer, diag));
    const uint64_t third = sl_align_down(bytes / 3, 256), a = sl_buffer_address(buffer);
    const struct sl_push_add push = {
        .a = a, .b = a + third, .y = a + 2 * third, .n = (uint32_t)(third / 4), .scale = 1};
    SL_TRY(time_dispatch(b, kernel, &push, buffer, &seconds, diag));
    *out_rate = 3.0 * (double)third / seconds;
cleanup:
    sl_settle(b->e->device);
    sl_buffer_destroy(buffer);
    return st;
}

/* y = w x for w [n][n] of a weight type and `tokens` columns of x. */
static sl_status measure_matmul(bench *b, sl_weight_type type, uint32_t n, uint32_t tokens, double *out_rate,
                                sl_diag *diag)
{
    const sl_bound_kernel *kernel;
    sl_buffer *buffer = NULL;
    uint32_t block_weights, block_bytes;
    if (!sl_weight_block(type, &block_weights, &block_bytes))
        return sl_fail(diag, SL_ERR_INTERNAL, "weight type %d", (int)type);
    const uint32_t row_bytes = n / block_weights * block_bytes;
    const uint64_t w_bytes = (uint64_t)row_bytes * n, x_bytes = 4ull * n * tokens,
                   all = w_bytes + 2 * x_bytes;
    double seconds;
    sl_status st;
    SL_TRY(sl_kernel_set_get(b->e->kernels, SL_K_matmul, type, NULL, 0, &kernel, diag));
    SL_TRY(sl_buffer_create(b->e->device, all, SL_MEMORY_DEVICE, "ceiling", &buffer, diag));
    const uint64_t w = sl_buffer_address(buffer);
    const struct sl_push_matmul push = {.w = w,
                                        .x = w + w_bytes,
                                        .y = w + w_bytes + x_bytes,
                                        .n_out = n,
                                        .n_k = n,
                                        .n_tokens = tokens,
                                        .x_stride = n,
                                        .y_stride = n,
                                        .row_bytes = row_bytes,
                                        .weight_type = type};
    SL_TRY(time_dispatch(b, kernel, &push, buffer, &seconds, diag));
    *out_rate = SL_MAX(*out_rate, 2.0 * n * n * tokens / seconds);
cleanup:
    sl_settle(b->e->device);
    sl_buffer_destroy(buffer);
    return st;
}

sl_status sl_engine_measure_ceilings(sl_engine *engine, sl_ceilings *out, sl_diag *diag)
{
    const bool cpu = sl_device_get_info(engine->device)->type == SL_DEVICE_CPU;
    bench b = {.e = engine};
    *out = (sl_ceilings){0};
    uint32_t n = cpu ? 512 : MATRIX_MAX;
    while (n > 128 && spare_bytes(engine, UINT64_MAX) < 10ull * n * n)
        n /= 2;
    const uint64_t bytes = spare_bytes(engine, cpu ? 192ull << 20 : 3ull << 29);
    sl_status st;
    SL_TRY(sl_commands_create(engine->device, SL_QUEUE_COMPUTE, 0, 0, "ceilings", &b.commands, diag));
    SL_TRY(sl_semaphore_create(engine->device, 0, &b.done, diag));
    if (bytes < 1u << 20) {
        st = sl_fail(diag, SL_ERR_BUDGET, "measuring ceilings needs 2 MiB of device memory beside the model");
        goto cleanup;
    }
    SL_TRY(measure_memory(&b, bytes, &out->memory_bytes_per_s, diag));
    /* The best of two types and two widths: which of them is fastest differs between devices. */
    for (int i = 0; i < 4; i++)
        SL_TRY(measure_matmul(&b, i & 1 ? SL_WEIGHT_Q4_K : SL_WEIGHT_F16, n, i & 2 ? n : SL_MIN(n, 512),
                              &out->matmul_flops_per_s, diag));
cleanup:
    sl_commands_destroy(b.commands);
    sl_semaphore_destroy(b.done);
    return st;
}
