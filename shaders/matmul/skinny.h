/* skinny.h - which matmul_skinny to run for a product, and how to cut it. */
#ifndef SL_MATMUL_SKINNY_H
#define SL_MATMUL_SKINNY_H

#include "shaders/registry.h"

typedef struct sl_skinny_plan {
    const sl_variant *variant;
    uint32_t n_splits;
    uint64_t partial_bytes; /* room that the product needs; 0 where nothing is split */
    uint32_t tiles;         /* u32 of `arrived`; 0 likewise */
} sl_skinny_plan;

/* The plan for n_tokens columns of a matrix, or of two, by `variant` (matmul_skinny, matmul_skinny_gated);
 * splits_wanted: parts of k, as far as rows and room allow, or 0: the kernel's own. Threads: any. */
void sl_skinny_plan_make(const sl_device_caps *caps, const sl_variant *variant, uint32_t splits_wanted,
                         uint32_t n_out, uint32_t n_k, uint32_t n_tokens, sl_skinny_plan *out);

/* n_k of these is a multiple of it where a variant takes weights through registers. */
#define SL_SKINNY_BLOCK 256u
/* Does this variant multiply rows of n_k weights? */
bool sl_skinny_takes(const sl_variant *variant, uint32_t n_k);

/* The usable variant for rows of n_k weights of `kernel` (these and moe_matmul) with the smallest tile that
 * holds so many columns, else the one with the largest tile; the first of the registry among equals; of those
 * on matrix units, if there are any. NULL: none. */
const sl_variant *sl_skinny_variant(const sl_device_caps *caps, sl_kernel_id kernel, uint32_t weight_type,
                                    uint32_t n_k, uint32_t columns);

/* Bounds of partial_bytes and tiles over all plans for a device; zeros where it lacks the kernel for some
 * weight type. */
void sl_skinny_room(const sl_device_caps *caps, uint64_t *out_partial_bytes, uint32_t *out_tiles);

#endif
