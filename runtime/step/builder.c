/* The transformer, written once. Each emit_* function appends the phases of one operation; what differs
 * between families is read from sl_arch and sl_hparams. Operations that do not depend on each other stand
 * next to each other, so that the recorder finds no reason for a barrier between them. */
#include "runtime/step/builder.h"

#include "hal/base/checked.h"

#include <string.h>

typedef struct builder {
    const sl_layout *l;
    const sl_model *m;
    const sl_hparams *h;
    sl_kernel_set *kernels;
    const sl_shape *shape;
    sl_step *step;
    sl_diag *diag;
    uint32_t layer; /* current, or SL_NO_LAYER */
    uint32_t stage; /* latest stage of streamed weights that was needed */
} builder;

/* ---- phases ---- */

static sl_status add_phase(builder *b, const char *label, sl_kernel_id id, uint32_t key, const uint32_t *spec,
                           uint32_t spec_count, const void *push, size_t push_bytes, sl_phase **out)
{
    const sl_bound_kernel *kernel;
    sl_status st = sl_kernel_set_get(b->kernels, id, key, spec, spec_count, &kernel, b->diag);
    if (st != SL_OK) return st;
    sl_phase *p = sl_step_add(b->step);
    if (!p) return sl_fail(b->diag, SL_ERR_NO_MEMORY, "pass: list of phases");
    p->kernel = kernel;
    p->label = label;
    p->layer = b->layer;
    p->stage = b->stage;
    memcpy(p->push, push, push_bytes);
    *out = p;
    return SL_OK;
}

/* A part of the range: `rows` rows of `row_elements` 4-byte elements. */
static sl_range rows_of(sl_range whole, uint64_t rows, uint64_t row_elements)
{
    return (sl_range){whole.begin, SL_MIN(whole.end, whole.begin + rows * row_elements * 4)};
}

static const sl_model_tensor *tensor(const builder *b, sl_part part)
{
    return sl_model_find(b->m, part, b->layer);
}

static const sl_place *place_of(const builder *b, const sl_model_tensor *t)
{
    return &b->l->plan->places[sl_model_index(b->m, t)];
}

/* Address of a tensor that is resident whole. */
static uint64_t resident(const builder *b, const sl_model_tensor *t)
{
    const sl_place *p = place_of(b, t);
    return b->l->block_addresses[p->block] + p->offset;
}

/* Address of a piece in the ring; from here on the pass needs its stage. */
static uint64_t streamed(builder *b, uint32_t piece)
{
    const sl_plan *plan = b->l->plan;
    while (b->stage == 0 ||
           piece >= plan->stages[b->stage - 1].piece + plan->stages[b->stage - 1].piece_count)
        b->stage++;
    return b->l->ring_address + plan->pieces[piece].device_offset;
}

/* ---- operations ---- */

typedef struct product {
    const char *label;
    const sl_model_tensor *w;
    sl_range x, y;
    uint32_t n_tokens;
    bool add; /* y += */
} product;

static sl_status emit_product_rows(builder *b, const product *o, uint64_t w, uint32_t row, uint32_t rows)
{
    const sl_model_tensor *t = o->w;
    const struct sl_push_matmul push = {
        .w = w,
        .x = o->x.begin,
        .y = o->y.begin + (uint64_t)row * 4,
        .add = o->add ? o->y.begin + (uint64_t)row * 4 : 0,
        .n_out = rows,
        .n_k = t->n_k,
        .n_tokens = o->n_tokens,
        .x_stride = t->n_k,
        .y_stride = (uint32_t)t->n_out,
        .row_bytes = t->row_bytes,
        .weight_type = (uint32_t)t->file->type,
    };
    const bool few = o->n_tokens <= SL_MATVEC_COLUMNS_MAX;
    sl_phase *p;
    sl_status st = add_phase(b, o->label, few ? SL_K_matvec : SL_K_matmul, (uint32_t)t->file->type,
                             &o->n_tokens, few, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, rows_of(o->x, o->n_tokens, t->n_k));
    const sl_range y = {o->y.begin + (uint64_t)row * 4,
                        o->y.begin + ((uint64_t)(o->n_tokens - 1) * t->n_out + row + rows) * 4};
    sl_phase_writes(p, y);
    if (o->add) sl_phase_reads(p, y);
    p->weight_bytes = (uint64_t)rows * t->row_bytes;
    p->flops = 2ull * rows * t->n_k * o->n_tokens;
    return SL_OK;
}

static sl_status emit_product(builder *b, const product *o)
{
    const sl_place *place = place_of(b, o->w);
    if (place->home == SL_HOME_DEVICE)
        return emit_product_rows(b, o, resident(b, o->w), 0, (uint32_t)o->w->n_out);
    for (uint32_t i = 0; i < place->piece_count; i++) {
        const sl_piece *piece = &b->l->plan->pieces[place->piece + i];
        sl_status st = emit_product_rows(b, o, streamed(b, place->piece + i), piece->row, piece->row_count);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

typedef struct norm {
    const char *label;
    const sl_model_tensor *weight;
    sl_range x, y;
    sl_range after; /* added to the result; empty: nothing */
    uint32_t n, rows;
} norm;

static sl_status emit_norm(builder *b, const norm *o)
{
    const bool after = o->after.end > o->after.begin;
    const struct sl_push_rms_norm push = {
        .x = o->x.begin,
        .weight = resident(b, o->weight),
        .after = after ? o->after.begin : 0,
        .y = o->y.begin,
        .n = o->n,
        .rows = o->rows,
        .x_stride = o->n,
        .y_stride = o->n,
        .eps = b->h->norm_eps,
    };
    sl_phase *p;
    sl_status st = add_phase(b, o->label, SL_K_rms_norm, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, rows_of(o->x, o->rows, o->n));
    if (after) sl_phase_reads(p, rows_of(o->after, o->rows, o->n));
    sl_phase_writes(p, rows_of(o->y, o->rows, o->n));
    return SL_OK;
}

static sl_status emit_embedding(builder *b)
{
    const sl_model_tensor *t = sl_model_find(b->m, SL_PART_EMBED, SL_NO_LAYER);
    const sl_workspace *w = &b->l->work;
    const uint32_t n = b->h->n_embd, n_tokens = b->shape->n_tokens;
    sl_phase *p;
    sl_status st;
    if (place_of(b, t)->home == SL_HOME_DEVICE) {
        const struct sl_push_embed push = {
            .table = resident(b, t),
            .tokens = b->l->batch.tokens.begin,
            .y = w->x.begin,
            .n_embd = n,
            .n_vocab = b->h->n_vocab,
            .n_tokens = n_tokens,
            .y_stride = n,
            .row_bytes = t->row_bytes,
            .weight_type = (uint32_t)t->file->type,
            .scale = b->h->embedding_scale,
        };
        st = add_phase(b, "embed", SL_K_embed, (uint32_t)t->file->type, NULL, 0, &push, sizeof push, &p);
    } else {
        const struct sl_push_copy_rows push = {
            .x = b->l->batch.embeddings.begin,
            .index = b->l->batch.rows.begin,
            .y = w->x.begin,
            .n = n,
            .rows = n_tokens,
            .x_stride = n,
            .y_stride = n,
        };
        st = add_phase(b, "embed_rows", SL_K_copy_rows, 0, NULL, 0, &push, sizeof push, &p);
    }
    if (st != SL_OK) return st;
    sl_phase_writes(p, rows_of(w->x, n_tokens, n));
    return SL_OK;
}

static sl_status emit_rope(builder *b, const char *label, sl_range x, uint32_t n_heads)
{
    const sl_model_tensor *factors = sl_model_find(b->m, SL_PART_ROPE_FACTORS, SL_NO_LAYER);
    const bool windowed = sl_model_windowed(b->m, b->layer);
    const sl_rope *rope = windowed ? &b->h->window_rope : &b->h->rope;
    const uint32_t stride = n_heads * b->h->head_dim;
    const struct sl_push_rope push = {
        .x = x.begin,
        .positions = b->l->batch.positions.begin,
        .factors = factors ? resident(b, factors) : 0,
        .n_heads = n_heads,
        .head_dim = b->h->head_dim,
        .rot_dim = b->h->rot_dim,
        .n_tokens = b->shape->n_tokens,
        .token_stride = stride,
        .mode = b->m->arch->rope_order == SL_ROPE_NEOX,
        .freq_base = rope->freq_base,
        .freq_scale = rope->freq_scale,
        .ext_factor = rope->ext_factor,
        .attn_factor = rope->attn_factor,
        .corr_low = rope->corr_low,
        .corr_high = rope->corr_high,
    };
    sl_phase *p;
    sl_status st = add_phase(b, label, SL_K_rope, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, rows_of(x, b->shape->n_tokens, stride));
    sl_phase_writes(p, rows_of(x, b->shape->n_tokens, stride));
    return SL_OK;
}

static sl_status emit_kv_store(builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t n_tokens = b->shape->n_tokens, stride = b->h->n_kv_heads * b->h->head_dim;
    const struct sl_push_kv_store push = {
        .k = w->k.begin,
        .v = w->v.begin,
        .k_cache = b->l->k_cache[b->layer].begin,
        .v_cache = b->l->v_cache[b->layer].begin,
        .block_table = b->l->batch.block_table.begin,
        .positions = b->l->batch.positions.begin,
        .sequences = b->l->batch.sequences.begin,
        .n_kv_heads = b->h->n_kv_heads,
        .head_dim = b->h->head_dim,
        .n_tokens = n_tokens,
        .k_stride = stride,
        .v_stride = stride,
        .table_stride = b->l->limits.pages_per_session,
    };
    sl_phase *p;
    sl_status st = add_phase(b, "kv_store", SL_K_kv_store, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, rows_of(w->k, n_tokens, stride));
    sl_phase_reads(p, rows_of(w->v, n_tokens, stride));
    sl_phase_writes(p, b->l->k_cache[b->layer]);
    sl_phase_writes(p, b->l->v_cache[b->layer]);
    return SL_OK;
}

/* Key splits of a decode step: enough workgroups for the device when tokens and heads are few. */
static uint32_t splits_for(const builder *b)
{
    return SL_MAX(1, b->l->limits.splits / b->shape->n_tokens);
}

static sl_status emit_combine(builder *b, uint32_t n_splits)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t n_tokens = b->shape->n_tokens, stride = b->h->n_heads * b->h->head_dim;
    const struct sl_push_attention_combine push = {
        .partial = w->partial.begin,
        .y = w->attention.begin,
        .n_heads = b->h->n_heads,
        .head_dim = b->h->head_dim,
        .n_tokens = n_tokens,
        .n_splits = n_splits,
        .y_stride = stride,
    };
    sl_phase *p;
    sl_status st =
        add_phase(b, "attention_combine", SL_K_attention_combine, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, w->partial);
    sl_phase_writes(p, rows_of(w->attention, n_tokens, stride));
    return SL_OK;
}

static sl_status emit_attention(builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t n_tokens = b->shape->n_tokens, stride = b->h->n_heads * b->h->head_dim;
    const uint32_t n_splits = b->shape->prefill ? 1 : splits_for(b);
    const struct sl_push_attention push = {
        .q = w->q.begin,
        .k_cache = b->l->k_cache[b->layer].begin,
        .v_cache = b->l->v_cache[b->layer].begin,
        .block_table = b->l->batch.block_table.begin,
        .positions = b->l->batch.positions.begin,
        .sequences = b->l->batch.sequences.begin,
        .y = w->attention.begin,
        .partial = w->partial.begin,
        .n_heads = b->h->n_heads,
        .n_kv_heads = b->h->n_kv_heads,
        .head_dim = b->h->head_dim,
        .n_tokens = n_tokens,
        .q_stride = stride,
        .y_stride = stride,
        .table_stride = b->l->limits.pages_per_session,
        .window = sl_model_windowed(b->m, b->layer) ? b->h->window_tokens : 0,
        .n_splits = n_splits,
        .scale = b->h->attention_scale,
    };
    sl_phase *p;
    sl_status st =
        add_phase(b, "attention", b->shape->prefill ? SL_K_attention_prefill : SL_K_attention_decode,
                  b->h->head_dim, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, rows_of(w->q, n_tokens, stride));
    sl_phase_reads(p, b->l->k_cache[b->layer]);
    sl_phase_reads(p, b->l->v_cache[b->layer]);
    sl_phase_writes(p, n_splits > 1 ? w->partial : rows_of(w->attention, n_tokens, stride));
    return n_splits > 1 ? emit_combine(b, n_splits) : SL_OK;
}

static sl_status emit_act_mul(builder *b, uint64_t rows, uint32_t n)
{
    const sl_workspace *w = &b->l->work;
    const struct sl_push_act_mul push = {
        .gate = w->gate.begin,
        .up = w->up.begin,
        .y = w->gate.begin,
        .n = n,
        .rows = (uint32_t)rows,
        .gate_stride = n,
        .up_stride = n,
        .y_stride = n,
        .act = b->m->arch->activation == SL_ACTIVATION_GELU ? SL_ACT_GELU : SL_ACT_SILU,
    };
    sl_phase *p;
    sl_status st = add_phase(b, "act_mul", SL_K_act_mul, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, rows_of(w->gate, rows, n));
    sl_phase_reads(p, rows_of(w->up, rows, n));
    sl_phase_writes(p, rows_of(w->gate, rows, n));
    return SL_OK;
}

static sl_status emit_experts(builder *b, const char *label, sl_part part, sl_range x, bool per_slot,
                              sl_range y)
{
    const sl_model_tensor *t = tensor(b, part);
    const sl_place *place = place_of(b, t);
    const uint32_t n_tokens = b->shape->n_tokens, n_used = b->h->n_used;
    const uint32_t x_stride = per_slot ? t->n_k * n_used : t->n_k;
    const struct sl_push_moe_matvec push = {
        .w = place->home == SL_HOME_DEVICE ? resident(b, t) : streamed(b, place->piece),
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
        add_phase(b, label, SL_K_moe_matvec, (uint32_t)t->file->type, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, rows_of(x, n_tokens, x_stride));
    sl_phase_reads(p, b->l->work.route_ids);
    sl_phase_writes(p, rows_of(y, (uint64_t)n_tokens * n_used, t->n_out));
    p->weight_bytes =
        (uint64_t)SL_MIN((uint64_t)n_tokens * n_used, b->h->n_experts) * t->n_out * t->row_bytes;
    p->flops = 2ull * n_tokens * n_used * t->n_out * t->n_k;
    return SL_OK;
}

static sl_status emit_route(builder *b)
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
    sl_status st = add_phase(b, "moe_route", SL_K_moe_route, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, w->router);
    sl_phase_writes(p, w->route_ids);
    sl_phase_writes(p, w->route_weights);
    return SL_OK;
}

static sl_status emit_moe_combine(builder *b, sl_range y, bool add)
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
    sl_status st = add_phase(b, "moe_combine", SL_K_moe_combine, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, w->expert_out);
    sl_phase_reads(p, w->route_weights);
    sl_phase_writes(p, rows_of(y, n_tokens, n));
    if (add) sl_phase_reads(p, rows_of(y, n_tokens, n));
    return SL_OK;
}

/* ---- blocks ---- */

/* Where a half block writes: straight onto the residual stream, or aside when a post norm comes between. */
static sl_range half_block_target(const builder *b)
{
    return b->m->arch->post_norms ? b->l->work.t : b->l->work.x;
}

static sl_status emit_post_norm(builder *b, const char *label, sl_part part)
{
    if (!b->m->arch->post_norms) return SL_OK;
    const sl_workspace *w = &b->l->work;
    return emit_norm(b, &(norm){label, tensor(b, part), w->t, w->x, w->x, b->h->n_embd, b->shape->n_tokens});
}

static sl_status emit_head_norms(builder *b)
{
    if (!b->m->arch->qk_norm) return SL_OK;
    const sl_workspace *w = &b->l->work;
    const uint32_t t = b->shape->n_tokens, d = b->h->head_dim;
    const sl_range none = {0, 0};
    sl_status st =
        emit_norm(b, &(norm){"q_norm", tensor(b, SL_PART_Q_NORM), w->q, w->q, none, d, t * b->h->n_heads});
    if (st != SL_OK) return st;
    return emit_norm(b,
                     &(norm){"k_norm", tensor(b, SL_PART_K_NORM), w->k, w->k, none, d, t * b->h->n_kv_heads});
}

static sl_status emit_attention_half(builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t t = b->shape->n_tokens;
    const sl_range none = {0, 0};
    sl_status st;
    SL_TRY(
        emit_norm(b, &(norm){"attn_norm", tensor(b, SL_PART_ATTN_NORM), w->x, w->h, none, b->h->n_embd, t}));
    SL_TRY(emit_product(b, &(product){"attn_q", tensor(b, SL_PART_Q), w->h, w->q, t, false}));
    SL_TRY(emit_product(b, &(product){"attn_k", tensor(b, SL_PART_K), w->h, w->k, t, false}));
    SL_TRY(emit_product(b, &(product){"attn_v", tensor(b, SL_PART_V), w->h, w->v, t, false}));
    SL_TRY(emit_head_norms(b));
    SL_TRY(emit_rope(b, "rope_q", w->q, b->h->n_heads));
    SL_TRY(emit_rope(b, "rope_k", w->k, b->h->n_kv_heads));
    SL_TRY(emit_kv_store(b));
    SL_TRY(emit_attention(b));
    SL_TRY(emit_product(b, &(product){"attn_output", tensor(b, SL_PART_O), w->attention, half_block_target(b),
                                      t, !b->m->arch->post_norms}));
    SL_TRY(emit_post_norm(b, "attn_post_norm", SL_PART_ATTN_POST_NORM));
cleanup:
    return st;
}

static sl_status emit_dense(builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t t = b->shape->n_tokens;
    sl_status st;
    SL_TRY(emit_product(b, &(product){"ffn_gate", tensor(b, SL_PART_GATE), w->h, w->gate, t, false}));
    SL_TRY(emit_product(b, &(product){"ffn_up", tensor(b, SL_PART_UP), w->h, w->up, t, false}));
    SL_TRY(emit_act_mul(b, t, b->h->n_ff));
    SL_TRY(emit_product(b, &(product){"ffn_down", tensor(b, SL_PART_DOWN), w->gate, half_block_target(b), t,
                                      !b->m->arch->post_norms}));
cleanup:
    return st;
}

static sl_status emit_moe(builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t t = b->shape->n_tokens;
    sl_status st;
    SL_TRY(emit_product(b, &(product){"moe_router", tensor(b, SL_PART_ROUTER), w->h, w->router, t, false}));
    SL_TRY(emit_route(b));
    SL_TRY(emit_experts(b, "moe_gate", SL_PART_GATE_EXPERTS, w->h, false, w->gate));
    SL_TRY(emit_experts(b, "moe_up", SL_PART_UP_EXPERTS, w->h, false, w->up));
    SL_TRY(emit_act_mul(b, (uint64_t)t * b->h->n_used, b->h->n_expert_ff));
    SL_TRY(emit_experts(b, "moe_down", SL_PART_DOWN_EXPERTS, w->gate, true, w->expert_out));
    SL_TRY(emit_moe_combine(b, half_block_target(b), !b->m->arch->post_norms));
cleanup:
    return st;
}

static sl_status emit_layer(builder *b)
{
    const sl_workspace *w = &b->l->work;
    const sl_range none = {0, 0};
    sl_status st;
    SL_TRY(emit_attention_half(b));
    SL_TRY(emit_norm(b, &(norm){"ffn_norm", tensor(b, SL_PART_FFN_NORM), w->x, w->h, none, b->h->n_embd,
                                b->shape->n_tokens}));
    SL_TRY(b->m->arch->moe ? emit_moe(b) : emit_dense(b));
    SL_TRY(emit_post_norm(b, "ffn_post_norm", SL_PART_FFN_POST_NORM));
cleanup:
    return st;
}

/* ---- from the last layer to a token ---- */

static sl_status emit_logits(builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t n = b->h->n_embd, rows = b->shape->n_outputs;
    const struct sl_push_copy_rows push = {
        .x = w->x.begin,
        .index = b->l->batch.out_index.begin,
        .y = w->out_x.begin,
        .n = n,
        .rows = rows,
        .x_stride = n,
        .y_stride = n,
    };
    const sl_range none = {0, 0};
    sl_phase *p;
    sl_status st;
    SL_TRY(add_phase(b, "out_rows", SL_K_copy_rows, 0, NULL, 0, &push, sizeof push, &p));
    sl_phase_reads(p, rows_of(w->x, b->shape->n_tokens, n));
    sl_phase_writes(p, rows_of(w->out_x, rows, n));
    SL_TRY(emit_norm(
        b, &(norm){"output_norm", tensor(b, SL_PART_OUTPUT_NORM), w->out_x, w->out_h, none, n, rows}));
    const sl_model_tensor *out = tensor(b, b->m->tied_output ? SL_PART_EMBED : SL_PART_OUTPUT);
    SL_TRY(emit_product(b, &(product){"output", out, w->out_h, w->logits, rows, false}));
cleanup:
    return st;
}

static sl_status emit_greedy(builder *b)
{
    const sl_workspace *w = &b->l->work;
    const struct sl_push_argmax push = {
        .x = w->logits.begin,
        .ids = w->next.begin,
        .n = b->h->n_vocab,
        .rows = b->shape->n_outputs,
        .x_stride = b->h->n_vocab,
    };
    sl_phase *p;
    sl_status st = add_phase(b, "argmax", SL_K_argmax, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, rows_of(w->logits, push.rows, push.n));
    sl_phase_writes(p, w->next);
    return SL_OK;
}

static sl_status emit_penalties(builder *b)
{
    const sl_workspace *w = &b->l->work;
    const struct sl_push_penalize push = {
        .logits = w->logits.begin,
        .entries = b->l->batch.penalty_entries.begin,
        .params = b->l->batch.penalty_params.begin,
        .n_vocab = b->h->n_vocab,
        .rows = b->shape->n_outputs,
        .logits_stride = b->h->n_vocab,
        .n_entries = SL_PENALTY_ENTRIES_MAX,
    };
    sl_phase *p;
    sl_status st = add_phase(b, "penalize", SL_K_penalize, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, w->logits);
    sl_phase_writes(p, w->logits);
    return SL_OK;
}

static sl_status emit_sampling(builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t rows = b->shape->n_outputs, k = SL_MIN(SL_TOPK_MAX, b->h->n_vocab);
    const struct sl_push_topk topk = {
        .x = w->logits.begin,
        .ids = w->topk_ids.begin,
        .values = w->topk_values.begin,
        .lse = w->topk_lse.begin,
        .scratch = w->topk_scratch.begin,
        .n = b->h->n_vocab,
        .rows = rows,
        .x_stride = b->h->n_vocab,
        .k = k,
    };
    const struct sl_push_sample sample = {
        .ids = w->topk_ids.begin,
        .values = w->topk_values.begin,
        .params = b->l->batch.sample_params.begin,
        .token = w->next.begin,
        .k = k,
        .rows = rows,
    };
    sl_phase *p;
    sl_status st;
    SL_TRY(emit_penalties(b));
    SL_TRY(add_phase(b, "topk", SL_K_topk, 0, NULL, 0, &topk, sizeof topk, &p));
    sl_phase_reads(p, w->logits);
    sl_phase_writes(p, (sl_range){w->topk_ids.begin, w->topk_lse.end});
    sl_phase_writes(p, w->topk_scratch);
    SL_TRY(add_phase(b, "sample", SL_K_sample, 0, NULL, 0, &sample, sizeof sample, &p));
    sl_phase_reads(p, (sl_range){w->topk_ids.begin, w->topk_lse.end});
    sl_phase_writes(p, w->next);
cleanup:
    return st;
}

sl_status sl_step_build(const sl_layout *layout, sl_kernel_set *kernels, const sl_shape *shape, sl_step *step,
                        sl_diag *diag)
{
    builder b = {
        .l = layout,
        .m = layout->model,
        .h = &layout->model->h,
        .kernels = kernels,
        .shape = shape,
        .step = step,
        .diag = diag,
        .layer = SL_NO_LAYER,
    };
    sl_status st;
    SL_TRY(emit_embedding(&b));
    for (b.layer = 0; b.layer < b.h->n_layers; b.layer++)
        SL_TRY(emit_layer(&b));
    b.layer = SL_NO_LAYER;
    if (shape->output == SL_OUTPUT_NONE) goto cleanup;
    SL_TRY(emit_logits(&b));
    if (shape->output == SL_OUTPUT_GREEDY) SL_TRY(emit_greedy(&b));
    if (shape->output == SL_OUTPUT_SAMPLED) SL_TRY(emit_sampling(&b));
cleanup:
    return st;
}
