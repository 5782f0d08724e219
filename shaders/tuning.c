#include "shaders/tuning.h"

#include "hal/base/checked.h"

#define X(NAME, name, number, weights, bytes) _Static_assert((number) < SL_WEIGHT_NUMBERS, #name);
SL_WEIGHT_TYPES(X)
#undef X

#define VENDOR_QUALCOMM 0x5143u

static const struct {
    sl_kernel_id kernel;
    uint32_t columns_max; /* that it can do */
} rungs[SL_RUNG_COUNT] = {
#define X(kernel, columns) [SL_RUNG_##kernel] = {SL_K_##kernel, columns},
    SL_PRODUCTS(X)
#undef X
};

/* An invocation of Adreno has 192 registers: with more than five columns the sums of a product spill. */
#define ADRENO_MATVEC_COLUMNS 4u

void sl_tuning_default(sl_tuning *tuning, const sl_device_info *device)
{
    *tuning = (sl_tuning){0};
    for (uint32_t type = 0; type < SL_WEIGHT_NUMBERS; type++) {
        uint32_t *columns = tuning->columns[type];
        for (uint32_t i = 0; i < SL_RUNG_COUNT; i++)
            columns[i] = sl_variant_select(rungs[i].kernel, type, &device->caps) ? rungs[i].columns_max : 0;
        if (device->vendor_id == VENDOR_QUALCOMM)
            columns[SL_RUNG_matvec] = SL_MIN(columns[SL_RUNG_matvec], ADRENO_MATVEC_COLUMNS);
    }
}

sl_kernel_id sl_tuning_product(const sl_tuning *tuning, uint32_t weight_type, uint32_t columns)
{
    uint32_t rung = 0;
    while (rung + 1 < SL_RUNG_COUNT && columns > tuning->columns[weight_type][rung])
        rung++;
    return rungs[rung].kernel;
}
