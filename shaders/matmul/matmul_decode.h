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

/* The plan for n_tokens columns of a matrix, within the room of sl_skinny_room; variant is NULL where the
 * device has none. Threads: any. */
void sl_decode_plan_make(const sl_device_caps *caps, uint32_t weight_type, uint32_t n_out, uint32_t n_k,
                         uint32_t n_tokens, sl_skinny_plan *out);

void sl_decode_spec(const struct sl_push_matmul_skinny *push, const sl_variant *variant,
                    uint32_t spec[SL_DECODE_SPECS]);

/* Of a variant of moe_matmul: its constants, which are the same, and how many there are (0 or
 * SL_DECODE_SPECS). */
uint32_t sl_decode_moe_spec(const struct sl_push_moe_matmul *push, const sl_variant *variant,
                            uint32_t spec[SL_DECODE_SPECS]);

/* The variant of moe_matmul of this kind, or NULL. */
const sl_variant *sl_decode_moe_variant(const sl_device_caps *caps, uint32_t weight_type);

#endif
