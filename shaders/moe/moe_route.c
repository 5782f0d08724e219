#include "shaders/registry.h"

#include <math.h>
#include <stdbool.h>

/* The largest logit that is not taken; a NaN after all others. */
static uint32_t best_of(const float *logits, const bool *taken, uint32_t n)
{
    uint32_t best = 0;
    while (best + 1 < n && taken[best])
        best++;
    for (uint32_t e = best + 1; e < n; e++)
        if (!taken[e] && (logits[e] > logits[best] || (isnan(logits[best]) && !isnan(logits[e])))) best = e;
    return best;
}

static void route_token(const struct sl_push_moe_route *p, uint64_t t)
{
    const float *logits = (const float *)sl_host(p->logits) + t * p->logits_stride;
    uint32_t *ids = (uint32_t *)sl_host(p->ids) + t * p->n_used;
    float *weights = (float *)sl_host(p->weights) + t * p->n_used;
    float most = -INFINITY, chosen_sum = 0;
    double total = 0;
    bool taken[1024] = {false};
    for (uint32_t e = 0; e < p->n_experts; e++)
        most = fmaxf(most, logits[e]);
    for (uint32_t e = 0; e < p->n_experts; e++)
        total += (double)expf(logits[e] - most);
    for (uint32_t s = 0; s < p->n_used; s++) {
        const uint32_t best = best_of(logits, taken, p->n_experts);
        taken[best] = true;
        ids[s] = best;
        weights[s] = expf(logits[best] - most);
        chosen_sum += weights[s];
    }
    for (uint32_t s = 0; s < p->n_used; s++)
        weights[s] = weights[s] / (p->normalize ? chosen_sum : (float)total) * p->scale;
}

void sl_host_moe_route(const sl_kernel_task *task)
{
    const struct sl_push_moe_route *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->n_tokens, &begin, &end);
    for (uint64_t t = begin; t < end; t++)
        route_token(p, t);
}

void sl_grid_moe_route(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)variant, (void)spec;
    groups[0] = ((const struct sl_push_moe_route *)push)->n_tokens;
}
