#include "shaders/registry.h"

#include "hal/base/checked.h"

#include <string.h>

void sl_host_copy_rows(const sl_kernel_task *task)
{
    const struct sl_push_copy_rows *p = task->push;
    const uint32_t *index = sl_host(p->index);
    uint64_t begin, end;
    sl_task_share(task, p->rows, &begin, &end);
    for (uint64_t r = begin; r < end; r++) {
        float *y = (float *)sl_host(p->y) + r * p->y_stride;
        if (index[r] == SL_NO_INDEX)
            memset(y, 0, p->n * sizeof *y);
        else
            memcpy(y, (const float *)sl_host(p->x) + (uint64_t)index[r] * p->x_stride, p->n * sizeof *y);
    }
}

void sl_grid_copy_rows(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_copy_rows *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n, variant->tile_x);
    groups[1] = sl_grid_clamp(p->rows);
}
