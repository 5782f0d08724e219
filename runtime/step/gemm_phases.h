/* gemm_phases.h - whether a model's products of many tokens run in two phases (weights decoded to rows, then
 * rows times rows), and what that takes.
 */
#ifndef SL_RUNTIME_STEP_GEMM_PHASES_H
#define SL_RUNTIME_STEP_GEMM_PHASES_H

#include "runtime/step/layout.h"

/* Fills in limits->gemm_format and limits->decoded_bytes with what the device does best: S8 (only if int8 is
 * true, and where matrix units or a fast dot product take it) or F16 rows; SL_ROWS_F32 and 0 bytes on a CPU,
 * and where the model has a matrix that does not fit the kernels. Whether there is memory for it is for the
 * caller to decide. */
void sl_gemm_choose(const sl_model *model, const sl_device_caps *caps, bool int8, sl_limits *limits);

/* The same for one format, whatever the device prefers; false when it has no kernels for it. */
bool sl_gemm_set(const sl_model *model, const sl_device_caps *caps, uint32_t format, sl_limits *limits);

#endif
