/* gemm.h - what a caller of gemm passes beside the push block. */
#ifndef SL_GEMM_H
#define SL_GEMM_H

#include "shaders/registry.h"

/* Specialization constants of both: n_out, n_k, y_stride of the push block, 1 where a tile of the variant
 * reaches beyond the matrix, act. The driver must know them: as push constants they cost 10 to 25 % of the
 * speed, and accesses that are clamped though nothing is beyond the end, 40 to 60 %. */
#define SL_GEMM_SPECS 5u

/* The variant that makes a product of this size fastest on a device, or NULL: kernel is gemm or gemm_gated.
 */
const sl_variant *sl_gemm_select(sl_kernel_id kernel, const struct sl_push_gemm *push,
                                 const sl_device_caps *caps);

/* Whether a variant of either multiplies on matrix units. */
bool sl_gemm_on_matrix_units(const sl_variant *variant);

void sl_gemm_spec(const struct sl_push_gemm *push, const sl_variant *variant, uint32_t spec[SL_GEMM_SPECS]);

#endif
