/* weights.h - the weight types that kernels read. The numbers are those of GGUF tensor types, so that a
 * tensor's type is a kernel's key. One line a type: X(NAME, name, number, weights a block, bytes a block). */
#ifndef SL_WEIGHTS_H
#define SL_WEIGHTS_H

#define SL_WEIGHT_TYPES(X)                                                                                   \
    X(F32, f32, 0, 1, 4)                                                                                     \
    X(F16, f16, 1, 1, 2)                                                                                     \
    SL_QUANTIZED_TYPES(X)                                                                                    \
    X(BF16, bf16, 30, 1, 2)

#define SL_QUANTIZED_TYPES(X)                                                                                \
    X(Q4_0, q4_0, 2, 32, 18)                                                                                 \
    X(Q4_1, q4_1, 3, 32, 20)                                                                                 \
    X(Q5_0, q5_0, 6, 32, 22)                                                                                 \
    X(Q8_0, q8_0, 8, 32, 34)                                                                                 \
    X(Q4_K, q4_k, 12, 256, 144)                                                                              \
    X(Q6_K, q6_k, 14, 256, 210)

#if !defined SL_GLSL && !defined SL_LIST_ONLY
#include <stdbool.h>
#include <stdint.h>

typedef enum sl_weight_type {
#define X(NAME, name, number, weights, bytes) SL_WEIGHT_##NAME = number,
    SL_WEIGHT_TYPES(X)
#undef X
} sl_weight_type;

/* Block size of a type in weights and bytes; false for a type that no kernel reads. */
bool sl_weight_block(uint32_t type, uint32_t *out_weights, uint32_t *out_bytes);

/* Is a weight of the type a floating point number by itself? */
bool sl_weight_is_float(uint32_t type);

/* Turns `n` weights (a multiple of the block) at `blocks` into f32. The definition of the format that all
 * kernels are tested against. Threads: any. */
void sl_weights_to_f32(uint32_t type, const void *blocks, float *out, uint64_t n);
#endif

#endif
