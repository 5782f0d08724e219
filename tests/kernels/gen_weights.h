/* gen_weights.h - random weights of every type for the generators of kernel test cases. */
#ifndef SL_TESTS_GEN_WEIGHTS_H
#define SL_TESTS_GEN_WEIGHTS_H

#include "tests/kernels/kernel_case.h"

/* Bytes of a row of n weights (a multiple of the block). */
uint32_t sl_gen_row_bytes(uint32_t type, uint32_t n);

/* Fills rows * n weights: every bit pattern of the quants, finite scales of both signs, and now and then a
 * block of zeros, of all bits set, or with a subnormal scale. */
void sl_gen_weights(sl_kernel_case *c, uint32_t type, void *out, uint32_t rows, uint32_t n);
#endif
