#include "shaders/registry.h"

void sl_host_argmax(const sl_kernel_task *task)
{
    const struct sl_push_argmax *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->rows, &begin, &end);
    for (uint64_t r = begin; r < end; r++) {
        const float *x = (const float *)sl_host(p->x) + r * p->x_stride;
        uint32_t best = 0;
        while (best < p->n && x[best] != x[best]) /* skip NaNs */
            best++;
        for (uint32_t i = best + 1; i < p->n; i++)
            if (x[i] > x[best]) best = i;
        ((uint32_t *)sl_host(p->ids))[r] = best < p->n ? best : 0;
    }
}

void sl_grid_argmax(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)variant, (void)spec;
    groups[0] = ((const struct sl_push_argmax *)push)->rows;
}
