/* Products of many tokens in two phases. A decoded matrix is read by the product that follows and then
 * overwritten: two buffers, taken by turns, so that the weights of the next products are decoded while this
 * one is multiplied.
 *
 * Products that read the same rows form a group. Groups with even numbers use one buffer, the others the
 * other one; a layer has an even number of them. */
#include "runtime/step/gemm_phases.h"

#include "runtime/step/builder_internal.h"

#include "hal/base/checked.h"
#include "shaders/matmul/gemm.h"
#include "shaders/matmul/rotated.h"

#define GROUPS      4u
#define GROUPS_MOE  2u /* experts are not decoded */
#define GROUP_PARTS 3u
#define GROUP_OF_FF 2u
#define PLACE_ALIGN 256u

static const struct {
    uint32_t count;
    sl_part parts[GROUP_PARTS];
} groups[GROUPS] = {
    {3, {SL_PART_Q, SL_PART_K, SL_PART_V}},
    {1, {SL_PART_O}},
    {2, {SL_PART_GATE, SL_PART_UP}},
    {1, {SL_PART_DOWN}},
};

static uint32_t group_count(const sl_model *m)
{
    return m->arch->moe ? GROUPS_MOE : GROUPS;
}

static uint64_t rows_bytes(uint32_t format, uint64_t rows, uint64_t n)
{
    return sl_align_up(format == SL_ROWS_S8 ? sl_s8_bytes(rows, n) : 2 * rows * n, PLACE_ALIGN);
}

/* ---- what it takes ---- */

static bool matrix_fits(const sl_model_tensor *t, uint32_t format, const sl_device_caps *caps)
{
    const bool s8 = format == SL_ROWS_S8;
    return t->n_k % 32 == 0 && t->n_out % 8 == 0 && (!s8 || t->n_k <= SL_ROTATE_N_K_MAX) &&
           sl_variant_select(s8 ? SL_K_rotate : SL_K_dequant, (uint32_t)t->file->type, caps);
}

bool sl_gemm_set(const sl_model *model, const sl_device_caps *caps, uint32_t format, sl_limits *limits)
{
    if (!sl_variant_select(SL_K_gemm, format, caps)) return false;
    uint64_t bytes[2] = {0, 0};
    for (uint32_t layer = 0; layer < model->h.n_layers; layer++)
        for (uint32_t g = 0; g < group_count(model); g++) {
            uint64_t group = 0;
            for (uint32_t i = 0; i < groups[g].count; i++) {
                const sl_model_tensor *t = sl_model_find(model, groups[g].parts[i], layer);
                if (!t || !matrix_fits(t, format, caps)) return false;
                group += rows_bytes(format, t->n_out, t->n_k);
            }
            bytes[g % 2] = SL_MAX(bytes[g % 2], group);
        }
    limits->gemm_format = format;
    limits->decoded_bytes[0] = bytes[0];
    limits->decoded_bytes[1] = bytes[1];
    return true;
}

void sl_gemm_choose(const sl_model *model, const sl_device_caps *caps, bool int8, sl_limits *limits)
{
    limits->gemm_format = SL_ROWS_F32;
    limits->decoded_bytes[0] = limits->decoded_bytes[1] = 0;
    /* The cpu driver multiplies with the blocks of the file; a CPU behind Vulkan is slower with matrices. */
    if (sl_caps_have(caps, SL_CAP_HOST_FN) || sl_caps_have(caps, SL_CAP_SCALAR_LOADS)) return;
    if (int8 && sl_gemm_set(model, caps, SL_ROWS_S8, limits)) return;
    sl_gemm_set(model, caps, SL_ROWS_F16, limits);
}

/* ---- weights ---- */

static bool in_place(const sl_builder *b, const sl_model_tensor *t)
{
    return b->l->limits.gemm_format == SL_ROWS_F16 && (uint32_t)t->file->type == SL_WEIGHT_F16 &&
           sl_build_place_of(b, t)->home == SL_HOME_DEVICE;
}

static uint32_t group_of(sl_part part)
{
    for (uint32_t g = 0; g < GROUPS; g++)
        for (uint32_t i = 0; i < groups[g].count; i++)
            if (groups[g].parts[i] == part) return g;
    return GROUPS;
}

/* Where the decoded rows of a tensor are. */
static sl_range decoded_range(const sl_builder *b, const sl_model_tensor *t)
{
    const uint32_t g = group_of(t->part), format = b->l->limits.gemm_format;
    uint64_t at = (g % 2 ? b->l->work.decoded_odd : b->l->work.decoded_even).begin;
    for (uint32_t i = 0; groups[g].parts[i] != t->part; i++) {
        const sl_model_tensor *before = sl_model_find(b->m, groups[g].parts[i], t->layer);
        at += rows_bytes(format, before->n_out, before->n_k);
    }
    return (sl_range){at, at + rows_bytes(format, t->n_out, t->n_k)};
}

static sl_status emit_decode_rows(sl_builder *b, const sl_model_tensor *t, uint64_t w, uint32_t row,
                                  uint32_t rows)
{
    const sl_range y = decoded_range(b, t);
    const struct sl_push_dequant push = {
        .w = w,
        .y = y.begin,
        .n_k = t->n_k,
        .n_rows = rows,
        .row_bytes = t->row_bytes,
        .weight_type = (uint32_t)t->file->type,
        .first_row = row,
        .all_rows = (uint32_t)t->n_out,
    };
    sl_phase *p;
    const bool s8 = b->l->limits.gemm_format == SL_ROWS_S8;
    sl_status st = sl_build_phase(b, "decode", s8 ? SL_K_rotate : SL_K_dequant, push.weight_type, NULL, 0,
                                  &push, sizeof push, &p);
    if (st != SL_OK) return st;
    p->layer = t->layer;
    /* Pieces write different rows of the one range: they are told apart by their address. */
    const uint64_t row_bytes = s8 ? t->n_k : 2ull * t->n_k;
    sl_phase_writes(p, (sl_range){y.begin + row * row_bytes, y.begin + (row + rows) * row_bytes});
    if (s8) {
        const uint64_t scales = y.begin + t->n_out * t->n_k;
        sl_phase_writes(p, (sl_range){scales + row * 4ull, scales + (row + rows) * 4ull});
    }
    p->weight_bytes = (uint64_t)rows * t->row_bytes;
    return SL_OK;
}

static sl_status emit_decode(sl_builder *b, const sl_model_tensor *t)
{
    const sl_place *place = sl_build_place_of(b, t);
    if (in_place(b, t)) return SL_OK;
    if (place->home == SL_HOME_DEVICE)
        return emit_decode_rows(b, t, sl_build_resident(b, t), 0, (uint32_t)t->n_out);
    for (uint32_t i = 0; i < place->piece_count; i++) {
        const sl_piece *piece = &b->l->plan->pieces[place->piece + i];
        sl_status st =
            emit_decode_rows(b, t, sl_build_streamed(b, place->piece + i), piece->row, piece->row_count);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

static sl_status emit_decode_group(sl_builder *b, uint32_t layer, uint32_t g)
{
    if (b->decoded_group == layer * GROUPS + g + 1) return SL_OK; /* ahead of time */
    b->decoded_group = layer * GROUPS + g + 1;
    for (uint32_t i = 0; i < groups[g].count; i++) {
        sl_status st = emit_decode(b, sl_model_find(b->m, groups[g].parts[i], layer));
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

/* The group after g, if nothing has to be waited for to decode it. */
static sl_status emit_decode_ahead(sl_builder *b, uint32_t g)
{
    const bool last = g + 1 == group_count(b->m);
    const uint32_t layer = last ? b->layer + 1 : b->layer, next = last ? 0 : g + 1;
    if (layer == b->h->n_layers) return SL_OK;
    for (uint32_t i = 0; i < groups[next].count; i++)
        if (sl_build_place_of(b, sl_model_find(b->m, groups[next].parts[i], layer))->home != SL_HOME_DEVICE)
            return SL_OK;
    return emit_decode_group(b, layer, next);
}

/* ---- activations ---- */

bool sl_build_gemm(const sl_builder *b)
{
    const uint32_t n_tokens = b->shape->n_tokens;
    return n_tokens >= SL_GEMM_TOKENS_MIN && b->l->limits.gemm_format != SL_ROWS_F32 &&
           !sl_build_decoding(b, n_tokens);
}

uint32_t sl_build_rows_format(const sl_builder *b)
{
    const bool halves =
        sl_build_gemm(b) ? b->l->limits.gemm_format == SL_ROWS_F16 : sl_build_few(b, b->shape->n_tokens);
    return halves ? SL_ROWS_F16 : SL_ROWS_F32;
}

static sl_range rows_range(sl_range whole, uint32_t format, uint64_t rows, uint64_t n)
{
    const uint64_t bytes = format == SL_ROWS_S8    ? sl_s8_bytes(rows, n)
                           : format == SL_ROWS_F16 ? 2 * rows * n
                                                   : 4 * rows * n;
    return (sl_range){whole.begin, SL_MIN(whole.end, whole.begin + bytes)};
}

static sl_status emit_rotate(sl_builder *b, sl_range x, uint32_t format, sl_range y, uint32_t n)
{
    const uint32_t rows = b->shape->n_tokens, type = format == SL_ROWS_F16 ? SL_WEIGHT_F16 : SL_WEIGHT_F32;
    const struct sl_push_dequant push = {
        .w = x.begin,
        .y = y.begin,
        .n_k = n,
        .n_rows = rows,
        .row_bytes = format == SL_ROWS_F16 ? 2 * n : 4 * n,
        .weight_type = type,
        .all_rows = rows,
    };
    sl_phase *p;
    sl_status st = sl_build_phase(b, "rotate", SL_K_rotate, type, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, rows_range(x, format, rows, n));
    sl_phase_writes(p, rows_range(y, SL_ROWS_S8, rows, n));
    return SL_OK;
}

/* x as the kernels read it. */
static sl_status emit_operand(sl_builder *b, sl_range x, uint32_t format, uint32_t n, sl_range *out)
{
    const uint32_t wanted = b->l->limits.gemm_format;
    sl_status st = SL_OK;
    *out = x;
    if (format != wanted) {
        *out = b->l->work.operand;
        st = wanted == SL_ROWS_S8 ? emit_rotate(b, x, format, *out, n)
                                  : sl_emit_convert(b, "convert", x, *out, b->shape->n_tokens, n, wanted);
    }
    *out = rows_range(*out, wanted, b->shape->n_tokens, n);
    return st;
}

/* ---- products ---- */

static void read_weights(const sl_builder *b, sl_phase *p, const sl_model_tensor *t)
{
    if (in_place(b, t))
        p->weight_bytes += t->n_out * t->row_bytes;
    else
        sl_phase_reads(p, decoded_range(b, t));
}

static uint64_t weights_at(const sl_builder *b, const sl_model_tensor *t)
{
    return in_place(b, t) ? sl_build_resident(b, t) : decoded_range(b, t).begin;
}

static sl_status emit_kernel(sl_builder *b, const char *label, sl_kernel_id id,
                             const struct sl_push_gemm *push, sl_phase **out)
{
    const sl_variant *v = sl_gemm_select(id, push, sl_kernel_set_caps(b->kernels));
    uint32_t spec[SL_GEMM_SPECS];
    if (!v) return sl_fail(b->diag, SL_ERR_UNSUPPORTED, "pass: no kernel for %s", label);
    sl_gemm_spec(push, v, spec);
    return sl_build_variant(b, label, v, spec, SL_GEMM_SPECS, push, sizeof *push, out);
}

/* y [T][n_out] f32 = w . x, or += */
static sl_status emit_gemm(sl_builder *b, const sl_product *o, sl_range x)
{
    const sl_model_tensor *t = o->w;
    const struct sl_push_gemm push = {
        .w = weights_at(b, t),
        .x = x.begin,
        .y = o->y.begin,
        .add = o->add ? o->y.begin : 0,
        .n_out = (uint32_t)t->n_out,
        .n_k = t->n_k,
        .n_tokens = o->n_tokens,
        .y_stride = (uint32_t)t->n_out,
        .format = b->l->limits.gemm_format,
    };
    sl_phase *p;
    sl_status st = emit_kernel(b, o->label, SL_K_gemm, &push, &p);
    if (st != SL_OK) return st;
    const sl_range y = rows_range(o->y, SL_ROWS_F32, o->n_tokens, t->n_out);
    read_weights(b, p, t);
    sl_phase_reads(p, x);
    if (o->add) sl_phase_reads(p, y);
    sl_phase_writes(p, y);
    p->flops = 2ull * t->n_out * t->n_k * o->n_tokens;
    return SL_OK;
}

sl_status sl_emit_gemm_group(sl_builder *b, const sl_product *products, uint32_t count, uint32_t x_format)
{
    const uint32_t g = group_of(products[0].w->part);
    sl_range x;
    sl_status st;
    SL_TRY(emit_decode_group(b, b->layer, g));
    SL_TRY(emit_operand(b, products[0].x, x_format, products[0].w->n_k, &x));
    for (uint32_t i = 0; i < count; i++)
        SL_TRY(emit_gemm(b, &products[i], x));
    st = emit_decode_ahead(b, g);
cleanup:
    return st;
}

/* work.act [T][n_ff] f16 = act(gate . x) * (up . x), in one kernel. */
static sl_status emit_gated_kernel(sl_builder *b, const sl_model_tensor *gate, const sl_model_tensor *up,
                                   sl_range x)
{
    const sl_range y = b->l->work.act;
    const struct sl_push_gemm push = {
        .w = weights_at(b, gate),
        .w2 = weights_at(b, up),
        .x = x.begin,
        .y = y.begin,
        .n_out = (uint32_t)gate->n_out,
        .n_k = gate->n_k,
        .n_tokens = b->shape->n_tokens,
        .y_stride = (uint32_t)gate->n_out,
        .act = sl_build_act(b),
        .format = b->l->limits.gemm_format,
    };
    sl_phase *p;
    sl_status st = emit_kernel(b, "ffn_gate_up", SL_K_gemm_gated, &push, &p);
    if (st != SL_OK) return st;
    read_weights(b, p, gate);
    read_weights(b, p, up);
    sl_phase_reads(p, x);
    sl_phase_writes(p, rows_range(y, SL_ROWS_F16, push.n_tokens, push.n_out));
    p->flops = 4ull * push.n_out * push.n_k * push.n_tokens;
    return SL_OK;
}

sl_status sl_emit_gemm_gated(sl_builder *b, sl_range h, uint32_t h_format)
{
    const sl_workspace *w = &b->l->work;
    const sl_model_tensor *gate = sl_build_tensor(b, SL_PART_GATE), *up = sl_build_tensor(b, SL_PART_UP);
    const uint32_t t = b->shape->n_tokens;
    sl_range x;
    sl_status st;
    SL_TRY(emit_decode_group(b, b->layer, GROUP_OF_FF));
    SL_TRY(emit_operand(b, h, h_format, gate->n_k, &x));
    if (sl_variant_select(SL_K_gemm_gated, b->l->limits.gemm_format, sl_kernel_set_caps(b->kernels))) {
        SL_TRY(emit_gated_kernel(b, gate, up, x));
    } else {
        SL_TRY(emit_gemm(b, &(sl_product){"ffn_gate", gate, x, w->gate, t, false}, x));
        SL_TRY(emit_gemm(b, &(sl_product){"ffn_up", up, x, w->up, t, false}, x));
        SL_TRY(sl_emit_act_mul(b, t, b->h->n_ff, SL_ROWS_F16));
    }
    st = emit_decode_ahead(b, GROUP_OF_FF);
cleanup:
    return st;
}
