#include "shaders/registry.h"

#include <math.h>

static void route_token(const struct sl_push_moe_route *p, uint64_t t)
{
    const float *logits = (const float *)sl_host(p->logits) + t * p->logits_stride;
    uint32_t *ids = (uint32_t *)sl_host(p->ids) + t * p->n_used;
    float *weights = (float *)sl_host(p->weights) + t * p->n_used;
    float probability[1024], most = -INFINITY, chosen_sum = 0;
    double total = 0;
    for (uint32_t e = 0; e < p->n_experts; e++)
        most = fmaxf(most, logits[e]);
    for (uint32_t e = 0; e < p->n_experts; e++) {
        probability[e] = expf(logits[e] - most);
        total += (double)probability[e];
    }
    for (uint32_t s = 0; s < p->n_used; s++) {
        uint32_t best = 0;
        for (uint32_t e = 1; e < p->n_experts; e++)
            if (probability[e] > probability[best]) best = e;
        ids[s] = best;
        weights[s] = probability[best];
        chosen_sum += probability[best];
        probability[best] = -1;
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
