/* builder_internal.h - what the files of the builder share. Each emits the phases of one part of a pass:
 *
 *   builder.c    layers and the whole pass; where tensors are
 *   rungs.c      which kernel multiplies a matrix
 *   decode.c     the products of a decode step, fused with their surroundings
 *   products.c   embeddings, norms, products with weights, activations
 *   gemm_phases.c  products of many tokens in two phases
 *   attention.c  from q, k, v to the attention's output
 *   moe.c        mixture of experts
 *   output.c     from the last layer to a token
 */
#ifndef SL_RUNTIME_STEP_BUILDER_INTERNAL_H
#define SL_RUNTIME_STEP_BUILDER_INTERNAL_H

#include "runtime/step/builder.h"

typedef struct sl_builder {
    const sl_layout *l;
    const sl_model *m;
    const sl_hparams *h;
    sl_kernel_set *kernels;
    const sl_shape *shape;
    sl_step *step;
    sl_diag *diag;
    uint32_t layer;         /* current, or SL_NO_LAYER */
    uint32_t stage;         /* latest stage of streamed weights that was needed */
    uint32_t few;           /* products in parts of k so far */
    uint32_t decoded_group; /* gemm_phases.c: latest group of matrices that was decoded, counted from 1 */
} sl_builder;

/* Appends a phase of kernel (id, key) with its push block; the caller adds what it reads and writes. */
sl_status sl_build_phase(sl_builder *b, const char *label, sl_kernel_id id, uint32_t key,
                         const uint32_t *spec, uint32_t spec_count, const void *push, size_t push_bytes,
                         sl_phase **out);
/* The same of one given variant. */
sl_status sl_build_variant(sl_builder *b, const char *label, const sl_variant *variant, const uint32_t *spec,
                           uint32_t spec_count, const void *push, size_t push_bytes, sl_phase **out);
/* A part of the range: `rows` rows of `row_elements` 4-byte elements. */
sl_range sl_build_rows_of(sl_range whole, uint64_t rows, uint64_t row_elements);
const sl_model_tensor *sl_build_tensor(const sl_builder *b, sl_part part);
const sl_place *sl_build_place_of(const sl_builder *b, const sl_model_tensor *t);
/* Address of a tensor that is resident whole. */
uint64_t sl_build_resident(const sl_builder *b, const sl_model_tensor *t);
/* Address of a piece in the ring; from here on the pass needs its stage. */
uint64_t sl_build_streamed(sl_builder *b, uint32_t piece);
/* Where a half block writes: straight onto the residual stream, or aside when a post norm comes between. */
sl_range sl_build_half_block_target(const sl_builder *b);

#define SL_GROUP_PARTS 3u /* matrices that read the same input, at most */

typedef struct sl_product {
    const char *label;
    const sl_model_tensor *w;
    sl_range x, y;
    uint32_t n_tokens;
    bool add; /* y += */
} sl_product;

/* ---- rungs.c ---- */

/* Parts of a layer whose products are fused together, or none of them. */
typedef enum sl_half { SL_HALF_ATTENTION, SL_HALF_FFN } sl_half;

/* Which kernel multiplies the matrix with so many columns. */
sl_product_rung sl_build_rung(const sl_builder *b, const sl_model_tensor *t, uint32_t columns);
/* Is this half of the layer fused: few tokens, on a device and with weights that the fused products take? */
bool sl_decode_fused(const sl_builder *b, sl_half half);
/* Rows that the rung's kernel reads, and takes without a conversion: SL_ROWS_F32 or SL_ROWS_F16. */
uint32_t sl_build_rows_of_rung(const sl_builder *b, sl_product_rung rung);
/* What to make for products of one input: SL_ROWS_F16 where all read that, else SL_ROWS_F32. */
uint32_t sl_build_rows_format(const sl_builder *b, const sl_product *products, uint32_t count);

/* Products of the same x; several of them, of matrices of one group (gemm_phases.c). x_format: SL_ROWS_*, F16
 * only where sl_build_rows_format says so. */
sl_status sl_emit_products(sl_builder *b, const sl_product *products, uint32_t count, uint32_t x_format);
/* Can one kernel for few columns make the products with gate and up: both resident and of one type? The
 * layer's own. */
bool sl_build_few_gated(const sl_builder *b);
/* work.act = act(gate . h) * (up . h), rows of F16 both, h = work.h */
sl_status sl_emit_few_gated(sl_builder *b);
/* Rows of x (f32) as f16 in work.halves. */
sl_status sl_emit_halves(sl_builder *b, sl_range x, uint32_t rows, uint32_t n);
/* y = `rows` rows of f32 x [n], in another format (SL_ROWS_F16, SL_ROWS_Q8). */
sl_status sl_emit_convert(sl_builder *b, const char *label, sl_range x, sl_range y, uint32_t rows, uint32_t n,
                          uint32_t format);

/* gemm_phases.c: products by gemm, of matrices of one group. */
sl_status sl_emit_gemm_group(sl_builder *b, const sl_product *products, uint32_t count, uint32_t x_format);
/* work.act = act(gate . h) * (up . h), rows of F16, where both are gemm's. */
sl_status sl_emit_gemm_gated(sl_builder *b, sl_range h, uint32_t h_format);

typedef struct sl_norm {
    const char *label;
    const sl_model_tensor *weight;
    sl_range x, y;
    sl_range after; /* added to the result; empty: nothing */
    uint32_t n, rows;
    uint32_t format; /* of y: SL_ROWS_* */
} sl_norm;

sl_status sl_emit_norm(sl_builder *b, const sl_norm *o);
sl_status sl_emit_embedding(sl_builder *b);
/* From work.gate and work.up: to work.gate (SL_ROWS_F32), or to work.act (SL_ROWS_F16). */
sl_status sl_emit_act_mul(sl_builder *b, uint64_t rows, uint32_t n, uint32_t format);
uint32_t sl_build_act(const sl_builder *b); /* SL_ACT_* */
/* What attention needs before the layers. */
sl_status sl_emit_turns(sl_builder *b);
/* From q, k, v, as the products made them, to w->attention. */
sl_status sl_emit_attention(sl_builder *b);
/* Format of these rows (SL_ROWS_*): the one that a decode step's product reads, where attention can write it.
 */
uint32_t sl_attention_format(const sl_builder *b);
sl_status sl_emit_moe(sl_builder *b);
/* Are the tokens of an expert multiplied together? */
bool sl_build_groups_experts(const sl_builder *b);
sl_status sl_emit_route(sl_builder *b);
/* The batch of a chained step. */
sl_status sl_emit_advance(sl_builder *b);
sl_status sl_emit_logits(sl_builder *b);
sl_status sl_emit_greedy(sl_builder *b);
sl_status sl_emit_sampling(sl_builder *b);

/* Format (SL_ROWS_*) in which a fused product with `t` reads rows from memory. */
uint32_t sl_decode_row_format(const sl_builder *b, const sl_model_tensor *t);
/* Can the fused product multiply `rows` rows with this matrix, whatever is fastest? */
bool sl_decode_fits(const sl_builder *b, const sl_model_tensor *t, uint32_t rows);
/* Does the fused product multiply this matrix with so many rows? */
bool sl_decode_takes(const sl_builder *b, const sl_model_tensor *t, uint32_t rows);
sl_status sl_emit_decode_qkv(sl_builder *b);
sl_status sl_emit_decode_o(sl_builder *b);
sl_status sl_emit_decode_dense(sl_builder *b);
/* Can the experts of this pass be, of so few tokens? */
bool sl_decode_experts_fused(const sl_builder *b);
sl_status sl_emit_decode_moe(sl_builder *b);
/* Of `rows` rows of the residual stream. */
sl_status sl_emit_decode_logits(sl_builder *b, sl_range x, uint32_t rows);

#endif
