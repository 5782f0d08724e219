/* rows_out.h - activation rows in the formats of push.h (SL_ROWS_*), for the C sides of kernels. */
#ifndef SL_ROWS_OUT_H
#define SL_ROWS_OUT_H

#include <stdint.h>

/* Bytes of a row of n elements. */
uint64_t sl_rows_bytes(uint32_t format, uint64_t n);

/* Writes elements first .. first + count - 1 of a row of n at `row`. Of Q8, first and count are multiples
 * of 32. */
void sl_rows_put(uint32_t format, void *row, uint32_t n, uint32_t first, uint32_t count, const float *values);

/* Element i of a row of n, as f32. */
float sl_rows_get(uint32_t format, const void *row, uint32_t n, uint32_t i);

#endif
