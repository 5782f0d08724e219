/* layout.h - where everything that a forward pass touches is: activations, batch arrays, KV cache, weights.
 *
 * Two buffers. The workspace is device memory that only kernels touch. The batch buffer is memory that the
 * host writes before a pass and the device reads. Both are sized once, for the largest pass.
 */
#ifndef SL_RUNTIME_STEP_LAYOUT_H
#define SL_RUNTIME_STEP_LAYOUT_H

#include "runtime/model/model.h"
#include "runtime/plan/plan.h"
#include "runtime/step/phase.h"

#define SL_PENALTY_ENTRIES_MAX 64u
#define SL_SPLITS_MAX          64u

#define SL_FEW_AT_ONCE  3u  /* products in parts of k that may run without a barrier between them */
#define SL_MOE_TILE_MIN 16u /* items of a tile of moe_matmul, at least */

/* The largest pass. */
typedef struct sl_limits {
    uint32_t tokens, outputs, sessions, pages_per_session;
    uint32_t splits;      /* key splits of a decode step of one token */
    uint32_t gemm_format; /* gemm_phases.h: rows that products of many tokens read; SL_ROWS_F32: they read the
                             file's blocks */
    uint64_t decoded_bytes[2];
    /* Of products that read rows of F16 (sl_limits_few_columns); zeros where the device has none. */
    uint32_t half_columns;      /* most columns of one */
    uint32_t half_tile;         /* the rows are laid out for a multiple of so many (of the product) */
    uint64_t few_partial_bytes; /* parts of matmul_skinny and matmul_decode among them */
    uint32_t few_arrived;
    bool experts_grouped; /* passes of many tokens sort them by expert (sl_limits_few_columns) */
} sl_limits;

/* Ranges in the workspace. [T] tokens, [O] outputs. f32 unless said otherwise. */
#define SL_WORKSPACE_FIELDS(X)                                                                               \
    X(x)            /* [T][n_embd]  the residual stream */                                                   \
    X(h)            /* [T][n_embd]  normed input of a half block */                                          \
    X(t)            /* [T][n_embd]  output of a half block, for post norms */                                \
    X(q)            /* [T][H * D] */                                                                         \
    X(k)            /* [T][G * D] */                                                                         \
    X(v)            /* [T][G * D] */                                                                         \
    X(attention)    /* [T][H * D] */                                                                         \
    X(partial)      /* [tokens * splits of a decode step][H][D + 4] */                                       \
    X(arrivals)     /* [T][G] u32: zeros between passes */                                                   \
    X(turns)        /* [T][rot_dim] rotations by RoPE of layers that see everything; */                      \
    X(window_turns) /* [T][rot_dim] and of windowed ones */                                                  \
    X(gate)         /* [T][n_ff], or [T][n_used][n_expert_ff] */                                             \
    X(up)           /* the same */                                                                           \
    X(operand)      /* [T][the longest row] activations in limits.gemm_format, where their producer writes   \
                       another */                                                                            \
    X(act)          /* f16 as gate: activated gate times up, for matrix units */                             \
    X(decoded_even) /* limits.decoded_bytes: weights in limits.gemm_format */                                \
    X(decoded_odd)                                                                                           \
    X(router)        /* [T][n_experts] */                                                                    \
    X(route_ids)     /* [T][n_used] u32 */                                                                   \
    X(route_weights) /* [T][n_used] */                                                                       \
    X(expert_out)    /* [T][n_used][n_embd] */                                                               \
    X(moe_items)     /* [T * n_used] u32: items by expert (moe_group) */                                     \
    X(moe_tiles)     /* struct sl_moe_tile: and tiles of them */                                             \
    X(halves)        /* f16: inputs of products, and of experts, that no kernel makes as such */             \
    X(few_partial)   /* sums of parts of such products, of several that may run at once */                   \
    X(few_arrived)   /* u32: parts that are there; zeros between products */                                 \
    X(out_x)         /* [O][n_embd] rows that logits are wanted of */                                        \
    X(out_h)         /* [O][n_embd] and their final norm */                                                  \
    X(logits)        /* [O][n_vocab] */                                                                      \
    X(topk_ids)      /* [O][SL_TOPK_MAX] u32 */                                                              \
    X(topk_values)   /* [O][SL_TOPK_MAX] */                                                                  \
    X(topk_lse)      /* [O] */                                                                               \
    X(topk_scratch)  /* [O] SL_TOPK_SCRATCH_BYTES */                                                         \
    X(next)          /* [O] u32: sampled tokens */

/* Ranges in the batch buffer. u32 unless said otherwise. */
#define SL_BATCH_FIELDS(X)                                                                                   \
    X(tokens)          /* [T] */                                                                             \
    X(positions)       /* [T] */                                                                             \
    X(sequences)       /* [T] */                                                                             \
    X(rows)            /* [T] 0, 1, 2, ...: index of copy_rows for embeddings that the host looked up */     \
    X(embeddings)      /* [T][n_embd] f32, only where the host looks embeddings up */                        \
    X(out_index)       /* [O] token whose logits output i has */                                             \
    X(block_table)     /* [sessions][pages_per_session] */                                                   \
    X(sample_params)   /* [O] struct sl_sample_params */                                                     \
    X(penalty_params)  /* [O] struct sl_penalty_params */                                                    \
    X(penalty_entries) /* [O][SL_PENALTY_ENTRIES_MAX] {id, count} */

typedef struct sl_workspace {
#define X(name) sl_range name;
    SL_WORKSPACE_FIELDS(X)
#undef X
} sl_workspace;

typedef struct sl_batch {
#define X(name) sl_range name;
    SL_BATCH_FIELDS(X)
#undef X
} sl_batch;

/* Sets the limits of products that read rows of F16, what a device with matrix units needs for them, and
 * whether experts get the tokens of a pass in groups. on_cpus: also for a CPU behind Vulkan, which has faster
 * ways. */
void sl_limits_few_columns(sl_limits *limits, const sl_model *model, const sl_device_caps *caps,
                           bool on_cpus);

/* Ranges from address `base` on; give 0 to learn the size. Returns the end. Every range is aligned to 256
 * bytes. */
uint64_t sl_workspace_lay_out(const sl_model *model, const sl_limits *limits, uint64_t base,
                              sl_workspace *out);
uint64_t sl_batch_lay_out(const sl_model *model, const sl_limits *limits, bool host_embeddings, uint64_t base,
                          sl_batch *out);

typedef struct sl_layout {
    const sl_model *model;
    const sl_plan *plan;
    sl_limits limits;
    sl_workspace work;
    sl_batch batch;
    /* Few tokens: products fused with their surroundings, quantized weights times rows of SL_ROWS_Q8 or
     * SL_ROWS_F16_SCALED; SL_ROWS_F32: not fused. */
    uint32_t decode_rows;
    const uint64_t *block_addresses;   /* one a weight block of the plan */
    uint64_t ring_address;             /* device ring; 0: nothing is streamed */
    const sl_range *k_cache, *v_cache; /* one a layer */
    uint32_t kv_type;                  /* SL_KV_*: what they hold */
    bool attention_step;               /* decode attends in one dispatch a layer */
} sl_layout;

#endif
