/* arch.h - what distinguishes one family of transformers from another, as data for the one builder
 * (runtime/step).
 *
 * To add a family: a file arch_<name>.c with one constant and its prose, and its line in
 * arch_list.h. */
#ifndef SL_RUNTIME_MODEL_ARCH_H
#define SL_RUNTIME_MODEL_ARCH_H

#include <stdbool.h>
#include <stdint.h>

typedef enum sl_rope_order {
    SL_ROPE_NORMAL, /* rotates pairs (2i, 2i + 1) */
    SL_ROPE_NEOX,   /* rotates pairs (i, i + n/2) */
} sl_rope_order;

typedef enum sl_activation { SL_ACTIVATION_SILU, SL_ACTIVATION_GELU } sl_activation;

typedef struct sl_arch {
    const char *name; /* general.architecture, and the prefix of its keys */
    sl_rope_order rope_order;
    sl_activation activation; /* of the gated feed-forward */
    bool qk_norm;             /* RMS norm of each head of q and k before RoPE */
    bool post_norms;          /* RMS norm of attention's and feed-forward's output before the residual */
    bool scale_embedding;     /* embeddings times sqrt(n_embd) */
    bool moe;                 /* feed-forward of routed experts */
    bool normalize_experts;   /* weights of the chosen experts sum to 1 */
    uint32_t window_period;   /* 0: the window, if any, is on all layers; n: each nth layer sees everything */
    float window_rope_base;   /* RoPE base of windowed layers when the file does not say; 0: as the others */
} sl_arch;

/* NULL when unknown. */
const sl_arch *sl_arch_find(const char *name, uint64_t length);
/* "gemma3 llama ... ": for messages. Static storage. */
const char *sl_arch_names(void);

#endif
