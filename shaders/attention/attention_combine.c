#include "shaders/registry.h"

#include <math.h>
#include <string.h>

/* y = sum_s w_s acc_s / sum_s w_s sum_s with w_s = exp(maximum_s - largest maximum). */
static void combine(const float *partial, float *y, uint32_t head_dim, uint32_t n_splits)
{
    const uint32_t stride = head_dim + 2;
    float maximum = -INFINITY, sum = 0;
    for (uint32_t s = 0; s < n_splits; s++) {
        const float *part = partial + (uint64_t)s * stride;
        if (part[head_dim + 1] > 0 && part[head_dim] > maximum) maximum = part[head_dim];
    }
    memset(y, 0, head_dim * sizeof *y);
    for (uint32_t s = 0; s < n_splits; s++) {
        const float *part = partial + (uint64_t)s * stride;
        if (!(part[head_dim + 1] > 0)) continue;
        const float weight = expf(part[head_dim] - maximum);
        sum += weight * part[head_dim + 1];
        for (uint32_t d = 0; d < head_dim; d++)
            y[d] += weight * part[d];
    }
    const float scale = sum > 0 ? 1.0f / sum : 0.0f;
    for (uint32_t d = 0; d < head_dim; d++)
        y[d] *= scale;
}

void sl_host_attention_combine(const sl_kernel_task *task)
{
    const struct sl_push_attention_combine *p = task->push;
    const float *partial = sl_host(p->partial);
    float *y = sl_host(p->y);
    uint64_t item, end;
    sl_task_share(task, (uint64_t)p->n_tokens * p->n_heads, &item, &end);
    for (; item < end; item++)
        combine(partial + item * p->n_splits * (p->head_dim + 2),
                y + item / p->n_heads * p->y_stride + item % p->n_heads * p->head_dim, p->head_dim,
                p->n_splits);
}

void sl_grid_attention_combine(const void *push, const sl_variant *variant, const uint32_t *spec,
                               uint32_t groups[3])
{
    const struct sl_push_attention_combine *p = push;
    (void)variant, (void)spec;
    groups[0] = p->n_tokens;
    groups[1] = p->n_heads;
}
