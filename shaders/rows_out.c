#include "shaders/rows_out.h"

#include "hal/base/half.h"
#include "shaders/push.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 32 };

uint64_t sl_rows_bytes(uint32_t format, uint64_t n)
{
    return format == SL_ROWS_Q8 ? n + n / 4 : format == SL_ROWS_F16 ? 2 * n : 4 * n;
}

static void put_block(int8_t *quants, float scale[2], const float *values)
{
    float most = 0;
    for (uint32_t i = 0; i < BLOCK; i++)
        most = fmaxf(most, fabsf(values[i]));
    const float d = most / 127, inverse = d > 0 ? 1 / d : 0;
    int sum = 0;
    for (uint32_t i = 0; i < BLOCK; i++) {
        const float q = fminf(fmaxf(roundf(values[i] * inverse), -127), 127);
        quants[i] = (int8_t)q;
        sum += quants[i];
    }
    scale[0] = d;
    scale[1] = d * (float)sum;
}

void sl_rows_put(uint32_t format, void *row, uint32_t n, uint32_t first, uint32_t count, const float *values)
{
    if (format == SL_ROWS_Q8) {
        float *scales = (float *)(void *)((uint8_t *)row + n);
        for (uint32_t i = 0; i < count; i += BLOCK)
            put_block((int8_t *)row + first + i, scales + (first + i) / BLOCK * 2, values + i);
    } else if (format == SL_ROWS_F16) {
        for (uint32_t i = 0; i < count; i++)
            ((uint16_t *)row)[first + i] = sl_float_to_half(fminf(fmaxf(values[i], -65504), 65504));
    } else {
        memcpy((float *)row + first, values, count * sizeof *values);
    }
}

float sl_rows_get(uint32_t format, const void *row, uint32_t n, uint32_t i)
{
    if (format == SL_ROWS_F16) return sl_half_to_float(((const uint16_t *)row)[i]);
    if (format == SL_ROWS_F32) return ((const float *)row)[i];
    const float *scales = (const float *)(const void *)((const uint8_t *)row + n);
    return scales[i / BLOCK * 2] * (float)((const int8_t *)row)[i];
}
