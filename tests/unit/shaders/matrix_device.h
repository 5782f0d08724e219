/* matrix_device.h - as much of a GPU with matrix units as the choice and the cut of products depend on. */
#ifndef SL_TESTS_MATRIX_DEVICE_H
#define SL_TESTS_MATRIX_DEVICE_H

#include "hal/hal.h"

/* One shape, 16x16x16 of f16; `units` compute units. */
static inline sl_device_caps sl_test_matrix_caps(uint64_t features, uint32_t units)
{
    return (sl_device_caps){
        .features = features,
        .subgroup_size = 32,
        .subgroup_min = 32,
        .subgroup_max = 32,
        .max_workgroup_invocations = 1024,
        .compute_units = units,
        .matrix_shape_count = 1,
        .matrix_shapes = {{.m = 16, .n = 16, .k = 16, .ab = SL_MATRIX_F16, .c = SL_MATRIX_F32}},
    };
}

#endif
