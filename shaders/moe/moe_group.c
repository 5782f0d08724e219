/* C side and grid of moe_group. The work is small and ordered: part 0 does all of it. */
#include "shaders/registry.h"

#include "hal/base/checked.h"

/* Items of expert e from `place` on; returns how many. */
static uint32_t list_items(const struct sl_push_moe_group *p, uint32_t e, uint32_t place)
{
    const uint32_t *ids = sl_host(p->ids);
    uint32_t *items = sl_host(p->items), count = 0;
    for (uint32_t i = 0; i < p->n_items; i++)
        if (ids[i] == e) items[place + count++] = i;
    return count;
}

void sl_host_moe_group(const sl_kernel_task *task)
{
    const struct sl_push_moe_group *p = task->push;
    struct sl_moe_tile *tiles = sl_host(p->tiles);
    uint32_t place = 0, tile = 0;
    if (task->index != 0 || !p->tile) return;
    for (uint32_t e = 0; e < p->n_experts; e++) {
        const uint32_t count = list_items(p, e, place);
        for (uint32_t first = 0; first < count; first += p->tile)
            tiles[tile++] = (struct sl_moe_tile){
                .expert = e, .first = place + first, .count = SL_MIN(p->tile, count - first)};
        place += count;
    }
    while (tile < SL_MOE_TILES(p->n_experts, p->n_items, p->tile))
        tiles[tile++] = (struct sl_moe_tile){0};
}

void sl_grid_moe_group(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)push, (void)variant, (void)spec, (void)groups; /* one */
}
