#include "shaders/registry.h"

#include "hal/base/checked.h"
#include "shaders/rows_out.h"

#include <math.h>

#define STRIP           128u /* a multiple of the block of SL_ROWS_Q8 */
#define ROW_OF_SUBGROUP 512u /* as in rms_norm.comp */

static const float *row(uint64_t base, uint64_t r, uint32_t stride)
{
    return base ? (const float *)sl_host(base) + r * stride : NULL;
}

static void norm_row(const struct sl_push_rms_norm *p, uint64_t r)
{
    const float *x = row(p->x, r, p->x_stride), *before = row(p->before, r, p->x_stride);
    const float *after = row(p->after, r, p->y_stride), *weight = row(p->weight, 0, 0);
    float *sum = (float *)row(p->sum, r, p->x_stride);
    uint8_t *y = (uint8_t *)sl_host(p->y) + r * sl_rows_bytes(p->format, p->y_stride);
    double squares = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        const float v = x[i] + (before ? before[i] : 0);
        squares += (double)v * (double)v;
    }
    const float scale = (float)(1 / sqrt(squares / p->n + (double)p->eps));
    for (uint32_t first = 0; first < p->n; first += STRIP) {
        const uint32_t count = SL_MIN(p->n - first, STRIP);
        float strip[STRIP];
        for (uint32_t k = 0; k < count; k++) {
            const uint32_t i = first + k;
            const float v = x[i] + (before ? before[i] : 0);
            if (sum) sum[i] = v;
            strip[k] = v * scale * (weight ? weight[i] : 1) + (after ? after[i] : 0);
        }
        sl_rows_put(p->format, y, p->n, first, count, strip);
    }
}

void sl_host_rms_norm(const sl_kernel_task *task)
{
    const struct sl_push_rms_norm *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->rows, &begin, &end);
    for (uint64_t r = begin; r < end; r++)
        norm_row(p, r);
}

void sl_grid_rms_norm(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)variant;
    const struct sl_push_rms_norm *p = push;
    const uint32_t subgroups = spec[SL_SPEC_WORKGROUP] / SL_MAX(spec[SL_SPEC_SUBGROUP], 1u);
    const bool small = spec[SL_SPEC_SUBGROUP] < 16 || p->n <= ROW_OF_SUBGROUP;
    sl_grid_of_rows(small ? sl_div_up(p->rows, subgroups) : p->rows, groups);
}
