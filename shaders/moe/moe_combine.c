#include "shaders/registry.h"

#include "hal/base/checked.h"

#include <stddef.h>

void sl_host_moe_combine(const sl_kernel_task *task)
{
    const struct sl_push_moe_combine *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, (uint64_t)p->n_tokens * p->n, &begin, &end);
    while (begin < end) { /* a row, or the part of one that is in the share */
        const uint64_t t = begin / p->n, first = begin % p->n, count = SL_MIN(p->n - first, end - begin);
        const float *weights = (const float *)sl_host(p->weights) + t * p->n_used;
        const float *x = (const float *)sl_host(p->x) + t * p->n_used * p->n + first;
        const float *add = p->add ? (const float *)sl_host(p->add) + t * p->y_stride + first : NULL;
        float *y = (float *)sl_host(p->y) + t * p->y_stride + first;
        for (uint64_t i = 0; i < count; i++)
            y[i] = add ? add[i] : 0;
        for (uint32_t s = 0; s < p->n_used; s++)
            for (uint64_t i = 0; i < count; i++)
                y[i] += weights[s] * x[(uint64_t)s * p->n + i];
        begin += count;
    }
}

void sl_grid_moe_combine(const void *push, const sl_variant *variant, const uint32_t *spec,
                         uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_moe_combine *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n, variant->tile_x);
    groups[1] = sl_grid_clamp(p->n_tokens);
}
