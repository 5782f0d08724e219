/* The mixture of experts of one layer. */
#include "runtime/step/builder_internal.h"

#include "hal/base/checked.h"
#include "shaders/matmul/matmul_decode.h"

static sl_status emit_experts(sl_builder *b, const char *label, sl_part part, sl_range x, bool per_slot,
                              sl_range y)
{
    const sl_model_tensor *t = sl_build_tensor(b, part);
    const sl_place *place = sl_build_place_of(b, t);
    const uint32_t n_tokens = b->shape->n_tokens, n_used = b->h->n_used;
    const uint32_t x_stride = per_slot ? t->n_k * n_used : t->n_k;
    const struct sl_push_moe_matvec push = {
        .w = place->home == SL_HOME_DEVICE ? sl_build_resident(b, t) : sl_build_streamed(b, place->piece),
        .x = x.begin,
        .y = y.begin,
        .ids = b->l->work.route_ids.begin,
        .n_out = (uint32_t)t->n_out,
        .n_k = t->n_k,
        .n_used = n_used,
        .n_tokens = n_tokens,
        .n_experts = b->h->n_experts,
        .x_stride = x_stride,
        .x_per_slot = per_slot,
        .row_bytes = t->row_bytes,
        .weight_type = (uint32_t)t->file->type,
    };
    sl_phase *p;
    sl_status st =
        sl_build_phase(b, label, SL_K_moe_matvec, (uint32_t)t->file->type, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(x, n_tokens, x_stride));
    sl_phase_reads(p, b->l->work.route_ids);
    sl_phase_writes(p, sl_build_rows_of(y, (uint64_t)n_tokens * n_used, t->n_out));
    p->weight_bytes =
        (uint64_t)SL_MIN((uint64_t)n_tokens * n_used, b->h->n_experts) * t->n_out * t->row_bytes;
    p->flops = 2ull * n_tokens * n_used * t->n_out * t->n_k;
    return SL_OK;
}

sl_status sl_emit_route(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const struct sl_push_moe_route push = {
        .logits = w->router.begin,
        .ids = w->route_ids.begin,
        .weights = w->route_weights.begin,
        .n_experts = b->h->n_experts,
        .n_used = b->h->n_used,
        .n_tokens = b->shape->n_tokens,
        .logits_stride = b->h->n_experts,
        .normalize = b->m->arch->normalize_experts,
        .scale = b->h->expert_scale,
    };
    sl_phase *p;
    sl_status st = sl_build_phase(b, "moe_route", SL_K_moe_route, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, w->router);
    sl_phase_writes(p, w->route_ids);
    sl_phase_writes(p, w->route_weights);
    return SL_OK;
}

static sl_status emit_moe_combine(sl_builder *b, sl_range y, bool add)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t n_tokens = b->shape->n_tokens, n = b->h->n_embd;
    const struct sl_push_moe_combine push = {
        .x = w->expert_out.begin,
        .weights = w->route_weights.begin,
        .add = add ? y.begin : 0,
        .y = y.begin,
        .n = n,
        .n_used = b->h->n_used,
        .n_tokens = n_tokens,
        .y_stride = n,
    };
    sl_phase *p;
    sl_status st = sl_build_phase(b, "moe_combine", SL_K_moe_combine, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, w->expert_out);
    sl_phase_reads(p, w->route_weights);
    sl_phase_writes(p, sl_build_rows_of(y, n_tokens, n));
    if (add) sl_phase_reads(p, sl_build_rows_of(y, n_tokens, n));
    return SL_OK;
}

/* ---- many tokens: the items of an expert as columns of one product ---- */

/* Columns that tiles should hold: most experts have no more than twice the mean. */
static uint32_t columns_wanted(const sl_builder *b)
{
    return 2 * b->shape->n_tokens * b->h->n_used / b->h->n_experts;
}

static const sl_variant *grouped_variant(const sl_builder *b, sl_part part)
{
    const sl_device_caps *caps = sl_kernel_set_caps(b->kernels);
    const uint32_t type = (uint32_t)sl_build_tensor(b, part)->file->type;
    return sl_build_decoding(b, b->shape->n_tokens)
               ? sl_decode_moe_variant(caps, type)
               : sl_skinny_variant(caps, SL_K_moe_matmul, type, columns_wanted(b));
}

static sl_status emit_group(sl_builder *b, uint32_t tile)
{
    const sl_workspace *w = &b->l->work;
    const struct sl_push_moe_group push = {
        .ids = w->route_ids.begin,
        .items = w->moe_items.begin,
        .tiles = w->moe_tiles.begin,
        .n_experts = b->h->n_experts,
        .n_items = b->shape->n_tokens * b->h->n_used,
        .tile = tile,
    };
    sl_phase *p;
    sl_status st = sl_build_phase(b, "moe_group", SL_K_moe_group, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, w->route_ids);
    sl_phase_writes(p, w->moe_items);
    sl_phase_writes(p, w->moe_tiles);
    return SL_OK;
}

/* x: rows of f16, of a token each or, per_slot, of an item. */
static sl_status emit_grouped(sl_builder *b, const char *label, sl_part part, sl_range x, bool per_slot,
                              sl_range y)
{
    const sl_workspace *w = &b->l->work;
    const sl_model_tensor *t = sl_build_tensor(b, part);
    const sl_place *place = sl_build_place_of(b, t);
    const sl_variant *variant = grouped_variant(b, part);
    const uint32_t n_items = b->shape->n_tokens * b->h->n_used;
    const struct sl_push_moe_matmul push = {
        .w = place->home == SL_HOME_DEVICE ? sl_build_resident(b, t) : sl_build_streamed(b, place->piece),
        .x = x.begin,
        .y = y.begin,
        .items = w->moe_items.begin,
        .tiles = w->moe_tiles.begin,
        .n_out = (uint32_t)t->n_out,
        .n_k = t->n_k,
        .n_used = b->h->n_used,
        .n_tiles = SL_MOE_TILES(b->h->n_experts, n_items, variant->tile_y),
        .x_stride = t->n_k,
        .x_per_slot = per_slot,
        .row_bytes = t->row_bytes,
        .weight_type = (uint32_t)t->file->type,
    };
    uint32_t spec[SL_DECODE_SPECS];
    const uint32_t spec_count = sl_decode_moe_spec(&push, variant, spec);
    sl_phase *p;
    sl_status st = sl_build_variant(b, label, variant, spec, spec_count, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(x, per_slot ? n_items : b->shape->n_tokens, t->n_k));
    sl_phase_reads(p, w->moe_items);
    sl_phase_reads(p, w->moe_tiles);
    sl_phase_writes(p, sl_build_rows_of(y, n_items, t->n_out));
    p->weight_bytes = (uint64_t)SL_MIN(n_items, b->h->n_experts) * t->n_out * t->row_bytes;
    p->flops = 2ull * n_items * t->n_out * t->n_k;
    return SL_OK;
}

static sl_status emit_grouped_experts(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t t = b->shape->n_tokens;
    sl_status st;
    SL_TRY(emit_group(b, grouped_variant(b, SL_PART_GATE_EXPERTS)->tile_y));
    SL_TRY(sl_emit_halves(b, w->h, t, b->h->n_embd));
    SL_TRY(emit_grouped(b, "moe_gate", SL_PART_GATE_EXPERTS, w->halves, false, w->gate));
    SL_TRY(emit_grouped(b, "moe_up", SL_PART_UP_EXPERTS, w->halves, false, w->up));
    SL_TRY(sl_emit_act_mul(b, (uint64_t)t * b->h->n_used, b->h->n_expert_ff, SL_ROWS_F16));
    SL_TRY(emit_grouped(b, "moe_down", SL_PART_DOWN_EXPERTS, w->act, true, w->expert_out));
cleanup:
    return st;
}

/* One tile size for the three products: the lists are made once. */
static bool groups_experts(const sl_builder *b)
{
    if (b->shape->n_tokens <= SL_MATVEC_COLUMNS_MAX || !b->l->limits.few_arrived) return false;
    const sl_variant *gate = grouped_variant(b, SL_PART_GATE_EXPERTS),
                     *up = grouped_variant(b, SL_PART_UP_EXPERTS);
    const sl_variant *down = grouped_variant(b, SL_PART_DOWN_EXPERTS);
    return gate && up && down && gate->tile_y == up->tile_y && gate->tile_y == down->tile_y;
}

static sl_status emit_experts_one_by_one(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint64_t rows = (uint64_t)b->shape->n_tokens * b->h->n_used;
    sl_status st;
    SL_TRY(emit_experts(b, "moe_gate", SL_PART_GATE_EXPERTS, w->h, false, w->gate));
    SL_TRY(emit_experts(b, "moe_up", SL_PART_UP_EXPERTS, w->h, false, w->up));
    SL_TRY(sl_emit_act_mul(b, rows, b->h->n_expert_ff, SL_ROWS_F32));
    SL_TRY(emit_experts(b, "moe_down", SL_PART_DOWN_EXPERTS, w->gate, true, w->expert_out));
cleanup:
    return st;
}

sl_status sl_emit_moe(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t t = b->shape->n_tokens;
    sl_status st;
    SL_TRY(sl_emit_product(
        b, &(sl_product){"moe_router", sl_build_tensor(b, SL_PART_ROUTER), w->h, w->router, t, false},
        SL_ROWS_F32));
    SL_TRY(sl_emit_route(b));
    SL_TRY(groups_experts(b) ? emit_grouped_experts(b) : emit_experts_one_by_one(b));
    SL_TRY(emit_moe_combine(b, sl_build_half_block_target(b), !b->m->arch->post_norms));
cleanup:
    return st;
}
