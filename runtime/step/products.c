/* Embeddings, norms, products with weights, activations. */
#include "runtime/step/builder_internal.h"

#include "hal/base/checked.h"
#include "shaders/matmul/matmul_decode.h"
#include "shaders/tuning.h"

/* Rows row .. row + rows - 1 of a tensor, at `w`. */
typedef struct part_of_product {
    uint64_t w;
    uint32_t row, rows;
} part_of_product;

static void note_product(sl_phase *p, const sl_product *o, const part_of_product *part)
{
    const sl_model_tensor *t = o->w;
    const sl_range y = {o->y.begin + (uint64_t)part->row * 4,
                        o->y.begin + ((uint64_t)(o->n_tokens - 1) * t->n_out + part->row + part->rows) * 4};
    sl_phase_reads(p, sl_build_rows_of(o->x, o->n_tokens, t->n_k));
    sl_phase_writes(p, y);
    if (o->add) sl_phase_reads(p, y);
    p->weight_bytes = (uint64_t)part->rows * t->row_bytes;
    p->flops = 2ull * part->rows * t->n_k * o->n_tokens;
}

/* By one of the kernels with the push block of matmul. */
static sl_status emit_plain_product(sl_builder *b, const sl_product *o, sl_product_rung rung,
                                    const part_of_product *part)
{
    const sl_model_tensor *t = o->w;
    const uint64_t y = o->y.begin + (uint64_t)part->row * 4;
    const struct sl_push_matmul push = {
        .w = part->w,
        .x = o->x.begin,
        .y = y,
        .add = o->add ? y : 0,
        .n_out = part->rows,
        .n_k = t->n_k,
        .n_tokens = o->n_tokens,
        .x_stride = t->n_k,
        .y_stride = (uint32_t)t->n_out,
        .row_bytes = t->row_bytes,
        .weight_type = (uint32_t)t->file->type,
    };
    const sl_kernel_id kernel = sl_products[rung].kernel;
    sl_phase *p;
    sl_status st = sl_build_phase(b, o->label, kernel, (uint32_t)t->file->type, &o->n_tokens,
                                  kernel == SL_K_matvec, &push, sizeof push, &p);
    if (st == SL_OK) note_product(p, o, part);
    return st;
}

/* The plan for `rows` rows of the matrix, or of two: what was measured, else the kernel's own. */
static void plan_skinny(const sl_builder *b, sl_kernel_id kernel, const sl_product *o, uint32_t rows,
                        sl_skinny_plan *out)
{
    const sl_tuning *tuning = sl_kernel_set_tuning(b->kernels);
    const sl_device_caps *caps = sl_kernel_set_caps(b->kernels);
    const struct sl_push_matmul_skinny push = {.n_out = rows, .n_k = o->w->n_k, .n_tokens = o->n_tokens};
    const uint32_t type = (uint32_t)o->w->file->type;
    const sl_shape_class of = sl_shape_class_of(kernel, type, &push, NULL);
    (kernel == SL_K_matmul_decode ? sl_decode_plan_make : sl_skinny_plan_make)(
        caps, sl_tuning_variant(tuning, &of, caps), sl_tuning_number(tuning, kernel, type, &push, NULL, 0),
        rows, o->w->n_k, o->n_tokens, out);
}

/* Products in parts of k (matmul_skinny, matmul_decode) follow each other through SL_FEW_AT_ONCE places for
 * their partial sums, so that several of them need no barrier. Of `push` is set what says where things are;
 * the rest is the same for all.
 */
static sl_status emit_skinny(sl_builder *b, const char *label, sl_kernel_id kernel, const sl_product *o,
                             struct sl_push_matmul_skinny *push, sl_phase **out)
{
    const sl_model_tensor *t = o->w;
    const sl_limits *limits = &b->l->limits;
    const uint32_t place = b->few++ % SL_FEW_AT_ONCE;
    sl_skinny_plan plan;
    plan_skinny(b, kernel, o, push->n_out, &plan);
    const uint64_t partial = b->l->work.few_partial.begin + place * limits->few_partial_bytes;
    const uint64_t arrived = b->l->work.few_arrived.begin + place * limits->few_arrived * 4ull;
    push->x = o->x.begin;
    push->partial = partial;
    push->arrived = arrived;
    push->n_k = t->n_k;
    push->n_tokens = o->n_tokens;
    push->x_stride = t->n_k;
    push->y_stride = (uint32_t)t->n_out;
    push->row_bytes = t->row_bytes;
    push->weight_type = (uint32_t)t->file->type;
    push->n_splits = plan.n_splits;
    uint32_t spec[SL_DECODE_SPECS] = {0};
    const uint32_t spec_count = kernel == SL_K_matmul_decode ? SL_DECODE_SPECS : 0;
    if (spec_count) sl_decode_spec(push, plan.variant, spec);
    sl_status st = sl_build_variant(b, label, plan.variant, spec, spec_count, push, sizeof *push, out);
    if (st != SL_OK) return st;
    sl_phase_writes(*out, (sl_range){partial, partial + plan.partial_bytes});
    sl_phase_writes(*out, (sl_range){arrived, arrived + plan.tiles * 4ull});
    return SL_OK;
}

static sl_status emit_skinny_product(sl_builder *b, const sl_product *o, sl_product_rung rung,
                                     const part_of_product *part)
{
    const uint64_t y = o->y.begin + (uint64_t)part->row * 4;
    struct sl_push_matmul_skinny push = {.w = part->w, .y = y, .add = o->add ? y : 0, .n_out = part->rows};
    sl_phase *p;
    sl_status st = emit_skinny(b, o->label, sl_products[rung].kernel, o, &push, &p);
    if (st == SL_OK) note_product(p, o, part);
    return st;
}

bool sl_build_few_gated(const sl_builder *b)
{
    const sl_model_tensor *gate = sl_build_tensor(b, SL_PART_GATE), *up = sl_build_tensor(b, SL_PART_UP);
    const uint32_t n_tokens = b->shape->n_tokens;
    return sl_build_rung(b, gate, n_tokens) == SL_RUNG_matmul_skinny &&
           sl_build_rung(b, up, n_tokens) == SL_RUNG_matmul_skinny && gate->file->type == up->file->type &&
           sl_build_place_of(b, gate)->home == SL_HOME_DEVICE &&
           sl_build_place_of(b, up)->home == SL_HOME_DEVICE &&
           sl_skinny_variant(sl_kernel_set_caps(b->kernels), SL_K_matmul_skinny_gated,
                             (uint32_t)gate->file->type, gate->n_k, n_tokens);
}

sl_status sl_emit_few_gated(sl_builder *b)
{
    const sl_workspace *w = &b->l->work;
    const sl_model_tensor *gate = sl_build_tensor(b, SL_PART_GATE), *up = sl_build_tensor(b, SL_PART_UP);
    const uint32_t n_tokens = b->shape->n_tokens;
    const sl_product o = {.w = gate, .x = w->h, .y = w->act, .n_tokens = n_tokens};
    struct sl_push_matmul_skinny push = {
        .w = sl_build_resident(b, gate),
        .w2 = sl_build_resident(b, up),
        .y = w->act.begin,
        .n_out = (uint32_t)gate->n_out,
        .act = sl_build_act(b),
    };
    sl_phase *p;
    sl_status st = emit_skinny(b, "ffn_gate_up", SL_K_matmul_skinny_gated, &o, &push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(w->h, n_tokens, gate->n_k));
    sl_phase_writes(p, sl_build_rows_of(w->act, n_tokens, gate->n_out));
    p->weight_bytes = 2 * gate->n_out * gate->row_bytes;
    p->flops = 4ull * gate->n_out * gate->n_k * n_tokens;
    return SL_OK;
}

sl_status sl_emit_convert(sl_builder *b, const char *label, sl_range x, sl_range y, uint32_t rows, uint32_t n,
                          uint32_t format)
{
    const struct sl_push_convert_rows push = {
        .x = x.begin, .y = y.begin, .n = n, .rows = rows, .x_stride = n, .y_stride = n, .format = format};
    sl_phase *p;
    sl_status st = sl_build_phase(b, label, SL_K_convert_rows, format, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(x, rows, n));
    sl_phase_writes(p, sl_build_rows_of(y, rows, n));
    return SL_OK;
}

sl_status sl_emit_halves(sl_builder *b, sl_range x, uint32_t rows, uint32_t n)
{
    return sl_emit_convert(b, "halves", x, b->l->work.halves, rows, n, SL_ROWS_F16);
}

static sl_status emit_part(sl_builder *b, const sl_product *o, sl_product_rung rung,
                           const part_of_product *part)
{
    return rung == SL_RUNG_matmul_skinny || rung == SL_RUNG_matmul_decode
               ? emit_skinny_product(b, o, rung, part)
               : emit_plain_product(b, o, rung, part);
}

static sl_status emit_product(sl_builder *b, const sl_product *o, sl_product_rung rung)
{
    const sl_place *place = sl_build_place_of(b, o->w);
    sl_status st = SL_OK;
    if (place->home == SL_HOME_DEVICE)
        return emit_part(b, o, rung,
                         &(part_of_product){sl_build_resident(b, o->w), 0, (uint32_t)o->w->n_out});
    for (uint32_t i = 0; i < place->piece_count && st == SL_OK; i++) {
        const sl_piece *piece = &b->l->plan->pieces[place->piece + i];
        st = emit_part(
            b, o, rung,
            &(part_of_product){sl_build_streamed(b, place->piece + i), piece->row, piece->row_count});
    }
    return st;
}

sl_status sl_emit_products(sl_builder *b, const sl_product *products, uint32_t count, uint32_t x_format)
{
    sl_product gemms[SL_GROUP_PARTS];
    uint32_t gemm_count = 0;
    bool halves = false; /* in work.halves */
    sl_status st = SL_OK;
    for (uint32_t i = 0; i < count; i++) {
        sl_product o = products[i];
        const sl_product_rung rung = sl_build_rung(b, o.w, o.n_tokens);
        if (rung == SL_RUNG_gemm) {
            gemms[gemm_count++] = o;
            continue;
        }
        if (sl_products[rung].rows != x_format) {
            if (!halves) SL_TRY(sl_emit_halves(b, o.x, o.n_tokens, o.w->n_k));
            halves = true;
            o.x = b->l->work.halves;
        }
        SL_TRY(emit_product(b, &o, rung));
    }
    if (gemm_count) st = sl_emit_gemm_group(b, gemms, gemm_count, x_format);
cleanup:
    return st;
}

sl_status sl_emit_norm(sl_builder *b, const sl_norm *o)
{
    const bool after = o->after.end > o->after.begin;
    const struct sl_push_rms_norm push = {
        .x = o->x.begin,
        .weight = sl_build_resident(b, o->weight),
        .after = after ? o->after.begin : 0,
        .y = o->y.begin,
        .n = o->n,
        .rows = o->rows,
        .x_stride = o->n,
        .y_stride = o->n,
        .format = o->format,
        .eps = b->h->norm_eps,
    };
    sl_phase *p;
    sl_status st = sl_build_phase(b, o->label, SL_K_rms_norm, o->format, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(o->x, o->rows, o->n));
    if (after) sl_phase_reads(p, sl_build_rows_of(o->after, o->rows, o->n));
    sl_phase_writes(p, sl_build_rows_of(o->y, o->rows, o->n));
    return SL_OK;
}

sl_status sl_emit_embedding(sl_builder *b)
{
    const sl_model_tensor *t = sl_model_find(b->m, SL_PART_EMBED, SL_NO_LAYER);
    const sl_workspace *w = &b->l->work;
    const uint32_t n = b->h->n_embd, n_tokens = b->shape->n_tokens;
    sl_phase *p;
    sl_status st;
    if (sl_build_place_of(b, t)->home == SL_HOME_DEVICE) {
        const struct sl_push_embed push = {
            .table = sl_build_resident(b, t),
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
        st = sl_build_phase(b, "embed", SL_K_embed, (uint32_t)t->file->type, NULL, 0, &push, sizeof push, &p);
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
        st = sl_build_phase(b, "embed_rows", SL_K_copy_rows, 0, NULL, 0, &push, sizeof push, &p);
    }
    if (st != SL_OK) return st;
    sl_phase_writes(p, sl_build_rows_of(w->x, n_tokens, n));
    return SL_OK;
}

uint32_t sl_build_act(const sl_builder *b)
{
    return b->m->arch->activation == SL_ACTIVATION_GELU ? SL_ACT_GELU : SL_ACT_SILU;
}

sl_status sl_emit_act_mul(sl_builder *b, uint64_t rows, uint32_t n, uint32_t format)
{
    const sl_workspace *w = &b->l->work;
    const sl_range y = format == SL_ROWS_F32 ? w->gate : w->act;
    const struct sl_push_act_mul push = {
        .gate = w->gate.begin,
        .up = w->up.begin,
        .y = y.begin,
        .n = n,
        .rows = (uint32_t)rows,
        .gate_stride = n,
        .up_stride = n,
        .y_stride = n,
        .act = sl_build_act(b),
        .format = format,
    };
    sl_phase *p;
    sl_status st = sl_build_phase(b, "act_mul", SL_K_act_mul, format, NULL, 0, &push, sizeof push, &p);
    if (st != SL_OK) return st;
    sl_phase_reads(p, sl_build_rows_of(w->gate, rows, n));
    sl_phase_reads(p, sl_build_rows_of(w->up, rows, n));
    sl_phase_writes(p, sl_build_rows_of(y, rows, n));
    return SL_OK;
}
