/* passes.h - the kernels, with their constants, that a device would run for usual models: the builder of
 * passes itself is asked, with models of real shapes and addresses at which nothing is. */
#ifndef SL_TESTS_PORTABILITY_PASSES_H
#define SL_TESTS_PORTABILITY_PASSES_H

#include "runtime/step/phase.h"

/* `where`: the model, the weight type and the number of tokens. Static storage. */
typedef void (*pass_phase_fn)(void *user, const char *where, const sl_phase *phase);

/* Calls `visit` for each phase of each pass: a llama with weights of each type that is named in `types`
 * ("q4_k f16"; NULL: of every type), the other architectures with one type. Kernels are made by `set`; fails
 * the test when one cannot be. */
void passes_visit(sl_device *device, sl_kernel_set *set, const char *types, pass_phase_fn visit, void *user);

#endif
