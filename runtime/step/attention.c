/* From q, k and v of one layer to the output of its attention. */
#include "runtime/step/builder_internal.h"

#include "hal/base/checked.h"

sl_status sl_emit_head_norms(sl_builder *b)
{
    if (!b->m->arch->qk_norm) return SL_OK;
    const sl_workspace *w = &b->l->work;
    const uint32_t t = b->shape->n_tokens, d = b->h->head_dim;
    const sl_range none = {0, 0};
    sl_status st = sl_emit_norm(b, &(sl_norm){"q_norm", sl_build_tensor(b, SL_PART_Q_NORM), w->q, w->q, none,
                                              d, t * b->h->n_heads, SL_ROWS_F32});
    if (st != SL_OK) return st;
    return sl_emit_norm(b, &(sl_norm){"k_norm", sl_build_tensor(b, SL_PART_K_NORM), w->k, w->k, none, d,
                                      t * b->h->n_kv_heads, SL_ROWS_F32});
}

sl_status sl_emit_rope(sl_builder *b, const char *label, sl_range x, uint32_t n_heads)
{
    const sl_model_tensor *factors = sl_model_find(b->m, SL_PART_ROPE_FACTORS, SL_NO_LAYER);
    const bool windowed = sl_model_windowed(b->m, b->layer);
    const sl_rope *rope = windowed ? &b->h->window_rope : &b->h->rope;
    const uint32_t stride = n_heads * b->h->head_dim;
    const struct sl_push_rope push = {
        .x = x.begin,
        .positions = b->l->batch.positions.begin,
        .factors = factors ? sl_build_resident(b, factors) : 0,
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
    sl_status st = sl_build_phase(b, label, SL_K_rope, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(x, b->shape->n_tokens, stride));
    sl_phase_writes(p, sl_build_rows_of(x, b->shape->n_tokens, stride));
    return SL_OK;
}

sl_status sl_emit_kv_store(sl_builder *b)
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
    sl_status st = sl_build_phase(b, "kv_store", SL_K_kv_store, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(w->k, n_tokens, stride));
    sl_phase_reads(p, sl_build_rows_of(w->v, n_tokens, stride));
    sl_phase_writes(p, b->l->k_cache[b->layer]);
    sl_phase_writes(p, b->l->v_cache[b->layer]);
    return SL_OK;
}

/* Key splits of a decode step: enough workgroups for the device when tokens and heads are few. */
static uint32_t splits_for(const sl_builder *b)
{
    return SL_MAX(1, b->l->limits.splits / b->shape->n_tokens);
}

static sl_status emit_combine(sl_builder *b, uint32_t n_splits)
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
        sl_build_phase(b, "attention_combine", SL_K_attention_combine, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, w->partial);
    sl_phase_writes(p, sl_build_rows_of(w->attention, n_tokens, stride));
    return SL_OK;
}

sl_status sl_emit_attention(sl_builder *b)
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
        sl_build_phase(b, "attention", b->shape->prefill ? SL_K_attention_prefill : SL_K_attention_decode,
                       b->h->head_dim, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(w->q, n_tokens, stride));
    sl_phase_reads(p, b->l->k_cache[b->layer]);
    sl_phase_reads(p, b->l->v_cache[b->layer]);
    sl_phase_writes(p, n_splits > 1 ? w->partial : sl_build_rows_of(w->attention, n_tokens, stride));
    return n_splits > 1 ? emit_combine(b, n_splits) : SL_OK;
}
