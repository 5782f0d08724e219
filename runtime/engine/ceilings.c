/* Ceilings of a device: what its memory and its matrix units can do at most, by kernels made for that, and
 * what the matrix kernels of prefill reach. Times are the device's own where it has timestamps: a submission
 * takes some 30 us besides. */
#include "runtime/engine/engine.h"

#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "shaders/matmul/gemm.h"
#include "shaders/matmul/rotated.h"
#include "shaders/push.h"

#include <stdio.h>

/* Of load: a GPU that idled, if only to compile, has lowered its clock. */
#define WARM_NS     500000000ull
#define AGAIN_NS    100000000ull /* and between measurements */
#define ROUNDS      8
#define ROUND_NS    8000000.0 /* dispatches are repeated within a submission until it takes so long */
#define REPEATS_MAX 32u
#define MATRIX_MAX  4096u
#define CHUNK_BYTES 65536u

/* Finite and not too large as f16, f32, and scale of a block of any type. Not zeros: units that toggle no
 * bits run cooler than they would. */
#define PATTERN 0x2e66b0cdu

typedef struct bench {
    sl_engine *e;
    sl_commands *commands;
    sl_semaphore *done;
    uint64_t value;
    uint64_t warm_ns; /* before the next measurement */
    bool timestamps;
} bench;

/* Appends the work that is measured. `repeat` is 0, 1, ...: what would meet an earlier one's writes is
 * separated by a barrier, or goes elsewhere. */
typedef struct work {
    void (*record)(const struct work *work, sl_commands *commands, uint32_t repeat);
    const sl_bound_kernel *kernel;
    const void *push;
    sl_buffer *buffer; /* of the copy command */
    uint64_t bytes;
} work;

static sl_status run_once(bench *b, double *out_seconds, sl_diag *diag)
{
    const sl_semaphore_point signal = {b->done, ++b->value};
    const sl_submission s = {
        .commands = &b->commands, .command_count = 1, .signals = &signal, .signal_count = 1};
    uint64_t ns[2];
    const uint64_t begin = sl_now_ns();
    sl_status st = sl_queue_submit(b->e->device, SL_QUEUE_COMPUTE, &s, diag);
    if (st == SL_OK) st = sl_semaphore_wait(b->done, b->value, UINT64_MAX, diag);
    *out_seconds = (double)(sl_now_ns() - begin) / 1e9;
    if (st != SL_OK || !b->timestamps) return st;
    st = sl_commands_read_timestamps(b->commands, 0, 2, ns, diag);
    if (st == SL_OK && ns[1] > ns[0]) *out_seconds = (double)(ns[1] - ns[0]) / 1e9;
    return st;
}

static sl_status record(bench *b, const work *w, uint32_t repeats, sl_diag *diag)
{
    sl_status st = sl_commands_begin(b->commands, diag);
    if (st != SL_OK) return st;
    if (b->timestamps) sl_commands_timestamp(b->commands, 0);
    for (uint32_t i = 0; i < repeats; i++)
        w->record(w, b->commands, i);
    if (b->timestamps) sl_commands_timestamp(b->commands, 1);
    return sl_commands_end(b->commands, diag);
}

/* Seconds of the work once: the best of ROUNDS, because a ceiling is what the device can do, not what it does
 * on average. */
static sl_status best_time(bench *b, const work *w, double *out_seconds, sl_diag *diag)
{
    const uint64_t begin = sl_now_ns();
    double seconds, once;
    sl_status st;
    SL_TRY(record(b, w, 1, diag));
    do
        SL_TRY(run_once(b, &once, diag));
    while (sl_now_ns() - begin < b->warm_ns);
    b->warm_ns = AGAIN_NS;
    const double fit = ROUND_NS / 1e9 / (once > 1e-9 ? once : 1e-9);
    const uint32_t repeats = fit < 1 ? 1 : (uint32_t)SL_MIN(fit, (double)REPEATS_MAX);
    SL_TRY(record(b, w, repeats, diag));
    *out_seconds = once;
    for (int i = 0; i < ROUNDS; i++) {
        SL_TRY(run_once(b, &seconds, diag));
        *out_seconds = SL_MIN(*out_seconds, seconds / repeats);
    }
cleanup:
    return st;
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

static sl_status make_buffer(bench *b, uint64_t bytes, sl_buffer **out, sl_diag *diag)
{
    double unused;
    sl_status st;
    SL_TRY(sl_buffer_create(b->e->device, sl_align_up(bytes, 4), SL_MEMORY_DEVICE, "ceiling", out, diag));
    SL_TRY(sl_commands_begin(b->commands, diag));
    if (b->timestamps) sl_commands_timestamp(b->commands, 0);
    sl_commands_fill(b->commands, *out, 0, sl_buffer_size(*out), PATTERN);
    if (b->timestamps) sl_commands_timestamp(b->commands, 1);
    SL_TRY(sl_commands_end(b->commands, diag));
    SL_TRY(run_once(b, &unused, diag));
cleanup:
    return st;
}

static void drop_buffer(bench *b, sl_buffer *buffer)
{
    sl_settle(b->e->device);
    sl_buffer_destroy(buffer);
}

/* ---- memory ---- */

static void record_read(const work *w, sl_commands *commands, uint32_t repeat)
{
    struct sl_push_measure_read push = *(const struct sl_push_measure_read *)w->push;
    push.y += 4ull * push.n_chunks * repeat;
    sl_bound_kernel_dispatch(commands, w->kernel, &push);
}

static sl_status measure_read(bench *b, uint64_t bytes, double *out_rate, sl_diag *diag)
{
    struct sl_push_measure_read push = {.chunk_vectors = CHUNK_BYTES / 16};
    work w = {.record = record_read, .push = &push};
    sl_buffer *buffer = NULL;
    double seconds;
    sl_status st;
    push.n_chunks = (uint32_t)((bytes - bytes / 64) / CHUNK_BYTES);
    const uint64_t x_bytes = (uint64_t)push.n_chunks * CHUNK_BYTES;
    SL_TRY(sl_kernel_set_get(b->e->kernels, SL_K_measure_read, 0, NULL, 0, &w.kernel, diag));
    SL_TRY(make_buffer(b, x_bytes + 4ull * push.n_chunks * REPEATS_MAX, &buffer, diag));
    push.x = sl_buffer_address(buffer);
    push.y = push.x + x_bytes;
    SL_TRY(best_time(b, &w, &seconds, diag));
    *out_rate = (double)x_bytes / seconds;
cleanup:
    drop_buffer(b, buffer);
    return st;
}

static void record_copy_kernel(const work *w, sl_commands *commands, uint32_t repeat)
{
    if (repeat) sl_commands_barrier(commands, SL_BARRIER_COMPUTE);
    sl_bound_kernel_dispatch(commands, w->kernel, w->push);
}

static void record_copy_command(const work *w, sl_commands *commands, uint32_t repeat)
{
    if (repeat) sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_commands_copy(commands, w->buffer, 0, w->buffer, w->bytes, w->bytes);
}

static sl_status measure_copy(bench *b, uint64_t bytes, sl_ceilings *out, sl_diag *diag)
{
    struct sl_push_measure_copy push = {.n_vectors = (uint32_t)(bytes / 2 / 16)};
    work w = {.push = &push, .bytes = 16ull * push.n_vectors};
    double by_kernel, by_command;
    sl_status st;
    SL_TRY(sl_kernel_set_get(b->e->kernels, SL_K_measure_copy, 0, NULL, 0, &w.kernel, diag));
    SL_TRY(make_buffer(b, 2 * w.bytes, &w.buffer, diag));
    push.x = sl_buffer_address(w.buffer);
    push.y = push.x + w.bytes;
    w.record = record_copy_kernel;
    SL_TRY(best_time(b, &w, &by_kernel, diag));
    w.record = record_copy_command;
    SL_TRY(best_time(b, &w, &by_command, diag));
    out->copy_bytes_per_s = 2.0 * (double)w.bytes / SL_MIN(by_kernel, by_command);
    snprintf(out->copy, sizeof out->copy, "%s", by_kernel <= by_command ? "kernel" : "copy command");
cleanup:
    drop_buffer(b, w.buffer);
    return st;
}

/* ---- matrix units ---- */

static void record_matrix(const work *w, sl_commands *commands, uint32_t repeat)
{
    if (repeat) sl_commands_barrier(commands, SL_BARRIER_COMPUTE);
    sl_bound_kernel_dispatch(commands, w->kernel, w->push);
}

/* Products of registers, `rounds` of them: so many that a dispatch takes milliseconds. */
static sl_status time_rounds(bench *b, const work *w, struct sl_push_measure_matrix *push,
                             double *out_seconds, sl_diag *diag)
{
    sl_status st;
    for (push->rounds = 64;; push->rounds *= 4) {
        if ((st = record(b, w, 1, diag)) != SL_OK || (st = run_once(b, out_seconds, diag)) != SL_OK)
            return st;
        if (*out_seconds * 1e9 > ROUND_NS / 4 || push->rounds >= 65536)
            return best_time(b, w, out_seconds, diag);
    }
}

static sl_status measure_matrix(bench *b, uint32_t type, double *out_rate, char *shape, size_t shape_bytes,
                                sl_diag *diag)
{
    const sl_device_info *info = sl_device_get_info(b->e->device);
    const sl_variant *v = sl_variant_select(SL_K_measure_matrix, type, &info->caps);
    if (!v || sl_caps_have(&info->caps, SL_CAP_HOST_FN)) return SL_OK; /* no such units */
    const uint32_t units = info->caps.compute_units ? info->caps.compute_units : 16;
    struct sl_push_measure_matrix push = {
        .groups = info->type == SL_DEVICE_CPU ? units : 4 * units,
        .subgroups = (uint32_t)-v->workgroup,
        .tiles = v->tile_x,
        .m = v->matrix >> 16,
        .n = v->matrix >> 8 & 255u,
        .k = v->matrix & 255u,
        .type = type,
    };
    const uint32_t element = type == SL_MEASURE_I8 ? 1 : 2;
    const uint64_t a_bytes = (uint64_t)push.tiles * push.m * push.k * element;
    const uint64_t b_bytes = (uint64_t)push.tiles * push.k * push.n * element;
    const uint64_t subgroups = (uint64_t)push.groups * push.subgroups;
    work w = {.record = record_matrix, .push = &push};
    double seconds;
    sl_status st;
    *out_rate = 0;
    SL_TRY(sl_kernel_set_get_variant(b->e->kernels, v, NULL, 0, &w.kernel, diag));
    SL_TRY(make_buffer(b, a_bytes + b_bytes + subgroups * push.m * push.n * 4, &w.buffer, diag));
    push.a = sl_buffer_address(w.buffer);
    push.b = push.a + a_bytes;
    push.y = push.b + b_bytes;
    /* Some devices want few workgroups with all registers, some many. */
    for (; push.groups >= units; push.groups /= 2) {
        SL_TRY(time_rounds(b, &w, &push, &seconds, diag));
        const double rate = 2.0 * push.m * push.n * push.k * push.tiles * push.tiles * push.groups *
                            push.subgroups * push.rounds / seconds;
        *out_rate = SL_MAX(*out_rate, rate);
    }
    snprintf(shape, shape_bytes, "%ux%ux%u", push.m, push.n, push.k);
cleanup:
    drop_buffer(b, w.buffer);
    return st;
}

/* ---- the matrix kernels of prefill ---- */

typedef struct product {
    struct sl_push_matmul push;
    uint64_t y_bytes;
    uint32_t places; /* results of so many dispatches lie apart */
} product;

static void record_product(const work *w, sl_commands *commands, uint32_t repeat)
{
    const product *p = w->push;
    struct sl_push_matmul push = p->push;
    push.y += p->y_bytes * (repeat % p->places);
    if (repeat && repeat % p->places == 0) sl_commands_barrier(commands, SL_BARRIER_COMPUTE);
    sl_bound_kernel_dispatch(commands, w->kernel, &push);
}

/* Keeps the best. */
static void note_product(const bench *b, const sl_bound_kernel *kernel, uint32_t n, uint32_t tokens,
                         double seconds, sl_ceilings *out)
{
    const double rate = 2.0 * n * n * tokens / seconds;
    const bool host = sl_caps_have(&sl_device_get_info(b->e->device)->caps, SL_CAP_HOST_FN);
    if (rate <= out->product_flops_per_s) return;
    out->product_flops_per_s = rate;
    snprintf(out->product, sizeof out->product, "%s/%s, %u x %u by %u",
             sl_kernel_rows[kernel->variant->kernel].name, host ? "host" : kernel->variant->name, n, n,
             tokens);
}

/* y = w x for w [n][n] of a weight type and `tokens` columns of x. */
static sl_status measure_product(bench *b, sl_weight_type type, uint32_t n, uint32_t tokens, sl_ceilings *out,
                                 sl_diag *diag)
{
    uint32_t block_weights, block_bytes;
    if (!sl_weight_block(type, &block_weights, &block_bytes))
        return sl_fail(diag, SL_ERR_INTERNAL, "weight type %d", (int)type);
    const uint32_t row_bytes = n / block_weights * block_bytes;
    const uint64_t w_bytes = (uint64_t)row_bytes * n, x_bytes = 4ull * n * tokens;
    product p = {.y_bytes = x_bytes};
    p.places = (uint32_t)SL_MAX(SL_MIN(spare_bytes(b->e, 1u << 28) / x_bytes, 8u), 1u);
    work w = {.record = record_product, .push = &p};
    double seconds;
    sl_status st;
    SL_TRY(sl_kernel_set_get(b->e->kernels, SL_K_matmul, type, NULL, 0, &w.kernel, diag));
    SL_TRY(make_buffer(b, w_bytes + x_bytes * (1 + p.places), &w.buffer, diag));
    const uint64_t at = sl_buffer_address(w.buffer);
    p.push = (struct sl_push_matmul){.w = at,
                                     .x = at + w_bytes,
                                     .y = at + w_bytes + x_bytes,
                                     .n_out = n,
                                     .n_k = n,
                                     .n_tokens = tokens,
                                     .x_stride = n,
                                     .y_stride = n,
                                     .row_bytes = row_bytes,
                                     .weight_type = type};
    SL_TRY(best_time(b, &w, &seconds, diag));
    note_product(b, w.kernel, n, tokens, seconds, out);
cleanup:
    drop_buffer(b, w.buffer);
    return st;
}

/* The best of three types and two widths: which of them is fastest differs between devices. */
static sl_status measure_products(bench *b, uint32_t n, sl_ceilings *out, sl_diag *diag)
{
    static const sl_weight_type types[] = {SL_WEIGHT_F16, SL_WEIGHT_Q8_0, SL_WEIGHT_Q4_K};
    sl_status st = SL_OK;
    for (size_t i = 0; i < SL_COUNTOF(types) && st == SL_OK; i++) {
        st = measure_product(b, types[i], n, SL_MIN(n, 512), out, diag);
        if (st == SL_OK && n > 512) st = measure_product(b, types[i], n, n, out, diag);
    }
    return st;
}

/* ---- products of rows with rows ---- */

typedef struct gemm_product {
    struct sl_push_gemm push;
    uint64_t y_bytes;
    uint32_t places;
} gemm_product;

static void record_gemm(const work *w, sl_commands *commands, uint32_t repeat)
{
    const gemm_product *p = w->push;
    struct sl_push_gemm push = p->push;
    push.y += p->y_bytes * (repeat % p->places);
    if (repeat && repeat % p->places == 0) sl_commands_barrier(commands, SL_BARRIER_COMPUTE);
    sl_bound_kernel_dispatch(commands, w->kernel, &push);
}

/* Of n rows of w, n tokens and n elements a row. */
static struct sl_push_gemm square_of(uint32_t format, uint32_t n)
{
    return (struct sl_push_gemm){.n_out = n, .n_k = n, .n_tokens = n, .y_stride = n, .format = format};
}

static sl_status bind_gemm(sl_engine *e, const sl_variant *v, uint32_t n, const sl_bound_kernel **out,
                           sl_diag *diag)
{
    const struct sl_push_gemm push = square_of(v->key, n);
    uint32_t spec[SL_GEMM_SPECS];
    sl_gemm_spec(&push, v, spec);
    return sl_kernel_set_get_variant(e->kernels, v, spec, SL_GEMM_SPECS, out, diag);
}

static sl_status measure_gemm(bench *b, const sl_variant *v, uint32_t n, sl_ceilings *out, sl_diag *diag)
{
    const uint64_t rows_bytes = v->key == SL_ROWS_S8 ? sl_align_up(sl_s8_bytes(n, n), 256) : 2ull * n * n;
    gemm_product p = {.push = square_of(v->key, n), .y_bytes = 4ull * n * n};
    p.places = (uint32_t)SL_MAX(SL_MIN(spare_bytes(b->e, 1u << 28) / p.y_bytes, 8u), 1u);
    work w = {.record = record_gemm, .push = &p};
    double seconds;
    sl_status st;
    SL_TRY(bind_gemm(b->e, v, n, &w.kernel, diag));
    SL_TRY(make_buffer(b, 2 * rows_bytes + p.places * p.y_bytes, &w.buffer, diag));
    p.push.w = sl_buffer_address(w.buffer);
    p.push.x = p.push.w + rows_bytes;
    p.push.y = p.push.x + rows_bytes;
    SL_TRY(best_time(b, &w, &seconds, diag));
    note_product(b, w.kernel, n, n, seconds, out);
cleanup:
    drop_buffer(b, w.buffer);
    return st;
}

typedef sl_status (*gemm_visit)(bench *b, const sl_variant *v, uint32_t n, sl_ceilings *out, sl_diag *diag);

/* Calls `visit` with each gemm that prompts of such a device may use: never C sides, which are there to be
 * read, and on another CPU only what this engine was told to use. */
static sl_status each_gemm(bench *b, uint32_t n, sl_ceilings *out, gemm_visit visit, sl_diag *diag)
{
    const sl_device_caps *caps = &sl_device_get_info(b->e->device)->caps;
    const bool cpu = sl_caps_have(caps, SL_CAP_SCALAR_LOADS);
    sl_status st = SL_OK;
    if (sl_caps_have(caps, SL_CAP_HOST_FN) || (cpu && b->e->limits.gemm_format == SL_ROWS_F32)) return SL_OK;
    for (size_t i = 0; i < sl_variant_count && st == SL_OK; i++) {
        const sl_variant *v = &sl_variants[i];
        if (v->kernel == SL_K_gemm && sl_variant_usable(v, caps, NULL)) st = visit(b, v, n, out, diag);
    }
    return st;
}

static sl_status compile_gemm(bench *b, const sl_variant *v, uint32_t n, sl_ceilings *out, sl_diag *diag)
{
    const sl_bound_kernel *unused;
    (void)out;
    return bind_gemm(b->e, v, n, &unused, diag);
}

/* All kernels before the first is timed: compiling idles the device, and its clock falls. */
static sl_status bind_all(bench *b, uint32_t n, sl_diag *diag)
{
    sl_engine *e = b->e;
    const sl_device_caps *caps = &sl_device_get_info(e->device)->caps;
    const struct {
        sl_kernel_id kernel;
        uint32_t key;
    } all[] = {{SL_K_measure_read, 0},
               {SL_K_measure_copy, 0},
               {SL_K_measure_matrix, SL_MEASURE_F16},
               {SL_K_measure_matrix, SL_MEASURE_I8},
               {SL_K_matmul, SL_WEIGHT_F16},
               {SL_K_matmul, SL_WEIGHT_Q8_0},
               {SL_K_matmul, SL_WEIGHT_Q4_K}};
    sl_status st = SL_OK;
    for (size_t i = 0; i < SL_COUNTOF(all) && st == SL_OK; i++) {
        const sl_bound_kernel *unused;
        if (all[i].kernel == SL_K_measure_matrix && !sl_variant_select(all[i].kernel, all[i].key, caps))
            continue;
        st = sl_kernel_set_get(e->kernels, all[i].kernel, all[i].key, NULL, 0, &unused, diag);
    }
    return st == SL_OK ? each_gemm(b, n, NULL, compile_gemm, diag) : st;
}

sl_status sl_engine_measure_ceilings(sl_engine *engine, sl_ceilings *out, sl_diag *diag)
{
    const sl_device_info *info = sl_device_get_info(engine->device);
    const bool cpu = info->type == SL_DEVICE_CPU;
    const uint64_t warm_ns = cpu ? AGAIN_NS : WARM_NS;
    bench b = {.e = engine, .timestamps = info->caps.timestamp_period_ns > 0, .warm_ns = warm_ns};
    *out = (sl_ceilings){0};
    uint32_t n = cpu ? 512 : MATRIX_MAX;
    while (n > 256 && spare_bytes(engine, UINT64_MAX) < 18ull * n * n)
        n /= 2;
    const uint64_t bytes =
        SL_MIN(spare_bytes(engine, cpu ? 96ull << 20 : 3ull << 29), info->caps.max_buffer_bytes);
    sl_status st;
    if (bytes < 1u << 20)
        return sl_fail(diag, SL_ERR_BUDGET,
                       "measuring ceilings needs 2 MiB of device memory beside the model");
    SL_TRY(sl_commands_create(engine->device, SL_QUEUE_COMPUTE, 0, b.timestamps ? 2 : 0, "ceilings",
                              &b.commands, diag));
    SL_TRY(sl_semaphore_create(engine->device, 0, &b.done, diag));
    SL_TRY(bind_all(&b, n, diag));
    SL_TRY(measure_read(&b, bytes, &out->read_bytes_per_s, diag));
    SL_TRY(measure_copy(&b, bytes, out, diag));
    b.warm_ns = warm_ns;
    SL_TRY(measure_matrix(&b, SL_MEASURE_F16, &out->matrix_f16_flops_per_s, out->matrix_f16,
                          sizeof out->matrix_f16, diag));
    SL_TRY(measure_matrix(&b, SL_MEASURE_I8, &out->matrix_i8_flops_per_s, out->matrix_i8,
                          sizeof out->matrix_i8, diag));
    b.warm_ns = warm_ns;
    SL_TRY(measure_products(&b, n, out, diag));
    SL_TRY(each_gemm(&b, n, out, measure_gemm, diag));
    out->memory_bytes_per_s = SL_MAX(out->read_bytes_per_s, out->copy_bytes_per_s);
    out->matmul_flops_per_s =
        SL_MAX(out->product_flops_per_s, SL_MAX(out->matrix_f16_flops_per_s, out->matrix_i8_flops_per_s));
cleanup:
    sl_commands_destroy(b.commands);
    sl_semaphore_destroy(b.done);
    return st;
}
