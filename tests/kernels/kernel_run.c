/* How a case is laid out in memory: one image holds the operands of all cases of a batch, each followed by
 * guard bytes. The same image is uploaded to the device and used in place by the C side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/kernels/kernel_run.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/half.h"
#include "shaders/attention/kv_rows.h"
#include "shaders/rows_out.h"
#include "tests/support/test_device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ALIGNMENT       256u
#define GUARD_BYTES     256u
#define GUARD           0xc5
#define BATCH_CASES_MAX 64u
#define BATCH_BYTES     (UINT64_C(48) << 20) /* a batch ends with the case that reaches it */

const sl_gen_fn sl_generators[SL_KERNEL_COUNT] = {
#define SL_KERNEL(name, push, tolerance) [SL_K_##name] = sl_gen_##name,
#define SL_VARIANT(...)
#include "shaders/kernels.def"
#undef SL_KERNEL
#undef SL_VARIANT
};

typedef struct batch_case {
    sl_kernel_case c;
    uint32_t index;
    uint64_t at[SL_CASE_OPERANDS_MAX]; /* of the operands within the image */
    const sl_bound_kernel *bound;
} batch_case;

typedef struct batch {
    sl_device *device;
    const sl_variant *variant;
    batch_case cases[BATCH_CASES_MAX];
    uint32_t count;
    uint64_t bytes;
} batch;

static const char *label(const batch *b, const batch_case *k)
{
    static char text[192];
    snprintf(text, sizeof text, "%s/%s case %u (%s)", sl_kernel_rows[b->variant->kernel].name,
             b->variant->name, k->index, k->c.name);
    return text;
}

/* ---- memory ---- */

static void write_image(const batch *b, uint8_t *image)
{
    memset(image, GUARD, b->bytes);
    for (uint32_t i = 0; i < b->count; i++) {
        const batch_case *k = &b->cases[i];
        for (uint32_t o = 0; o < k->c.operand_count; o++) {
            const sl_case_operand *op = &k->c.operands[o];
            if (op->flags & SL_CASE_IN)
                memcpy(image + k->at[o], op->data, op->bytes);
            else /* NaNs for floats */
                memset(image + k->at[o], op->type <= SL_CASE_S8 ? 0xff : 0xaa, op->bytes);
        }
    }
}

static void set_address(uint8_t *push, uint32_t offset, uint64_t address)
{
    memcpy(push + offset, &address, sizeof address);
}

static void make_push(const batch_case *k, uint64_t image_address, uint8_t push[SL_PUSH_BYTES_MAX])
{
    memcpy(push, k->c.push, SL_PUSH_BYTES_MAX);
    for (uint32_t o = 0; o < k->c.operand_count; o++)
        set_address(push, k->c.operands[o].push_offset, image_address + k->at[o]);
    for (uint32_t a = 0; a < k->c.alias_count; a++)
        memcpy(push + k->c.aliases[a][0], push + k->c.aliases[a][1], sizeof(uint64_t));
}

/* ---- the two sides ---- */

/* The C side of all cases in `parts` parts, the last part first. */
static void run_host(const batch *b, uint8_t *image, uint32_t parts)
{
    const sl_kernel_row *row = &sl_kernel_rows[b->variant->kernel];
    for (uint32_t i = 0; i < b->count; i++) {
        uint8_t push[SL_PUSH_BYTES_MAX];
        make_push(&b->cases[i], (uint64_t)(uintptr_t)image, push);
        sl_kernel_task task = {.push = push, .spec = b->cases[i].bound->spec, .count = parts};
        sl_bound_kernel_grid(b->cases[i].bound, push, task.groups);
        for (task.index = parts; task.index-- > 0;)
            row->host(&task);
    }
}

static void run_device(const batch *b, const uint8_t *initial, uint8_t *result)
{
    sl_buffer *upload = sl_test_buffer(b->device, b->bytes, SL_MEMORY_UPLOAD);
    sl_buffer *memory = sl_test_buffer(b->device, b->bytes, SL_MEMORY_DEVICE);
    sl_buffer *readback = sl_test_buffer(b->device, b->bytes, SL_MEMORY_READBACK);
    memcpy(sl_buffer_map(upload), initial, b->bytes);
    sl_commands *commands = sl_test_begin(b->device, SL_QUEUE_COMPUTE, 0, 0);
    sl_commands_copy(commands, upload, 0, memory, 0, b->bytes);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    for (uint32_t i = 0; i < b->count; i++) {
        uint8_t push[SL_PUSH_BYTES_MAX];
        make_push(&b->cases[i], sl_buffer_address(memory), push);
        sl_bound_kernel_dispatch(commands, b->cases[i].bound, push);
    }
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_commands_copy(commands, memory, 0, readback, 0, b->bytes);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_test_finish(commands);
    sl_test_run(b->device, SL_QUEUE_COMPUTE, commands);
    memcpy(result, sl_buffer_map(readback), b->bytes);
    sl_commands_destroy(commands);
    sl_buffer_destroy(readback);
    sl_buffer_destroy(memory);
    sl_buffer_destroy(upload);
}

/* ---- comparison ---- */

static uint32_t kv_type_of(const sl_case_operand *op)
{
    return op->type == SL_CASE_KV_Q8_0 ? SL_KV_Q8_0 : op->type == SL_CASE_KV_Q4_0 ? SL_KV_Q4_0 : SL_KV_F16;
}

/* Format of rows of blocks, or 0. */
static uint32_t blocks_of(const sl_case_operand *op)
{
    return op->type == SL_CASE_Q8 ? SL_ROWS_Q8 : op->type == SL_CASE_F16_SCALED ? SL_ROWS_F16_SCALED : 0;
}

/* Of rows of blocks: their elements, then the sums of their blocks. */
static uint64_t element_count(const sl_case_operand *op)
{
    if (kv_type_of(op) != SL_KV_F16)
        return op->bytes / SL_KV_GROUP_BYTES(kv_type_of(op), op->row_elements) * SL_KV_PAGE_TOKENS *
               op->row_elements;
    if (op->type == SL_CASE_S8) return op->bytes / (op->row_elements + 4ull) * op->row_elements;
    if (!blocks_of(op)) return op->bytes / (op->type == SL_CASE_F16 ? 2 : 4);
    const uint64_t n = op->row_elements;
    return op->bytes / sl_rows_bytes(blocks_of(op), n) * (n + n / 32);
}

static float block_element(const sl_case_operand *op, const uint8_t *at, uint64_t i)
{
    const uint32_t n = op->row_elements, each = n + n / 32, k = (uint32_t)(i % each), format = blocks_of(op);
    const uint8_t *row = at + i / each * sl_rows_bytes(format, n);
    if (k < n) return sl_rows_get(format, row, n, k);
    float sum;
    memcpy(&sum, row + sl_rows_bytes(format, n) - n / 4 + (k - n) * 8 + 4, sizeof sum);
    return sum;
}

static float s8_element(const sl_case_operand *op, const uint8_t *at, uint64_t i)
{
    const uint64_t n = op->row_elements, rows = op->bytes / (n + 4);
    float scale;
    memcpy(&scale, at + rows * n + i / n * 4, sizeof scale);
    return scale * (float)(int8_t)at[i];
}

static float kv_element(const sl_case_operand *op, const uint8_t *at, uint64_t i)
{
    const uint32_t d = op->row_elements, type = kv_type_of(op);
    const uint64_t row = i / d;
    float out[256]; /* the largest head */
    sl_kv_get(type, at + row / SL_KV_PAGE_TOKENS * SL_KV_GROUP_BYTES(type, d), d,
              (uint32_t)(row % SL_KV_PAGE_TOKENS), 1, out);
    return out[i % d];
}

static float element(const sl_case_operand *op, const uint8_t *at, uint64_t i)
{
    if (kv_type_of(op) != SL_KV_F16) return kv_element(op, at, i);
    if (op->type == SL_CASE_S8) return s8_element(op, at, i);
    if (blocks_of(op)) return block_element(op, at, i);
    if (op->type == SL_CASE_F16) {
        uint16_t half;
        memcpy(&half, at + 2 * i, sizeof half);
        return sl_half_to_float(half);
    }
    float value;
    memcpy(&value, at + 4 * i, sizeof value);
    return value;
}

static bool compare_bits(const batch *b, const batch_case *k, uint32_t o, const uint8_t *want,
                         const uint8_t *got, const char *what)
{
    const uint64_t bytes = k->c.operands[o].bytes;
    if (!memcmp(want, got, bytes)) return true;
    uint64_t at = 0;
    while (want[at] == got[at])
        at++;
    at &= ~UINT64_C(3);
    uint32_t w = 0, g = 0;
    memcpy(&w, want + at, SL_MIN(bytes - at, 4u));
    memcpy(&g, got + at, SL_MIN(bytes - at, 4u));
    print_error("%s: operand at push offset %u, byte %llu: %s: wanted 0x%08x (%g), got 0x%08x (%g)\n",
                label(b, k), k->c.operands[o].push_offset, (unsigned long long)at, what, w,
                (double)sl_bits_to_float(w), g, (double)sl_bits_to_float(g));
    return false;
}

/* NaNs and infinities stand at the same places, and the rest differs by no more than the tolerance. */
static bool compare_floats(const batch *b, const batch_case *k, uint32_t o, const uint8_t *want,
                           const uint8_t *got, double tolerance)
{
    const sl_case_operand *op = &k->c.operands[o];
    const uint64_t n = element_count(op);
    double squares = 0, errors = 0, worst = -1;
    uint64_t worst_at = 0;
    for (uint64_t i = 0; i < n; i++) {
        const double a = (double)element(op, want, i), c = (double)element(op, got, i);
        if (!isfinite(a) || !isfinite(c)) {
            if ((isnan(a) && isnan(c)) || a == c) continue;
            print_error("%s: operand at push offset %u, element %llu of %llu: wanted %g, got %g\n",
                        label(b, k), op->push_offset, (unsigned long long)i, (unsigned long long)n, a, c);
            return false;
        }
        squares += a * a;
        errors += (a - c) * (a - c);
        if (fabs(a - c) > worst) {
            worst = fabs(a - c);
            worst_at = i;
        }
    }
    if (errors <= tolerance * squares) return true;
    print_error(
        "%s: operand at push offset %u: error %.3g is above %.3g; worst of %llu at %llu: wanted %.9g, got "
        "%.9g\n",
        label(b, k), op->push_offset, errors / squares, tolerance, (unsigned long long)n,
        (unsigned long long)worst_at, (double)element(op, want, worst_at),
        (double)element(op, got, worst_at));
    return false;
}

static bool check_guard(const batch *b, const batch_case *k, uint32_t o, const uint8_t *image,
                        const char *whose)
{
    const uint64_t end = k->at[o] + k->c.operands[o].bytes;
    const uint64_t guard_end = sl_align_up(end, ALIGNMENT) + GUARD_BYTES;
    for (uint64_t i = end; i < guard_end; i++) {
        if (image[i] == GUARD) continue;
        print_error("%s: %s wrote %llu bytes behind the operand at push offset %u\n", label(b, k), whose,
                    (unsigned long long)(i - end), k->c.operands[o].push_offset);
        return false;
    }
    return true;
}

/* One case: `want` was made by the C side, `got` by the device. exact: bits must be equal whatever the row
 * says. */
static bool check_case(const batch *b, const batch_case *k, const uint8_t *initial, const uint8_t *want,
                       const uint8_t *got, bool exact)
{
    const double tolerance = sl_kernel_rows[b->variant->kernel].tolerance;
    bool ok = true;
    for (uint32_t o = 0; o < k->c.operand_count; o++) {
        const sl_case_operand *op = &k->c.operands[o];
        const uint8_t *w = want + k->at[o], *g = got + k->at[o];
        ok &= check_guard(b, k, o, want, "the C side");
        ok &= check_guard(b, k, o, got, "the device");
        if (op->flags & SL_CASE_OUT) {
            if (exact || tolerance == 0 || op->type == SL_CASE_U32 || op->type == SL_CASE_BYTES)
                ok &= compare_bits(b, k, o, w, g, exact ? "parts differ from one" : "not equal");
            else
                ok &= compare_floats(b, k, o, w, g, tolerance);
        } else if (op->flags & SL_CASE_IN) {
            ok &= compare_bits(b, k, o, initial + k->at[o], w, "the C side changed an input");
            ok &= compare_bits(b, k, o, initial + k->at[o], g, "the device changed an input");
        }
    }
    return ok;
}

/* ---- batches ---- */

static uint8_t *image_alloc(uint64_t bytes)
{
    uint8_t *image = sl_aligned_alloc(ALIGNMENT, bytes);
    if (!image) fail_msg("out of memory: %llu bytes", (unsigned long long)bytes);
    return image;
}

static uint32_t run_batch(batch *b)
{
    const bool host_device = sl_caps_have(&sl_device_get_info(b->device)->caps, SL_CAP_HOST_FN);
    uint8_t *initial = image_alloc(b->bytes), *want = image_alloc(b->bytes), *got = image_alloc(b->bytes);
    bool bad[BATCH_CASES_MAX] = {false};
    write_image(b, initial);
    memcpy(want, initial, b->bytes);
    run_host(b, want, 1);
    run_device(b, initial, got);
    for (uint32_t i = 0; i < b->count; i++)
        bad[i] |= !check_case(b, &b->cases[i], initial, want, got, host_device);
    static const uint32_t parts[] = {2, 3, 7, 64};
    for (uint32_t n = 0; host_device && n < SL_COUNTOF(parts); n++) {
        memcpy(got, initial, b->bytes);
        run_host(b, got, parts[n]);
        for (uint32_t i = 0; i < b->count; i++)
            bad[i] |= !check_case(b, &b->cases[i], initial, want, got, true);
    }
    uint32_t failed = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        failed += bad[i];
        sl_case_end(&b->cases[i].c);
    }
    sl_free(got);
    sl_free(want);
    sl_free(initial);
    b->count = 0;
    b->bytes = 0;
    return failed;
}

static void place_operands(batch *b, batch_case *k)
{
    for (uint32_t o = 0; o < k->c.operand_count; o++) {
        k->at[o] = b->bytes;
        b->bytes += sl_align_up(k->c.operands[o].bytes, ALIGNMENT) + GUARD_BYTES;
    }
}

/* Has the last case of the batch a kernel that no earlier one has? Its compilation may take long: the batch
 * ends, so that no submission waits for more than one. */
static bool last_is_new(const batch *b)
{
    for (uint32_t i = 0; i + 1 < b->count; i++)
        if (b->cases[i].bound == b->cases[b->count - 1].bound) return false;
    return true;
}

uint32_t sl_kernel_run_variant(sl_device *device, sl_kernel_set *set, const sl_variant *variant,
                               uint32_t only, uint32_t *out_cases)
{
    sl_diag diag;
    uint32_t failed = 0;
    *out_cases = 0;
    batch *b = sl_calloc(1, sizeof *b);
    assert_non_null(b);
    b->device = device;
    b->variant = variant;
    for (uint32_t index = only == UINT32_MAX ? 0 : only;; index++) {
        batch_case *k = &b->cases[b->count];
        sl_case_begin(&k->c, variant, index);
        const bool made =
            (only == UINT32_MAX || index == only) && sl_generators[variant->kernel](&k->c, index, variant);
        if (made) {
            k->index = index;
            place_operands(b, k);
            EXPECT_OK(sl_kernel_set_get_variant(set, variant, k->c.spec, k->c.spec_count, &k->bound, &diag));
            b->count++;
            ++*out_cases;
        } else {
            sl_case_end(&k->c);
        }
        const bool full = b->count == BATCH_CASES_MAX || b->bytes >= BATCH_BYTES;
        if (b->count && (!made || full || last_is_new(b))) failed += run_batch(b);
        if (!made) break;
    }
    sl_free(b);
    return failed;
}
