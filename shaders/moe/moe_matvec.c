/* C side and grid of moe_matvec: (token, slot, group of rows) are dealt to the threads in that order. */
#include "hal/base/checked.h"
#include "shaders/matmul/row_products.h"
#include "shaders/registry.h"

#include <string.h>

/* Rows begin .. end - 1 of item = token * n_used + slot. */
static void one_item(const struct sl_push_moe_matvec *p, uint64_t item, uint64_t begin, uint64_t end)
{
    const uint32_t expert = ((const uint32_t *)sl_host(p->ids))[item];
    float *y = (float *)sl_host(p->y) + item * p->n_out;
    if (expert >= p->n_experts) {
        memset(y + begin, 0, (end - begin) * sizeof *y);
        return;
    }
    const float *x = (const float *)sl_host(p->x) + item / p->n_used * p->x_stride;
    if (p->x_per_slot) x += item % p->n_used * p->n_k;
    const sl_row_products job = {
        .type = p->weight_type,
        .w = (const uint8_t *)sl_host(p->w) + (uint64_t)expert * p->n_out * p->row_bytes,
        .row_bytes = p->row_bytes,
        .x = x,
        .y = y,
        .n_k = p->n_k,
        .n_tokens = 1,
    };
    sl_row_products_run(&job, begin, end);
}

void sl_host_moe_matvec(const sl_kernel_task *task)
{
    const struct sl_push_moe_matvec *p = task->push;
    const uint64_t item_groups = sl_div_up(p->n_out, SL_ROW_GROUP);
    uint64_t begin, end;
    sl_task_share(task, (uint64_t)p->n_tokens * p->n_used * item_groups, &begin, &end);
    while (begin < end) {
        const uint64_t item = begin / item_groups, group = begin % item_groups;
        const uint64_t count = item_groups - group < end - begin ? item_groups - group : end - begin;
        const uint64_t last = (group + count) * SL_ROW_GROUP;
        one_item(p, item, group * SL_ROW_GROUP, last < p->n_out ? last : p->n_out);
        begin += count;
    }
}

void sl_grid_moe_matvec(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_moe_matvec *p = push;
    groups[0] = sl_grid_clamp(sl_div_up(p->n_out, variant->tile_x));
    groups[1] = sl_grid_clamp((uint64_t)p->n_tokens * p->n_used);
}
