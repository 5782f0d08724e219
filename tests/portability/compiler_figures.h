/* compiler_figures.h - what drivers' compilers tell of a kernel, under one set of names. */
#ifndef SL_TESTS_COMPILER_FIGURES_H
#define SL_TESTS_COMPILER_FIGURES_H

#include "hal/hal.h"

#define COMPILER_STATISTICS_MAX 128

/* NaN: not told. Of a kernel of several programs the largest of each, of the occupancy the smallest. */
typedef struct compiler_figures {
    double registers; /* of one invocation (AMD: vector registers) */
    double spilled;   /* registers, or stores of them, that went to memory */
    double moved;     /* registers of a small kind (scalar, predicate) that went to registers of another */
    double scratch_bytes; /* of one invocation or subgroup: spills and arrays that are indexed at run time */
    double occupancy;     /* subgroups at a time, in the driver's unit */
    double code_bytes;
} compiler_figures;

/* False when no statistic is known to count spills to memory: then a kernel without spills cannot be told
 * from one with. */
bool compiler_figures_read(const sl_kernel_statistic *list, size_t count, compiler_figures *out);

#endif
