#include "shaders/registry.h"

#include "hal/base/checked.h"

_Static_assert(sizeof(struct sl_sample_params) == 32 && offsetof(struct sl_sample_params, counter) == 24,
               "as in advance.comp");

void sl_host_advance(const sl_kernel_task *task)
{
    const struct sl_push_advance *p = task->push;
    uint32_t *tokens = sl_host(p->tokens), *positions = sl_host(p->positions);
    struct sl_sample_params *params = sl_host(p->params);
    uint64_t begin, end;
    sl_task_share(task, p->rows, &begin, &end);
    for (uint64_t i = begin; i < end; i++) {
        tokens[i] = ((const uint32_t *)sl_host(p->next))[i];
        if (positions[i] != SL_NO_POSITION) positions[i]++;
        params[i].counter++;
    }
}

void sl_grid_advance(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)variant;
    const struct sl_push_advance *p = push;
    groups[0] = (uint32_t)sl_div_up(p->rows, spec[SL_SPEC_WORKGROUP]);
}
