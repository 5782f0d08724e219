/* push.h - the push block of every kernel, one text for C and for GLSL.
 *
 * Rules: addresses (sl_addr) first, then 32-bit fields; at most 128 bytes. An address of 0 means "not given"
 * where a comment says so. Strides are in elements of the array they belong to. Arrays are row-major and
 * named name[outer][inner]; f32 unless said otherwise. T tokens, H query heads, G key/value heads, D head
 * size.
 *
 * Batch arrays (u32 each, one entry a token of the batch, written before each submission):
 *   tokens[T]     token id
 *   positions[T]  position of the token in its sequence; SL_NO_POSITION: padding, which must not touch the KV
 *                 cache and whose results nobody reads
 *   sequences[T]  row of the block table
 * block_table[sequence][table_stride]: page numbers (u32) of a sequence, in order.
 * KV cache of one layer, k and v each: [page][G] groups (SL_KV_*).
 */
#ifndef SL_PUSH_H
#define SL_PUSH_H

#ifdef SL_GLSL
#define sl_addr  uvec2
#define uint32_t uint
#define int32_t  int
#else
#include <stdint.h>
typedef uint64_t sl_addr;
#pragma pack(push, 4) /* no padding at the end, whose bytes would be anything: blocks are compared */
#endif

#define SL_NO_POSITION        0xffffffffu
#define SL_NO_INDEX           0xffffffffu
#define SL_KV_PAGE_TOKENS     32u
#define SL_TOPK_MAX           256u
#define SL_MATVEC_COLUMNS_MAX 8u

/* Formats of activation rows of n elements: what a kernel that makes rows can write. Strides stay in
 * elements.
 *
 * SL_ROWS_F32: 4 n bytes.
 *
 * SL_ROWS_F16: 2 n bytes, to nearest; beyond the range of f16: the largest finite value.
 *
 * SL_ROWS_Q8: n int8, then n / 32 pairs of f32 (d, d * sum of the block's int8): of each block of 32, d = max
 * |x| / 127 and int8 = round(x / d). A row has n + n / 4 bytes. n is a multiple of 32, and of
 * SL_ROWS_Q8_MULTIPLE where there are several rows, so that each begins at a multiple of 16 bytes.
 *
 * SL_ROWS_F16_SCALED: n f16, those of each four in the order 0, 2, 1, 3, then n / 32 pairs of f32 (d, d * sum
 * of the block's f16): of each block of 32, d = max |x| and f16 = x / d. A row has 2 n + n / 4 bytes; n as of
 * Q8.
 *
 * SL_ROWS_S8: m rows as a whole: m n int8, then m f32 d. Each row is first rotated: blocks of B elements are
 * multiplied by the Hadamard matrix of that size over sqrt(B), B = the largest power of two that divides n,
 * 256 at most; then d = max |x| / 127 of the row and int8 = round(x / d). Products of two rows stay what they
 * were, since the matrix is orthogonal, and an outlier no longer takes the precision of its row: it is spread
 * over its block. n is a multiple of 16. */
#define SL_ROWS_Q8_MULTIPLE 64
#define SL_ROWS_F32         0
#define SL_ROWS_F16         1
#define SL_ROWS_Q8          2
#define SL_ROWS_S8          3
#define SL_ROWS_F16_SCALED  4

#define SL_ROTATION_MAX 256u

/* Types of the KV cache. A group is what a page holds of one head: a row of D elements (a multiple of 16) for
 * each of its SL_KV_PAGE_TOKENS tokens. Groups begin at multiples of 16 bytes.
 *
 * SL_KV_F16: f16, to nearest.
 *
 * SL_KV_Q8_0, SL_KV_Q4_0: the integers of all rows, then their scales, f16 [token][SL_KV_SCALES(D)]: one for
 * each block of 32 elements of a row, of which the last may have 16. Q8_0: x = d q; d = max |x| / 127, q =
 * round(x / d), an int8. Q4_0: x = d (q - 8); d = m / -8 with m the first element of largest magnitude, q =
 * min(round(x / d) + 8, 15); elements 8 i + j and 8 i + j + 4, j < 4, are the low and the high half of byte
 * 4 i + j. d is not yet rounded to f16 there, halves are rounded away from zero. Where d becomes 0 or is not
 * finite all q stand for 0, so that the block is zeros or NaNs. Source: ggml (q8_0, q4_0). */
#define SL_KV_F16              0u
#define SL_KV_Q8_0             1u
#define SL_KV_Q4_0             2u
#define SL_KV_TYPE_COUNT       3u
#define SL_KV_BLOCK            32u
#define SL_KV_127TH            0.007874015748f /* d of Q8_0 is max |x| times this, in f32 */
#define SL_KV_SCALES(head_dim) (((head_dim) + SL_KV_BLOCK - 1u) / SL_KV_BLOCK)
#define SL_KV_ROW_BYTES(type, head_dim)                                                                      \
    ((type) == SL_KV_F16 ? 2u * (head_dim) : (type) == SL_KV_Q8_0 ? (head_dim) : (head_dim) / 2u)
#define SL_KV_GROUP_BYTES(type, head_dim)                                                                    \
    (SL_KV_PAGE_TOKENS *                                                                                     \
     (SL_KV_ROW_BYTES(type, head_dim) + ((type) == SL_KV_F16 ? 0u : 2u * SL_KV_SCALES(head_dim))))

/* y[t][:] = scale * table[tokens[t]][:]; zeros for an id >= n_vocab. The key is the weight type of the table,
 * and weight_type says it again for the C side (as in every product with weights). */
struct sl_push_embed {
    sl_addr table, tokens, y;
    uint32_t n_embd, n_vocab, n_tokens, y_stride, row_bytes, weight_type;
    float scale;
};

/* v = x[r][:] + before[r][:] (before may be 0); sum[r][:] = v where sum is given (it may be x or before);
 * y[r][:] = v / sqrt(mean(v^2) + eps) * weight[:] + after[r][:] (weight 0: ones; after 0: nothing).
 * before, sum: stride x_stride; after: f32, stride y_stride. y may be x where it is f32. The key is the
 * format of y (SL_ROWS_*), and format says it again for the C side; Q8 and F16_SCALED take x at multiples of
 * 16 bytes and strides of
 * 4. Source: Zhang & Sennrich 2019. */
struct sl_push_rms_norm {
    sl_addr x, weight, before, sum, after, y;
    uint32_t n, rows, x_stride, y_stride, format;
    float eps;
};

/* y[t][r] = sum_k w[r][k] * x[t][k] + bias[r] + add[t][r]; bias, add may be 0; add has y's stride and may be
 * y. Rows of w are row_bytes apart, blocks of the weight type (the key). matvec: n_tokens <=
 * SL_MATVEC_COLUMNS_MAX and equal to specialization constant SL_SPEC_COLUMNS; matmul: any n_tokens. w and
 * x are multiples of 16 bytes, x_stride and n_k of 4 (n_k of the block, where the type has blocks). */
struct sl_push_matmul {
    sl_addr w, x, y, bias, add;
    uint32_t n_out, n_k, n_tokens, x_stride, y_stride, row_bytes, weight_type;
};

/* Products of a decode step, with what stands before and after them in the layer. With x' the input as
 * `input` says: matvec_fused: y[t][r] = w[r] . x'[t] + add[t][r]        matvec_gated: y[t][r] = act(w[r] .
 * x'[t]) * (w2[r] . x'[t]) Input (specialization constant): SL_INPUT_ROWS: x' = x, rows of Q8 where the
 * weights are quantized, of F32 where they are floats; SL_INPUT_PLAIN: x is F32, and quantized first where
 * the weights are; SL_INPUT_NORM: the same after rms_norm with weights `norm` and eps. y is F32, or Q8
 * (matvec_gated, n_out and ROWS_GROUP multiples of 32). add has y's stride and may be y. Everything else is a
 * specialization constant (SL_FUSED_*). matvec_fused_f16 and matvec_gated_f16 are the same for quantized
 * weights alone, with SL_ROWS_F16_SCALED in the place of Q8. x_stride, y_stride: in elements. w, w2, x, norm
 * at multiples of 16 bytes, row_bytes of 16 for types without blocks or with blocks of 144 bytes, else of 4;
 * n_k a multiple of 32 and of the block. */
#define SL_INPUT_ROWS  0u
#define SL_INPUT_PLAIN 1u
#define SL_INPUT_NORM  2u
/* Specialization constants from SL_SPEC_FIRST on. */
#define SL_FUSED_COLUMNS    0u /* 1 .. SL_MATVEC_COLUMNS_MAX; more than 1 only with SL_INPUT_ROWS */
#define SL_FUSED_INPUT      1u
#define SL_FUSED_OUTPUT     2u /* SL_ROWS_F32, SL_ROWS_Q8 */
#define SL_FUSED_ACT        3u /* SL_ACT_*, of two matrices */
#define SL_FUSED_N_K        4u
#define SL_FUSED_ROWS_GROUP 5u /* rows a workgroup makes: a multiple of 4, SL_FUSED_ROWS_MAX at most */
#define SL_FUSED_COUNT      6u
#define SL_FUSED_ROWS_MAX   256u
#define SL_FUSED_N_K_MAX                                                                                     \
    16384u /* of SL_INPUT_PLAIN and _NORM: x stands in shared memory; half of it for floats and f16 */
struct sl_push_matvec_fused {
    sl_addr w, w2, x, norm, y, add;
    uint32_t n_out, x_stride, y_stride, row_bytes, weight_type;
    float eps;
};

/* y[first_row + r][:] = w[r][:], r < n_rows: rows of a contiguous matrix of SL_ROWS_F16 (dequant), or of
 * SL_ROWS_S8 with all_rows rows (rotate). The key is the weight type; w as in matmul, y a multiple of 16
 * bytes, n_k of 8 (dequant) or 16 (rotate, at most SL_ROTATE_N_K_MAX). Activations too: rows of F32 and F16
 * are weight types. */
#define SL_ROTATE_N_K_MAX 16384u
struct sl_push_dequant {
    sl_addr w, y;
    uint32_t n_k, n_rows, row_bytes, weight_type, first_row, all_rows;
};

/* Products of many tokens. w (and w2) of n_out rows and x of n_tokens rows have the format that is the key,
 * F16 or S8; rows are contiguous. gemm:       y[t][r] = w[r] . x[t] + add[t][r]                  y, add F32;
 * add (0: nothing) may be y gemm_gated: y[t][r] = act(w[r] . x[t]) * (w2[r] . x[t])        y F16; add is 0
 * Addresses are multiples of 16 bytes, n_k of 8 (F16) or 16 (S8), y_stride of 8. Sizes stand in
 * specialization constants as well (gemm.h). */
struct sl_push_gemm {
    sl_addr w, w2, x, y, add;
    uint32_t n_out, n_k, n_tokens, y_stride, act, format;
};

/* As matmul, for some tokens (9 to 64, say), each weight read once for as many as the variant's tile has. x
 * is rows of SL_ROWS_F16 at a multiple of 16 bytes, x_stride a multiple of 8. n_splits workgroups share a
 * tile of rows, each a part of k. With n_splits > 1, T tiles of tile_x rows and tile_y tokens: partial is
 * room for T * n_splits * tile_x * tile_y floats, arrived T u32 that are 0 before and after.
 * matmul_skinny_gated: y[t][r] = act(w[r] . x[t]) * (w2[r] . x[t]), rows of SL_ROWS_F16; bias and add are 0;
 * partial is twice as large.
 * matmul_decode: as matmul_skinny for more tokens (65 to 512, say); all addresses are multiples of 16 bytes,
 * rows of w contiguous, x has rows up to a multiple of SL_DECODE_TILE_TOKENS, whatever they hold, and sizes
 * stand in specialization constants as well (matmul_decode.h). */
#define SL_DECODE_TILE_TOKENS 128u
struct sl_push_matmul_skinny {
    sl_addr w, w2, x, y, bias, add, partial, arrived;
    uint32_t n_out, n_k, n_tokens, x_stride, y_stride, row_bytes, weight_type, n_splits, act;
};

/* Rotates the first rot_dim of each head of x[t][h][:] (heads contiguous, tokens token_stride apart) in
 * place. mode 0: pairs (2i, 2i+1); mode 1 (neox): pairs (i, i + rot_dim/2). theta_i = position *
 * freq_base^(-2i/rot_dim) / factors[i] (factors[rot_dim/2], 0: ones), then YaRN: interpolated = freq_scale *
 * theta; ramp over corr_low .. corr_high mixed by ext_factor; cos and sin times attn_factor (the host has
 * folded YaRN's magnitude into it). Padding tokens are left alone. Sources: Su et al. 2021; Peng et al. 2023
 * (YaRN).
 * rope_table: x[t][rot_dim / 2][2] = (cos, sin) that these pairs are turned by; n_heads, head_dim,
 * token_stride and mode mean nothing there. */
struct sl_push_rope {
    sl_addr x, positions, factors;
    uint32_t n_heads, head_dim, rot_dim, n_tokens, token_stride, mode;
    float freq_base, freq_scale, ext_factor, attn_factor, corr_low, corr_high;
};

/* Stores k[t][g][:] and v[t][g][:] (tokens k_stride, v_stride apart) into the pages of their sequence. Its
 * specialization constant: the cache's type (SL_KV_*). */
#define SL_STORE_KV_TYPE 2
struct sl_push_kv_store {
    sl_addr k, v, k_cache, v_cache, block_table, positions, sequences;
    uint32_t n_kv_heads, head_dim, n_tokens, k_stride, v_stride, table_stride;
};

/* y[t][h][:] = softmax(scale * q[t][h] . k[j][g]) v[j][g] over the keys j of the token's sequence with j <=
 * position and (window == 0 or position - j < window); softcap > 0: scores become softcap * tanh(score /
 * softcap). D = head_dim, the key. g = h / (H / G). attention_decode: one workgroup a (token, kv head,
 * split): with n_splits > 1 it writes partial[t][h][split][D + 2] (unnormalised sum, then maximum, then sum
 * of exponentials) for attention_combine, else y. attention_prefill: tiles of consecutive tokens; partial
 * unused. A tile may span sequences. format: of y, SL_ROWS_F32, and of attention_prefill also SL_ROWS_F16;
 * y_stride is in elements. */
struct sl_push_attention {
    sl_addr q, k_cache, v_cache, block_table, positions, sequences, y, partial;
    uint32_t n_heads, n_kv_heads, head_dim, n_tokens, q_stride, y_stride, table_stride, window, n_splits;
    uint32_t format;
    float scale, softcap;
};

/* Specialization constants of attention_prefill and attention_decode. */
#define SL_PREFILL_SOFTCAP                                                                                   \
    2 /* 0 where softcap is 0, which makes it faster; anything else (and 1, if nothing is given): softcap    \
         decides */
#define SL_DECODE_HEADS       2 /* query heads of a group at a time, 1 to 8 */
#define SL_DECODE_HEADS_USUAL 4
#define SL_ATTENTION_KV_TYPE  3 /* SL_KV_* */

/* y[t][h][:] from partial[t][h][n_splits][head_dim + 2]; zeros where every sum of exponentials is 0. */
struct sl_push_attention_combine {
    sl_addr partial, y;
    uint32_t n_heads, head_dim, n_tokens, n_splits, y_stride;
};

/* A decode step of attention in one dispatch: each token is one of a sequence of its own, and q, k, v are as
 * the products made them. Per token and head: q, k = x / sqrt(mean(x^2) + eps) * weight where a weight
 * (q_norm, k_norm) is given; both turned by rope[t][rot_dim / 2][2] (from rope_table; pairs by SL_STEP_NEOX
 * as in rope); k and v into the cache at the token's position; and then y as in sl_push_attention over the
 * cache, the new key included. y[t][H * D] in the format of SL_STEP_FORMAT (Q8: D a multiple of 32), zeros
 * for padding tokens. The keys are cut into as many splits as their number deserves, at most n_splits <=
 * SL_STEP_SPLITS_MAX. partial: room for T * n_splits * H * (D + 4) floats, where n_splits > 1 or H / G > 8.
 * arrivals[T][G] (u32): zeros before and after. Key: head size. All addresses but the norms' are of multiples
 * of 16 bytes, and strides multiples of 4. */
struct sl_push_attention_step {
    sl_addr q, k, v, q_norm, k_norm, rope, k_cache, v_cache, block_table, positions, sequences, y, partial,
        arrivals;
    uint32_t n_tokens, n_splits, table_stride, window;
};

/* Its specialization constants: what is fixed for a model. */
#define SL_STEP_GROUP      2 /* H / G */
#define SL_STEP_KV_HEADS   3 /* G */
#define SL_STEP_ROT_DIM    4
#define SL_STEP_NEOX       5  /* pairs (i, i + rot_dim / 2) instead of (2i, 2i + 1) */
#define SL_STEP_FORMAT     6  /* SL_ROWS_* of y */
#define SL_STEP_Q_STRIDE   7  /* of q's tokens */
#define SL_STEP_KV_STRIDE  8  /* of k's and v's */
#define SL_STEP_SCALE      9  /* f32 */
#define SL_STEP_SOFTCAP    10 /* f32; 0: none */
#define SL_STEP_EPS        11 /* f32 */
#define SL_STEP_HEAD_DIM   12 /* D, for the C side */
#define SL_STEP_KV_TYPE    13 /* SL_KV_* */
#define SL_STEP_SPEC_END   14
#define SL_STEP_SPLITS_MAX 64u

#define SL_ACT_SILU 0u
#define SL_ACT_GELU 1u /* tanh approximation */

/* y[r][:] = act(gate[r][:]) * up[r][:]. y may be gate or up where it is f32. Key and format as in rms_norm.
 */
struct sl_push_act_mul {
    sl_addr gate, up, y;
    uint32_t n, rows, gate_stride, up_stride, y_stride, act, format;
};

/* y[r][:] = x[r][:] (f32) in another format, the key, which format says again for the C side: SL_ROWS_F16,
 * SL_ROWS_Q8, SL_ROWS_F16_SCALED. n is a multiple of 32, x and y stand at multiples of 16 bytes, strides are
 * multiples of 4. */
struct sl_push_convert_rows {
    sl_addr x, y;
    uint32_t n, rows, x_stride, y_stride, format;
};

/* y[i] = a[i] + scale * b[i], i < n. y may be a or b. */
struct sl_push_add {
    sl_addr a, b, y;
    uint32_t n;
    float scale;
};

/* y[i][:] = x[index[i]][:]; zeros where index[i] is SL_NO_INDEX. */
struct sl_push_copy_rows {
    sl_addr x, index, y;
    uint32_t n, rows, x_stride, y_stride;
};

/* y[r][:] = softmax(scale * x[r][:]). y may be x. */
struct sl_push_softmax {
    sl_addr x, y;
    uint32_t n, rows, x_stride, y_stride;
    float scale;
};

/* ids[r] (u32) = index of the largest x[r][:]; the lowest index among equals; a NaN is never the largest. */
struct sl_push_argmax {
    sl_addr x, ids;
    uint32_t n, rows, x_stride;
};

/* The k largest of x[r][:], largest first, lower index first among equals: ids[r][k] (u32), values[r][k]; and
 * lse[r] = log(sum(exp(x[r][:]))). k <= SL_TOPK_MAX, k <= n. scratch: rows * SL_TOPK_SCRATCH_BYTES. */
#define SL_TOPK_SCRATCH_BYTES (64u * (SL_TOPK_MAX * 8u + 8u))
struct sl_push_topk {
    sl_addr x, ids, values, lse, scratch;
    uint32_t n, rows, x_stride, k;
};

/* One draw a row from a topk result (k <= SL_TOPK_MAX on a device), in this order: the first top_k (0: all
 * k), top_p of their probability among them, min_p of the largest, then temperature, then the draw with
 * uniform number u = hash(seed, counter). temperature <= 0: the first. params[r]: struct sl_sample_params.
 * token[r] (u32) receives the id.
 */
struct sl_sample_params {
    float temperature, top_p, min_p;
    uint32_t top_k, seed_low, seed_high, counter;
    uint32_t reserved;
};
struct sl_push_sample {
    sl_addr ids, values, params, token;
    uint32_t k, rows;
};

/* The batch of the next decode step from the result of the last: tokens[i] = next[i]; positions[i] + 1, but
 * for SL_NO_POSITION; params[i].counter + 1 (params: struct sl_sample_params). i < rows. */
struct sl_push_advance {
    sl_addr next, tokens, positions, params;
    uint32_t rows;
};

/* Penalties on logits[r][:] for tokens seen before: entries[r][n_entries] of {u32 id, u32 count} (count 0:
 * unused): l = l > 0 ? l / repeat : l * repeat; then l -= count * frequency + presence. params[r]: struct
 * sl_penalty_params. */
struct sl_penalty_params {
    float repeat, frequency, presence;
    uint32_t reserved;
};
struct sl_push_penalize {
    sl_addr logits, entries, params;
    uint32_t n_vocab, rows, logits_stride, n_entries;
};

/* probabilities p = softmax(logits[t][:]); the n_used largest: ids[t][n_used] (u32), weights[t][n_used] = p,
 * divided by their sum when normalize != 0, times scale. Lower expert first among equals. n_used <= 32,
 * n_experts <= 1024. */
struct sl_push_moe_route {
    sl_addr logits, ids, weights;
    uint32_t n_experts, n_used, n_tokens, logits_stride, normalize;
    float scale;
};

/* y[t][s][r] = sum_k w[ids[t][s]][r][k] * x[t][x_per_slot ? s : 0][k], s < n_used. w: experts one after
 * another, each n_out rows of row_bytes. x: x_stride between tokens, n_k between slots; y: contiguous. Key:
 * weight type. */
struct sl_push_moe_matvec {
    sl_addr w, x, y, ids;
    uint32_t n_out, n_k, n_used, n_tokens, n_experts, x_stride, x_per_slot, row_bytes, weight_type;
};

/* The experts of a decode step; inputs, constants and alignments as of matvec_fused, with one column; of
 * moe_gated_f16 and moe_down_f16, as of matvec_fused_f16.
 *   moe_gated: y[t][s][r] = act(w[ids[t][s]][r] . x'[t]) * (w2[ids[t][s]][r] . x'[t]); y F32 or Q8, rows
 * [t][s] contiguous. moe_down:  y[t][r] = add[t][r] + sum_s weights[t][s] * (w[ids[t][s]][r] . x[t][s]);
 * SL_FUSED_N_K is n_used * n_k, SL_FUSED_N_K_MAX at most (half of it for floats); x as of SL_INPUT_ROWS, rows
 * [t][s] contiguous; y F32. An expert that does not exist counts as zeros. */
struct sl_push_moe_fused {
    sl_addr w, w2, x, norm, y, add, ids, weights;
    uint32_t n_out, n_k, n_used, n_tokens, n_experts, x_stride, y_stride, row_bytes, weight_type;
    float eps;
};

/* Sorts (token, slot) items by their expert, so that the items of one stand together: items[] (u32) holds the
 * numbers token * n_used + slot, those of an expert in ascending order, experts one after another; tiles[]
 * (struct sl_moe_tile) cuts each expert's share into tiles of at most `tile` items, and ends in tiles of
 * count 0 up to SL_MOE_TILES(...). Items of ids that are no expert are left out. n_experts <= 1024. */
struct sl_moe_tile {
    uint32_t expert, first, count, reserved; /* items[first] .. items[first + count - 1] */
};
/* Tiles that there can be. */
#define SL_MOE_TILES(n_experts, n_items, tile) ((n_experts) + (n_items) / (tile))
struct sl_push_moe_group {
    sl_addr ids, items, tiles;
    uint32_t n_experts, n_items, tile;
};

/* y[i][r] = w[expert of i][r] . x[x_per_slot ? i : i / n_used] for the items i of the first n_tiles tiles of
 * moe_group, made with the tile_y of the variant. w as in moe_matvec, x and its stride as in matmul_skinny, y
 * contiguous. Key: weight type. */
struct sl_push_moe_matmul {
    sl_addr w, x, y, items, tiles;
    uint32_t n_out, n_k, n_used, n_tiles, x_stride, x_per_slot, row_bytes, weight_type;
};

/* y[t][:] = add[t][:] + sum_s weights[t][s] * x[t][s][:]; add may be 0 or y. x contiguous. */
struct sl_push_moe_combine {
    sl_addr x, weights, add, y;
    uint32_t n, n_used, n_tokens, y_stride;
};

/* What a device can do at most; no model uses these.
 *
 * y[c] (u32) = exclusive or of the u32 of chunk c: x[c][4 * chunk_vectors]. x: a multiple of 16 bytes. */
struct sl_push_measure_read {
    sl_addr x, y;
    uint32_t n_chunks, chunk_vectors;
};

/* y = x: n_vectors of 16 bytes. */
struct sl_push_measure_copy {
    sl_addr x, y;
    uint32_t n_vectors;
};

/* y[g][s][m][n] = rounds * sum of the `tiles` matrices a[tiles][m][k] times the sum of the matrices
 * b[tiles][k][n], the same for every workgroup g < groups and subgroup s < subgroups of it. type (the key):
 * a, b f16 and y f32; or int8 and int32. tiles, m, n, k and subgroups are those of the variant. */
#define SL_MEASURE_F16 0u
#define SL_MEASURE_I8  1u
struct sl_push_measure_matrix {
    sl_addr a, b, y;
    uint32_t rounds, groups, subgroups, tiles, m, n, k, type;
};

#ifndef SL_GLSL
#pragma pack(pop)
#endif

#endif
