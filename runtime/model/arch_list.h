/* arch_list.h - every family, in alphabetical order. */
#ifndef SL_RUNTIME_MODEL_ARCH_LIST_H
#define SL_RUNTIME_MODEL_ARCH_LIST_H

#include "runtime/model/arch.h"

#define SL_ARCHS(X)                                                                                          \
    X(gemma3)                                                                                                \
    X(llama)                                                                                                 \
    X(qwen3)                                                                                                 \
    X(qwen3moe)

#define X(name) extern const sl_arch sl_arch_##name;
SL_ARCHS(X)
#undef X

#endif
