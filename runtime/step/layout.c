#include "runtime/step/layout.h"

#include "hal/base/checked.h"
#include "shaders/matmul/matmul_decode.h"
#include "shaders/tuning.h"

static uint64_t place(sl_range *range, uint64_t at, uint64_t elements, uint64_t element_bytes)
{
    *range = (sl_range){at, at + elements * element_bytes};
    return sl_align_up(range->end, 256);
}

/* Most columns of a product that reads rows of F16 and that the device has a kernel for; 0: it has none. */
static uint32_t half_columns(const sl_device_caps *caps)
{
    uint32_t most = 0;
    for (uint32_t rung = 0; rung < SL_RUNG_COUNT; rung++)
        if (sl_products[rung].rows == SL_ROWS_F16 &&
            sl_variant_select(sl_products[rung].kernel, SL_WEIGHT_F16, caps))
            most = SL_MAX(most, sl_products[rung].columns_max);
    return most;
}

static bool groups_experts(const sl_model *model, const sl_device_caps *caps)
{
    static const sl_part parts[] = {SL_PART_GATE_EXPERTS, SL_PART_UP_EXPERTS, SL_PART_DOWN_EXPERTS};
    for (uint32_t i = 0; model->arch->moe && i < SL_COUNTOF(parts); i++) {
        const sl_model_tensor *t = sl_model_find(model, parts[i], 0);
        if (!t || !sl_variant_select(SL_K_moe_matmul, (uint32_t)t->file->type, caps)) return false;
    }
    return model->arch->moe;
}

/* For products in parts of k, of either kernel. */
static void make_room(sl_limits *limits, const sl_device_caps *caps)
{
    uint64_t bytes;
    uint32_t tiles;
    sl_skinny_room(caps, &limits->few_partial_bytes, &limits->few_arrived);
    if (!limits->few_arrived) return;
    sl_decode_room(caps, &bytes, &tiles);
    limits->few_partial_bytes = SL_MAX(limits->few_partial_bytes, bytes);
    limits->few_arrived = SL_MAX(limits->few_arrived, tiles);
}

void sl_limits_few_columns(sl_limits *limits, const sl_model *model, const sl_device_caps *caps, bool on_cpus)
{
    const sl_hparams *h = &model->h;
    limits->half_columns = limits->half_tile = limits->few_arrived = 0;
    limits->few_partial_bytes = 0;
    limits->experts_grouped = false;
    /* What the kernels that make rows of f16 ask for. */
    const bool rows_fit = h->n_embd % 32 == 0 && h->n_ff % 32 == 0 && h->n_expert_ff % 32 == 0 &&
                          h->n_heads * h->head_dim % 32 == 0;
    const bool cpu = sl_caps_have(caps, SL_CAP_HOST_FN) || sl_caps_have(caps, SL_CAP_SCALAR_LOADS);
    if (!rows_fit || (cpu && !on_cpus)) return;
    limits->half_columns = half_columns(caps);
    limits->half_tile = sl_decode_can(caps) ? SL_DECODE_TILE_TOKENS : 1;
    limits->experts_grouped = groups_experts(model, caps);
    make_room(limits, caps);
}

/* Sizes are products of figures that hparams.c has bounded: they fit 64 bits. */
uint64_t sl_workspace_lay_out(const sl_model *model, const sl_limits *limits, uint64_t base, sl_workspace *w)
{
    const sl_hparams *h = &model->h;
    const uint64_t t = limits->tokens, o = limits->outputs, q = (uint64_t)h->n_heads * h->head_dim;
    const uint64_t kv = (uint64_t)h->n_kv_heads * h->head_dim;
    const uint64_t ff = SL_MAX(h->n_ff, (uint64_t)h->n_used * h->n_expert_ff);
    /* Rows that products may read as F16: whole tiles of them. */
    const uint64_t tile = SL_MAX(limits->half_tile, 1), tiled = sl_align_up(t, tile);
    uint64_t at = base;
    at = place(&w->x, at, t * h->n_embd, 4);
    at = place(&w->h, at, tiled * h->n_embd, 4);
    at = place(&w->t, at, model->arch->post_norms ? t * h->n_embd : 0, 4);
    at = place(&w->q, at, t * q, 4);
    at = place(&w->k, at, t * kv, 4);
    at = place(&w->v, at, t * kv, 4);
    at = place(&w->attention, at, tiled * q, 4);
    /* A step of n tokens has splits / n of them, so that the product never exceeds `splits`. attention_step
     * takes more than 8 heads by parts, which are partial results even with one split. */
    const uint64_t parts = h->n_heads / h->n_kv_heads > 8 ? SL_MAX(limits->splits, t) : limits->splits;
    at = place(&w->partial, at, parts * h->n_heads * (h->head_dim + 4u), 4);
    at = place(&w->arrivals, at, t * h->n_kv_heads, 4);
    at = place(&w->turns, at, t * h->rot_dim, 4);
    at = place(&w->window_turns, at, h->window_tokens ? t * h->rot_dim : 0, 4);
    at = place(&w->gate, at, t * ff, 4);
    at = place(&w->up, at, t * SL_MAX(ff, h->n_embd), 4); /* or normed rows of x */
    const bool gemm = limits->gemm_format != SL_ROWS_F32;
    /* An element takes 2 bytes at most, and so a row of 16 and more elements with its scale, too. */
    at = place(&w->operand, at, gemm ? t * SL_MAX(SL_MAX(q, h->n_embd), h->n_ff) : 0, 2);
    const bool halves = limits->half_columns || limits->experts_grouped;
    at = place(&w->act, at, halves ? tiled * ff : gemm ? t * h->n_ff : 0, 2);
    at = place(&w->decoded_even, at, limits->decoded_bytes[0], 1);
    at = place(&w->decoded_odd, at, limits->decoded_bytes[1], 1);
    at = place(&w->router, at, t * h->n_experts, 4);
    at = place(&w->route_ids, at, t * h->n_used, 4);
    at = place(&w->route_weights, at, t * h->n_used, 4);
    at = place(&w->expert_out, at, t * h->n_used * h->n_embd, 4);
    const uint64_t items = limits->experts_grouped ? t * h->n_used : 0;
    at = place(&w->moe_items, at, items, 4);
    at = place(&w->moe_tiles, at, items ? SL_MOE_TILES(h->n_experts, items, SL_MOE_TILE_MIN) : 0,
               sizeof(struct sl_moe_tile));
    /* Of experts, rows of any number of tokens. */
    const uint64_t few = h->n_experts ? t : SL_MIN(t, limits->half_columns);
    at = place(&w->halves, at, halves ? sl_align_up(few, tile) * SL_MAX(q, h->n_embd) : 0, 2);
    at = place(&w->few_partial, at, SL_FEW_AT_ONCE * limits->few_partial_bytes, 1);
    at = place(&w->few_arrived, at, SL_FEW_AT_ONCE * (uint64_t)limits->few_arrived, 4);
    at = place(&w->out_x, at, o * h->n_embd, 4);
    at = place(&w->out_h, at, sl_align_up(o, tile) * h->n_embd, 4);
    at = place(&w->logits, at, o * h->n_vocab, 4);
    at = place(&w->topk_ids, at, o * SL_TOPK_MAX, 4);
    at = place(&w->topk_values, at, o * SL_TOPK_MAX, 4);
    at = place(&w->topk_lse, at, o, 4);
    at = place(&w->topk_scratch, at, o, SL_TOPK_SCRATCH_BYTES);
    at = place(&w->next, at, o, 4);
    return at;
}

uint64_t sl_batch_lay_out(const sl_model *model, const sl_limits *limits, bool host_embeddings, uint64_t base,
                          sl_batch *b)
{
    const uint64_t t = limits->tokens, o = limits->outputs;
    uint64_t at = base;
    at = place(&b->tokens, at, t, 4);
    at = place(&b->positions, at, t, 4);
    at = place(&b->sequences, at, t, 4);
    at = place(&b->rows, at, t, 4);
    at = place(&b->embeddings, at, host_embeddings ? t * model->h.n_embd : 0, 4);
    at = place(&b->out_index, at, o, 4);
    at = place(&b->block_table, at, (uint64_t)limits->sessions * limits->pages_per_session, 4);
    at = place(&b->sample_params, at, o, sizeof(struct sl_sample_params));
    at = place(&b->penalty_params, at, o, sizeof(struct sl_penalty_params));
    at = place(&b->penalty_entries, at, o * SL_PENALTY_ENTRIES_MAX, 8);
    return at;
}
