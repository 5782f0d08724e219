/* From the last layer to a token. */
#include "runtime/step/builder_internal.h"

#include "hal/base/checked.h"

sl_status sl_emit_logits(sl_builder *b)
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
    const sl_product logits = {
        "output", sl_build_tensor(b, b->m->tied_output ? SL_PART_EMBED : SL_PART_OUTPUT),
        w->out_h, w->logits,
        rows,     false};
    const uint32_t format = sl_build_rows_format(b, &logits, 1);
    const bool fused = b->l->decode_rows != SL_ROWS_F32 && sl_decode_takes(b, logits.w, rows);
    sl_phase *p;
    sl_status st;
    if (fused && !b->shape->gather) return sl_emit_decode_logits(b, w->x, rows);
    SL_TRY(sl_build_phase(b, "out_rows", SL_K_copy_rows, 0, NULL, 0, &push, sizeof push, &p));
    sl_phase_reads(p, sl_build_rows_of(w->x, b->shape->n_tokens, n));
    sl_phase_writes(p, sl_build_rows_of(w->out_x, rows, n));
    if (fused) return sl_emit_decode_logits(b, w->out_x, rows);
    SL_TRY(sl_emit_norm(b, &(sl_norm){"output_norm", sl_build_tensor(b, SL_PART_OUTPUT_NORM), w->out_x,
                                      w->out_h, none, n, rows, format}));
    SL_TRY(sl_emit_products(b, &logits, 1, format));
cleanup:
    return st;
}

sl_status sl_emit_greedy(sl_builder *b)
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
    sl_status st = sl_build_phase(b, "argmax", SL_K_argmax, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(w->logits, push.rows, push.n));
    sl_phase_writes(p, w->next);
    return SL_OK;
}

static sl_status emit_penalties(sl_builder *b)
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
    sl_status st = sl_build_phase(b, "penalize", SL_K_penalize, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, w->logits);
    sl_phase_writes(p, w->logits);
    return SL_OK;
}

sl_status sl_emit_sampling(sl_builder *b)
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
    SL_TRY(sl_build_phase(b, "topk", SL_K_topk, 0, NULL, 0, &topk, sizeof topk, &p));
    sl_phase_reads(p, w->logits);
    sl_phase_writes(p, (sl_range){w->topk_ids.begin, w->topk_lse.end});
    sl_phase_writes(p, w->topk_scratch);
    SL_TRY(sl_build_phase(b, "sample", SL_K_sample, 0, NULL, 0, &sample, sizeof sample, &p));
    sl_phase_reads(p, (sl_range){w->topk_ids.begin, w->topk_lse.end});
    sl_phase_writes(p, w->next);
cleanup:
    return st;
}

sl_status sl_emit_advance(sl_builder *b)
{
    const sl_batch *batch = &b->l->batch;
    const struct sl_push_advance push = {
        .next = b->l->work.next.begin,
        .tokens = batch->tokens.begin,
        .positions = batch->positions.begin,
        .params = batch->sample_params.begin,
        .rows = b->shape->n_tokens,
    };
    sl_phase *p;
    sl_status st = sl_build_phase(b, "advance", SL_K_advance, 0, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, b->l->work.next);
    /* The phases behind it read the batch without saying so, as nothing else on the device writes it. */
    sl_phase_writes(p, b->l->work.next);
    sl_phase_writes(p, (sl_range){0, UINT64_MAX});
    return SL_OK;
}
