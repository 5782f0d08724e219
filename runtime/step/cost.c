#include "runtime/step/cost.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "shaders/push.h"

/* ---- attention ---- */

typedef struct extent {
    uint32_t lowest, end; /* positions of the tokens of one sequence */
} extent;

static uint32_t first_key(uint32_t position, uint32_t window)
{
    return window && position >= window ? position - window + 1 : 0;
}

sl_status sl_attended_count(const uint32_t *positions, const uint32_t *sequences, uint32_t n_tokens,
                            uint32_t n_sequences, uint32_t window, sl_attended *out, sl_diag *diag)
{
    extent *of = sl_calloc(n_sequences, sizeof *of);
    if (!of) return sl_fail(diag, SL_ERR_NO_MEMORY, "cost of attention");
    *out = (sl_attended){.tokens = n_tokens};
    for (uint32_t i = 0; i < n_tokens; i++) {
        extent *e = &of[sequences[i]];
        e->lowest = e->end ? SL_MIN(e->lowest, positions[i]) : positions[i];
        e->end = SL_MAX(e->end, positions[i] + 1);
        out->pairs[0] += positions[i] + 1ull;
        out->pairs[1] += positions[i] + 1ull - first_key(positions[i], window);
    }
    for (uint32_t i = 0; i < n_sequences; i++) {
        out->keys[0] += of[i].end;
        out->keys[1] += of[i].end - (of[i].end ? first_key(of[i].lowest, window) : 0);
    }
    sl_free(of);
    return SL_OK;
}

/* ---- one phase ---- */

static bool overlap(sl_range a, sl_range b)
{
    return a.begin < b.end && b.begin < a.end;
}

static bool in_cache(const sl_phase *phase, const sl_layout *l, sl_range r)
{
    return phase->layer != SL_NO_LAYER &&
           (overlap(r, l->k_cache[phase->layer]) || overlap(r, l->v_cache[phase->layer]));
}

/* Bytes that one token has in a range that spans the K or V cache of a layer. */
static double token_bytes(const sl_layout *l, sl_range r)
{
    const uint64_t pages = (uint64_t)l->limits.sessions * l->limits.pages_per_session;
    return (double)(r.end - r.begin) / (double)(pages * SL_KV_PAGE_TOKENS);
}

/* Rows in use of a range: some phases name a whole field of the workspace, which is as large as the largest
 * pass. */
static uint64_t used_bytes(const sl_layout *l, sl_range r, uint32_t n_tokens, uint32_t n_outputs)
{
    const sl_workspace *w = &l->work;
    const uint64_t bytes = r.end - r.begin;
    const sl_range per_token[] = {w->x,         w->h,      w->t,         w->q,
                                  w->k,         w->v,      w->gate,      w->up,
                                  w->attention, w->router, w->route_ids, w->route_weights,
                                  w->expert_out};
    const sl_range per_output[] = {w->out_x,        w->out_h,    w->logits,
                                   w->next,         w->topk_ids, w->topk_values,
                                   w->topk_scratch, w->topk_lse, {w->topk_ids.begin, w->topk_lse.end}};
    for (size_t i = 0; i < SL_COUNTOF(per_token); i++)
        if (r.begin == per_token[i].begin && r.end == per_token[i].end)
            return bytes / l->limits.tokens * SL_MIN(n_tokens, l->limits.tokens);
    for (size_t i = 0; i < SL_COUNTOF(per_output); i++)
        if (r.begin == per_output[i].begin && r.end == per_output[i].end)
            return bytes / l->limits.outputs * SL_MIN(n_outputs, l->limits.outputs);
    return bytes;
}

sl_cost sl_phase_cost(const sl_phase *phase, const sl_layout *l, uint32_t n_tokens, uint32_t n_outputs,
                      const sl_attended *attended)
{
    const sl_hparams *h = &l->model->h;
    const bool windowed = phase->layer != SL_NO_LAYER && sl_model_windowed(l->model, phase->layer);
    sl_cost c = {.weight_bytes = phase->weight_bytes, .flops = phase->flops};
    double kv = 0;
    for (uint32_t i = 0; i < phase->read_count; i++) {
        const sl_range r = phase->reads[i];
        if (in_cache(phase, l, r)) { /* of K: q k; of V: p v */
            kv += token_bytes(l, r) * (double)attended->keys[windowed];
            c.flops += 2 * attended->pairs[windowed] * h->n_heads * h->head_dim;
        } else {
            c.activation_bytes += used_bytes(l, r, n_tokens, n_outputs);
        }
    }
    for (uint32_t i = 0; i < phase->write_count; i++) {
        const sl_range r = phase->writes[i];
        if (in_cache(phase, l, r))
            kv += token_bytes(l, r) * (double)attended->tokens;
        else
            c.activation_bytes += used_bytes(l, r, n_tokens, n_outputs);
    }
    c.kv_bytes = (uint64_t)kv;
    if (phase->kernel->variant->kernel == SL_K_embed) {
        const struct sl_push_embed *embed = (const void *)phase->push;
        c.weight_bytes += (uint64_t)embed->row_bytes * n_tokens;
    }
    return c;
}
