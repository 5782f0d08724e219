#include "shaders/registry.h"

#include "hal/base/checked.h"

/* A host's caches need no such help. */
void sl_host_prefetch(const sl_kernel_task *task)
{
    (void)task;
}

void sl_grid_prefetch(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_prefetch *p = push;
    groups[0] = sl_grid_clamp(sl_div_up(p->sectors, variant->tile_x));
}
