#include "runtime/model/arch_list.h"

/* Llama 1 to 3.x, SmolLM2, Mistral and everything else that calls itself "llama" in a GGUF file: pre-norm
 * blocks, RMS norm, grouped-query attention, SwiGLU. The converter permutes the rows of q and k so that RoPE
 * rotates neighbouring pairs: normal order. Llama 3.1's long-context scaling arrives as a tensor of per-pair
 * divisors, rope_freqs.weight. A file without output.weight uses the embedding for it. */
const sl_arch sl_arch_llama = {
    .name = "llama",
    .rope_order = SL_ROPE_NORMAL,
    .activation = SL_ACTIVATION_SILU,
};
