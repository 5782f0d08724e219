/* matmul_decode.h - which matmul_decode to run for a product, how to cut it, and its constants. */
#ifndef SL_MATMUL_DECODE_H
#define SL_MATMUL_DECODE_H

#include "shaders/matmul/skinny.h"

/* Specialization constants: n_out, n_k, x_stride, y_stride, n_splits of the push block, and whether tiles
 * reach beyond what there is: of x (beyond k: tokens it has for whole tiles), of w, of y. Why they are
 * constants: gemm.h. */
#define SL_DECODE_SPECS 8u

/* Has the device the kernel for every weight type? */
bool sl_decode_can(const sl_device_caps *caps);

/* The variant for n_tokens columns of n_out rows where nothing was measured; NULL where the device has none.
 * Threads: any. */
const sl_variant *sl_decode_select(const sl_device_caps *caps, uint32_t weight_type, uint32_t n_out,
                                   uint32_t n_k, uint32_t n_tokens);

/* The plan for n_tokens columns of a matrix by `variant`; splits_wanted: parts of k, as far as rows and room
 * allow, or 0: the kernel's own. Threads: any. */
void sl_decode_plan_make(const sl_device_caps *caps, const sl_variant *variant, uint32_t splits_wanted,
                         uint32_t n_out, uint32_t n_k, uint32_t n_tokens, sl_skinny_plan *out);

/* Bounds of partial_bytes and tiles over all plans for a device; zeros where it lacks the kernel. */
void sl_decode_room(const sl_device_caps *caps, uint64_t *out_partial_bytes, uint32_t *out_tiles);

void sl_decode_spec(const struct sl_push_matmul_skinny *push, const sl_variant *variant,
                    uint32_t spec[SL_DECODE_SPECS]);

#endif
