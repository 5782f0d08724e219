#include "shaders/registry.h"

#include "hal/base/checked.h"

void sl_host_add(const sl_kernel_task *task)
{
    const struct sl_push_add *p = task->push;
    const float *a = sl_host(p->a), *b = sl_host(p->b);
    float *y = sl_host(p->y);
    uint64_t begin, end;
    sl_task_share(task, p->n, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        y[i] = a[i] + p->scale * b[i];
}

void sl_grid_add(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    groups[0] = sl_grid_clamp(sl_div_up(((const struct sl_push_add *)push)->n, variant->tile_x));
}
