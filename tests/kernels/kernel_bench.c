/* One recording holds many dispatches of one kernel, which go round over copies of its largest operand so
 * that no cache serves it. It is timed by device timestamps, or by the wall where there are none. */
#include "tests/kernels/kernel_bench.h"
#include "tests/kernels/kernel_run.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT    256u
#define UPLOAD_BYTES (UINT64_C(8) << 20)
#define RUNS_MAX     7
#define WAIT_NS      UINT64_C(120000000000)

typedef struct bench {
    sl_device *device;
    sl_kernel_set *set;
    const sl_device_caps *caps;
    sl_buffer *upload; /* random bytes */
    sl_semaphore *done;
    uint64_t submitted;
    bool is_cpu;
    uint64_t rotate_bytes, warm_ns, run_ns; /* copies in all; before timing; one recording should take */
    char words[256];                        /* what a line must contain, a word after another */
    uint32_t lines, runs;
} bench;

typedef struct placed {
    sl_buffer *memory;
    uint64_t at[SL_CASE_OPERANDS_MAX], rotate_step;
    uint32_t copies;
} placed;

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        st = (call);                                                                                         \
        if (st != SL_OK) goto cleanup;                                                                       \
    } while (0)

static sl_status submit(bench *b, sl_commands *commands, sl_diag *diag)
{
    const sl_submission submission = {.commands = &commands,
                                      .command_count = 1,
                                      .signals = &(sl_semaphore_point){b->done, ++b->submitted},
                                      .signal_count = 1};
    const sl_status st = sl_queue_submit(b->device, SL_QUEUE_COMPUTE, &submission, diag);
    return st != SL_OK ? st : sl_semaphore_wait(b->done, b->submitted, WAIT_NS, diag);
}

static uint64_t padded(uint64_t bytes)
{
    return sl_align_up(bytes, ALIGNMENT);
}

/* Gives every operand its place; the one that rotates has copies until rotate_bytes are reached. */
static sl_status place(bench *b, const sl_bench_case *s, placed *p, sl_diag *diag)
{
    uint64_t bytes = 0;
    p->copies = 1;
    for (uint32_t o = 0; o < s->c.operand_count; o++) {
        const sl_case_operand *op = &s->c.operands[o];
        p->at[o] = bytes;
        uint64_t count = 1;
        if (op->push_offset == s->rotate_offset) {
            p->rotate_step = padded(op->bytes);
            count = SL_MIN(sl_div_up(b->rotate_bytes, p->rotate_step), 256u);
            p->copies = (uint32_t)count;
        }
        bytes += count * padded(op->bytes);
    }
    return sl_buffer_create(b->device, bytes, SL_MEMORY_DEVICE, "bench", &p->memory, diag);
}

/* Random bytes everywhere, below 0x40 each: as f32, f16, bf16 and block scales these are small positive
 * numbers. Then the u32 operands, whose contents the shape has chosen. */
static sl_status fill(bench *b, const sl_bench_case *s, const placed *p, sl_diag *diag)
{
    sl_commands *commands = NULL;
    sl_buffer *indices = NULL;
    sl_status st;
    uint64_t index_bytes = 0;
    for (uint32_t o = 0; o < s->c.operand_count; o++)
        if (s->c.operands[o].type == SL_CASE_U32) index_bytes += padded(s->c.operands[o].bytes);
    TRY(sl_commands_create(b->device, SL_QUEUE_COMPUTE, 0, 0, "fill", &commands, diag));
    TRY(sl_commands_begin(commands, diag));
    for (uint64_t at = 0; at < sl_buffer_size(p->memory); at += UPLOAD_BYTES)
        sl_commands_copy(commands, b->upload, 0, p->memory, at,
                         SL_MIN(UPLOAD_BYTES, sl_buffer_size(p->memory) - at));
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    if (index_bytes) {
        TRY(sl_buffer_create(b->device, index_bytes, SL_MEMORY_UPLOAD, "indices", &indices, diag));
        uint64_t at = 0;
        for (uint32_t o = 0; o < s->c.operand_count; o++) {
            const sl_case_operand *op = &s->c.operands[o];
            if (op->type != SL_CASE_U32) continue;
            memcpy((uint8_t *)sl_buffer_map(indices) + at, op->data, op->bytes);
            sl_commands_copy(commands, indices, at, p->memory, p->at[o], op->bytes);
            at += padded(op->bytes);
        }
        sl_commands_barrier(commands, SL_BARRIER_ALL);
    }
    TRY(sl_commands_end(commands, diag));
    st = submit(b, commands, diag);
cleanup:
    sl_commands_destroy(commands);
    sl_buffer_destroy(indices);
    return st;
}

static sl_status record(bench *b, const sl_bench_case *s, const placed *p, const sl_bound_kernel *bound,
                        uint32_t count, bool barriers, sl_commands **out, sl_diag *diag)
{
    sl_commands *commands = NULL;
    sl_status st;
    TRY(sl_commands_create(b->device, SL_QUEUE_COMPUTE, 0, 2, "bench", &commands, diag));
    TRY(sl_commands_begin(commands, diag));
    if (b->caps->timestamp_period_ns > 0) sl_commands_timestamp(commands, 0);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t push[SL_PUSH_BYTES_MAX];
        memcpy(push, s->c.push, sizeof push);
        for (uint32_t o = 0; o < s->c.operand_count; o++) {
            uint64_t address = sl_buffer_address(p->memory) + p->at[o];
            if (s->c.operands[o].push_offset == s->rotate_offset) address += i % p->copies * p->rotate_step;
            memcpy(push + s->c.operands[o].push_offset, &address, sizeof address);
        }
        sl_bound_kernel_dispatch(commands, bound, push);
        if (barriers) sl_commands_barrier(commands, SL_BARRIER_COMPUTE);
    }
    if (b->caps->timestamp_period_ns > 0) sl_commands_timestamp(commands, 1);
    TRY(sl_commands_end(commands, diag));
    *out = commands;
    return SL_OK;
cleanup:
    sl_commands_destroy(commands);
    return st;
}

static sl_status time_once(bench *b, sl_commands *commands, double *out_ns, sl_diag *diag)
{
    const uint64_t start = sl_now_ns();
    sl_status st = submit(b, commands, diag);
    *out_ns = (double)(sl_now_ns() - start);
    if (st == SL_OK && b->caps->timestamp_period_ns > 0) {
        uint64_t ns[2];
        st = sl_commands_read_timestamps(commands, 0, 2, ns, diag);
        if (st == SL_OK) *out_ns = (double)(ns[1] - ns[0]);
    }
    return st;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median time of one dispatch of a recording, after the clock has warmed up. */
static sl_status measure(bench *b, const sl_bench_case *s, const placed *p, const sl_bound_kernel *bound,
                         bool barriers, double *out_ns, sl_diag *diag)
{
    sl_commands *commands = NULL;
    sl_status st;
    double ns[RUNS_MAX], one = 0;
    const uint32_t first = b->is_cpu ? 1 : 4;
    TRY(record(b, s, p, bound, first, barriers, &commands, diag));
    TRY(time_once(b, commands, &one, diag)); /* the first run compiles and touches memory */
    TRY(time_once(b, commands, &one, diag));
    sl_commands_destroy(commands);
    commands = NULL;
    const double wanted = (double)b->run_ns / (one / first + 1);
    const uint32_t count = (uint32_t)SL_MAX(1, SL_MIN(wanted, 2000));
    TRY(record(b, s, p, bound, count, barriers, &commands, diag));
    for (const uint64_t end = sl_now_ns() + b->warm_ns; sl_now_ns() < end;)
        TRY(time_once(b, commands, &one, diag));
    for (uint32_t i = 0; i < b->runs; i++)
        TRY(time_once(b, commands, &ns[i], diag));
    qsort(ns, b->runs, sizeof *ns, by_value);
    *out_ns = ns[b->runs / 2] / count;
cleanup:
    sl_commands_destroy(commands);
    return st;
}

static bool matches(const bench *b, const char *line)
{
    const char *word = b->words;
    while (*word) {
        if (!strstr(line, word)) return false;
        word += strlen(word) + 1;
    }
    return true;
}

static sl_status time_shape(bench *b, const sl_bench_case *s, const sl_variant *variant, const char *line,
                            sl_diag *diag)
{
    const sl_bound_kernel *bound;
    placed p = {0};
    double apart = 0, together = 0;
    sl_status st = place(b, s, &p, diag);
    if (st == SL_ERR_DEVICE_MEMORY) {
        printf("%-58s does not fit\n", line);
        return SL_OK;
    }
    if (st != SL_OK) return st;
    TRY(fill(b, s, &p, diag));
    TRY(sl_kernel_set_get_variant(b->set, variant, s->c.spec, s->c.spec_count, &bound, diag));
    TRY(measure(b, s, &p, bound, true, &apart, diag));
    TRY(measure(b, s, &p, bound, false, &together, diag));
    printf("%-58s %11.2f %9.1f %9.1f %11.2f %9.1f %9.1f\n", line, apart * 1e-3, s->bytes / apart,
           s->flops / apart, together * 1e-3, s->bytes / together, s->flops / together);
    fflush(stdout);
    b->lines++;
cleanup:
    sl_buffer_destroy(p.memory);
    return st;
}

static sl_status time_variant(bench *b, const sl_variant *variant, sl_diag *diag)
{
    sl_status st = SL_OK;
    const char *why;
    if (!sl_variant_usable(variant, b->caps, &why)) {
        printf("%s/%s: not usable: %s\n", sl_kernel_rows[variant->kernel].name, variant->name, why);
        return SL_OK;
    }
    for (uint32_t index = 0; st == SL_OK; index++) {
        sl_bench_case s = {.rotate_offset = UINT32_MAX};
        sl_case_begin(&s.c, variant, index);
        if (!sl_bench_shape(&s, index, variant)) break;
        char line[192];
        snprintf(line, sizeof line, "%s %s %s", variant->name, s.model, s.c.name);
        const bool large = b->is_cpu && !strcmp(s.model, "llama-3-8b") && !*b->words; /* minutes on a CPU */
        if (s.c.operand_count && matches(b, line) && !large) st = time_shape(b, &s, variant, line, diag);
        sl_case_end(&s.c);
    }
    return st;
}

static sl_status open_bench(bench *b, const char *driver, uint32_t device_index, sl_diag *diag)
{
    sl_status st;
    TRY(sl_device_create(driver, device_index, NULL, &b->device, diag));
    TRY(sl_kernel_set_create(b->device, &b->set, diag));
    TRY(sl_semaphore_create(b->device, 0, &b->done, diag));
    TRY(sl_buffer_create(b->device, UPLOAD_BYTES, SL_MEMORY_UPLOAD, "random", &b->upload, diag));
    uint64_t *words = sl_buffer_map(b->upload), state = 1;
    for (uint64_t i = 0; i < UPLOAD_BYTES / sizeof *words; i++) {
        state ^= state << 13; /* xorshift64 (Marsaglia 2003) */
        state ^= state >> 7;
        state ^= state << 17;
        words[i] = state & 0x3f3f3f3f3f3f3f3fu;
    }
    const sl_device_info *info = sl_device_get_info(b->device);
    b->caps = &info->caps;
    b->is_cpu = info->type == SL_DEVICE_CPU;
    b->rotate_bytes = (b->is_cpu ? UINT64_C(64) : UINT64_C(256)) << 20;
    b->warm_ns = b->is_cpu ? 20000000 : 500000000;
    b->runs = b->is_cpu ? 3 : RUNS_MAX;
    b->run_ns = b->is_cpu ? 40000000 : 20000000;
    printf("# %s, %s; median of %u; us a dispatch, GB/s, GFLOP/s, with a barrier after each dispatch and "
           "without\n",
           info->name, b->caps->timestamp_period_ns > 0 ? "device time" : "wall time", b->runs);
    printf("%-58s %11s %9s %9s %11s %9s %9s\n", "# variant model shape", "us", "GB/s", "GFLOP/s",
           "no barrier", "GB/s", "GFLOP/s");
cleanup:
    return st;
}

static void close_bench(bench *b)
{
    sl_buffer_destroy(b->upload);
    sl_semaphore_destroy(b->done);
    sl_kernel_set_destroy(b->set);
    sl_device_destroy(b->device);
}

int sl_kernel_bench(const char *driver, uint32_t device_index, const char *what)
{
    bench b = {0};
    sl_diag diag = {0};
    char name[64] = "";
    const size_t length = strcspn(what, " ,");
    snprintf(name, sizeof name, "%.*s", (int)SL_MIN(length, sizeof name - 1), what);
    size_t used = 0; /* words become strings in a row, an empty one after the last */
    for (const char *at = what + length; *at && used + 2 < sizeof b.words;) {
        at += strspn(at, " ,");
        const size_t n = SL_MIN(strcspn(at, " ,"), sizeof b.words - 2 - used);
        memcpy(b.words + used, at, n);
        used += n ? n + 1 : 0;
        at += strcspn(at, " ,");
    }
    sl_status st = open_bench(&b, driver, device_index, &diag);
    for (size_t i = 0; st == SL_OK && i < sl_variant_count; i++)
        if (!strcmp(sl_kernel_rows[sl_variants[i].kernel].name, name))
            st = time_variant(&b, &sl_variants[i], &diag);
    close_bench(&b);
    if (st != SL_OK) fprintf(stderr, "%s: %s\n", sl_status_name(st), diag.message);
    if (st == SL_OK && !b.lines) fprintf(stderr, "nothing to time is named \"%s\"\n", what);
    return st == SL_OK && b.lines ? 0 : 1;
}
