/* rotated.h - rows of SL_ROWS_S8 (push.h) on the host. */
#ifndef SL_ROTATED_H
#define SL_ROTATED_H

#include <stdint.h>

/* Elements that one rotation mixes, in rows of n. */
uint32_t sl_rotation_of(uint32_t n);

/* Rotates values[n], in place; n is a multiple of `size`, a power of two. */
void sl_rotate(float *values, uint32_t n, uint32_t size);

/* Bytes of a matrix of `rows` rows of n elements, and where its scales are. */
uint64_t sl_s8_bytes(uint64_t rows, uint64_t n);
float *sl_s8_scales(void *matrix, uint64_t rows, uint64_t n);

#endif
