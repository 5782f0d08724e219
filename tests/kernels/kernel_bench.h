/* kernel_bench.h - times one kernel on shapes of real models: for tuning, not for judging. */
#ifndef SL_TESTS_KERNEL_BENCH_H
#define SL_TESTS_KERNEL_BENCH_H

#include "tests/kernels/kernel_case.h"

/* One shape: a case whose operands need no particular contents beyond what the builder wrote. */
typedef struct sl_bench_case {
    sl_kernel_case c;
    const char *model;
    double bytes, flops;    /* that one dispatch must read and write; that it computes */
    uint32_t rotate_offset; /* push offset of the operand of which there are many copies */
} sl_bench_case;

/* Shape `index` of the variant's kernel, or false after the last: kernel_shapes.c. */
bool sl_bench_shape(sl_bench_case *b, uint32_t index, const sl_variant *variant);

/* Prints one line a variant and shape: time of a dispatch in a row of them, with a barrier after each and
 * without, and the rates that follow. `what`: a kernel's name, then words parted by spaces or commas, all of
 * which the line's name must contain ("matvec q4_k llama-3-8b"). Returns the exit code. */
int sl_kernel_bench(const char *driver, uint32_t device_index, const char *what);

#endif
