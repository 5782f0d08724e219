#include "shaders/registry.h"

#include "hal/base/checked.h"

void sl_host_moe_combine(const sl_kernel_task *task)
{
    const struct sl_push_moe_combine *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, (uint64_t)p->n_tokens * p->n, &begin, &end);
    for (uint64_t k = begin; k < end; k++) {
        const uint64_t t = k / p->n, i = k % p->n;
        const float *weights = (const float *)sl_host(p->weights) + t * p->n_used;
        const float *x = (const float *)sl_host(p->x) + t * p->n_used * p->n + i;
        float sum = p->add ? ((const float *)sl_host(p->add))[t * p->y_stride + i] : 0;
        for (uint32_t s = 0; s < p->n_used; s++)
            sum += weights[s] * x[(uint64_t)s * p->n];
        ((float *)sl_host(p->y))[t * p->y_stride + i] = sum;
    }
}

void sl_grid_moe_combine(const void *push, const sl_variant *variant, const uint32_t *spec,
                         uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_moe_combine *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n, variant->tile_x);
    groups[1] = p->n_tokens;
}
