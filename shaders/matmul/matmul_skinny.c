/* C side, grid and plan of matmul_skinny. */
#include "shaders/matmul/skinny.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "shaders/matmul/row_products.h"
#include "shaders/rows_out.h"

/* Workgroups a compute unit that hide the latency of each other, and weights that one should have at least.
 */
#define GROUPS_PER_UNIT 4u
#define SPLIT_K_MIN     256u
#define UNITS_ASSUMED   32u

void sl_host_matmul_skinny(const sl_kernel_task *task)
{
    const struct sl_push_matmul_skinny *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, sl_div_up(p->n_out, SL_ROW_GROUP), &begin, &end);
    begin *= SL_ROW_GROUP;
    end = SL_MIN(end * SL_ROW_GROUP, p->n_out);
    float *x = sl_calloc(p->n_k, sizeof *x);
    for (uint64_t t = 0; x && t < p->n_tokens; t++) {
        const uint8_t *row = (const uint8_t *)sl_host(p->x) + sl_rows_bytes(SL_ROWS_F16, t * p->x_stride);
        for (uint32_t k = 0; k < p->n_k; k++)
            x[k] = sl_rows_get(SL_ROWS_F16, row, p->n_k, k);
        const sl_row_products job = {
            .type = p->weight_type,
            .w = sl_host(p->w),
            .row_bytes = p->row_bytes,
            .x = x,
            .bias = sl_host(p->bias),
            .add = p->add ? (const float *)sl_host(p->add) + t * p->y_stride : NULL,
            .y = (float *)sl_host(p->y) + t * p->y_stride,
            .n_k = p->n_k,
            .n_tokens = 1,
        };
        sl_row_products_run(&job, begin, end);
    }
    sl_free(x);
}

void sl_grid_matmul_skinny(const void *push, const sl_variant *variant, const uint32_t *spec,
                           uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_matmul_skinny *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n_out, variant->tile_x);
    groups[1] = p->n_splits;
    groups[2] = (uint32_t)sl_div_up(p->n_tokens, variant->tile_y);
}

static uint32_t groups_wanted(const sl_device_caps *caps)
{
    return GROUPS_PER_UNIT * (caps->compute_units ? caps->compute_units : UNITS_ASSUMED);
}

const sl_variant *sl_skinny_variant(const sl_device_caps *caps, sl_kernel_id kernel, uint32_t weight_type,
                                    uint32_t columns)
{
    const sl_variant *best = NULL;
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        if (v->kernel != kernel || v->key != weight_type || !sl_variant_usable(v, caps, NULL)) continue;
        if (best && best->matrix && !v->matrix) continue;
        const bool holds = v->tile_y >= columns;
        if (!best || (best->tile_y < columns ? v->tile_y > best->tile_y : holds && v->tile_y < best->tile_y))
            best = v;
    }
    return best;
}

void sl_skinny_room(const sl_device_caps *caps, uint64_t *out_partial_bytes, uint32_t *out_tiles)
{
    static const uint32_t types[] = {
#define X(NAME, name, number, weights, bytes) number,
        SL_WEIGHT_TYPES(X)
#undef X
    };
    *out_partial_bytes = *out_tiles = 0;
    for (size_t i = 0; i < SL_COUNTOF(types); i++)
        if (!sl_skinny_variant(caps, SL_K_matmul_skinny, types[i], 1)) return;
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        if (v->kernel == SL_K_matmul_skinny && sl_variant_usable(v, caps, NULL))
            *out_partial_bytes = SL_MAX(*out_partial_bytes, (uint64_t)groups_wanted(caps) * v->tile_x *
                                                                v->tile_y * sizeof(float));
    }
    *out_tiles = groups_wanted(caps) / 2; /* fewer than two parts are none */
}

void sl_skinny_plan_make(const sl_device_caps *caps, const sl_variant *variant, uint32_t splits_wanted,
                         uint32_t n_out, uint32_t n_k, uint32_t n_tokens, sl_skinny_plan *out)
{
    const uint32_t tiles =
        (uint32_t)(sl_div_up(n_out, variant->tile_x) * sl_div_up(n_tokens, variant->tile_y));
    const uint32_t most = SL_MIN(groups_wanted(caps) / tiles, n_k / SPLIT_K_MIN);
    const uint32_t splits = splits_wanted ? SL_MIN(splits_wanted, most) : most;
    *out = (sl_skinny_plan){.variant = variant, .n_splits = 1};
    if (splits < 2) return;
    out->n_splits = splits;
    out->tiles = tiles;
    out->partial_bytes = (uint64_t)tiles * splits * variant->tile_x * variant->tile_y * sizeof(float);
}
