/* C side and grid of moe_matmul: (tile, group of rows) are dealt to the threads in that order. */
#include "shaders/registry.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "shaders/matmul/row_products.h"
#include "shaders/rows_out.h"

/* Rows of one group of all items of a tile; x: room for a row. */
static void one_group(const struct sl_push_moe_matmul *p, const struct sl_moe_tile *tile, uint32_t row,
                      float *x)
{
    const uint32_t *items = (const uint32_t *)sl_host(p->items) + tile->first;
    for (uint32_t c = 0; c < tile->count; c++) {
        const uint64_t from = p->x_per_slot ? items[c] : items[c] / p->n_used;
        const uint8_t *half = (const uint8_t *)sl_host(p->x) + sl_rows_bytes(SL_ROWS_F16, from * p->x_stride);
        for (uint32_t k = 0; k < p->n_k; k++)
            x[k] = sl_rows_get(SL_ROWS_F16, half, p->n_k, k);
        const sl_row_products job = {
            .type = p->weight_type,
            .w = (const uint8_t *)sl_host(p->w) + (uint64_t)tile->expert * p->n_out * p->row_bytes,
            .row_bytes = p->row_bytes,
            .x = x,
            .y = (float *)sl_host(p->y) + (uint64_t)items[c] * p->n_out,
            .n_k = p->n_k,
            .n_tokens = 1,
        };
        sl_row_products_run(&job, row, SL_MIN(row + SL_ROW_GROUP, p->n_out));
    }
}

void sl_host_moe_matmul(const sl_kernel_task *task)
{
    const struct sl_push_moe_matmul *p = task->push;
    const struct sl_moe_tile *tiles = sl_host(p->tiles);
    const uint64_t groups = sl_div_up(p->n_out, SL_ROW_GROUP);
    uint64_t begin, end;
    sl_task_share(task, p->n_tiles * groups, &begin, &end);
    float *x = sl_calloc(p->n_k, sizeof *x);
    for (; x && begin < end; begin++)
        one_group(p, &tiles[begin / groups], (uint32_t)(begin % groups) * SL_ROW_GROUP, x);
    sl_free(x);
}

void sl_grid_moe_matmul(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_moe_matmul *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n_out, variant->tile_x);
    groups[1] = p->n_tiles;
}
