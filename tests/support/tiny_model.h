/* tiny_model.h - writes small GGUF model files, right ones and wrong ones, for tests that need no particular
 * weights (they are zero). F32 vectors, matrices of one type, no vocabulary.
 *
 * Include after cmocka.h. Threads: one. */
#ifndef SL_TESTS_SUPPORT_TINY_MODEL_H
#define SL_TESTS_SUPPORT_TINY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tiny_model {
    const char *arch; /* NULL: "llama" */
    uint32_t layers, embd, heads, kv_heads, head_dim, ff, vocab;
    uint32_t experts, used, expert_ff; /* of architectures with experts */
    bool tied;                         /* no output.weight */
    uint32_t matrix_type;              /* sl_weight_type; 0: F16 */
    bool hole; /* the weights are a hole in the file: for models of real shapes, which are not so tiny */

    float yarn_beta; /* of YaRN's fast and slow rotations; 0: no RoPE scaling */

    /* One thing that is wrong; NULL: nothing. */
    const char *key; /* a key "block_count", without the architecture: takes `value` */
    uint32_t value;
    const char *no_key;    /* is left out */
    const char *no_tensor; /* is left out */
    const char *tensor;    /* takes dimension `dim` of `size`, or type `type` */
    uint32_t dim, size, type;
} tiny_model;

/* 2 layers, width 64, 4 heads of 64 in 2 groups, 96 in the feed-forward, 40 tokens; experts 4, 2 used, 32
 * wide. */
tiny_model tiny_model_default(void);

/* Writes the file; fails the test when it can't. */
void tiny_model_write(const tiny_model *m, const char *path);

#endif
