#include "hal/base/checked.h"
#include "shaders/registry.h"
#include "shaders/rows_out.h"

enum { STRIP = 256 }; /* a multiple of every block */

static void dequant_row(const struct sl_push_dequant *p, uint64_t r)
{
    uint32_t weights = 1, bytes = 0;
    sl_weight_block(p->weight_type, &weights, &bytes);
    const uint8_t *w = (const uint8_t *)sl_host(p->w) + r * p->row_bytes;
    uint8_t *y = (uint8_t *)sl_host(p->y) + r * sl_rows_bytes(SL_ROWS_F16, p->n_k);
    for (uint32_t k = 0; k < p->n_k; k += STRIP) {
        const uint32_t count = SL_MIN(p->n_k - k, (uint32_t)STRIP);
        float strip[STRIP];
        sl_weights_to_f32(p->weight_type, w + (uint64_t)k / weights * bytes, strip, count);
        sl_rows_put(SL_ROWS_F16, y, p->n_k, k, count, strip);
    }
}

void sl_host_dequant(const sl_kernel_task *task)
{
    const struct sl_push_dequant *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->n_rows, &begin, &end);
    for (; begin < end; begin++)
        dequant_row(p, begin);
}

/* tile_x: runs of 16 weights a workgroup decodes. */
void sl_grid_dequant(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_dequant *p = push;
    groups[0] = sl_grid_clamp(sl_div_up(sl_div_up(p->n_k, 16) * p->n_rows, variant->tile_x));
}
