/* Cases of embed, matvec, matmul, matmul_skinny, matmul_decode and moe_matvec. Shapes are small enough for
 * software drivers;
 * the widths are those of real models where they are cheap, and every tail of tiles and loads where they are
 * not. */
#include "tests/kernels/gen_weights.h"

#include "hal/base/checked.h"
#include "hal/base/half.h"
#include "shaders/matmul/matmul_decode.h"
#include "shaders/rows_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdlib.h>

/* A width with at least `units` of 32 weights, as a multiple of the type's block; tail: more weights for
 * types without blocks. */
static uint32_t width_for(uint32_t type, uint32_t units, uint32_t tail)
{
    uint32_t weights = 1, bytes = 0;
    sl_weight_block(type, &weights, &bytes);
    const uint32_t n = units * 32;
    if (weights == 1) return n + tail;
    return (n + weights - 1) / weights * weights;
}

bool sl_gen_embed(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t units, tail, n_vocab, n_tokens, pad;
        float scale;
    } cases[] = {
        {1, 0, 3, 1, 0, 1.0f},   {18, 0, 50, 5, 0, 1.0f},  {18, 0, 50, 1, 0, 24.0f},  {40, 4, 7, 33, 0, 0.5f},
        {64, 0, 9, 64, 0, 1.0f}, {8, 12, 100, 3, 0, 1.0f}, {128, 4, 20, 2, 0, 25.3f},
    };
    if (index >= SL_COUNTOF(cases)) return false;
    const uint32_t type = variant->key, n = width_for(type, cases[index].units, cases[index].tail);
    const uint32_t row_bytes = sl_gen_row_bytes(type, n), n_vocab = cases[index].n_vocab;
    struct sl_push_embed *p = (struct sl_push_embed *)c->push;
    *p = (struct sl_push_embed){.n_embd = n,
                                .n_vocab = n_vocab,
                                .n_tokens = cases[index].n_tokens,
                                .y_stride = n,
                                .row_bytes = row_bytes,
                                .weight_type = type,
                                .scale = cases[index].scale};
    void *table = sl_case_operand_add(c, offsetof(struct sl_push_embed, table), SL_CASE_IN, SL_CASE_BYTES,
                                      (uint64_t)row_bytes * n_vocab);
    sl_gen_weights(c, type, table, n_vocab, n);
    uint32_t *tokens = sl_case_operand_add(c, offsetof(struct sl_push_embed, tokens), SL_CASE_IN, SL_CASE_U32,
                                           p->n_tokens * 4ull);
    for (uint32_t t = 0; t < p->n_tokens; t++)
        tokens[t] = sl_case_random_below(c, n_vocab);
    if (p->n_tokens > 2) { /* the last, the first that does not exist, and one far beyond */
        tokens[0] = n_vocab - 1;
        tokens[1] = n_vocab;
        tokens[2] = 0xffffffffu;
    }
    sl_case_operand_add(c, offsetof(struct sl_push_embed, y), SL_CASE_OUT, SL_CASE_F32,
                        4ull * n * p->n_tokens);
    snprintf(c->name, sizeof c->name, "n=%u vocab=%u tokens=%u", n, n_vocab, p->n_tokens);
    return true;
}

typedef enum extra { NONE, BIAS, ADD, ADD_IN_PLACE, BIAS_ADD_IN_PLACE } extra;

typedef struct product_case {
    uint32_t n_out, units, tail, n_tokens;
    extra extra;
    uint32_t x_pad, y_pad; /* floats between rows beyond their ends; y_pad only in place */
    float x_range;
} product_case;

static void fill_product(sl_kernel_case *c, const product_case *k, const sl_variant *variant)
{
    const uint32_t type = variant->key, n_k = width_for(type, k->units, k->tail), n_out = k->n_out;
    struct sl_push_matmul *p = (struct sl_push_matmul *)c->push;
    *p = (struct sl_push_matmul){.n_out = n_out,
                                 .n_k = n_k,
                                 .n_tokens = k->n_tokens,
                                 .x_stride = n_k + k->x_pad,
                                 .y_stride = n_out + k->y_pad,
                                 .row_bytes = sl_gen_row_bytes(type, n_k),
                                 .weight_type = type};
    void *w = sl_case_operand_add(c, offsetof(struct sl_push_matmul, w), SL_CASE_IN, SL_CASE_BYTES,
                                  (uint64_t)p->row_bytes * n_out);
    sl_gen_weights(c, type, w, n_out, n_k);
    const uint64_t xs = (uint64_t)(p->n_tokens - 1) * p->x_stride + n_k;
    float *x = sl_case_operand_add(c, offsetof(struct sl_push_matmul, x), SL_CASE_IN, SL_CASE_F32, 4 * xs);
    sl_case_fill_floats(c, x, xs, -k->x_range, k->x_range);
    const uint64_t ys = (uint64_t)(p->n_tokens - 1) * p->y_stride + n_out;
    const bool in_place = k->extra == ADD_IN_PLACE || k->extra == BIAS_ADD_IN_PLACE;
    float *y = sl_case_operand_add(c, offsetof(struct sl_push_matmul, y),
                                   in_place ? SL_CASE_IN | SL_CASE_OUT : SL_CASE_OUT, SL_CASE_F32, 4 * ys);
    if (in_place) {
        sl_case_fill_floats(c, y, ys, -2, 2);
        sl_case_alias(c, offsetof(struct sl_push_matmul, add), offsetof(struct sl_push_matmul, y));
    }
    if (k->extra == BIAS || k->extra == BIAS_ADD_IN_PLACE)
        sl_case_fill_floats(c,
                            sl_case_operand_add(c, offsetof(struct sl_push_matmul, bias), SL_CASE_IN,
                                                SL_CASE_F32, 4ull * n_out),
                            n_out, -3, 3);
    if (k->extra == ADD)
        sl_case_fill_floats(
            c, sl_case_operand_add(c, offsetof(struct sl_push_matmul, add), SL_CASE_IN, SL_CASE_F32, 4 * ys),
            ys, -3, 3);
    snprintf(c->name, sizeof c->name, "n_out=%u n_k=%u tokens=%u extra=%d x_pad=%u y_pad=%u x_range=%g",
             n_out, n_k, p->n_tokens, (int)k->extra, k->x_pad, k->y_pad, (double)k->x_range);
}

bool sl_gen_matvec(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const product_case cases[] = {
        {1, 1, 0, 1, NONE, 0, 0, 1},
        {8, 3, 0, 1, BIAS, 0, 0, 1},
        {192, 18, 0, 1, NONE, 0, 0, 1},
        {576, 48, 0, 1, ADD_IN_PLACE, 0, 0, 4},
        {33, 20, 8, 1, ADD, 0, 0, 1},
        {7, 129, 4, 1, BIAS_ADD_IN_PLACE, 0, 0, 1e5f},
        {13, 18, 0, 2, NONE, 0, 0, 1},
        {65, 8, 4, 3, ADD_IN_PLACE, 4, 5, 1},
        {16, 18, 12, 4, BIAS, 4, 0, 1},
        {9, 64, 0, 5, ADD, 8, 0, 1},
        {31, 5, 4, 6, BIAS_ADD_IN_PLACE, 8, 1, 1},
        {100, 18, 0, 7, NONE, 0, 0, 1},
        {66, 36, 8, 8, BIAS_ADD_IN_PLACE, 12, 3, 1},
        {192, 18, 0, 8, NONE, 0, 0, 1},
    };
    /* Every column count is a compilation. Each type gets 1, 2, 8 and one of the others, so that all are
     * seen. */
    const uint32_t middle = 3 + (variant->key & 31) % 5;
    uint32_t chosen = 0;
    for (; chosen < SL_COUNTOF(cases); chosen++) {
        const uint32_t n = cases[chosen].n_tokens;
        if ((n < 3 || n == 8 || n == middle) && index-- == 0) break;
    }
    if (chosen == SL_COUNTOF(cases)) return false;
    index = chosen;
    fill_product(c, &cases[index], variant);
    c->spec_count = 1;
    c->spec[0] = cases[index].n_tokens;
    return true;
}

bool sl_gen_matmul(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const product_case cases[] = {
        {1, 1, 0, 1, NONE, 0, 0, 1},
        {64, 2, 0, 64, NONE, 0, 0, 1},
        {192, 18, 0, 9, BIAS, 0, 0, 1},
        {63, 5, 4, 16, ADD, 4, 0, 1},
        {130, 9, 0, 17, ADD_IN_PLACE, 0, 0, 1},
        {65, 8, 12, 65, BIAS_ADD_IN_PLACE, 4, 2, 1},
        {129, 18, 0, 130, NONE, 4, 0, 1},
        {256, 4, 0, 128, ADD_IN_PLACE, 0, 3, 1},
        {40, 48, 4, 33, NONE, 0, 0, 3e5f}, /* beyond the range of f16 */
        {72, 9, 0, 20, BIAS, 0, 0, 1e-4f}, /* at its lower end */
    };
    if (index >= SL_COUNTOF(cases)) return false;
    fill_product(c, &cases[index], variant);
    if (cases[index].x_range > 65504) { /* one outlier late in one row, the others of ordinary size */
        struct sl_push_matmul *p = (struct sl_push_matmul *)c->push;
        for (uint32_t i = 0; i < c->operand_count; i++) {
            if (c->operands[i].push_offset != offsetof(struct sl_push_matmul, x)) continue;
            float *x = c->operands[i].data;
            for (uint64_t n = 0; n < c->operands[i].bytes / 4; n++)
                if (n != 3ull * p->x_stride + p->n_k * 3 / 4) x[n] /= cases[index].x_range;
        }
    }
    return true;
}

/* Rows of f16 at `push_offset`: `rows` of n elements, stride elements apart, of `all` that there are. */
static void fill_half_rows(sl_kernel_case *c, uint32_t push_offset, uint32_t rows, uint32_t all, uint32_t n,
                           uint32_t stride)
{
    uint16_t *x = sl_case_operand_add(c, push_offset, SL_CASE_IN, SL_CASE_F16, 2ull * all * stride);
    memset(x, 0xff, 2ull * all * stride); /* NaNs beyond the ends of rows, and behind the last */
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t k = 0; k < n; k++)
            x[(uint64_t)r * stride + k] = sl_float_to_half(sl_case_random_float(c, -1, 1));
}

#define AT(field) (uint32_t) offsetof(struct sl_push_matmul_skinny, field)

static void fill_skinny_y(sl_kernel_case *c, extra extra)
{
    const struct sl_push_matmul_skinny *p = (const struct sl_push_matmul_skinny *)c->push;
    const uint32_t n_out = p->n_out;
    const uint64_t ys = (uint64_t)(p->n_tokens - 1) * p->y_stride + n_out;
    const bool in_place = extra == ADD_IN_PLACE || extra == BIAS_ADD_IN_PLACE;
    float *y =
        sl_case_operand_add(c, AT(y), in_place ? SL_CASE_IN | SL_CASE_OUT : SL_CASE_OUT, SL_CASE_F32, 4 * ys);
    sl_case_fill_floats(c, y, ys, -2, 2);
    if (in_place) sl_case_alias(c, AT(add), AT(y));
    if (extra == BIAS || extra == BIAS_ADD_IN_PLACE)
        sl_case_fill_floats(c, sl_case_operand_add(c, AT(bias), SL_CASE_IN, SL_CASE_F32, 4ull * n_out), n_out,
                            -3, 3);
    if (extra == ADD)
        sl_case_fill_floats(c, sl_case_operand_add(c, AT(add), SL_CASE_IN, SL_CASE_F32, 4 * ys), ys, -3, 3);
}

typedef struct skinny_case {
    uint32_t n_out, units, tail, n_tokens, n_splits;
    extra extra;
    uint32_t y_pad;
} skinny_case;

static void fill_parts(sl_kernel_case *c, const sl_variant *variant, uint32_t matrices)
{
    const struct sl_push_matmul_skinny *p = (const struct sl_push_matmul_skinny *)c->push;
    const uint32_t tiles =
        (uint32_t)(sl_div_up(p->n_out, variant->tile_x) * sl_div_up(p->n_tokens, variant->tile_y));
    sl_case_operand_add(c, AT(partial), 0, SL_CASE_BYTES,
                        4ull * matrices * tiles * p->n_splits * variant->tile_x * variant->tile_y);
    sl_case_operand_add(c, AT(arrived), SL_CASE_IN | SL_CASE_OUT, SL_CASE_U32, 4ull * tiles); /* 0 again */
}

/* `activation` of matmul_skinny_gated; x_rows: as many rows of x there are, of which n_tokens hold numbers.
 */
static void fill_skinny(sl_kernel_case *c, const skinny_case *k, const sl_variant *variant,
                        uint32_t activation, uint32_t x_rows)
{
    const bool gated = variant->kernel == SL_K_matmul_skinny_gated;
    const uint32_t matrices = gated ? 2 : 1;
    const uint32_t type = variant->key, usual = width_for(type, k->units, k->tail);
    const uint32_t n_k =
        sl_skinny_takes(variant, usual) ? usual : (uint32_t)sl_align_up(usual, SL_SKINNY_BLOCK);
    const extra extra = gated ? NONE : k->extra;
    struct sl_push_matmul_skinny *p = (struct sl_push_matmul_skinny *)c->push;
    *p = (struct sl_push_matmul_skinny){.n_out = k->n_out,
                                        .n_k = n_k,
                                        .n_tokens = k->n_tokens,
                                        .x_stride = (n_k + 7) / 8 * 8,
                                        .y_stride = k->n_out + k->y_pad,
                                        .row_bytes = sl_gen_row_bytes(type, n_k),
                                        .weight_type = type,
                                        .n_splits = k->n_splits,
                                        .act = activation};
    for (uint32_t m = 0; m < matrices; m++)
        sl_gen_weights(c, type,
                       sl_case_operand_add(c, m ? AT(w2) : AT(w), SL_CASE_IN, SL_CASE_BYTES,
                                           (uint64_t)p->row_bytes * k->n_out),
                       k->n_out, n_k);
    fill_half_rows(c, AT(x), k->n_tokens, x_rows, n_k, p->x_stride);
    if (gated)
        sl_case_rows_add(c, AT(y), SL_CASE_OUT, SL_ROWS_F16, k->n_tokens, p->y_stride, k->n_out);
    else
        fill_skinny_y(c, extra);
    if (p->n_splits > 1) fill_parts(c, variant, matrices);
    snprintf(c->name, sizeof c->name, "n_out=%u n_k=%u tokens=%u splits=%u extra=%d y_pad=%u", k->n_out, n_k,
             k->n_tokens, p->n_splits, (int)extra, k->y_pad);
}

bool sl_gen_matmul_skinny(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const skinny_case cases[] = {
        {1, 1, 0, 1, 1, NONE, 0},
        {64, 8, 0, 9, 1, NONE, 0},
        {130, 18, 4, 16, 1, BIAS, 0},
        {65, 40, 0, 17, 2, ADD_IN_PLACE, 0},
        {192, 64, 0, 33, 3, NONE, 0},
        {67, 24, 12, 64, 1, BIAS_ADD_IN_PLACE, 3},
        {63, 48, 0, 64, 6, ADD, 0},
        {8, 33, 8, 9, 2, BIAS, 0},
        {96, 9, 0, 40, 4, BIAS_ADD_IN_PLACE, 4},
    };
    if (index >= SL_COUNTOF(cases)) return false;
    fill_skinny(c, &cases[index], variant, index % 2 ? SL_ACT_SILU : SL_ACT_GELU, cases[index].n_tokens);
    return true;
}

/* Whole tiles and steps, which are not clamped, and what reaches beyond tokens, rows and k, each alone and
 * together; parts of k of one length, and a last one that is shorter, or empty. */
bool sl_gen_matmul_decode(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const skinny_case cases[] = {
        {1, 1, 0, 1, 1, NONE, 0},
        {256, 16, 0, 128, 1, NONE, 0},
        {256, 8, 0, 70, 1, BIAS, 0},
        {130, 24, 0, 128, 1, ADD_IN_PLACE, 0},
        {256, 17, 4, 128, 1, NONE, 8},
        {300, 18, 12, 200, 1, BIAS_ADD_IN_PLACE, 3},
        {256, 32, 0, 128, 2, NONE, 0},
        {256, 24, 0, 256, 3, ADD_IN_PLACE, 0},
        {257, 40, 0, 129, 3, ADD, 5},
        {96, 9, 8, 65, 4, BIAS_ADD_IN_PLACE, 4},
        {576, 18, 0, 96, 1, ADD_IN_PLACE, 0},
    };
    if (index >= SL_COUNTOF(cases)) return false;
    const uint64_t x_rows = sl_align_up(cases[index].n_tokens, SL_DECODE_TILE_TOKENS);
    fill_skinny(c, &cases[index], variant, 0, (uint32_t)x_rows);
    c->spec_count = SL_DECODE_SPECS;
    sl_decode_spec((const struct sl_push_matmul_skinny *)c->push, variant, c->spec);
    return true;
}
#undef AT

bool sl_gen_matmul_skinny_gated(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    return sl_gen_matmul_skinny(c, index, variant);
}

bool sl_gen_moe_matvec(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n_out, units, tail, n_experts, n_used, n_tokens, x_per_slot, x_pad;
    } cases[] = {
        {1, 1, 0, 1, 1, 1, 0, 0},    {64, 18, 0, 8, 2, 1, 0, 0},  {33, 8, 0, 4, 4, 1, 1, 0},
        {48, 24, 4, 5, 3, 4, 0, 4},  {20, 12, 0, 8, 2, 9, 1, 16}, {9, 40, 4, 16, 8, 3, 1, 0},
        {128, 8, 0, 3, 1, 17, 0, 8},
    };
    if (index >= SL_COUNTOF(cases)) return false;
    const uint32_t type = variant->key, n_k = width_for(type, cases[index].units, cases[index].tail);
    struct sl_push_moe_matvec *p = (struct sl_push_moe_matvec *)c->push;
    *p = (struct sl_push_moe_matvec){.n_out = cases[index].n_out,
                                     .n_k = n_k,
                                     .n_used = cases[index].n_used,
                                     .n_tokens = cases[index].n_tokens,
                                     .n_experts = cases[index].n_experts,
                                     .x_per_slot = cases[index].x_per_slot,
                                     .row_bytes = sl_gen_row_bytes(type, n_k),
                                     .weight_type = type};
    p->x_stride = n_k * (p->x_per_slot ? p->n_used : 1) + cases[index].x_pad;
    const uint32_t rows = p->n_out * p->n_experts, items = p->n_used * p->n_tokens;
    sl_gen_weights(c, type,
                   sl_case_operand_add(c, offsetof(struct sl_push_moe_matvec, w), SL_CASE_IN, SL_CASE_BYTES,
                                       (uint64_t)rows * p->row_bytes),
                   rows, n_k);
    const uint64_t xs = (uint64_t)p->x_stride * p->n_tokens;
    sl_case_fill_floats(
        c, sl_case_operand_add(c, offsetof(struct sl_push_moe_matvec, x), SL_CASE_IN, SL_CASE_F32, 4 * xs),
        xs, -1, 1);
    uint32_t *ids = sl_case_operand_add(c, offsetof(struct sl_push_moe_matvec, ids), SL_CASE_IN, SL_CASE_U32,
                                        4ull * items);
    for (uint32_t i = 0; i < items; i++)
        ids[i] = sl_case_random_below(c, p->n_experts);
    if (items > 4) ids[items / 2] = p->n_experts; /* does not exist: zeros */
    sl_case_operand_add(c, offsetof(struct sl_push_moe_matvec, y), SL_CASE_OUT, SL_CASE_F32,
                        4ull * items * p->n_out);
    snprintf(c->name, sizeof c->name, "n_out=%u n_k=%u experts=%u used=%u tokens=%u per_slot=%u", p->n_out,
             n_k, p->n_experts, p->n_used, p->n_tokens, p->x_per_slot);
    return true;
}

/* Output in the rows that the kernel takes. */
#define BLOCKS UINT32_MAX

typedef struct fused_case {
    uint32_t n_out, units, columns, input, output, act, rows_group;
    bool add;
} fused_case;

static void fill_fused(sl_kernel_case *c, const fused_case *k, uint32_t type, bool gated, uint32_t blocks)
{
    const bool floats = sl_weight_is_float(type);
    const uint32_t n_k = width_for(type, k->units, 0), n_out = k->n_out;
    const uint32_t format = k->input == SL_INPUT_ROWS && !floats ? blocks : SL_ROWS_F32;
    const uint32_t output = k->output == BLOCKS ? blocks : k->output;
    struct sl_push_matvec_fused *p = (struct sl_push_matvec_fused *)c->push;
    *p = (struct sl_push_matvec_fused){.n_out = n_out,
                                       .x_stride = n_k,
                                       .y_stride = n_out,
                                       .row_bytes = sl_gen_row_bytes(type, n_k),
                                       .weight_type = type,
                                       .eps = 1e-5f};
#define AT(field) offsetof(struct sl_push_matvec_fused, field)
    const uint64_t bytes = (uint64_t)p->row_bytes * n_out;
    sl_gen_weights(c, type, sl_case_operand_add(c, AT(w), SL_CASE_IN, SL_CASE_BYTES, bytes), n_out, n_k);
    if (gated)
        sl_gen_weights(c, type, sl_case_operand_add(c, AT(w2), SL_CASE_IN, SL_CASE_BYTES, bytes), n_out, n_k);
    float *values = malloc((size_t)n_k * sizeof *values);
    uint8_t *x = sl_case_rows_add(c, AT(x), SL_CASE_IN, format, k->columns, n_k, n_k);
    for (uint32_t t = 0; values && t < k->columns; t++) {
        sl_case_fill_floats(c, values, n_k, -2, 2);
        sl_rows_put(format, x + t * sl_rows_bytes(format, n_k), n_k, 0, n_k, values);
    }
    free(values);
    if (k->input == SL_INPUT_NORM)
        sl_case_fill_floats(c, sl_case_operand_add(c, AT(norm), SL_CASE_IN, SL_CASE_F32, 4ull * n_k), n_k, -1,
                            2);
    void *y = sl_case_rows_add(c, AT(y), k->add ? SL_CASE_IN | SL_CASE_OUT : SL_CASE_OUT, output, k->columns,
                               n_out, n_out);
    if (k->add) {
        sl_case_fill_floats(c, y, (uint64_t)n_out * k->columns, -2, 2);
        sl_case_alias(c, AT(add), AT(y));
    }
#undef AT
    c->spec_count = SL_FUSED_COUNT;
    c->spec[SL_FUSED_COLUMNS] = k->columns;
    c->spec[SL_FUSED_INPUT] = k->input;
    c->spec[SL_FUSED_OUTPUT] = output;
    c->spec[SL_FUSED_ACT] = k->act;
    c->spec[SL_FUSED_N_K] = n_k;
    c->spec[SL_FUSED_ROWS_GROUP] = k->rows_group;
    snprintf(c->name, sizeof c->name, "n_out=%u n_k=%u columns=%u input=%u output=%u rows_group=%u", n_out,
             n_k, k->columns, k->input, output, k->rows_group);
}

static bool gen_fused(sl_kernel_case *c, uint32_t index, const sl_variant *variant, uint32_t blocks)
{
    static const fused_case cases[] = {
        {1, 8, 1, SL_INPUT_NORM, SL_ROWS_F32, 0, 32, false},
        {70, 24, 1, SL_INPUT_PLAIN, SL_ROWS_F32, 0, 16, true},
        {20, 18, 1, SL_INPUT_NORM, SL_ROWS_F32, 0, 8, false},
        {37, 128, 1, SL_INPUT_ROWS, SL_ROWS_F32, 0, 8, true},
        {45, 16, 2, SL_INPUT_ROWS, SL_ROWS_F32, 0, 32, false},
        {33, 40, 8, SL_INPUT_ROWS, SL_ROWS_F32, 0, 16, true},
        {9, 520, 1, SL_INPUT_ROWS, SL_ROWS_F32, 0, 64, false}, /* too long for shared memory */
    };
    if (index >= SL_COUNTOF(cases)) return false;
    fill_fused(c, &cases[index], variant->key, false, blocks);
    return true;
}

static bool gen_gated(sl_kernel_case *c, uint32_t index, const sl_variant *variant, uint32_t blocks)
{
    static const fused_case cases[] = {
        {64, 8, 1, SL_INPUT_NORM, BLOCKS, SL_ACT_SILU, 32, false},
        {96, 24, 1, SL_INPUT_NORM, BLOCKS, SL_ACT_GELU, 64, false},
        {70, 40, 1, SL_INPUT_PLAIN, SL_ROWS_F32, SL_ACT_GELU, 16, false},
        {64, 16, 3, SL_INPUT_ROWS, BLOCKS, SL_ACT_SILU, 32, false},
        {33, 8, 8, SL_INPUT_ROWS, SL_ROWS_F32, SL_ACT_SILU, 32, false},
    };
    if (index >= SL_COUNTOF(cases)) return false;
    fill_fused(c, &cases[index], variant->key, true, blocks);
    return true;
}

typedef struct moe_fused_case {
    uint32_t n_out, units, n_experts, n_used, n_tokens, input, output, act, rows_group;
} moe_fused_case;

static void fill_moe_fused(sl_kernel_case *c, const moe_fused_case *k, uint32_t type, bool down,
                           uint32_t blocks)
{
#define AT(field) offsetof(struct sl_push_moe_fused, field)
    const bool floats = sl_weight_is_float(type);
    const uint32_t n_k = width_for(type, k->units, 0), items = k->n_used * k->n_tokens;
    const uint32_t format = k->input == SL_INPUT_ROWS && !floats ? blocks : SL_ROWS_F32;
    const uint32_t output = k->output == BLOCKS ? blocks : k->output;
    const uint32_t x_rows = down ? items : k->n_tokens, y_rows = down ? k->n_tokens : items;
    struct sl_push_moe_fused *p = (struct sl_push_moe_fused *)c->push;
    *p = (struct sl_push_moe_fused){.n_out = k->n_out,
                                    .n_k = n_k,
                                    .n_used = k->n_used,
                                    .n_tokens = k->n_tokens,
                                    .n_experts = k->n_experts,
                                    .x_stride = n_k,
                                    .y_stride = k->n_out,
                                    .row_bytes = sl_gen_row_bytes(type, n_k),
                                    .weight_type = type,
                                    .eps = 1e-5f};
    const uint32_t rows = k->n_out * k->n_experts;
    const uint64_t bytes = (uint64_t)p->row_bytes * rows;
    sl_gen_weights(c, type, sl_case_operand_add(c, AT(w), SL_CASE_IN, SL_CASE_BYTES, bytes), rows, n_k);
    if (!down)
        sl_gen_weights(c, type, sl_case_operand_add(c, AT(w2), SL_CASE_IN, SL_CASE_BYTES, bytes), rows, n_k);
    float *values = malloc((size_t)n_k * sizeof *values);
    uint8_t *x = sl_case_rows_add(c, AT(x), SL_CASE_IN, format, x_rows, n_k, n_k);
    for (uint32_t t = 0; values && t < x_rows; t++) {
        sl_case_fill_floats(c, values, n_k, -2, 2);
        sl_rows_put(format, x + t * sl_rows_bytes(format, n_k), n_k, 0, n_k, values);
    }
    free(values);
    if (k->input == SL_INPUT_NORM)
        sl_case_fill_floats(c, sl_case_operand_add(c, AT(norm), SL_CASE_IN, SL_CASE_F32, 4ull * n_k), n_k, -1,
                            2);
    uint32_t *ids = sl_case_operand_add(c, AT(ids), SL_CASE_IN, SL_CASE_U32, 4ull * items);
    for (uint32_t i = 0; i < items; i++)
        ids[i] = sl_case_random_below(c, k->n_experts);
    if (items > 4) ids[items / 2] = k->n_experts; /* does not exist: zeros */
    void *y = sl_case_rows_add(c, AT(y), down ? SL_CASE_IN | SL_CASE_OUT : SL_CASE_OUT, output, y_rows,
                               k->n_out, k->n_out);
    if (down) {
        sl_case_fill_floats(c, sl_case_operand_add(c, AT(weights), SL_CASE_IN, SL_CASE_F32, 4ull * items),
                            items, 0, 1);
        sl_case_fill_floats(c, y, (uint64_t)k->n_out * y_rows, -2, 2);
        sl_case_alias(c, AT(add), AT(y));
    }
#undef AT
    c->spec_count = SL_FUSED_COUNT;
    c->spec[SL_FUSED_COLUMNS] = 1;
    c->spec[SL_FUSED_INPUT] = k->input;
    c->spec[SL_FUSED_OUTPUT] = output;
    c->spec[SL_FUSED_ACT] = k->act;
    c->spec[SL_FUSED_N_K] = down ? n_k * k->n_used : n_k;
    c->spec[SL_FUSED_ROWS_GROUP] = k->rows_group;
    snprintf(c->name, sizeof c->name, "n_out=%u n_k=%u experts=%u used=%u tokens=%u input=%u", k->n_out, n_k,
             k->n_experts, k->n_used, k->n_tokens, k->input);
}

static bool gen_moe_gated(sl_kernel_case *c, uint32_t index, const sl_variant *variant, uint32_t blocks)
{
    static const moe_fused_case cases[] = {
        {64, 24, 4, 3, 1, SL_INPUT_NORM, BLOCKS, SL_ACT_SILU, 32},
        {128, 18, 3, 2, 3, SL_INPUT_ROWS, BLOCKS, SL_ACT_GELU, 32},
        {33, 8, 5, 3, 2, SL_INPUT_PLAIN, SL_ROWS_F32, SL_ACT_SILU, 16},
    };
    if (index >= SL_COUNTOF(cases)) return false;
    fill_moe_fused(c, &cases[index], variant->key, false, blocks);
    return true;
}

static bool gen_moe_down(sl_kernel_case *c, uint32_t index, const sl_variant *variant, uint32_t blocks)
{
    static const moe_fused_case cases[] = {
        {70, 24, 4, 3, 1, SL_INPUT_ROWS, SL_ROWS_F32, 0, 16},
        {33, 9, 5, 8, 2, SL_INPUT_ROWS, SL_ROWS_F32, 0, 8},
        {16, 16, 2, 1, 3, SL_INPUT_ROWS, SL_ROWS_F32, 0, 16},
    };
    if (index >= SL_COUNTOF(cases)) return false;
    fill_moe_fused(c, &cases[index], variant->key, true, blocks);
    return true;
}

/* Two kernels each: int8 and f16. */
#define BOTH(name, gen)                                                                                      \
    bool sl_gen_##name(sl_kernel_case *c, uint32_t index, const sl_variant *variant)                         \
    {                                                                                                        \
        return gen(c, index, variant, SL_ROWS_Q8);                                                           \
    }                                                                                                        \
    bool sl_gen_##name##_f16(sl_kernel_case *c, uint32_t index, const sl_variant *variant)                   \
    {                                                                                                        \
        return gen(c, index, variant, SL_ROWS_F16_SCALED);                                                   \
    }
BOTH(matvec_fused, gen_fused)
BOTH(matvec_gated, gen_gated)
BOTH(moe_gated, gen_moe_gated)
BOTH(moe_down, gen_moe_down)
#undef BOTH

bool sl_gen_moe_matmul(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n_out, units, tail, n_experts, n_used, n_tokens, x_per_slot;
    } cases[] = {{1, 1, 0, 1, 1, 1, 0},    {64, 18, 0, 8, 2, 33, 0}, {33, 8, 0, 4, 4, 20, 1},
                 {48, 24, 4, 5, 3, 70, 1}, {130, 9, 0, 3, 1, 90, 0}, {20, 40, 12, 16, 8, 9, 0}};
    if (index >= SL_COUNTOF(cases)) return false;
    const uint32_t type = variant->key, n_k = width_for(type, cases[index].units, cases[index].tail);
    const uint32_t n_experts = cases[index].n_experts, n_out = cases[index].n_out;
    const uint32_t n_items = cases[index].n_used * cases[index].n_tokens;
    struct sl_push_moe_matmul *p = (struct sl_push_moe_matmul *)c->push;
    *p = (struct sl_push_moe_matmul){.n_out = n_out,
                                     .n_k = n_k,
                                     .n_used = cases[index].n_used,
                                     .n_tiles = SL_MOE_TILES(n_experts, n_items, variant->tile_y),
                                     .x_stride = (n_k + 7) / 8 * 8,
                                     .x_per_slot = cases[index].x_per_slot,
                                     .row_bytes = sl_gen_row_bytes(type, n_k),
                                     .weight_type = type};
#define AT(field) (uint32_t) offsetof(struct sl_push_moe_matmul, field)
    sl_gen_weights(
        c, type,
        sl_case_operand_add(c, AT(w), SL_CASE_IN, SL_CASE_BYTES, (uint64_t)p->row_bytes * n_out * n_experts),
        n_out * n_experts, n_k);
    const uint32_t x_rows = p->x_per_slot ? n_items : cases[index].n_tokens;
    fill_half_rows(c, AT(x), x_rows, x_rows, n_k, p->x_stride);
    uint32_t *ids = calloc(n_items, sizeof *ids);
    for (uint32_t i = 0; ids && i < n_items; i++)
        ids[i] = sl_case_random_below(c, n_experts);
    uint32_t *items = sl_case_operand_add(c, AT(items), SL_CASE_IN, SL_CASE_U32, 4ull * n_items);
    struct sl_moe_tile *tiles =
        sl_case_operand_add(c, AT(tiles), SL_CASE_IN, SL_CASE_U32, p->n_tiles * (uint64_t)sizeof *tiles);
    const struct sl_push_moe_group group = {.ids = (uintptr_t)ids,
                                            .items = (uintptr_t)items,
                                            .tiles = (uintptr_t)tiles,
                                            .n_experts = n_experts,
                                            .n_items = ids ? n_items : 0,
                                            .tile = variant->tile_y};
    sl_host_moe_group(&(sl_kernel_task){.push = &group, .count = 1});
    free(ids);
    sl_case_operand_add(c, AT(y), SL_CASE_OUT, SL_CASE_F32, 4ull * n_items * n_out);
#undef AT
    snprintf(c->name, sizeof c->name, "n_out=%u n_k=%u experts=%u used=%u tokens=%u per_slot=%u", n_out, n_k,
             n_experts, p->n_used, cases[index].n_tokens, p->x_per_slot);
    return true;
}
