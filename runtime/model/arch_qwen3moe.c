#include "runtime/model/arch_list.h"

/* Qwen3 mixture of experts: Qwen3's attention; each feed-forward is a router over small SwiGLU experts. The
 * router's softmax runs over all experts, the largest are taken, and their weights are divided by their sum.
 */
const sl_arch sl_arch_qwen3moe = {
    .name = "qwen3moe",
    .rope_order = SL_ROPE_NEOX,
    .activation = SL_ACTIVATION_SILU,
    .qk_norm = true,
    .moe = true,
    .normalize_experts = true,
};
