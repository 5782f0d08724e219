/* kernel_case.h - one test case of one kernel: what its generator fills in and the harness runs.
 *
 * A generator is called with index 0, 1, ... and returns false after its last case. It depends on nothing but
 * (index, variant), so that a failing case can be run again alone. The harness owns all memory.
 */
#ifndef SL_TESTS_KERNEL_CASE_H
#define SL_TESTS_KERNEL_CASE_H

#include "shaders/registry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sl_case_type {
    SL_CASE_F32,
    SL_CASE_F16,
    SL_CASE_Q8, /* activation rows (SL_ROWS_Q8) of row_elements, without gaps: compared as the floats they
                   stand for */
    SL_CASE_F16_SCALED, /* the same of SL_ROWS_F16_SCALED */
    SL_CASE_S8,         /* the same of a matrix of SL_ROWS_S8 */
    SL_CASE_KV_Q8_0,    /* groups of a KV cache (SL_KV_Q8_0) of heads of row_elements: the same */
    SL_CASE_KV_Q4_0,
    SL_CASE_U32,
    SL_CASE_BYTES
} sl_case_type;

#define SL_CASE_IN  1u /* initial contents matter */
#define SL_CASE_OUT 2u /* compared after the run; poisoned before it unless also IN */

typedef struct sl_case_operand {
    uint32_t push_offset; /* offsetof the address in the push block */
    uint32_t flags;       /* SL_CASE_IN, SL_CASE_OUT */
    sl_case_type type;    /* how an output is compared: floats by error, others exactly */
    uint64_t bytes;
    uint32_t row_elements; /* of SL_CASE_Q8, SL_CASE_S8, SL_CASE_KV_* */
    void *data;            /* initial contents, bytes long, 64-byte aligned; NULL for a pure output */
} sl_case_operand;

#define SL_CASE_OPERANDS_MAX 16

typedef struct sl_kernel_case {
    char name[96];                   /* "n=576 tokens=3", for messages */
    uint8_t push[SL_PUSH_BYTES_MAX]; /* addresses left 0: the harness fills in those of the operands */
    uint32_t spec[SL_SPEC_MAX];      /* the kernel's own specialization constants, ids from SL_SPEC_FIRST */
    uint32_t spec_count;
    sl_case_operand operands[SL_CASE_OPERANDS_MAX];
    uint32_t operand_count;
    uint64_t random; /* state of sl_case_random, seeded by the harness from kernel, variant and index */
    uint32_t alias_count;
    uint32_t aliases[4][2]; /* push offset, push offset of the operand it shares */
} sl_kernel_case;

/* Adds an operand whose address stands at `push_offset`; returns its zeroed memory to fill in (also for pure
 * outputs, where it is ignored). Never NULL: a test program out of memory stops with a message. */
void *sl_case_operand_add(sl_kernel_case *c, uint32_t push_offset, uint32_t flags, sl_case_type type,
                          uint64_t bytes);
/* Activation rows in one of the formats SL_ROWS_*, `rows` of them, `stride` elements apart. */
void *sl_case_rows_add(sl_kernel_case *c, uint32_t push_offset, uint32_t flags, uint32_t format,
                       uint32_t rows, uint32_t stride, uint32_t n);
/* A KV cache of `groups` groups of heads of `head_dim`; bytes: compared bit for bit. */
void *sl_case_cache_add(sl_kernel_case *c, uint32_t push_offset, uint32_t flags, uint32_t kv_type, bool bytes,
                        uint64_t groups, uint32_t head_dim);
/* Lets a second address of the push block point at an operand that is already there (in-place kernels). */
void sl_case_alias(sl_kernel_case *c, uint32_t push_offset, uint32_t same_as_push_offset);

uint32_t sl_case_random(sl_kernel_case *c);                           /* 32 random bits */
uint32_t sl_case_random_below(sl_kernel_case *c, uint32_t bound);     /* 0 .. bound - 1 */
float sl_case_random_float(sl_kernel_case *c, float low, float high); /* uniform */
void sl_case_fill_floats(sl_kernel_case *c, float *out, uint64_t n, float low, float high);

/* One generator a kernel row: a row without one does not link. */
#define SL_KERNEL(name, push, tolerance)                                                                     \
    bool sl_gen_##name(sl_kernel_case *c, uint32_t index, const sl_variant *variant);
#define SL_VARIANT(...)
#include "shaders/kernels.def"
#undef SL_KERNEL
#undef SL_VARIANT

#endif
