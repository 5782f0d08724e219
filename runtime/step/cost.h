/* cost.h - what a phase must move and compute, modelled from shapes: every operand once, however often a
 * kernel really reads it and whatever caches hold.
 *
 * Threads: pure functions. */
#ifndef SL_RUNTIME_STEP_COST_H
#define SL_RUNTIME_STEP_COST_H

#include "runtime/step/layout.h"

/* What attention of one pass looks at: [0] in layers with all of the context, [1] in layers with a window. */
typedef struct sl_attended {
    uint64_t tokens;   /* of the pass, without padding: each stores its key and value */
    uint64_t pairs[2]; /* (token, key) that attention multiplies */
    uint64_t keys[2];  /* that are read: those of a sequence once for all its tokens */
} sl_attended;

/* `sequences` < n_sequences. window 0: none. Errors: SL_ERR_NO_MEMORY. */
SL_NODISCARD sl_status sl_attended_count(const uint32_t *positions, const uint32_t *sequences,
                                         uint32_t n_tokens, uint32_t n_sequences, uint32_t window,
                                         sl_attended *out, sl_diag *diag);

typedef struct sl_cost {
    uint64_t weight_bytes, activation_bytes, kv_bytes;
    uint64_t flops; /* of products with weights, and of attention */
} sl_cost;

/* n_tokens, n_outputs: rows that the pass was recorded for, padding included. */
sl_cost sl_phase_cost(const sl_phase *phase, const sl_layout *layout, uint32_t n_tokens, uint32_t n_outputs,
                      const sl_attended *attended);

#endif
