/* tune_internal.h - what the files of tuning share.
 *
 *   tuner.c         classes, candidates, the choice
 *   tune_part.c     in which phases passes differ
 *   tune_measure.c  time on the device
 *   tune_cache.c    results in a file
 */
#ifndef SL_RUNTIME_TUNE_TUNE_INTERNAL_H
#define SL_RUNTIME_TUNE_TUNE_INTERNAL_H

#include "runtime/tune/tuner.h"

#define SL_LABELS_MAX 64u

typedef struct sl_label_set {
    const char *labels[SL_LABELS_MAX];
    uint32_t count;
} sl_label_set;

/* Adds the labels of phases that are not the same in both passes: another kernel, another push block, or more
 * or fewer of them. */
void sl_steps_differ(const sl_step *a, const sl_step *b, sl_label_set *labels);

/* Appends copies of the phases with these labels, those of at most `layers` layers, to `out`. No stage of
 * streamed weights is waited for: what the ring holds does not change the time. */
SL_NODISCARD sl_status sl_step_part(const sl_step *step, const sl_label_set *labels, uint32_t layers,
                                    sl_step *out, sl_diag *diag);

/* Fills the batch buffer for passes of this shape and runs them for at least load_ns: once, so that what
 * kernels choose their addresses by (ids of experts) is as usual, and on a GPU long enough for its clock to
 * come back. */
SL_NODISCARD sl_status sl_tuner_prepare(const sl_tuner *tuner, const sl_shape *shape, uint64_t load_ns,
                                        sl_diag *diag);

/* How many layers' worth of a part of one layer makes a time that can be measured. */
SL_NODISCARD sl_status sl_tuner_layers(const sl_tuner *tuner, const sl_step *part, uint32_t *out_layers,
                                       sl_diag *diag);

/* Median time of each step; they take turns, so that a clock that drifts favours none. */
SL_NODISCARD sl_status sl_tuner_time(const sl_tuner *tuner, const sl_step *const *steps, uint32_t count,
                                     double *out_seconds, sl_diag *diag);

#endif
