#include "runtime/model/arch_list.h"

/* Gemma 3: five layers with a sliding window to one that sees everything. The windowed ones have a RoPE base
 * of their own, 10000, and no linear scaling. Norms before and after both halves of a block; the converter
 * has added the 1 of (1 + weight) to every norm. q and k are normed per head, the feed-forward is GeGLU
 * (tanh), embeddings are scaled by sqrt(width), and the output matrix is always the embedding. */
const sl_arch sl_arch_gemma3 = {
    .name = "gemma3",
    .rope_order = SL_ROPE_NEOX,
    .activation = SL_ACTIVATION_GELU,
    .qk_norm = true,
    .post_norms = true,
    .scale_embedding = true,
    .window_period = 6,
    .window_rope_base = 10000.0f,
};
