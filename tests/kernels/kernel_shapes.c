/* The shapes that the benchmark times: what the phases of a token, or of a prompt of 512, look like in real
 * models. Operands that a kernel only streams keep the contents that the benchmark gives them. */
#include "tests/kernels/kernel_bench.h"

#include "hal/base/checked.h"
#include "shaders/matmul/gemm.h"
#include "shaders/matmul/matmul_decode.h"
#include "shaders/matmul/rotated.h"

#include <math.h>
#include <stdio.h>

#define PROMPT 512u

typedef struct model {
    const char *name;
    uint32_t n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab;
} model;

static const model models[] = {
    {"smollm2-135m", 576, 1536, 9, 3, 64, 49152},
    {"llama-3.2-1b", 2048, 8192, 32, 8, 64, 128256},
    {"llama-3-8b", 4096, 14336, 32, 8, 128, 128256},
};

/* Matrices of a layer, and the output. */
typedef struct matrix {
    const char *name;
    uint32_t n_out, n_k;
} matrix;

#define MATRICES 5u

static matrix matrix_of(const model *m, uint32_t which)
{
    switch (which) {
    case 0:
        return (matrix){"qkv", (m->n_heads + 2 * m->n_kv_heads) * m->head_dim, m->n_embd};
    case 1:
        return (matrix){"attn_out", m->n_embd, m->n_heads * m->head_dim};
    case 2:
        return (matrix){"gate_up", 2 * m->n_ff, m->n_embd};
    case 3:
        return (matrix){"down", m->n_embd, m->n_ff};
    default:
        return (matrix){"output", m->n_vocab, m->n_embd};
    }
}

static bool row_bytes_of(uint32_t type, uint32_t n, uint32_t *out)
{
    uint32_t weights, bytes;
    if (!sl_weight_block(type, &weights, &bytes) || n % weights) return false;
    *out = n / weights * bytes;
    return true;
}

static void operand(sl_bench_case *b, size_t at, uint32_t flags, uint64_t bytes)
{
    sl_case_operand_add(&b->c, (uint32_t)at, flags, SL_CASE_BYTES, bytes);
}

/* ---- products ---- */

static void product(sl_bench_case *b, const matrix *m, uint32_t type, uint32_t row_bytes, uint32_t tokens)
{
    struct sl_push_matmul *p = (struct sl_push_matmul *)b->c.push;
    *p = (struct sl_push_matmul){.n_out = m->n_out,
                                 .n_k = m->n_k,
                                 .n_tokens = tokens,
                                 .x_stride = m->n_k,
                                 .y_stride = m->n_out,
                                 .row_bytes = row_bytes,
                                 .weight_type = type};
    const uint64_t w = (uint64_t)m->n_out * row_bytes, x = 4ull * tokens * m->n_k,
                   y = 4ull * tokens * m->n_out;
    operand(b, offsetof(struct sl_push_matmul, w), SL_CASE_IN, w);
    operand(b, offsetof(struct sl_push_matmul, x), SL_CASE_IN, x);
    operand(b, offsetof(struct sl_push_matmul, y), SL_CASE_OUT, y);
    b->rotate_offset = offsetof(struct sl_push_matmul, w);
    b->bytes = (double)(w + x + y);
    b->flops = 2.0 * m->n_out * m->n_k * tokens;
}

static bool shape_matvec(sl_bench_case *b, uint32_t index, const sl_variant *v)
{
    static const uint32_t columns[] = {1, 4, 8};
    const uint32_t which = index % MATRICES, column = index / MATRICES % SL_COUNTOF(columns);
    if (index >= MATRICES * SL_COUNTOF(columns) * SL_COUNTOF(models)) return false;
    const model *m = &models[index / (MATRICES * SL_COUNTOF(columns))];
    const matrix x = matrix_of(m, which);
    uint32_t row_bytes;
    b->model = m->name;
    if (!row_bytes_of(v->key, x.n_k, &row_bytes)) return true; /* no such matrix: no operands */
    product(b, &x, v->key, row_bytes, columns[column]);
    b->c.spec_count = 1;
    b->c.spec[0] = columns[column];
    snprintf(b->c.name, sizeof b->c.name, "%s %ux%u t=%u", x.name, x.n_out, x.n_k, columns[column]);
    return true;
}

static bool shape_matmul(sl_bench_case *b, uint32_t index, const sl_variant *v)
{
    static const uint32_t tokens[] = {32, PROMPT};
    const uint32_t which = index % (MATRICES - 1), column = index / (MATRICES - 1) % SL_COUNTOF(tokens);
    if (index >= (MATRICES - 1) * SL_COUNTOF(tokens) * SL_COUNTOF(models)) return false;
    const model *m = &models[index / ((MATRICES - 1) * SL_COUNTOF(tokens))];
    const matrix x = matrix_of(m, which);
    uint32_t row_bytes;
    b->model = m->name;
    if (!row_bytes_of(v->key, x.n_k, &row_bytes)) return true;
    product(b, &x, v->key, row_bytes, tokens[column]);
    snprintf(b->c.name, sizeof b->c.name, "%s %ux%u t=%u", x.name, x.n_out, x.n_k, tokens[column]);
    return true;
}

/* A product in parts of k: `tokens` columns of a matrix of the model, or of its gate and up. */
static void parted_product(sl_bench_case *b, const matrix *x, uint32_t tokens, uint32_t n_splits,
                           const sl_variant *v)
{
    const bool gated = v->kernel == SL_K_matmul_skinny_gated, decode = v->kernel == SL_K_matmul_decode;
    const uint32_t n_out = gated ? x->n_out / 2 : x->n_out;
    uint32_t row_bytes;
    if (!row_bytes_of(v->key, x->n_k, &row_bytes)) return;
    struct sl_push_matmul_skinny *p = (struct sl_push_matmul_skinny *)b->c.push;
    *p = (struct sl_push_matmul_skinny){.n_out = n_out,
                                        .n_k = x->n_k,
                                        .n_tokens = tokens,
                                        .x_stride = x->n_k,
                                        .y_stride = n_out,
                                        .row_bytes = row_bytes,
                                        .weight_type = v->key,
                                        .n_splits = n_splits};
    const uint64_t w = (uint64_t)n_out * row_bytes;
    const uint64_t in = 2ull * sl_align_up(tokens, decode ? SL_DECODE_TILE_TOKENS : 1) * x->n_k;
    const uint64_t y = (gated ? 2ull : 4ull) * tokens * n_out;
    const uint64_t tiles = sl_div_up(n_out, v->tile_x) * sl_div_up(tokens, v->tile_y);
#define AT(field) offsetof(struct sl_push_matmul_skinny, field)
    operand(b, AT(w), SL_CASE_IN, w);
    if (gated) operand(b, AT(w2), SL_CASE_IN, w);
    operand(b, AT(x), SL_CASE_IN, in);
    operand(b, AT(y), SL_CASE_OUT, y);
    if (n_splits > 1) {
        operand(b, AT(partial), 0, tiles * n_splits * v->tile_x * v->tile_y * (gated ? 8 : 4));
        sl_case_operand_add(&b->c, AT(arrived), SL_CASE_IN | SL_CASE_OUT, SL_CASE_U32, 4 * tiles); /* 0 */
    }
    b->rotate_offset = AT(w);
#undef AT
    b->bytes = (double)(gated ? 2 * w : w) + (double)(in + y);
    b->flops = 2.0 * x->n_out * x->n_k * tokens;
    b->c.spec_count = decode ? SL_DECODE_SPECS : 0;
    if (decode) sl_decode_spec(p, v, b->c.spec);
    snprintf(b->c.name, sizeof b->c.name, "%s %ux%u t=%u splits=%u", x->name, x->n_out, x->n_k, tokens,
             n_splits);
}

/* Both of a product's kernels for few columns, cut along k or not. */
static bool shape_skinny(sl_bench_case *b, uint32_t index, const sl_variant *v)
{
    static const uint32_t splits[] = {1, 2, 4, 8, 16};
    const uint32_t which = index % MATRICES, n_splits = splits[index / MATRICES % SL_COUNTOF(splits)];
    if (index >= MATRICES * SL_COUNTOF(splits) * SL_COUNTOF(models)) return false;
    const model *m = &models[index / (MATRICES * SL_COUNTOF(splits))];
    const matrix x = matrix_of(m, which);
    b->model = m->name;
    if (v->kernel != SL_K_matmul_skinny_gated || which == 2) parted_product(b, &x, v->tile_y, n_splits, v);
    return true;
}

static bool shape_matmul_decode(sl_bench_case *b, uint32_t index, const sl_variant *v)
{
    static const uint32_t tokens[] = {64, 128, 256, PROMPT}, splits[] = {1, 2, 4, 8};
    const uint32_t shape = index / SL_COUNTOF(splits), n_splits = splits[index % SL_COUNTOF(splits)];
    const uint32_t column = shape / (MATRICES - 1) % SL_COUNTOF(tokens);
    if (shape >= (MATRICES - 1) * SL_COUNTOF(tokens) * SL_COUNTOF(models)) return false;
    const model *m = &models[shape / ((MATRICES - 1) * SL_COUNTOF(tokens))];
    const matrix x = matrix_of(m, shape % (MATRICES - 1));
    b->model = m->name;
    if (x.n_k / 512 % n_splits == 0) parted_product(b, &x, tokens[column], n_splits, v);
    return true;
}

/* Rows of weights into rows of another format. */
static bool shape_dequant(sl_bench_case *b, uint32_t index, const sl_variant *v)
{
    if (index >= (MATRICES - 1) * SL_COUNTOF(models)) return false;
    const model *m = &models[index / (MATRICES - 1)];
    const matrix x = matrix_of(m, index % (MATRICES - 1));
    uint32_t row_bytes;
    b->model = m->name;
    if (!row_bytes_of(v->key, x.n_k, &row_bytes)) return true;
    struct sl_push_dequant *p = (struct sl_push_dequant *)b->c.push;
    *p = (struct sl_push_dequant){
        .n_k = x.n_k, .n_rows = x.n_out, .row_bytes = row_bytes, .weight_type = v->key, .all_rows = x.n_out};
    const uint64_t w = (uint64_t)x.n_out * row_bytes;
    const uint64_t y = v->kernel == SL_K_rotate ? sl_s8_bytes(x.n_out, x.n_k) : 2ull * x.n_out * x.n_k;
    operand(b, offsetof(struct sl_push_dequant, w), SL_CASE_IN, w);
    operand(b, offsetof(struct sl_push_dequant, y), SL_CASE_OUT, y);
    b->rotate_offset = offsetof(struct sl_push_dequant, w);
    b->bytes = (double)(w + y);
    b->flops = (double)x.n_out * x.n_k;
    snprintf(b->c.name, sizeof b->c.name, "%s %ux%u", x.name, x.n_out, x.n_k);
    return true;
}

static bool shape_gemm(sl_bench_case *b, uint32_t index, const sl_variant *v)
{
    static const uint32_t tokens[] = {PROMPT, 4096};
    const uint32_t which = index % (MATRICES - 1), column = index / (MATRICES - 1) % SL_COUNTOF(tokens);
    if (index >= (MATRICES - 1) * SL_COUNTOF(tokens) * SL_COUNTOF(models)) return false;
    const model *m = &models[index / ((MATRICES - 1) * SL_COUNTOF(tokens))];
    const matrix x = matrix_of(m, which);
    const bool gated = v->kernel == SL_K_gemm_gated;
    b->model = m->name;
    if (gated && which != 2) return true;
    struct sl_push_gemm *p = (struct sl_push_gemm *)b->c.push;
    *p = (struct sl_push_gemm){.n_out = gated ? x.n_out / 2 : x.n_out,
                               .n_k = x.n_k,
                               .n_tokens = tokens[column],
                               .y_stride = gated ? x.n_out / 2 : x.n_out,
                               .format = v->key};
    const uint64_t w = v->key == SL_ROWS_S8 ? sl_s8_bytes(p->n_out, x.n_k) : 2ull * p->n_out * x.n_k;
    const uint64_t in = v->key == SL_ROWS_S8 ? sl_s8_bytes(p->n_tokens, x.n_k) : 2ull * p->n_tokens * x.n_k;
    const uint64_t y = (gated ? 2ull : 4ull) * p->n_tokens * p->n_out;
    operand(b, offsetof(struct sl_push_gemm, w), SL_CASE_IN, w);
    if (gated) operand(b, offsetof(struct sl_push_gemm, w2), SL_CASE_IN, w);
    operand(b, offsetof(struct sl_push_gemm, x), SL_CASE_IN, in);
    operand(b, offsetof(struct sl_push_gemm, y), SL_CASE_OUT, y);
    b->rotate_offset = offsetof(struct sl_push_gemm, w);
    b->bytes = (double)(gated ? 2 * w : w) + (double)(in + y);
    b->flops = 2.0 * x.n_out * x.n_k * p->n_tokens;
    b->c.spec_count = SL_GEMM_SPECS;
    sl_gemm_spec(p, v, b->c.spec);
    snprintf(b->c.name, sizeof b->c.name, "%s %ux%u t=%u", x.name, x.n_out, x.n_k, p->n_tokens);
    return true;
}

static bool shape_embed(sl_bench_case *b, uint32_t index, const sl_variant *v)
{
    static const uint32_t tokens[] = {1, PROMPT};
    if (index >= SL_COUNTOF(tokens) * SL_COUNTOF(models)) return false;
    const model *m = &models[index / SL_COUNTOF(tokens)];
    const uint32_t n = tokens[index % SL_COUNTOF(tokens)], n_vocab = 8192;
    uint32_t row_bytes;
    b->model = m->name;
    if (!row_bytes_of(v->key, m->n_embd, &row_bytes)) return true;
    struct sl_push_embed *p = (struct sl_push_embed *)b->c.push;
    *p = (struct sl_push_embed){.n_embd = m->n_embd,
                                .n_vocab = n_vocab,
                                .n_tokens = n,
                                .y_stride = m->n_embd,
                                .row_bytes = row_bytes,
                                .weight_type = v->key,
                                .scale = 1};
    operand(b, offsetof(struct sl_push_embed, table), SL_CASE_IN, (uint64_t)n_vocab * row_bytes);
    uint32_t *ids =
        sl_case_operand_add(&b->c, offsetof(struct sl_push_embed, tokens), SL_CASE_IN, SL_CASE_U32, 4ull * n);
    for (uint32_t t = 0; t < n; t++)
        ids[t] = sl_case_random_below(&b->c, n_vocab);
    operand(b, offsetof(struct sl_push_embed, y), SL_CASE_OUT, 4ull * n * m->n_embd);
    b->rotate_offset = offsetof(struct sl_push_embed, table);
    b->bytes = (double)n * (row_bytes + 4.0 * m->n_embd);
    b->flops = (double)n * m->n_embd;
    snprintf(b->c.name, sizeof b->c.name, "%u of %u", n, m->n_embd);
    return true;
}

/* Qwen3-30B-A3B: 128 experts of 768 x 2048, 8 used. */
static bool shape_moe_matvec(sl_bench_case *b, uint32_t index, const sl_variant *v)
{
    static const struct {
        const char *name;
        uint32_t n_out, n_k, per_slot, tokens;
    } shapes[] = {{"gate_up", 768, 2048, 0, 1},
                  {"down", 2048, 768, 1, 1},
                  {"gate_up", 768, 2048, 0, 32},
                  {"down", 2048, 768, 1, 32}};
    const uint32_t used = 8, experts = 128;
    if (index >= SL_COUNTOF(shapes)) return false;
    const uint32_t n_out = shapes[index].n_out, n_k = shapes[index].n_k, tokens = shapes[index].tokens;
    uint32_t row_bytes;
    b->model = "qwen3-30b-a3b";
    if (!row_bytes_of(v->key, n_k, &row_bytes)) return true;
    struct sl_push_moe_matvec *p = (struct sl_push_moe_matvec *)b->c.push;
    *p = (struct sl_push_moe_matvec){.n_out = n_out,
                                     .n_k = n_k,
                                     .n_used = used,
                                     .n_tokens = tokens,
                                     .n_experts = experts,
                                     .x_per_slot = shapes[index].per_slot,
                                     .row_bytes = row_bytes,
                                     .weight_type = v->key};
    p->x_stride = n_k * (shapes[index].per_slot ? used : 1);
    const uint64_t x = 4ull * tokens * p->x_stride, y = 4ull * tokens * used * n_out;
    operand(b, offsetof(struct sl_push_moe_matvec, w), SL_CASE_IN, (uint64_t)experts * n_out * row_bytes);
    operand(b, offsetof(struct sl_push_moe_matvec, x), SL_CASE_IN, x);
    operand(b, offsetof(struct sl_push_moe_matvec, y), SL_CASE_OUT, y);
    uint32_t *ids = sl_case_operand_add(&b->c, offsetof(struct sl_push_moe_matvec, ids), SL_CASE_IN,
                                        SL_CASE_U32, 4ull * tokens * used);
    for (uint32_t i = 0; i < tokens * used; i++)
        ids[i] = (sl_case_random_below(&b->c, experts / used) * used + i) % experts;
    b->rotate_offset = offsetof(struct sl_push_moe_matvec, w);
    b->bytes = (double)tokens * used * n_out * row_bytes + (double)(x + y);
    b->flops = 2.0 * n_out * n_k * tokens * used;
    snprintf(b->c.name, sizeof b->c.name, "%s %ux%u tokens=%u", shapes[index].name, n_out, n_k, tokens);
    return true;
}

/* ---- attention ---- */

static void batch_arrays(sl_bench_case *b, size_t positions_at, size_t sequences_at, size_t table_at,
                         uint32_t n_tokens, uint32_t first, uint32_t pages)
{
    uint32_t *positions =
        sl_case_operand_add(&b->c, (uint32_t)positions_at, SL_CASE_IN, SL_CASE_U32, 4ull * n_tokens);
    uint32_t *sequences =
        sl_case_operand_add(&b->c, (uint32_t)sequences_at, SL_CASE_IN, SL_CASE_U32, 4ull * n_tokens);
    uint32_t *table = sl_case_operand_add(&b->c, (uint32_t)table_at, SL_CASE_IN, SL_CASE_U32, 4ull * pages);
    for (uint32_t t = 0; t < n_tokens; t++) {
        positions[t] = first + t;
        sequences[t] = 0;
    }
    for (uint32_t i = 0; i < pages; i++)
        table[i] = i;
}

static void attention(sl_bench_case *b, const model *m, uint32_t n_tokens, uint32_t first, uint32_t n_splits)
{
    const uint32_t keys = first + n_tokens, pages = (uint32_t)sl_div_up(keys, SL_KV_PAGE_TOKENS);
    struct sl_push_attention *p = (struct sl_push_attention *)b->c.push;
    *p = (struct sl_push_attention){.n_heads = m->n_heads,
                                    .n_kv_heads = m->n_kv_heads,
                                    .head_dim = m->head_dim,
                                    .n_tokens = n_tokens,
                                    .q_stride = (m->n_heads + 2 * m->n_kv_heads) * m->head_dim,
                                    .y_stride = m->n_heads * m->head_dim,
                                    .table_stride = pages,
                                    .n_splits = n_splits,
                                    .scale = 1 / sqrtf((float)m->head_dim)};
    const uint64_t cache = (uint64_t)pages * m->n_kv_heads * SL_KV_PAGE_TOKENS * m->head_dim * 2;
    const uint64_t results = (uint64_t)n_tokens * m->n_heads;
    operand(b, offsetof(struct sl_push_attention, q), SL_CASE_IN, 4ull * n_tokens * p->q_stride);
    operand(b, offsetof(struct sl_push_attention, k_cache), SL_CASE_IN, cache);
    operand(b, offsetof(struct sl_push_attention, v_cache), SL_CASE_IN, cache);
    batch_arrays(b, offsetof(struct sl_push_attention, positions),
                 offsetof(struct sl_push_attention, sequences),
                 offsetof(struct sl_push_attention, block_table), n_tokens, first, pages);
    operand(b, offsetof(struct sl_push_attention, y), SL_CASE_OUT, 4 * results * m->head_dim);
    if (n_splits > 1)
        operand(b, offsetof(struct sl_push_attention, partial), SL_CASE_OUT,
                4 * results * n_splits * (m->head_dim + 2));
    b->rotate_offset = offsetof(struct sl_push_attention, k_cache);
    b->bytes = 2.0 * (double)cache + 8.0 * (double)results * m->head_dim;
    const double seen = (double)n_tokens * first + 0.5 * n_tokens * (n_tokens + 1.0);
    b->flops = 4.0 * seen * m->n_heads * m->head_dim;
}

static bool shape_attention_decode(sl_bench_case *b, uint32_t index, const sl_variant *v)
{
    static const uint32_t depths[] = {0, 512, 4096, 32768}, splits[] = {1, 4, 16};
    const uint32_t which = index % (SL_COUNTOF(depths) * SL_COUNTOF(splits));
    if (index >= SL_COUNTOF(depths) * SL_COUNTOF(splits) * SL_COUNTOF(models)) return false;
    const model *m = &models[index / (SL_COUNTOF(depths) * SL_COUNTOF(splits))];
    const uint32_t depth = depths[which / SL_COUNTOF(splits)], n = splits[which % SL_COUNTOF(splits)];
    b->model = m->name;
    if (v->key != m->head_dim || n * SL_KV_PAGE_TOKENS > depth + SL_KV_PAGE_TOKENS) return true;
    attention(b, m, 1, depth, n);
    snprintf(b->c.name, sizeof b->c.name, "depth=%u splits=%u", depth, n);
    return true;
}

static bool shape_attention_prefill(sl_bench_case *b, uint32_t index, const sl_variant *v)
{
    static const uint32_t depths[] = {0, 3584, 15872};
    if (index >= SL_COUNTOF(depths) * SL_COUNTOF(models)) return false;
    const model *m = &models[index / SL_COUNTOF(depths)];
    b->model = m->name;
    if (v->key != m->head_dim) return true;
    attention(b, m, PROMPT, depths[index % SL_COUNTOF(depths)], 1);
    snprintf(b->c.name, sizeof b->c.name, "tokens=%u depth=%u", PROMPT, depths[index % SL_COUNTOF(depths)]);
    return true;
}

/* ---- the rest: one token and a prompt ---- */

static bool shape_small(sl_bench_case *b, uint32_t index, const sl_variant *v)
{
    if (index >= 2 * SL_COUNTOF(models)) return false;
    const model *m = &models[index / 2];
    const uint32_t rows = index % 2 ? PROMPT : 1;
    b->model = m->name;
    snprintf(b->c.name, sizeof b->c.name, "tokens=%u", rows);
    switch (v->kernel) {
    case SL_K_rms_norm: {
        const uint32_t n = m->n_embd;
        *(struct sl_push_rms_norm *)b->c.push =
            (struct sl_push_rms_norm){.n = n, .rows = rows, .x_stride = n, .y_stride = n, .eps = 1e-5f};
        operand(b, offsetof(struct sl_push_rms_norm, x), SL_CASE_IN, 4ull * n * rows);
        operand(b, offsetof(struct sl_push_rms_norm, weight), SL_CASE_IN, 4ull * n);
        operand(b, offsetof(struct sl_push_rms_norm, y), SL_CASE_OUT, 4ull * n * rows);
        b->bytes = 4.0 * n * (2.0 * rows + 1);
        b->flops = 4.0 * n * rows;
        return true;
    }
    case SL_K_act_mul: {
        const uint32_t n = m->n_ff;
        *(struct sl_push_act_mul *)b->c.push = (struct sl_push_act_mul){
            .n = n, .rows = rows, .gate_stride = n, .up_stride = n, .y_stride = n, .act = SL_ACT_SILU};
        operand(b, offsetof(struct sl_push_act_mul, gate), SL_CASE_IN, 4ull * n * rows);
        operand(b, offsetof(struct sl_push_act_mul, up), SL_CASE_IN, 4ull * n * rows);
        operand(b, offsetof(struct sl_push_act_mul, y), SL_CASE_OUT, 4ull * n * rows);
        b->bytes = 12.0 * n * rows;
        b->flops = 5.0 * n * rows;
        return true;
    }
    case SL_K_add: {
        const uint32_t n = m->n_embd * rows;
        *(struct sl_push_add *)b->c.push = (struct sl_push_add){.n = n, .scale = 1};
        operand(b, offsetof(struct sl_push_add, a), SL_CASE_IN, 4ull * n);
        operand(b, offsetof(struct sl_push_add, b), SL_CASE_IN, 4ull * n);
        operand(b, offsetof(struct sl_push_add, y), SL_CASE_OUT, 4ull * n);
        b->bytes = 12.0 * n;
        b->flops = 2.0 * n;
        return true;
    }
    case SL_K_argmax: {
        const uint32_t n = m->n_vocab, few = rows > 1 ? 8 : 1;
        *(struct sl_push_argmax *)b->c.push = (struct sl_push_argmax){.n = n, .rows = few, .x_stride = n};
        operand(b, offsetof(struct sl_push_argmax, x), SL_CASE_IN, 4ull * n * few);
        operand(b, offsetof(struct sl_push_argmax, ids), SL_CASE_OUT, 4ull * few);
        b->bytes = 4.0 * n * few;
        snprintf(b->c.name, sizeof b->c.name, "vocabulary=%u rows=%u", n, few);
        return true;
    }
    case SL_K_topk: {
        const uint32_t n = m->n_vocab, few = rows > 1 ? 8 : 1, k = SL_TOPK_MAX;
        *(struct sl_push_topk *)b->c.push = (struct sl_push_topk){.n = n, .rows = few, .x_stride = n, .k = k};
        operand(b, offsetof(struct sl_push_topk, x), SL_CASE_IN, 4ull * n * few);
        operand(b, offsetof(struct sl_push_topk, ids), SL_CASE_OUT, 4ull * few * k);
        operand(b, offsetof(struct sl_push_topk, values), SL_CASE_OUT, 4ull * few * k);
        operand(b, offsetof(struct sl_push_topk, lse), SL_CASE_OUT, 4ull * few);
        operand(b, offsetof(struct sl_push_topk, scratch), SL_CASE_OUT,
                (uint64_t)few * SL_TOPK_SCRATCH_BYTES);
        b->bytes = 4.0 * n * few;
        snprintf(b->c.name, sizeof b->c.name, "vocabulary=%u rows=%u", n, few);
        return true;
    }
    case SL_K_rope: {
        *(struct sl_push_rope *)b->c.push = (struct sl_push_rope){.n_heads = m->n_heads,
                                                                  .head_dim = m->head_dim,
                                                                  .rot_dim = m->head_dim,
                                                                  .n_tokens = rows,
                                                                  .token_stride = m->n_heads * m->head_dim,
                                                                  .mode = 1,
                                                                  .freq_base = 5e5f,
                                                                  .freq_scale = 1,
                                                                  .attn_factor = 1};
        operand(b, offsetof(struct sl_push_rope, x), SL_CASE_IN, 4ull * rows * m->n_heads * m->head_dim);
        uint32_t *positions = sl_case_operand_add(&b->c, offsetof(struct sl_push_rope, positions), SL_CASE_IN,
                                                  SL_CASE_U32, 4ull * rows);
        for (uint32_t t = 0; t < rows; t++)
            positions[t] = t;
        b->bytes = 8.0 * rows * m->n_heads * m->head_dim;
        b->flops = 3.0 * rows * m->n_heads * m->head_dim;
        return true;
    }
    case SL_K_kv_store: {
        const uint32_t n = m->n_kv_heads * m->head_dim, pages = (uint32_t)sl_div_up(rows, SL_KV_PAGE_TOKENS);
        *(struct sl_push_kv_store *)b->c.push = (struct sl_push_kv_store){.n_kv_heads = m->n_kv_heads,
                                                                          .head_dim = m->head_dim,
                                                                          .n_tokens = rows,
                                                                          .k_stride = n,
                                                                          .v_stride = n,
                                                                          .table_stride = pages};
        operand(b, offsetof(struct sl_push_kv_store, k), SL_CASE_IN, 4ull * n * rows);
        operand(b, offsetof(struct sl_push_kv_store, v), SL_CASE_IN, 4ull * n * rows);
        operand(b, offsetof(struct sl_push_kv_store, k_cache), SL_CASE_OUT,
                2ull * pages * SL_KV_PAGE_TOKENS * n);
        operand(b, offsetof(struct sl_push_kv_store, v_cache), SL_CASE_OUT,
                2ull * pages * SL_KV_PAGE_TOKENS * n);
        batch_arrays(b, offsetof(struct sl_push_kv_store, positions),
                     offsetof(struct sl_push_kv_store, sequences),
                     offsetof(struct sl_push_kv_store, block_table), rows, 0, pages);
        b->bytes = 12.0 * n * rows;
        return true;
    }
    default:
        return false;
    }
}

bool sl_bench_shape(sl_bench_case *b, uint32_t index, const sl_variant *variant)
{
    switch (variant->kernel) {
    case SL_K_matvec:
        return shape_matvec(b, index, variant);
    case SL_K_matmul:
        return shape_matmul(b, index, variant);
    case SL_K_matmul_skinny:
    case SL_K_matmul_skinny_gated:
        return shape_skinny(b, index, variant);
    case SL_K_matmul_decode:
        return shape_matmul_decode(b, index, variant);
    case SL_K_dequant:
    case SL_K_rotate:
        return shape_dequant(b, index, variant);
    case SL_K_gemm:
    case SL_K_gemm_gated:
        return shape_gemm(b, index, variant);
    case SL_K_embed:
        return shape_embed(b, index, variant);
    case SL_K_moe_matvec:
        return shape_moe_matvec(b, index, variant);
    case SL_K_attention_decode:
        return shape_attention_decode(b, index, variant);
    case SL_K_attention_prefill:
        return shape_attention_prefill(b, index, variant);
    default:
        return shape_small(b, index, variant);
    }
}
