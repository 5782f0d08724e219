/* suite_kernels.h - the kernels of the conformance suite, in C and SPIR-V. They need nothing of a device. */
#ifndef SL_TEST_SUITE_KERNELS_H
#define SL_TEST_SUITE_KERNELS_H

#include "hal/hal.h"

/* target[i] = source[i] * spec[1] + add for i < count, in groups of 64. */
typedef struct test_affine_push {
    uint64_t source, target;
    uint32_t count, add;
} test_affine_push;

/* target[(z * ny + y) * nx + x] = x + 100 * y + 10000 * z, one group each. */
typedef struct test_groups_push {
    uint64_t target;
} test_groups_push;

/* target[i] = words[i] + i, one group. */
typedef struct test_push128_push {
    uint64_t target;
    uint32_t words[30];
} test_push128_push;

/* Descriptions that live as long as the program; test_affine has the multiplier 1. */
extern const sl_kernel_desc test_affine, test_groups, test_push128;

static inline uint32_t test_affine_groups(uint32_t count)
{
    return (count + 63) / 64;
}

#endif
