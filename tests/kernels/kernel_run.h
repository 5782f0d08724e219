/* kernel_run.h - runs the cases of one variant on a device and compares them with the C side. */
#ifndef SL_TESTS_KERNEL_RUN_H
#define SL_TESTS_KERNEL_RUN_H

#include "tests/kernels/kernel_case.h"

/* The generator of a kernel, its cases and their memory. sl_case_begin empties `c` and seeds its random
 * numbers; the case owns its operands until sl_case_end. */
typedef bool (*sl_gen_fn)(sl_kernel_case *c, uint32_t index, const sl_variant *variant);
extern const sl_gen_fn sl_generators[SL_KERNEL_COUNT];
void sl_case_begin(sl_kernel_case *c, const sl_variant *variant, uint32_t index);
void sl_case_end(sl_kernel_case *c);

/* Every case of `variant` (only case `only`, unless UINT32_MAX) on the device of `set`. Prints what differs;
 * *out_cases receives the number of cases that ran. Returns the number of cases that failed. Ends the cmocka
 * test when the device gives an error. */
uint32_t sl_kernel_run_variant(sl_device *device, sl_kernel_set *set, const sl_variant *variant,
                               uint32_t only, uint32_t *out_cases);

#endif
