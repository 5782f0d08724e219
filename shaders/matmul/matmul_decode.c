/* C side, grid, plan and constants of matmul_decode. What it computes is what matmul_skinny computes. */
#include "shaders/matmul/matmul_decode.h"

#include "hal/base/checked.h"

#define UNITS_ASSUMED 32u
#define DEPTH         64u /* weights a step takes, or a block where that is more: STEP in matmul_decode.comp */
#define SPLIT_K_MIN   512u
#define SPLITS_MAX    8u
#define ROWS_MIN      128u /* of a tile: k is cut sooner; narrower ones are there to be measured */
/* Partial sums a compute unit: of a tile of 128 rows and 128 tokens. */
#define UNIT_BYTES (128ull * 128 * sizeof(float))

void sl_host_matmul_decode(const sl_kernel_task *task)
{
    sl_host_matmul_skinny(task);
}

SL_GRID_LIKE(matmul_decode, matmul_skinny)

bool sl_decode_can(const sl_device_caps *caps)
{
    static const uint32_t types[] = {
#define X(NAME, name, number, weights, bytes) number,
        SL_WEIGHT_TYPES(X)
#undef X
    };
    for (size_t i = 0; i < SL_COUNTOF(types); i++)
        if (!sl_variant_select(SL_K_matmul_decode, types[i], caps)) return false;
    return true;
}

static uint32_t units_of(const sl_device_caps *caps)
{
    return caps->compute_units ? caps->compute_units : UNITS_ASSUMED;
}

static uint32_t step_of(uint32_t weight_type)
{
    uint32_t weights = 1, bytes = 0;
    sl_weight_block(weight_type, &weights, &bytes);
    return SL_MAX(weights, DEPTH);
}

void sl_decode_spec(const struct sl_push_matmul_skinny *push, const sl_variant *variant,
                    uint32_t spec[SL_DECODE_SPECS])
{
    const bool whole_k = push->n_k % (step_of(push->weight_type) * push->n_splits) == 0;
    const bool whole_x = push->n_tokens % variant->tile_y == 0, whole_w = push->n_out % variant->tile_x == 0;
    spec[0] = push->n_out;
    spec[1] = push->n_k;
    spec[2] = push->x_stride;
    spec[3] = push->y_stride;
    spec[4] = push->n_splits;
    spec[5] = !whole_k;
    spec[6] = !(whole_w && whole_k);
    spec[7] = !(whole_x && whole_w);
}

static uint64_t tiles_of(const sl_variant *v, uint32_t n_out, uint32_t n_tokens)
{
    return sl_div_up(n_out, v->tile_x) * sl_div_up(n_tokens, v->tile_y);
}

/* Of the tiles that hold the tokens at once, or else are the highest, the widest that still give every
 * compute unit one; the narrowest where none does. */
const sl_variant *sl_decode_select(const sl_device_caps *caps, uint32_t weight_type, uint32_t n_out,
                                   uint32_t n_k, uint32_t n_tokens)
{
    const uint32_t units = units_of(caps);
    const sl_variant *best = sl_skinny_variant(caps, SL_K_matmul_decode, weight_type, n_k, n_tokens);
    const uint32_t tile_y = best ? best->tile_y : 0;
    for (size_t i = 0; best && i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        if (v->kernel != SL_K_matmul_decode || v->key != weight_type || v->tile_y != tile_y ||
            v->tile_x == best->tile_x || v->tile_x < ROWS_MIN || !sl_variant_usable(v, caps, NULL))
            continue;
        const bool fills = tiles_of(v, n_out, n_tokens) >= units;
        const bool best_fills = tiles_of(best, n_out, n_tokens) >= units;
        if (v->tile_x > best->tile_x ? fills : !best_fills) best = v;
    }
    return best;
}

static uint64_t tile_bytes(const sl_variant *v)
{
    return (uint64_t)v->tile_x * v->tile_y * sizeof(float);
}

void sl_decode_room(const sl_device_caps *caps, uint64_t *out_partial_bytes, uint32_t *out_tiles)
{
    const uint32_t units = sl_decode_can(caps) ? units_of(caps) : 0;
    *out_partial_bytes = units * UNIT_BYTES;
    *out_tiles = units; /* of half of UNIT_BYTES, in two parts */
}

/* Parts of k, all of one length: as many as wanted, or the most with which no compute unit has two tiles. */
static uint32_t splits_for(const sl_variant *v, uint32_t splits_wanted, uint32_t n_k, uint64_t tiles,
                           uint32_t units)
{
    const uint32_t steps = n_k / step_of(v->key);
    const uint64_t room = units * UNIT_BYTES / (tiles * tile_bytes(v));
    const uint64_t own = SL_MIN(units / tiles, SPLITS_MAX), wanted = splits_wanted ? splits_wanted : own;
    uint32_t splits = (uint32_t)SL_MIN(SL_MIN(wanted, room), n_k / SPLIT_K_MIN);
    while (splits > 1 && steps % splits)
        splits--;
    return SL_MAX(splits, 1u);
}

void sl_decode_plan_make(const sl_device_caps *caps, const sl_variant *variant, uint32_t splits_wanted,
                         uint32_t n_out, uint32_t n_k, uint32_t n_tokens, sl_skinny_plan *out)
{
    const uint64_t tiles = tiles_of(variant, n_out, n_tokens);
    *out = (sl_skinny_plan){.variant = variant,
                            .n_splits = splits_for(variant, splits_wanted, n_k, tiles, units_of(caps))};
    if (out->n_splits < 2) return;
    out->tiles = (uint32_t)tiles;
    out->partial_bytes = tiles * out->n_splits * tile_bytes(variant);
}
