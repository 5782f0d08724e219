/* tuning.h - choices that depend on the device and are better measured than guessed, with the defaults that
 * hold where nothing was measured.
 *
 * Threads: as sl_kernel_set, which has one. */
#ifndef SL_TUNING_H
#define SL_TUNING_H

#include "shaders/registry.h"

/* ---- Which kernel multiplies how many columns ---- */

/* The kernels of products, from few columns to many. */
#define SL_PRODUCTS(X)                                                                                       \
    X(matvec, SL_MATVEC_COLUMNS_MAX)                                                                         \
    X(matmul, UINT32_MAX)

typedef enum sl_product_rung {
#define X(kernel, columns) SL_RUNG_##kernel,
    SL_PRODUCTS(X)
#undef X
        SL_RUNG_COUNT
} sl_product_rung;

#define SL_WEIGHT_NUMBERS 32 /* numbers of weight types are below this */

typedef struct sl_tuning {
    /* [type][rung]: products of up to so many columns are that rung's, of more the next one's. */
    uint32_t columns[SL_WEIGHT_NUMBERS][SL_RUNG_COUNT];
} sl_tuning;

/* What holds without measurement: by vendor, where one is known to need it. */
void sl_tuning_default(sl_tuning *tuning, const sl_device_info *device);

/* The kernel that multiplies weights of this type with so many columns. */
sl_kernel_id sl_tuning_product(const sl_tuning *tuning, uint32_t weight_type, uint32_t columns);

#endif
