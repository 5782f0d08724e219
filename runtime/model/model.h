/* model.h - a model file understood: its sizes, and which tensor plays which part.
 *
 * Everything is checked here: a model that sl_model_read accepts has all tensors that its architecture needs,
 * each of the shape that its sizes imply and of a type that kernels read. Later code trusts it.
 *
 * Owns: an sl_model borrows the sl_gguf it was read from. Threads: immutable after sl_model_read.
 */
#ifndef SL_RUNTIME_MODEL_MODEL_H
#define SL_RUNTIME_MODEL_MODEL_H

#include "runtime/gguf/gguf.h"
#include "runtime/model/arch.h"
#include "shaders/weights.h"

#define SL_MODEL_LAYERS_MAX  1024u
#define SL_MODEL_EXPERTS_MAX 1024u
#define SL_MODEL_USED_MAX    32u

/* How RoPE turns positions into angles; fields as in struct sl_push_rope. */
typedef struct sl_rope {
    float freq_base, freq_scale, ext_factor, attn_factor, corr_low, corr_high;
} sl_rope;

typedef struct sl_hparams {
    uint32_t n_layers, n_embd, n_vocab, n_heads, n_kv_heads, head_dim, rot_dim, n_ff, trained_context_tokens;
    uint32_t n_experts, n_used, n_expert_ff;
    uint32_t window_tokens; /* 0: none */
    float norm_eps, attention_scale, embedding_scale, expert_scale;
    sl_rope rope, window_rope; /* of layers that see everything; of windowed ones */
} sl_hparams;

/* Parts that a tensor can play. The order within a layer is the order of use in a forward pass. */
typedef enum sl_part {
    SL_PART_EMBED, /* token_embd.weight: rows, and the output matrix where there is no other */
    SL_PART_ROPE_FACTORS,
    SL_PART_ATTN_NORM,
    SL_PART_Q,
    SL_PART_K,
    SL_PART_V,
    SL_PART_Q_NORM,
    SL_PART_K_NORM,
    SL_PART_O,
    SL_PART_ATTN_POST_NORM,
    SL_PART_FFN_NORM,
    SL_PART_ROUTER,
    SL_PART_GATE,
    SL_PART_UP,
    SL_PART_DOWN,
    SL_PART_GATE_EXPERTS,
    SL_PART_UP_EXPERTS,
    SL_PART_DOWN_EXPERTS,
    SL_PART_FFN_POST_NORM,
    SL_PART_OUTPUT_NORM,
    SL_PART_OUTPUT,
    SL_PART_COUNT
} sl_part;

#define SL_NO_LAYER UINT32_MAX

typedef struct sl_model_tensor {
    const sl_gguf_tensor *file; /* name, type, offset */
    sl_part part;
    uint32_t layer;     /* or SL_NO_LAYER */
    uint32_t n_k;       /* length of a row */
    uint64_t n_out;     /* rows of one expert, or of all */
    uint32_t n_experts; /* 1 but for expert tensors */
    uint32_t row_bytes;
} sl_model_tensor;

typedef struct sl_model {
    const sl_gguf *gguf;
    const sl_arch *arch;
    sl_hparams h;
    sl_model_tensor *tensors; /* in order of use: embedding, layers, output */
    uint32_t tensor_count;
    bool tied_output; /* the embedding is the output matrix */
    uint64_t parameters, active_parameters, bytes, token_bytes;
} sl_model;

/* Errors: SL_ERR_UNSUPPORTED (architecture, tensor type, feature), SL_ERR_FORMAT (keys or shapes that
 * contradict each other), SL_ERR_NOT_FOUND (key or tensor missing); messages name file, field and value. */
SL_NODISCARD sl_status sl_model_read(const sl_gguf *gguf, sl_model *out, sl_diag *diag);
void sl_model_clear(sl_model *model);

/* The tensor in a part, or NULL. `layer` is SL_NO_LAYER for parts outside the layers. */
const sl_model_tensor *sl_model_find(const sl_model *model, sl_part part, uint32_t layer);
static inline uint32_t sl_model_index(const sl_model *model, const sl_model_tensor *tensor)
{
    return (uint32_t)(tensor - model->tensors);
}

/* Does this layer attend within the window only? */
bool sl_model_windowed(const sl_model *model, uint32_t layer);

/* Is it a matrix that a product reads row by row (so that it may be streamed in parts)? */
bool sl_part_is_matrix(sl_part part);
bool sl_part_is_experts(sl_part part);

#endif
