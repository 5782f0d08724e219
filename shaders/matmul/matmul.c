/* C sides and grids of matvec and matmul: on the host they are one routine. */
#include "hal/base/checked.h"
#include "shaders/matmul/row_products.h"
#include "shaders/registry.h"

static void products(const sl_kernel_task *task)
{
    const struct sl_push_matmul *p = task->push;
    const sl_row_products job = {
        .type = p->weight_type,
        .w = sl_host(p->w),
        .row_bytes = p->row_bytes,
        .x = sl_host(p->x),
        .bias = sl_host(p->bias),
        .add = sl_host(p->add),
        .y = sl_host(p->y),
        .x_stride = p->x_stride,
        .y_stride = p->y_stride,
        .n_k = p->n_k,
        .n_tokens = p->n_tokens,
    };
    uint64_t begin, end;
    sl_task_share(task, sl_div_up(p->n_out, SL_ROW_GROUP), &begin, &end);
    begin *= SL_ROW_GROUP;
    end *= SL_ROW_GROUP;
    sl_row_products_run(&job, begin, end < p->n_out ? end : p->n_out);
}

void sl_host_matvec(const sl_kernel_task *task)
{
    products(task);
}

void sl_grid_matvec(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_matmul *p = push;
    groups[0] = sl_grid_clamp(sl_div_up(p->n_out, variant->tile_x));
}

void sl_host_matmul(const sl_kernel_task *task)
{
    products(task);
}

void sl_grid_matmul(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_matmul *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n_out, variant->tile_x);
    groups[1] = (uint32_t)sl_div_up(p->n_tokens, variant->tile_y);
}
