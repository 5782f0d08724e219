#include "shaders/registry.h"

void sl_host_penalize(const sl_kernel_task *task)
{
    const struct sl_push_penalize *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->rows, &begin, &end);
    for (uint64_t r = begin; r < end; r++) {
        const struct sl_penalty_params *s = (const struct sl_penalty_params *)sl_host(p->params) + r;
        const uint32_t *entries = (const uint32_t *)sl_host(p->entries) + r * p->n_entries * 2;
        float *logits = (float *)sl_host(p->logits) + r * p->logits_stride;
        for (uint32_t i = 0; i < p->n_entries; i++) {
            const uint32_t id = entries[2 * i], count = entries[2 * i + 1];
            if (count == 0 || id >= p->n_vocab) continue;
            const float l = logits[id] > 0 ? logits[id] / s->repeat : logits[id] * s->repeat;
            logits[id] = l - ((float)count * s->frequency + s->presence);
        }
    }
}

void sl_grid_penalize(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)variant, (void)spec;
    groups[0] = ((const struct sl_push_penalize *)push)->rows;
}
