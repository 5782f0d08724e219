/* From q, k and v of one layer to the output of its attention. */
#include "runtime/step/builder_internal.h"

#include "hal/base/checked.h"
#include "hal/base/half.h"
#include "shaders/tuning.h"

static sl_status emit_head_norms(sl_builder *b)
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

/* The push block of rope and rope_table, without what is turned. */
static struct sl_push_rope rope_push(const sl_builder *b, bool windowed)
{
    const sl_model_tensor *factors = sl_model_find(b->m, SL_PART_ROPE_FACTORS, SL_NO_LAYER);
    const sl_rope *rope = windowed ? &b->h->window_rope : &b->h->rope;
    return (struct sl_push_rope){
        .positions = b->l->batch.positions.begin,
        .factors = factors ? sl_build_resident(b, factors) : 0,
        .head_dim = b->h->head_dim,
        .rot_dim = b->h->rot_dim,
        .n_tokens = b->shape->n_tokens,
        .mode = b->m->arch->rope_order == SL_ROPE_NEOX,
        .freq_base = rope->freq_base,
        .freq_scale = rope->freq_scale,
        .ext_factor = rope->ext_factor,
        .attn_factor = rope->attn_factor,
        .corr_low = rope->corr_low,
        .corr_high = rope->corr_high,
    };
}

static sl_status emit_rope(sl_builder *b, const char *label, sl_range x, uint32_t n_heads)
{
    struct sl_push_rope push = rope_push(b, sl_model_windowed(b->m, b->layer));
    push.x = x.begin;
    push.n_heads = n_heads;
    push.token_stride = n_heads * b->h->head_dim;
    sl_phase *p;
    sl_status st = sl_build_phase(b, label, SL_K_rope, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(x, b->shape->n_tokens, push.token_stride));
    sl_phase_writes(p, sl_build_rows_of(x, b->shape->n_tokens, push.token_stride));
    return SL_OK;
}

static sl_status emit_kv_store(sl_builder *b)
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
    sl_status st = sl_build_phase(b, "kv_store", SL_K_kv_store, 0, &b->l->kv_type, 1, &push, sizeof push, &p);
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
    const uint32_t most = SL_MAX(1, b->l->limits.splits / b->shape->n_tokens);
    const struct sl_push_attention push = {
        .n_heads = b->h->n_heads, .n_kv_heads = b->h->n_kv_heads, .n_tokens = b->shape->n_tokens};
    return SL_MIN(most, sl_tuning_number(sl_kernel_set_tuning(b->kernels), SL_K_attention_decode,
                                         b->h->head_dim, &push, NULL, most));
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

/* Attention over the cache, which holds the keys and values of this pass already. */
static sl_status emit_cached(sl_builder *b)
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
    const uint32_t prefill_spec[] = {push.softcap > 0, b->l->kv_type}; /* SL_PREFILL_SOFTCAP and on */
    const uint32_t decode_spec[] = {SL_DECODE_HEADS_USUAL, b->l->kv_type};
    sl_phase *p;
    sl_status st = sl_build_phase(
        b, "attention", b->shape->prefill ? SL_K_attention_prefill : SL_K_attention_decode, b->h->head_dim,
        b->shape->prefill ? prefill_spec : decode_spec, SL_COUNTOF(prefill_spec), &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(w->q, n_tokens, stride));
    sl_phase_reads(p, b->l->k_cache[b->layer]);
    sl_phase_reads(p, b->l->v_cache[b->layer]);
    sl_phase_writes(p, n_splits > 1 ? w->partial : sl_build_rows_of(w->attention, n_tokens, stride));
    return n_splits > 1 ? emit_combine(b, n_splits) : SL_OK;
}

/* ---- one dispatch a layer ---- */

/* Does one dispatch do all from q, k, v to the result? Only where no token attends to the key of another one
 * of the pass: that key is in the cache as soon as some other workgroup has put it there, for which none may
 * wait. */
static bool in_one_step(const sl_builder *b)
{
    return b->l->attention_step && b->shape->apart && !b->shape->prefill;
}

static sl_status emit_turns(sl_builder *b, sl_range turns, bool windowed)
{
    struct sl_push_rope push = rope_push(b, windowed);
    push.x = turns.begin;
    sl_phase *p;
    sl_status st = sl_build_phase(b, "rope_table", SL_K_rope_table, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_writes(p, sl_build_rows_of(turns, push.n_tokens, push.rot_dim));
    return SL_OK;
}

sl_status sl_emit_turns(sl_builder *b)
{
    if (!in_one_step(b)) return SL_OK;
    sl_status st = emit_turns(b, b->l->work.turns, false);
    return st == SL_OK && b->h->window_tokens ? emit_turns(b, b->l->work.window_turns, true) : st;
}

uint32_t sl_attention_format(const sl_builder *b)
{
    if (!in_one_step(b)) return SL_ROWS_F32;
    const sl_model_tensor *output = sl_build_tensor(b, SL_PART_O);
    if (!sl_decode_fused(b, SL_HALF_ATTENTION))
        return sl_build_rows_of_rung(b, sl_build_rung(b, output, b->shape->n_tokens));
    /* Blocks of Q8 lie within a head; those of f16 the kernel cannot make everywhere it runs. */
    const bool blocks = b->h->head_dim % 32 == 0 && b->l->decode_rows == SL_ROWS_Q8;
    return blocks ? sl_decode_row_format(b, output) : SL_ROWS_F32;
}

static void step_spec(const sl_builder *b, uint32_t spec[SL_SPEC_MAX])
{
    const sl_hparams *h = b->h;
    spec[SL_STEP_GROUP] = h->n_heads / h->n_kv_heads;
    spec[SL_STEP_KV_HEADS] = h->n_kv_heads;
    spec[SL_STEP_ROT_DIM] = h->rot_dim;
    spec[SL_STEP_NEOX] = b->m->arch->rope_order == SL_ROPE_NEOX;
    spec[SL_STEP_FORMAT] = sl_attention_format(b);
    spec[SL_STEP_Q_STRIDE] = h->n_heads * h->head_dim;
    spec[SL_STEP_KV_STRIDE] = h->n_kv_heads * h->head_dim;
    spec[SL_STEP_SCALE] = sl_float_to_bits(h->attention_scale);
    spec[SL_STEP_SOFTCAP] = sl_float_to_bits(0);
    spec[SL_STEP_EPS] = sl_float_to_bits(h->norm_eps);
    spec[SL_STEP_HEAD_DIM] = h->head_dim;
    spec[SL_STEP_KV_TYPE] = b->l->kv_type;
}

/* One workgroup a compute unit: its subgroups hide each other's latency, and fewer parts have to be merged.
 * The kernel takes less where there are few keys. */
static uint32_t step_splits(const sl_builder *b, const uint32_t *spec)
{
    const struct sl_push_attention_step push = {.n_tokens = b->shape->n_tokens};
    const uint32_t most = SL_MIN(SL_MAX(1, b->l->limits.splits / b->shape->n_tokens), SL_STEP_SPLITS_MAX);
    const uint32_t usual = SL_MAX(1, most / 2);
    return SL_MIN(most, sl_tuning_number(sl_kernel_set_tuning(b->kernels), SL_K_attention_step,
                                         b->h->head_dim, &push, spec, usual));
}

static sl_status emit_step(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t t = b->shape->n_tokens, q = b->h->n_heads * b->h->head_dim;
    const uint32_t kv = b->h->n_kv_heads * b->h->head_dim;
    const bool windowed = sl_model_windowed(b->m, b->layer), norms = b->m->arch->qk_norm;
    const sl_range turns = windowed ? w->window_turns : w->turns;
    uint32_t spec[SL_SPEC_MAX] = {0};
    step_spec(b, spec);
    const struct sl_push_attention_step push = {
        .q = w->q.begin,
        .k = w->k.begin,
        .v = w->v.begin,
        .q_norm = norms ? sl_build_resident(b, sl_build_tensor(b, SL_PART_Q_NORM)) : 0,
        .k_norm = norms ? sl_build_resident(b, sl_build_tensor(b, SL_PART_K_NORM)) : 0,
        .rope = turns.begin,
        .k_cache = b->l->k_cache[b->layer].begin,
        .v_cache = b->l->v_cache[b->layer].begin,
        .block_table = b->l->batch.block_table.begin,
        .positions = b->l->batch.positions.begin,
        .sequences = b->l->batch.sequences.begin,
        .y = w->attention.begin,
        .partial = w->partial.begin,
        .arrivals = w->arrivals.begin,
        .n_tokens = t,
        .n_splits = step_splits(b, spec + SL_SPEC_FIRST),
        .table_stride = b->l->limits.pages_per_session,
        .window = windowed ? b->h->window_tokens : 0,
    };
    sl_phase *p;
    sl_status st = sl_build_phase(b, "attention", SL_K_attention_step, b->h->head_dim, spec + SL_SPEC_FIRST,
                                  SL_STEP_SPEC_END - SL_SPEC_FIRST, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(w->q, t, q));
    sl_phase_reads(p, sl_build_rows_of(w->k, t, kv));
    sl_phase_reads(p, sl_build_rows_of(w->v, t, kv));
    sl_phase_reads(p, sl_build_rows_of(turns, t, b->h->rot_dim));
    sl_phase_reads(p, b->l->k_cache[b->layer]);
    sl_phase_reads(p, b->l->v_cache[b->layer]);
    sl_phase_writes(p, b->l->k_cache[b->layer]);
    sl_phase_writes(p, b->l->v_cache[b->layer]);
    sl_phase_writes(p, sl_build_rows_of(w->attention, t, q));
    sl_phase_writes(p, w->partial);
    sl_phase_writes(p, w->arrivals);
    return SL_OK;
}

sl_status sl_emit_attention(sl_builder *b)
{
    if (in_one_step(b)) return emit_step(b);
    const sl_workspace *w = &b->l->work;
    sl_status st;
    SL_TRY(emit_head_norms(b));
    SL_TRY(emit_rope(b, "rope_q", w->q, b->h->n_heads));
    SL_TRY(emit_rope(b, "rope_k", w->k, b->h->n_kv_heads));
    SL_TRY(emit_kv_store(b));
    SL_TRY(emit_cached(b));
cleanup:
    return st;
}
