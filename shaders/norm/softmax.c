#include "shaders/registry.h"

#include <math.h>

void sl_host_softmax(const sl_kernel_task *task)
{
    const struct sl_push_softmax *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->rows, &begin, &end);
    for (uint64_t r = begin; r < end; r++) {
        const float *x = (const float *)sl_host(p->x) + r * p->x_stride;
        float *y = (float *)sl_host(p->y) + r * p->y_stride;
        float most = -INFINITY;
        for (uint32_t i = 0; i < p->n; i++)
            most = fmaxf(most, p->scale * x[i]);
        double sum = 0;
        for (uint32_t i = 0; i < p->n; i++)
            sum += (double)expf(p->scale * x[i] - most);
        for (uint32_t i = 0; i < p->n; i++)
            y[i] = (float)((double)expf(p->scale * x[i] - most) / sum);
    }
}

void sl_grid_softmax(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)variant, (void)spec;
    sl_grid_of_rows(((const struct sl_push_softmax *)push)->rows, groups);
}
