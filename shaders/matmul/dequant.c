/* C sides and grids of dequant and rotate. */
#include "hal/base/checked.h"
#include "shaders/matmul/rotated.h"
#include "shaders/registry.h"
#include "shaders/rows_out.h"

#include <math.h>

enum { STRIP = 256 }; /* a multiple of every block and every rotation */

/* Weights k .. k + STRIP - 1 of row r, or up to its end; returns how many. */
static uint32_t decode(const struct sl_push_dequant *p, uint64_t r, uint32_t k, float strip[STRIP])
{
    uint32_t weights = 1, bytes = 0;
    sl_weight_block(p->weight_type, &weights, &bytes);
    const uint32_t count = SL_MIN(p->n_k - k, (uint32_t)STRIP);
    const uint8_t *row = (const uint8_t *)sl_host(p->w) + r * p->row_bytes;
    sl_weights_to_f32(p->weight_type, row + (uint64_t)k / weights * bytes, strip, count);
    return count;
}

static void dequant_row(const struct sl_push_dequant *p, uint64_t r)
{
    uint8_t *y = (uint8_t *)sl_host(p->y) + (p->first_row + r) * sl_rows_bytes(SL_ROWS_F16, p->n_k);
    float strip[STRIP];
    for (uint32_t k = 0; k < p->n_k; k += STRIP) {
        const uint32_t count = decode(p, r, k, strip);
        sl_rows_put(SL_ROWS_F16, y, p->n_k, k, count, strip);
    }
}

static uint32_t decode_rotated(const struct sl_push_dequant *p, uint64_t r, uint32_t k, float strip[STRIP])
{
    const uint32_t count = decode(p, r, k, strip);
    sl_rotate(strip, count, sl_rotation_of(p->n_k));
    return count;
}

/* Twice over the row: for its largest element, then to write it. */
static void rotate_row(const struct sl_push_dequant *p, uint64_t r)
{
    int8_t *y = (int8_t *)sl_host(p->y) + (p->first_row + r) * p->n_k;
    float strip[STRIP], most = 0;
    for (uint32_t k = 0; k < p->n_k; k += STRIP) {
        const uint32_t count = decode_rotated(p, r, k, strip);
        for (uint32_t i = 0; i < count; i++)
            most = fmaxf(most, fabsf(strip[i]));
    }
    const float d = most / 127, inverse = d > 0 ? 1 / d : 0;
    sl_s8_scales(sl_host(p->y), p->all_rows, p->n_k)[p->first_row + r] = d;
    for (uint32_t k = 0; k < p->n_k; k += STRIP) {
        const uint32_t count = decode_rotated(p, r, k, strip);
        for (uint32_t i = 0; i < count; i++)
            y[k + i] = (int8_t)fminf(fmaxf(roundf(strip[i] * inverse), -127), 127);
    }
}

static void each_row(const sl_kernel_task *task, void (*row)(const struct sl_push_dequant *, uint64_t))
{
    const struct sl_push_dequant *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->n_rows, &begin, &end);
    for (; begin < end; begin++)
        row(p, begin);
}

void sl_host_dequant(const sl_kernel_task *task)
{
    each_row(task, dequant_row);
}

void sl_host_rotate(const sl_kernel_task *task)
{
    each_row(task, rotate_row);
}

/* tile_x: runs of 16 weights a workgroup decodes. */
void sl_grid_dequant(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_dequant *p = push;
    groups[0] = sl_grid_clamp(sl_div_up(sl_div_up(p->n_k, 16) * p->n_rows, variant->tile_x));
}

/* A workgroup a row. */
void sl_grid_rotate(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    (void)variant;
    sl_grid_of_rows(((const struct sl_push_dequant *)push)->n_rows, groups);
}
