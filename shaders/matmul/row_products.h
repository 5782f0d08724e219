/* row_products.h - rows of weights times vectors on the host: the C side of matvec, matmul and moe_matvec.
 *
 * Threads: any; calls on disjoint rows may run at once. Source: none, see row_kernels.h for the method. */
#ifndef SL_ROW_PRODUCTS_H
#define SL_ROW_PRODUCTS_H

#include <stdint.h>

#define SL_ROW_GROUP 8u /* rows are worked on in groups: shares of threads should begin at multiples */

/* y[t][r] = w[r] . x[t] + bias[r] + add[t][r]; bias and add may be NULL; strides in floats; add has y's
 * stride and may be y. */
typedef struct sl_row_products {
    uint32_t type; /* sl_weight_type */
    const uint8_t *w;
    uint64_t row_bytes;
    const float *x, *bias, *add;
    float *y;
    uint64_t x_stride, y_stride;
    uint32_t n_k, n_tokens;
} sl_row_products;

/* Rows begin .. end - 1. */
void sl_row_products_run(const sl_row_products *job, uint64_t begin, uint64_t end);
#endif
