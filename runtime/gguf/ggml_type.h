/* ggml_type.h - the tensor types that a GGUF file can name, with the shape of their blocks.
 *
 * Threads: any. Source: ggml/include/ggml.h (enum values) and docs/gguf.md of the ggml project; sizes follow
 * from the block layouts. */
#ifndef SL_RUNTIME_GGUF_GGML_TYPE_H
#define SL_RUNTIME_GGUF_GGML_TYPE_H

#include <stdbool.h>
#include <stdint.h>

/* X(enum suffix, value in the file, name, weights a block, bytes a block, Sluice has kernels for it) */
#define SL_GGML_TYPES(X)                                                                                     \
    X(F32, 0, "F32", 1, 4, true)                                                                             \
    X(F16, 1, "F16", 1, 2, true)                                                                             \
    X(Q4_0, 2, "Q4_0", 32, 18, true)                                                                         \
    X(Q4_1, 3, "Q4_1", 32, 20, true)                                                                         \
    X(Q5_0, 6, "Q5_0", 32, 22, true)                                                                         \
    X(Q5_1, 7, "Q5_1", 32, 24, false)                                                                        \
    X(Q8_0, 8, "Q8_0", 32, 34, true)                                                                         \
    X(Q8_1, 9, "Q8_1", 32, 36, false)                                                                        \
    X(Q2_K, 10, "Q2_K", 256, 84, false)                                                                      \
    X(Q3_K, 11, "Q3_K", 256, 110, false)                                                                     \
    X(Q4_K, 12, "Q4_K", 256, 144, true)                                                                      \
    X(Q5_K, 13, "Q5_K", 256, 176, false)                                                                     \
    X(Q6_K, 14, "Q6_K", 256, 210, true)                                                                      \
    X(Q8_K, 15, "Q8_K", 256, 292, false)                                                                     \
    X(IQ2_XXS, 16, "IQ2_XXS", 256, 66, false)                                                                \
    X(IQ2_XS, 17, "IQ2_XS", 256, 74, false)                                                                  \
    X(IQ3_XXS, 18, "IQ3_XXS", 256, 98, false)                                                                \
    X(IQ1_S, 19, "IQ1_S", 256, 50, false)                                                                    \
    X(IQ4_NL, 20, "IQ4_NL", 32, 18, false)                                                                   \
    X(IQ3_S, 21, "IQ3_S", 256, 110, false)                                                                   \
    X(IQ2_S, 22, "IQ2_S", 256, 82, false)                                                                    \
    X(IQ4_XS, 23, "IQ4_XS", 256, 136, false)                                                                 \
    X(I8, 24, "I8", 1, 1, false)                                                                             \
    X(I16, 25, "I16", 1, 2, false)                                                                           \
    X(I32, 26, "I32", 1, 4, false)                                                                           \
    X(I64, 27, "I64", 1, 8, false)                                                                           \
    X(F64, 28, "F64", 1, 8, false)                                                                           \
    X(IQ1_M, 29, "IQ1_M", 256, 56, false)                                                                    \
    X(BF16, 30, "BF16", 1, 2, true)                                                                          \
    X(TQ1_0, 34, "TQ1_0", 256, 54, false)                                                                    \
    X(TQ2_0, 35, "TQ2_0", 256, 66, false)                                                                    \
    X(MXFP4, 39, "MXFP4", 32, 17, false)                                                                     \
    X(NVFP4, 40, "NVFP4", 64, 36, false)

typedef enum sl_ggml_type {
#define SL_X(suffix, value, name, weights, bytes, supported) SL_GGML_##suffix = value,
    SL_GGML_TYPES(SL_X)
#undef SL_X
} sl_ggml_type;

typedef struct sl_ggml_type_info {
    const char *name; /* as llama.cpp prints it; static storage */
    sl_ggml_type type;
    uint32_t block_weights; /* weights a block; a row is a whole number of blocks */
    uint32_t block_bytes;
    bool supported; /* false: `sluice info` can name it, no kernel reads it */
} sl_ggml_type_info;

/* The row of `type`, or NULL when the value is unknown (or one that the format withdrew). */
const sl_ggml_type_info *sl_ggml_type_find(uint32_t type);

/* The name of a type that a parsed tensor has; "?" when unknown. Static storage. */
const char *sl_ggml_type_name(uint32_t type);

#endif
