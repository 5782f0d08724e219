/* Embeddings, norms, products with weights, activations. */
#include "runtime/step/builder_internal.h"

#include "hal/base/checked.h"
#include "shaders/matmul/matmul_decode.h"
#include "shaders/tuning.h"

bool sl_build_decoding(const sl_builder *b, uint32_t n_tokens)
{
    return n_tokens >= b->l->limits.decode_from && n_tokens <= b->l->limits.decode_to;
}

bool sl_build_few(const sl_builder *b, uint32_t n_tokens)
{
    return sl_build_decoding(b, n_tokens) ||
           (b->l->limits.few_arrived && n_tokens >= b->l->limits.few_from && n_tokens <= SL_FEW_COLUMNS_MAX);
}

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

static sl_status emit_plain_product(sl_builder *b, const sl_product *o, const part_of_product *part)
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
    const sl_kernel_id kernel =
        sl_tuning_product(sl_kernel_set_tuning(b->kernels), (uint32_t)t->file->type, o->n_tokens);
    sl_phase *p;
    sl_status st = sl_build_phase(b, o->label, kernel, (uint32_t)t->file->type, &o->n_tokens,
                                  kernel == SL_K_matvec, &push, sizeof push, &p);
    if (st == SL_OK) note_product(p, o, part);
    return st;
}

/* Products of few columns follow each other through SL_FEW_AT_ONCE places for their partial sums, so that
 * several of them need no barrier. */
static sl_status emit_skinny_product(sl_builder *b, const sl_product *o, const part_of_product *part)
{
    const sl_model_tensor *t = o->w;
    const sl_limits *limits = &b->l->limits;
    const uint32_t place = b->few++ % SL_FEW_AT_ONCE;
    const uint64_t y = o->y.begin + (uint64_t)part->row * 4;
    const bool decoding = sl_build_decoding(b, o->n_tokens);
    sl_skinny_plan plan;
    (decoding ? sl_decode_plan_make : sl_skinny_plan_make)(
        sl_kernel_set_caps(b->kernels), (uint32_t)t->file->type, part->rows, t->n_k, o->n_tokens, &plan);
    const sl_range partial = {b->l->work.few_partial.begin + place * limits->few_partial_bytes,
                              b->l->work.few_partial.begin + place * limits->few_partial_bytes +
                                  plan.partial_bytes};
    const sl_range arrived = {b->l->work.few_arrived.begin + place * limits->few_arrived * 4ull,
                              b->l->work.few_arrived.begin +
                                  (place * (uint64_t)limits->few_arrived + plan.tiles) * 4};
    const struct sl_push_matmul_skinny push = {
        .w = part->w,
        .x = o->x.begin,
        .y = y,
        .add = o->add ? y : 0,
        .partial = partial.begin,
        .arrived = arrived.begin,
        .n_out = part->rows,
        .n_k = t->n_k,
        .n_tokens = o->n_tokens,
        .x_stride = t->n_k,
        .y_stride = (uint32_t)t->n_out,
        .row_bytes = t->row_bytes,
        .weight_type = (uint32_t)t->file->type,
        .n_splits = plan.n_splits,
    };
    uint32_t spec[SL_DECODE_SPECS] = {0};
    if (decoding) sl_decode_spec(&push, plan.variant, spec);
    sl_phase *p;
    sl_status st = sl_build_variant(b, o->label, plan.variant, spec, decoding ? SL_DECODE_SPECS : 0, &push,
                                    sizeof push, &p);
    if (st != SL_OK) return st;
    note_product(p, o, part);
    sl_phase_writes(p, partial);
    sl_phase_writes(p, arrived);
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

sl_status sl_emit_product(sl_builder *b, const sl_product *product, uint32_t x_format)
{
    sl_product o = *product;
    const bool few = sl_build_few(b, o.n_tokens);
    const sl_place *place = sl_build_place_of(b, o.w);
    sl_status (*emit)(sl_builder *, const sl_product *, const part_of_product *) =
        few ? emit_skinny_product : emit_plain_product;
    sl_status st = SL_OK;
    if (few && x_format == SL_ROWS_F32) {
        SL_TRY(sl_emit_halves(b, o.x, o.n_tokens, o.w->n_k));
        o.x = b->l->work.halves;
    }
    if (place->home == SL_HOME_DEVICE)
        return emit(b, &o, &(part_of_product){sl_build_resident(b, o.w), 0, (uint32_t)o.w->n_out});
    for (uint32_t i = 0; i < place->piece_count; i++) {
        const sl_piece *piece = &b->l->plan->pieces[place->piece + i];
        SL_TRY(emit(
            b, &o, &(part_of_product){sl_build_streamed(b, place->piece + i), piece->row, piece->row_count}));
    }
cleanup:
    return st;
}

sl_status sl_emit_products(sl_builder *b, const sl_product *products, uint32_t count, uint32_t x_format)
{
    if (sl_build_gemm(b)) return sl_emit_gemm_group(b, products, count, x_format);
    sl_status st = SL_OK;
    for (uint32_t i = 0; i < count && st == SL_OK; i++)
        st = sl_emit_product(b, &products[i], x_format);
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
