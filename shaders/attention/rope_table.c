#include "shaders/attention/rope_host.h"
#include "shaders/registry.h"

/* Items are tokens. */
void sl_host_rope_table(const sl_kernel_task *task)
{
    const struct sl_push_rope *p = task->push;
    const uint32_t *positions = sl_host(p->positions), pairs = p->rot_dim / 2;
    uint64_t t, end;
    sl_task_share(task, p->n_tokens, &t, &end);
    for (; t < end; t++) {
        float *turns = (float *)sl_host(p->x) + t * p->rot_dim;
        if (positions[t] == SL_NO_POSITION) continue;
        for (uint32_t i = 0; i < pairs; i++)
            sl_rope_turn(p, positions[t] * sl_rope_frequency(p, i), &turns[2 * i], &turns[2 * i + 1]);
    }
}

/* Invocations are pairs in x, tokens in y. */
void sl_grid_rope_table(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    const struct sl_push_rope *p = push;
    (void)variant;
    groups[0] = (p->rot_dim / 2 + spec[SL_SPEC_WORKGROUP] - 1) / spec[SL_SPEC_WORKGROUP];
    groups[1] = p->n_tokens;
}
