/* spirv.h - the SPIR-V modules that the build made from kernels.def, sorted by name. Generated data. */
#ifndef SL_SPIRV_H
#define SL_SPIRV_H

#include <stddef.h>
#include <stdint.h>

typedef struct sl_spirv {
    const char *name; /* "matvec__q4_k" */
    const uint32_t *words;
    size_t word_count;
} sl_spirv;

extern const sl_spirv sl_spirv_table[];
extern const size_t sl_spirv_count;

#endif
