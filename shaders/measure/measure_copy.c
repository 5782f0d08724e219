#include "shaders/registry.h"

#include "hal/base/checked.h"

#include <string.h>

void sl_host_measure_copy(const sl_kernel_task *task)
{
    const struct sl_push_measure_copy *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->n_vectors, &begin, &end);
    memcpy((uint8_t *)sl_host(p->y) + 16 * begin, (const uint8_t *)sl_host(p->x) + 16 * begin,
           16 * (end - begin));
}

void sl_grid_measure_copy(const void *push, const sl_variant *variant, const uint32_t *spec,
                          uint32_t groups[3])
{
    (void)spec;
    groups[0] =
        sl_grid_clamp(sl_div_up(((const struct sl_push_measure_copy *)push)->n_vectors, variant->tile_x));
}
