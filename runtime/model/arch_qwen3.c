#include "runtime/model/arch_list.h"

/* Qwen3 (dense): Llama's block with an RMS norm over each head of q and k before RoPE, a head size that is a
 * key of its own (heads * head size may differ from the width), and RoPE in neox order, as q and k come
 * unpermuted. */
const sl_arch sl_arch_qwen3 = {
    .name = "qwen3",
    .rope_order = SL_ROPE_NEOX,
    .activation = SL_ACTIVATION_SILU,
    .qk_norm = true,
};
