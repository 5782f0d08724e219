/* The transformer, written once. Each sl_emit_* function appends the phases of one operation; what differs
 * between families is read from sl_arch and sl_hparams. Operations that do not depend on each other stand
 * next to each other, so that the recorder finds no reason for a barrier between them. */
#include "runtime/step/builder_internal.h"

#include "hal/base/checked.h"

#include <string.h>

/* ---- phases ---- */

static sl_status add_phase(sl_builder *b, const char *label, const sl_bound_kernel *kernel, const void *push,
                           size_t push_bytes, sl_phase **out)
{
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

sl_status sl_build_phase(sl_builder *b, const char *label, sl_kernel_id id, uint32_t key,
                         const uint32_t *spec, uint32_t spec_count, const void *push, size_t push_bytes,
                         sl_phase **out)
{
    const sl_bound_kernel *kernel;
    sl_status st = sl_kernel_set_get_for(b->kernels, id, key, push, spec, spec_count, &kernel, b->diag);
    return st == SL_OK ? add_phase(b, label, kernel, push, push_bytes, out) : st;
}

sl_status sl_build_variant(sl_builder *b, const char *label, const sl_variant *variant, const uint32_t *spec,
                           uint32_t spec_count, const void *push, size_t push_bytes, sl_phase **out)
{
    const sl_bound_kernel *kernel;
    sl_status st = sl_kernel_set_get_variant(b->kernels, variant, spec, spec_count, &kernel, b->diag);
    return st == SL_OK ? add_phase(b, label, kernel, push, push_bytes, out) : st;
}

/* A part of the range: `rows` rows of `row_elements` 4-byte elements. */
sl_range sl_build_rows_of(sl_range whole, uint64_t rows, uint64_t row_elements)
{
    return (sl_range){whole.begin, SL_MIN(whole.end, whole.begin + rows * row_elements * 4)};
}

/* ---- where tensors are ---- */

const sl_model_tensor *sl_build_tensor(const sl_builder *b, sl_part part)
{
    return sl_model_find(b->m, part, b->layer);
}

const sl_place *sl_build_place_of(const sl_builder *b, const sl_model_tensor *t)
{
    return &b->l->plan->places[sl_model_index(b->m, t)];
}

/* Address of a tensor that is resident whole. */
uint64_t sl_build_resident(const sl_builder *b, const sl_model_tensor *t)
{
    const sl_place *p = sl_build_place_of(b, t);
    return b->l->block_addresses[p->block] + p->offset;
}

/* Address of a piece in the ring; from here on the pass needs its stage. */
uint64_t sl_build_streamed(sl_builder *b, uint32_t piece)
{
    const sl_plan *plan = b->l->plan;
    while (b->stage == 0 ||
           piece >= plan->stages[b->stage - 1].piece + plan->stages[b->stage - 1].piece_count)
        b->stage++;
    return b->l->ring_address + plan->pieces[piece].device_offset;
}

/* ---- blocks ---- */

/* Where a half block writes: straight onto the residual stream, or aside when a post norm comes between. */
sl_range sl_build_half_block_target(const sl_builder *b)
{
    return b->m->arch->post_norms ? b->l->work.t : b->l->work.x;
}

static sl_status emit_post_norm(sl_builder *b, const char *label, sl_part part)
{
    if (!b->m->arch->post_norms) return SL_OK;
    const sl_workspace *w = &b->l->work;
    return sl_emit_norm(b, &(sl_norm){label, sl_build_tensor(b, part), w->t, w->x, w->x, b->h->n_embd,
                                      b->shape->n_tokens, SL_ROWS_F32});
}

static sl_status emit_qkv(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t t = b->shape->n_tokens;
    const sl_range none = {0, 0};
    sl_status st;
    const sl_product qkv[] = {
        {"attn_q", sl_build_tensor(b, SL_PART_Q), w->h, w->q, t, false},
        {"attn_k", sl_build_tensor(b, SL_PART_K), w->h, w->k, t, false},
        {"attn_v", sl_build_tensor(b, SL_PART_V), w->h, w->v, t, false},
    };
    const uint32_t format = sl_build_rows_format(b, qkv, SL_COUNTOF(qkv));
    SL_TRY(sl_emit_norm(b, &(sl_norm){"attn_norm", sl_build_tensor(b, SL_PART_ATTN_NORM), w->x, w->h, none,
                                      b->h->n_embd, t, format}));
    SL_TRY(sl_emit_products(b, qkv, 3, format));
cleanup:
    return st;
}

static sl_status emit_attention_half(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t t = b->shape->n_tokens;
    const sl_product output = {
        "attn_output",          sl_build_tensor(b, SL_PART_O), w->attention, sl_build_half_block_target(b), t,
        !b->m->arch->post_norms};
    sl_status st;
    const bool fused = sl_decode_fused(b, SL_HALF_ATTENTION);
    SL_TRY(fused ? sl_emit_decode_qkv(b) : emit_qkv(b));
    SL_TRY(sl_emit_attention(b));
    SL_TRY(fused ? sl_emit_decode_o(b) : sl_emit_products(b, &output, 1, sl_attention_format(b)));
    SL_TRY(emit_post_norm(b, "attn_post_norm", SL_PART_ATTN_POST_NORM));
cleanup:
    return st;
}

static sl_status emit_ffn_norm(sl_builder *b, uint32_t format)
{
    const sl_workspace *w = &b->l->work;
    const sl_range none = {0, 0};
    return sl_emit_norm(b, &(sl_norm){"ffn_norm", sl_build_tensor(b, SL_PART_FFN_NORM), w->x, w->h, none,
                                      b->h->n_embd, b->shape->n_tokens, format});
}

static sl_status emit_dense(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t t = b->shape->n_tokens;
    const sl_product gate_up[] = {
        {"ffn_gate", sl_build_tensor(b, SL_PART_GATE), w->h, w->gate, t, false},
        {"ffn_up", sl_build_tensor(b, SL_PART_UP), w->h, w->up, t, false},
    };
    sl_product down = {"ffn_down", sl_build_tensor(b, SL_PART_DOWN), w->gate, sl_build_half_block_target(b),
                       t,          !b->m->arch->post_norms};
    const sl_product_rung down_rung = sl_build_rung(b, down.w, t);
    const bool halves = down_rung == SL_RUNG_gemm || sl_build_rows_of_rung(b, down_rung) == SL_ROWS_F16;
    const uint32_t outer = sl_build_rows_format(b, gate_up, SL_COUNTOF(gate_up));
    const uint32_t inner = halves ? SL_ROWS_F16 : SL_ROWS_F32; /* what down reads */
    sl_status st;
    if (sl_decode_fused(b, SL_HALF_FFN)) return sl_emit_decode_dense(b);
    if (halves) down.x = w->act;
    SL_TRY(emit_ffn_norm(b, outer));
    if (halves && sl_build_few_gated(b)) {
        SL_TRY(sl_emit_few_gated(b));
    } else if (halves && sl_build_rung(b, gate_up[0].w, t) == SL_RUNG_gemm &&
               sl_build_rung(b, gate_up[1].w, t) == SL_RUNG_gemm) {
        SL_TRY(sl_emit_gemm_gated(b, w->h, outer));
    } else {
        SL_TRY(sl_emit_products(b, gate_up, SL_COUNTOF(gate_up), outer));
        SL_TRY(sl_emit_act_mul(b, t, b->h->n_ff, inner));
    }
    SL_TRY(sl_emit_products(b, &down, 1, inner));
cleanup:
    return st;
}

static sl_status emit_moe(sl_builder *b)
{
    if (sl_decode_experts_fused(b) && !sl_build_groups_experts(b)) return sl_emit_decode_moe(b);
    sl_status st = emit_ffn_norm(b, SL_ROWS_F32);
    return st == SL_OK ? sl_emit_moe(b) : st;
}

static sl_status emit_layer(sl_builder *b)
{
    sl_status st;
    SL_TRY(emit_attention_half(b));
    SL_TRY(b->m->arch->moe ? emit_moe(b) : emit_dense(b));
    SL_TRY(emit_post_norm(b, "ffn_post_norm", SL_PART_FFN_POST_NORM));
cleanup:
    return st;
}

/* ---- the pass ---- */

sl_status sl_step_build(const sl_layout *layout, sl_kernel_set *kernels, const sl_shape *shape, sl_step *step,
                        sl_diag *diag)
{
    sl_builder b = {
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
    if (shape->chained) SL_TRY(sl_emit_advance(&b));
    SL_TRY(sl_emit_embedding(&b));
    SL_TRY(sl_emit_turns(&b));
    for (b.layer = 0; b.layer < b.h->n_layers; b.layer++)
        SL_TRY(emit_layer(&b));
    b.layer = SL_NO_LAYER;
    if (shape->output == SL_OUTPUT_NONE) goto cleanup;
    SL_TRY(sl_emit_logits(&b));
    if (shape->output == SL_OUTPUT_GREEDY) SL_TRY(sl_emit_greedy(&b));
    if (shape->output == SL_OUTPUT_SAMPLED) SL_TRY(sl_emit_sampling(&b));
cleanup:
    return st;
}
