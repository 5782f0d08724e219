/* builder.h - the one transformer builder: from a model's description to the phases of a forward pass. */
#ifndef SL_RUNTIME_STEP_BUILDER_H
#define SL_RUNTIME_STEP_BUILDER_H

#include "runtime/step/layout.h"
#include "shaders/tuning.h"

/* What a pass leaves behind. */
typedef enum sl_output {
    SL_OUTPUT_NONE,    /* only the KV cache */
    SL_OUTPUT_LOGITS,  /* work.logits */
    SL_OUTPUT_GREEDY,  /* work.next: the most likely token */
    SL_OUTPUT_SAMPLED, /* work.next: drawn as batch.sample_params says, after penalties */
} sl_output;

typedef struct sl_shape {
    uint32_t n_tokens;  /* rows computed, padding included */
    uint32_t n_outputs; /* 0 exactly with SL_OUTPUT_NONE */
    sl_output output;
    bool gather; /* outputs are not simply those of all tokens in order */
    /* The batch follows from the result of the last step of this shape (its tokens, positions one further),
     * and is made on the device: the step can be queued before that result is known. */
    bool chained;
    uint32_t slot; /* where the result goes in the readback buffer: 0, 1 */
    bool prefill;  /* runs of consecutive tokens: attention by tiles */
    bool apart;    /* each token is of a sequence of its own: none attends to another one's key */
} sl_shape;

/* The rungs (SL_RUNG_BIT) that matrices of this type have in passes with these limits. */
uint32_t sl_step_rungs(const sl_limits *limits, const sl_tuning *tuning, uint32_t weight_type);
/* Is there a choice between experts one by one and grouped by expert? */
bool sl_step_groups_experts(const sl_layout *layout, sl_kernel_set *kernels);

/* Appends the phases of one pass to `step`. Errors: SL_ERR_UNSUPPORTED when the device has no kernel for a
 * part, SL_ERR_NO_MEMORY. */
SL_NODISCARD sl_status sl_step_build(const sl_layout *layout, sl_kernel_set *kernels, const sl_shape *shape,
                                     sl_step *step, sl_diag *diag);

#endif
