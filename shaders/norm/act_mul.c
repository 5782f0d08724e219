#include "shaders/registry.h"

#include "hal/base/checked.h"
#include "shaders/activation.h"
#include "shaders/rows_out.h"

enum { STRIP = 128 };

/* Elements first .. first + count - 1 of row r; count <= STRIP. */
static void act_strip(const struct sl_push_act_mul *p, uint64_t r, uint32_t first, uint32_t count)
{
    const float *gate = (const float *)sl_host(p->gate) + r * p->gate_stride + first;
    const float *up = (const float *)sl_host(p->up) + r * p->up_stride + first;
    float strip[STRIP];
    if (p->act == SL_ACT_GELU)
        for (uint32_t i = 0; i < count; i++)
            strip[i] = sl_gelu(gate[i]) * up[i];
    else
        for (uint32_t i = 0; i < count; i++)
            strip[i] = sl_silu(gate[i]) * up[i];
    uint8_t *y = (uint8_t *)sl_host(p->y) + r * sl_rows_bytes(p->format, p->y_stride);
    sl_rows_put(p->format, y, p->n, first, count, strip);
}

void sl_host_act_mul(const sl_kernel_task *task)
{
    const struct sl_push_act_mul *p = task->push;
    const uint64_t strips = sl_div_up(p->n, STRIP);
    uint64_t begin, end;
    sl_task_share(task, p->rows * strips, &begin, &end);
    for (; begin < end; begin++) {
        const uint32_t first = (uint32_t)(begin % strips) * STRIP;
        act_strip(p, begin / strips, first, SL_MIN(p->n - first, (uint32_t)STRIP));
    }
}

void sl_grid_act_mul(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_act_mul *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n, variant->tile_x);
    groups[1] = sl_grid_clamp(p->rows);
}
