/* A decode step on a GPU: few tokens, and so few and large phases. Norms and the quantization of activations
 * are part of the products that follow them, the activation and its product part of gate and up, residuals
 * part of the products before them. With more than one token the input of a product does not fit a
 * workgroup's shared memory, and is made once, by a phase of its own. */
#include "runtime/step/builder_internal.h"

#include "hal/base/checked.h"
#include "shaders/tuning.h"

#define SHARED_BESIDE_BYTES 1024u

static bool float_weights(const sl_model_tensor *t)
{
    return sl_weight_is_float((uint32_t)t->file->type);
}

/* Rows of x as the product with `t` reads them from memory. */
uint32_t sl_decode_row_format(const sl_builder *b, const sl_model_tensor *t)
{
    return float_weights(t) ? SL_ROWS_F32 : b->l->decode_rows;
}

/* Elements that a workgroup's shared memory holds of an input of `t`. */
static uint32_t staged_max(const sl_builder *b, const sl_model_tensor *t)
{
    return sl_decode_row_format(b, t) == SL_ROWS_Q8 ? SL_FUSED_N_K_MAX : SL_FUSED_N_K_MAX / 2;
}

/* `kernel`, or what multiplies weights like those of `t` with f16 in its place. */
static sl_kernel_id kernel_for(const sl_builder *b, sl_kernel_id kernel, const sl_model_tensor *t)
{
    if (sl_decode_row_format(b, t) != SL_ROWS_F16_SCALED) return kernel;
    switch (kernel) {
    case SL_K_matvec_fused:
        return SL_K_matvec_fused_f16;
    case SL_K_matvec_gated:
        return SL_K_matvec_gated_f16;
    case SL_K_moe_gated:
        return SL_K_moe_gated_f16;
    default:
        return SL_K_moe_down_f16;
    }
}

/* The longest rows of floats that are kept in shared memory take, with what else is there, more than the 32
 * KiB that every device has. */
bool sl_decode_fits(const sl_builder *b, const sl_model_tensor *t, uint32_t rows)
{
    const uint64_t bytes = (uint64_t)t->n_k * sizeof(float) + SHARED_BESIDE_BYTES;
    const bool staged = float_weights(t) && rows == 1 && t->n_k <= SL_FUSED_N_K_MAX / 2;
    if (t->n_k % SL_ROWS_Q8_MULTIPLE) return false;
    return !staged || bytes <= sl_kernel_set_caps(b->kernels)->max_shared_bytes;
}

bool sl_decode_takes(const sl_builder *b, const sl_model_tensor *t, uint32_t rows)
{
    return sl_decode_fits(b, t, rows) && sl_build_rung(b, t, rows) == SL_RUNG_matvec;
}

/* ---- inputs ---- */

/* The input of products: rows at x, read as `input` says. */
typedef struct operand {
    sl_range x;
    uint32_t input; /* SL_INPUT_* */
    const sl_model_tensor *norm;
} operand;

/* What products with `t` read of `from`, for `rows` rows: itself, to be prepared by each workgroup; or rows
 * in `scratch` that a phase appended here prepares. */
static sl_status prepare(sl_builder *b, const char *label, const operand *from, const sl_model_tensor *t,
                         uint32_t rows, sl_range scratch, operand *out)
{
    const uint32_t format = sl_decode_row_format(b, t);
    *out = *from;
    if (from->input == SL_INPUT_ROWS) return SL_OK;
    if (rows == 1 && t->n_k <= staged_max(b, t)) return SL_OK;
    *out = (operand){.x = scratch, .input = SL_INPUT_ROWS};
    if (!from->norm && format == SL_ROWS_F32) {
        out->x = from->x;
        return SL_OK;
    }
    if (!from->norm) return sl_emit_convert(b, label, from->x, scratch, rows, t->n_k, format);
    return sl_emit_norm(
        b, &(sl_norm){label, from->norm, from->x, scratch, (sl_range){0, 0}, t->n_k, rows, format});
}

/* ---- products ---- */

/* Rows of weights that a workgroup makes: enough to pay for its copy of the input, few enough to spread over
 * a wide device. Rows in blocks come in blocks of 32. */
static uint32_t rows_group(const sl_builder *b, sl_kernel_id kernel, const sl_model_tensor *t, uint64_t n_out,
                           bool blocks, const void *push, const uint32_t *spec)
{
    const uint32_t rows = blocks || n_out > 8192 ? 32 : n_out > 2048 ? 16 : 8;
    const uint32_t tuned =
        sl_tuning_number(sl_kernel_set_tuning(b->kernels), kernel, (uint32_t)t->file->type, push, spec, rows);
    return blocks && tuned % 32 ? rows : tuned;
}

typedef struct fused_product {
    const char *label;
    const sl_model_tensor *w, *w2; /* w2: NULL, or the matrix that act(w x) is multiplied with */
    const operand *in;
    sl_range y;
    uint32_t rows, format;
    bool add;
} fused_product;

/* Rows row .. row + count - 1 of the matrices, which stand at w and w2. */
static sl_status emit_part(sl_builder *b, const fused_product *o, uint64_t w, uint64_t w2, uint32_t row,
                           uint32_t count)
{
    const sl_model_tensor *t = o->w;
    const uint64_t y = o->y.begin + (uint64_t)row * 4;
    const struct sl_push_matvec_fused push = {
        .w = w,
        .w2 = w2,
        .x = o->in->x.begin,
        .norm = o->in->norm ? sl_build_resident(b, o->in->norm) : 0,
        .y = y,
        .add = o->add ? y : 0,
        .n_out = count,
        .x_stride = t->n_k,
        .y_stride = (uint32_t)t->n_out,
        .row_bytes = t->row_bytes,
        .weight_type = (uint32_t)t->file->type,
        .eps = b->h->norm_eps,
    };
    uint32_t spec[SL_FUSED_COUNT] = {
        [SL_FUSED_COLUMNS] = o->rows,     [SL_FUSED_INPUT] = o->in->input, [SL_FUSED_OUTPUT] = o->format,
        [SL_FUSED_ACT] = sl_build_act(b), [SL_FUSED_N_K] = t->n_k,
    };
    const sl_kernel_id kernel = kernel_for(b, o->w2 ? SL_K_matvec_gated : SL_K_matvec_fused, t);
    spec[SL_FUSED_ROWS_GROUP] = rows_group(b, kernel, t, count, o->format != SL_ROWS_F32, &push, spec);
    sl_phase *p;
    sl_status st = sl_build_phase(b, o->label, kernel, (uint32_t)t->file->type, spec, SL_FUSED_COUNT, &push,
                                  sizeof push, &p);
    if (st != SL_OK) return st;
    const sl_range made = {y, o->y.begin + ((uint64_t)(o->rows - 1) * t->n_out + row + count) * 4};
    sl_phase_reads(p, sl_build_rows_of(o->in->x, o->rows, t->n_k));
    sl_phase_writes(p, made);
    if (o->add) sl_phase_reads(p, made);
    const uint32_t matrices = o->w2 ? 2 : 1;
    p->weight_bytes = (uint64_t)count * t->row_bytes * matrices;
    p->flops = 2ull * count * t->n_k * o->rows * matrices;
    return SL_OK;
}

static sl_status emit_fused(sl_builder *b, const fused_product *o)
{
    const sl_place *place = sl_build_place_of(b, o->w);
    if (place->home == SL_HOME_DEVICE)
        return emit_part(b, o, sl_build_resident(b, o->w), o->w2 ? sl_build_resident(b, o->w2) : 0, 0,
                         (uint32_t)o->w->n_out);
    for (uint32_t i = 0; i < place->piece_count; i++) {
        const sl_piece *piece = &b->l->plan->pieces[place->piece + i];
        sl_status st =
            emit_part(b, o, sl_build_streamed(b, place->piece + i), 0, piece->row, piece->row_count);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

/* One product of f32 rows, which get the input of their own where the one at hand does not fit. */
static sl_status emit_plain(sl_builder *b, const char *label, const char *norm_label, const operand *from,
                            const sl_model_tensor *t, uint32_t rows, sl_range y, bool add)
{
    operand in;
    sl_status st = prepare(b, norm_label, from, t, rows, b->l->work.h, &in);
    if (st != SL_OK) return st;
    return emit_fused(b, &(fused_product){label, t, NULL, &in, y, rows, SL_ROWS_F32, add});
}

/* Products of one input: prepared once where all read it alike. */
static sl_status emit_shared(sl_builder *b, const char *norm_label, const operand *from, uint32_t count,
                             const char *const *labels, const sl_model_tensor *const *weights,
                             const sl_range *y)
{
    bool alike = true;
    for (uint32_t i = 1; i < count; i++)
        alike &= float_weights(weights[i]) == float_weights(weights[0]);
    operand in = *from;
    sl_status st =
        alike ? prepare(b, norm_label, from, weights[0], b->shape->n_tokens, b->l->work.h, &in) : SL_OK;
    for (uint32_t i = 0; i < count && st == SL_OK; i++)
        st = emit_plain(b, labels[i], norm_label, &in, weights[i], b->shape->n_tokens, y[i], false);
    return st;
}

/* ---- halves of a layer ---- */

sl_status sl_emit_decode_qkv(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const operand x = {w->x, SL_INPUT_NORM, sl_build_tensor(b, SL_PART_ATTN_NORM)};
    const sl_model_tensor *const weights[] = {sl_build_tensor(b, SL_PART_Q), sl_build_tensor(b, SL_PART_K),
                                              sl_build_tensor(b, SL_PART_V)};
    static const char *const labels[] = {"attn_q", "attn_k", "attn_v"};
    const sl_range y[] = {w->q, w->k, w->v};
    return emit_shared(b, "attn_norm", &x, 3, labels, weights, y);
}

sl_status sl_emit_decode_o(sl_builder *b)
{
    const uint32_t input = sl_attention_format(b) == SL_ROWS_Q8 ? SL_INPUT_ROWS : SL_INPUT_PLAIN;
    const operand x = {b->l->work.attention, input, NULL};
    return emit_plain(b, "attn_output", "attn_rows", &x, sl_build_tensor(b, SL_PART_O), b->shape->n_tokens,
                      sl_build_half_block_target(b), !b->m->arch->post_norms);
}

/* gate and up in one phase: both resident and of one type. */
static bool gated(const sl_builder *b, const sl_model_tensor *gate, const sl_model_tensor *up)
{
    return gate->file->type == up->file->type && sl_build_place_of(b, gate)->home == SL_HOME_DEVICE &&
           sl_build_place_of(b, up)->home == SL_HOME_DEVICE;
}

sl_status sl_emit_decode_dense(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const uint32_t rows = b->shape->n_tokens;
    const sl_model_tensor *gate = sl_build_tensor(b, SL_PART_GATE), *up = sl_build_tensor(b, SL_PART_UP);
    const sl_model_tensor *down = sl_build_tensor(b, SL_PART_DOWN);
    const operand x = {w->x, SL_INPUT_NORM, sl_build_tensor(b, SL_PART_FFN_NORM)};
    const uint32_t format = sl_decode_row_format(b, down);
    operand in, inner = {w->gate, SL_INPUT_ROWS, NULL};
    sl_status st;
    if (gated(b, gate, up)) {
        SL_TRY(prepare(b, "ffn_norm", &x, gate, rows, w->h, &in));
        SL_TRY(emit_fused(b, &(fused_product){"ffn_gate_up", gate, up, &in, w->gate, rows, format, false}));
    } else {
        const sl_model_tensor *const weights[] = {gate, up};
        static const char *const labels[] = {"ffn_gate", "ffn_up"};
        const sl_range y[] = {w->gate, w->up};
        SL_TRY(emit_shared(b, "ffn_norm", &x, 2, labels, weights, y));
        SL_TRY(sl_emit_act_mul(b, rows, b->h->n_ff, SL_ROWS_F32));
        inner.input = SL_INPUT_PLAIN;
    }
    SL_TRY(emit_plain(b, "ffn_down", "ffn_rows", &inner, down, rows, sl_build_half_block_target(b),
                      !b->m->arch->post_norms));
cleanup:
    return st;
}

/* ---- mixture of experts ---- */

/* gate and up of all chosen experts, then down of all, in two phases: all resident, gate and up of one type,
 * and a token's activations for down within a workgroup's shared memory. */
static bool experts_fused(const sl_builder *b)
{
    const sl_model_tensor *gate = sl_build_tensor(b, SL_PART_GATE_EXPERTS),
                          *up = sl_build_tensor(b, SL_PART_UP_EXPERTS);
    const sl_model_tensor *down = sl_build_tensor(b, SL_PART_DOWN_EXPERTS);
    return gated(b, gate, up) && sl_build_place_of(b, down)->home == SL_HOME_DEVICE &&
           gate->n_k % SL_ROWS_Q8_MULTIPLE == 0 && down->n_k % SL_ROWS_Q8_MULTIPLE == 0 &&
           b->h->n_used * down->n_k <= staged_max(b, down);
}

static sl_status emit_experts(sl_builder *b, const char *label, const sl_model_tensor *t,
                              const sl_model_tensor *t2, const operand *in, sl_range y, uint32_t format)
{
    const sl_workspace *w = &b->l->work;
    const bool down = !t2;
    const uint32_t n_tokens = b->shape->n_tokens, n_used = b->h->n_used;
    const struct sl_push_moe_fused push = {
        .w = sl_build_resident(b, t),
        .w2 = t2 ? sl_build_resident(b, t2) : 0,
        .x = in->x.begin,
        .norm = in->norm ? sl_build_resident(b, in->norm) : 0,
        .y = y.begin,
        .add = down && !b->m->arch->post_norms ? y.begin : 0,
        .ids = w->route_ids.begin,
        .weights = w->route_weights.begin,
        .n_out = (uint32_t)t->n_out,
        .n_k = t->n_k,
        .n_used = n_used,
        .n_tokens = n_tokens,
        .n_experts = b->h->n_experts,
        .x_stride = t->n_k,
        .y_stride = (uint32_t)t->n_out,
        .row_bytes = t->row_bytes,
        .weight_type = (uint32_t)t->file->type,
        .eps = b->h->norm_eps,
    };
    uint32_t spec[SL_FUSED_COUNT] = {
        [SL_FUSED_COLUMNS] = 1,
        [SL_FUSED_INPUT] = in->input,
        [SL_FUSED_OUTPUT] = format,
        [SL_FUSED_ACT] = sl_build_act(b),
        [SL_FUSED_N_K] = down ? n_used * t->n_k : t->n_k,
    };
    const sl_kernel_id kernel = kernel_for(b, down ? SL_K_moe_down : SL_K_moe_gated, t);
    spec[SL_FUSED_ROWS_GROUP] = rows_group(b, kernel, t, t->n_out, !down, &push, spec);
    sl_phase *p;
    sl_status st = sl_build_phase(b, label, kernel, (uint32_t)t->file->type, spec, SL_FUSED_COUNT, &push,
                                  sizeof push, &p);
    if (st != SL_OK) return st;
    const sl_range made = sl_build_rows_of(y, (uint64_t)n_tokens * (down ? 1 : n_used), t->n_out);
    sl_phase_reads(p, sl_build_rows_of(in->x, (uint64_t)n_tokens * (down ? n_used : 1), t->n_k));
    sl_phase_reads(p, w->route_ids);
    if (down) sl_phase_reads(p, w->route_weights);
    if (push.add) sl_phase_reads(p, made);
    sl_phase_writes(p, made);
    const uint32_t matrices = t2 ? 2 : 1;
    const uint64_t experts = SL_MIN((uint64_t)n_tokens * n_used, b->h->n_experts);
    p->weight_bytes = experts * t->n_out * t->row_bytes * matrices;
    p->flops = 2ull * n_tokens * n_used * t->n_out * t->n_k * matrices;
    return SL_OK;
}

sl_status sl_emit_decode_moe(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const sl_model_tensor *router = sl_build_tensor(b, SL_PART_ROUTER),
                          *down = sl_build_tensor(b, SL_PART_DOWN_EXPERTS);
    const sl_model_tensor *gate = sl_build_tensor(b, SL_PART_GATE_EXPERTS),
                          *up = sl_build_tensor(b, SL_PART_UP_EXPERTS);
    const uint32_t rows = b->shape->n_tokens;
    const operand x = {w->x, SL_INPUT_NORM, sl_build_tensor(b, SL_PART_FFN_NORM)};
    const operand inner = {w->gate, SL_INPUT_ROWS, NULL};
    operand in;
    sl_status st;
    /* The router reads rows of floats, the experts of blocks: where both are prepared, in places of their
     * own.
     */
    SL_TRY(prepare(b, "router_norm", &x, router, rows, w->h, &in));
    SL_TRY(emit_fused(
        b, &(fused_product){"moe_router", router, NULL, &in, w->router, rows, SL_ROWS_F32, false}));
    SL_TRY(sl_emit_route(b));
    SL_TRY(prepare(b, "ffn_norm", &x, gate, rows, w->up, &in));
    SL_TRY(emit_experts(b, "moe_gate_up", gate, up, &in, w->gate, sl_decode_row_format(b, down)));
    SL_TRY(emit_experts(b, "moe_down", down, NULL, &inner, sl_build_half_block_target(b), SL_ROWS_F32));
cleanup:
    return st;
}

bool sl_decode_experts_fused(const sl_builder *b)
{
    return b->l->decode_rows != SL_ROWS_F32 && b->shape->n_tokens <= SL_MATVEC_COLUMNS_MAX &&
           experts_fused(b) && sl_decode_takes(b, sl_build_tensor(b, SL_PART_ROUTER), b->shape->n_tokens);
}

sl_status sl_emit_decode_logits(sl_builder *b, sl_range x, uint32_t rows)
{
    const operand from = {x, SL_INPUT_NORM, sl_build_tensor(b, SL_PART_OUTPUT_NORM)};
    const sl_model_tensor *out = sl_build_tensor(b, b->m->tied_output ? SL_PART_EMBED : SL_PART_OUTPUT);
    operand in;
    sl_status st = prepare(b, "output_norm", &from, out, rows, b->l->work.out_h, &in);
    if (st != SL_OK) return st;
    return emit_fused(
        b, &(fused_product){"output", out, NULL, &in, b->l->work.logits, rows, SL_ROWS_F32, false});
}
