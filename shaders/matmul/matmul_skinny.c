/* C side, grid and plan of matmul_skinny. */
#include "shaders/matmul/skinny.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "shaders/matmul/fused_host.h"
#include "shaders/matmul/row_products.h"
#include "shaders/rows_out.h"

/* Workgroups a compute unit that hide the latency of each other, and weights that one should have at least.
 */
#define GROUPS_PER_UNIT 4u
#define SPLIT_K_MIN     256u
#define UNITS_ASSUMED   32u

/* Rows begin .. end - 1 that one thread makes, at all of which it works for one token after another. */
typedef struct share {
    uint64_t begin, end;
    float *x; /* a token's activations */
} share;

static bool share_begin(const sl_kernel_task *task, share *s)
{
    const struct sl_push_matmul_skinny *p = task->push;
    sl_task_share(task, sl_div_up(p->n_out, SL_ROW_GROUP), &s->begin, &s->end);
    s->begin *= SL_ROW_GROUP;
    s->end = SL_MIN(s->end * SL_ROW_GROUP, p->n_out);
    s->x = sl_calloc(p->n_k, sizeof *s->x);
    return s->x;
}

static void load_token(const struct sl_push_matmul_skinny *p, uint32_t token, float *x)
{
    const uint8_t *row =
        (const uint8_t *)sl_host(p->x) + sl_rows_bytes(SL_ROWS_F16, (uint64_t)token * p->x_stride);
    for (uint32_t k = 0; k < p->n_k; k++)
        x[k] = sl_rows_get(SL_ROWS_F16, row, p->n_k, k);
}

void sl_host_matmul_skinny(const sl_kernel_task *task)
{
    const struct sl_push_matmul_skinny *p = task->push;
    share s;
    if (!share_begin(task, &s)) return;
    for (uint32_t t = 0; t < p->n_tokens; t++) {
        load_token(p, t, s.x);
        const uint64_t row = (uint64_t)t * p->y_stride;
        const sl_row_products job = {
            .type = p->weight_type,
            .w = sl_host(p->w),
            .row_bytes = p->row_bytes,
            .x = s.x,
            .bias = sl_host(p->bias),
            .add = p->add ? (const float *)sl_host(p->add) + row : NULL,
            .y = (float *)sl_host(p->y) + row,
            .n_k = p->n_k,
            .n_tokens = 1,
        };
        sl_row_products_run(&job, s.begin, s.end);
    }
    sl_free(s.x);
}

void sl_host_matmul_skinny_gated(const sl_kernel_task *task)
{
    const struct sl_push_matmul_skinny *p = task->push;
    share s;
    float *sums[2] = {sl_calloc(p->n_out, sizeof(float)), sl_calloc(p->n_out, sizeof(float))};
    if (!share_begin(task, &s) || !sums[0] || !sums[1]) goto cleanup;
    for (uint32_t t = 0; t < p->n_tokens; t++) {
        load_token(p, t, s.x);
        for (uint32_t m = 0; m < 2; m++) {
            const sl_row_products job = {
                .type = p->weight_type,
                .w = sl_host(m ? p->w2 : p->w),
                .row_bytes = p->row_bytes,
                .x = s.x,
                .y = sums[m],
                .n_k = p->n_k,
                .n_tokens = 1,
            };
            sl_row_products_run(&job, s.begin, s.end);
        }
        uint8_t *y = (uint8_t *)sl_host(p->y) + sl_rows_bytes(SL_ROWS_F16, (uint64_t)t * p->y_stride);
        for (uint64_t r = s.begin; r < s.end; r++) {
            const float v = sl_fused_activation(p->act, sums[0][r], sums[1][r]);
            sl_rows_put(SL_ROWS_F16, y, p->n_out, (uint32_t)r, 1, &v);
        }
    }
cleanup:
    sl_free(s.x);
    sl_free(sums[0]);
    sl_free(sums[1]);
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

SL_GRID_LIKE(matmul_skinny_gated, matmul_skinny)

static uint32_t groups_wanted(const sl_device_caps *caps)
{
    return GROUPS_PER_UNIT * (caps->compute_units ? caps->compute_units : UNITS_ASSUMED);
}

bool sl_skinny_takes(const sl_variant *variant, uint32_t n_k)
{
    const bool registers = variant->needs & (SL_CAP_MATRIX_FRAGMENTS | SL_CAP_SCALAR_LOADS); /* or emulated */
    return !registers || n_k % SL_SKINNY_BLOCK == 0;
}

const sl_variant *sl_skinny_variant(const sl_device_caps *caps, sl_kernel_id kernel, uint32_t weight_type,
                                    uint32_t n_k, uint32_t columns)
{
    const sl_variant *best = NULL;
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        if (v->kernel != kernel || v->key != weight_type || !sl_variant_usable(v, caps, NULL)) continue;
        if (!sl_skinny_takes(v, n_k)) continue;
        if (best && best->matrix && !v->matrix) continue;
        const bool holds = v->tile_y >= columns;
        if (!best || (best->tile_y < columns ? v->tile_y > best->tile_y : holds && v->tile_y < best->tile_y))
            best = v;
    }
    return best;
}

/* Bytes of the sums of a tile. */
static uint64_t tile_bytes(const sl_variant *v)
{
    const uint32_t matrices = v->kernel == SL_K_matmul_skinny_gated ? 2 : 1;
    return (uint64_t)matrices * v->tile_x * v->tile_y * sizeof(float);
}

void sl_skinny_room(const sl_device_caps *caps, uint64_t *out_partial_bytes, uint32_t *out_tiles)
{
    static const uint32_t types[] = {
#define X(NAME, name, number, weights, bytes) number,
        SL_WEIGHT_TYPES(X)
#undef X
    };
    *out_partial_bytes = *out_tiles = 0;
    for (size_t i = 0; i < SL_COUNTOF(types); i++) {
        const sl_variant *v = sl_skinny_variant(caps, SL_K_matmul_skinny, types[i], 1, 1);
        if (!v || !v->matrix) return; /* emulated matrices are there to be tested, not to be used */
    }
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        if (v->kernel != SL_K_matmul_skinny && v->kernel != SL_K_matmul_skinny_gated) continue;
        if (sl_variant_usable(v, caps, NULL))
            *out_partial_bytes = SL_MAX(*out_partial_bytes, groups_wanted(caps) * tile_bytes(v));
    }
    *out_tiles = groups_wanted(caps) / 2; /* fewer than two parts are none */
}

/* Splits whose partial sums, written and read, are as many bytes as the weights: with many columns they would
 * else be most of the traffic. */
static uint32_t splits_worthwhile(uint32_t weight_type, uint32_t n_k, uint32_t tile_y)
{
    uint32_t weights = 1, bytes = 1;
    sl_weight_block(weight_type, &weights, &bytes);
    return (uint32_t)((uint64_t)n_k * bytes / weights / (2 * sizeof(float) * tile_y));
}

void sl_skinny_plan_make(const sl_device_caps *caps, const sl_variant *variant, uint32_t splits_wanted,
                         uint32_t n_out, uint32_t n_k, uint32_t n_tokens, sl_skinny_plan *out)
{
    const uint32_t tiles =
        (uint32_t)(sl_div_up(n_out, variant->tile_x) * sl_div_up(n_tokens, variant->tile_y));
    const uint32_t most = SL_MIN(groups_wanted(caps) / tiles, n_k / SPLIT_K_MIN);
    const uint32_t splits =
        SL_MIN(most, splits_wanted ? splits_wanted : splits_worthwhile(variant->key, n_k, variant->tile_y));
    *out = (sl_skinny_plan){.variant = variant, .n_splits = 1};
    if (splits < 2) return;
    out->n_splits = splits;
    out->tiles = tiles;
    out->partial_bytes = (uint64_t)tiles * splits * tile_bytes(variant);
}
