/* C sides and grids of matvec and matmul. */
#include "shaders/matmul/row_products.h"
#include "shaders/registry.h"

#define GROUPS_MAX 65535u /* of one dimension: what every Vulkan device offers */

static uint32_t tiles(uint32_t n, uint32_t tile)
{
    const uint32_t count = n / tile + (n % tile != 0);
    return count < GROUPS_MAX ? count : GROUPS_MAX;
}

static void products(const sl_kernel_task *task)
{
    const struct sl_push_matmul *p = task->push;
    const sl_row_products job = {
        .type = task->key,
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
    sl_task_share(task, (p->n_out + SL_ROW_GROUP - 1) / SL_ROW_GROUP, &begin, &end);
}
