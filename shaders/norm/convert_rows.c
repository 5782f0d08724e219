#include "shaders/registry.h"

#include "hal/base/checked.h"
#include "shaders/rows_out.h"

void sl_host_convert_rows(const sl_kernel_task *task)
{
    const struct sl_push_convert_rows *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->rows, &begin, &end);
    for (uint64_t r = begin; r < end; r++)
        sl_rows_put(p->format, (uint8_t *)sl_host(p->y) + r * sl_rows_bytes(p->format, p->y_stride), p->n, 0,
                    p->n, (const float *)sl_host(p->x) + r * p->x_stride);
}

void sl_grid_convert_rows(const void *push, const sl_variant *variant, const uint32_t *spec,
                          uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_convert_rows *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n, variant->tile_x);
    groups[1] = sl_grid_clamp(p->rows);
}
