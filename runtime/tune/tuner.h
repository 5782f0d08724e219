/* tuner.h - measures the choices of shaders/tuning.h on the device itself.
 *
 * What is measured are phases of real passes: the builder makes the pass with each candidate in turn, and the
 * phases in which the passes differ are recorded and timed on the model's own weights and workspace. So
 * nothing here knows a kernel or its operands, and whatever the builder learns to choose by sl_tuning can be
 * tuned.
 *
 * Threads: one, the engine's. */
#ifndef SL_RUNTIME_TUNE_TUNER_H
#define SL_RUNTIME_TUNE_TUNER_H

#include "runtime/step/builder.h"
#include "shaders/tuning.h"

/* Which kernel a number of columns (of tokens: experts) takes, as it was measured. */
typedef struct sl_ladder_choice {
    uint32_t weight_type; /* SL_WEIGHT_NUMBERS: experts */
    uint32_t columns;
    sl_kernel_id chosen, usual; /* usual: without measurement */
    double seconds, usual_seconds;
    uint32_t candidates; /* kernels that were compared */
} sl_ladder_choice;

/* Where it is measured. The workspace, the batch buffer and the KV cache are overwritten. */
typedef struct sl_tuner {
    sl_device *device;
    sl_kernel_set *kernels; /* its tuning receives the results */
    const sl_layout *layout;
    sl_batch batch_host; /* the batch buffer's ranges as host addresses */

    bool force;    /* measure again what has a choice already */
    bool switches; /* also up to how many columns each kernel of products is best, and experts one by one */
    uint64_t budget_ns; /* no measurement begins later than this; 0: no limit */
    /* done of total classes of this pass; may be NULL */
    void (*progress)(void *user, uint64_t done, uint64_t total);
    /* A class and its candidates with their times, the first being the default; `best` is the index of the
     * choice. */
    void (*chosen)(void *user, const sl_tuning_choice *candidates, const double *seconds, uint32_t count,
                   uint32_t best);
    void (*climbed)(void *user, const sl_ladder_choice *choice); /* may be NULL */
    void *user;
    /* For tests, NULL in use: takes the place of the clock. */
    sl_status (*measure)(void *user, const sl_step *step, double *out_seconds, sl_diag *diag);
} sl_tuner;

typedef struct sl_tuner_result {
    uint32_t measured; /* choices of classes, and of ladders by number of columns */
    uint32_t known;    /* had a choice already */
    uint32_t left;     /* the budget ran out before them */
} sl_tuner_result;

/* Tunes the passes of these shapes, in this order, which is of ascending numbers of tokens where switch
 * points are wanted. What was measured stays in the set's tuning also when a later measurement fails.
 * `*result` is added to. */
SL_NODISCARD sl_status sl_tuner_run(const sl_tuner *tuner, const sl_shape *shapes, uint32_t shape_count,
                                    sl_tuner_result *result, sl_diag *diag);

#endif
