#include "shaders/rows_out.h"

#include "hal/base/half.h"
#include "shaders/push.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 32 };

uint64_t sl_rows_bytes(uint32_t format, uint64_t n)
{
    switch (format) {
    case SL_ROWS_Q8:
        return n + n / 4;
    case SL_ROWS_F16_SCALED:
        return 2 * n + n / 4;
    case SL_ROWS_F16:
        return 2 * n;
    default:
        return 4 * n;
    }
}

static float most_of(const float *values)
{
    float most = 0;
    for (uint32_t i = 0; i < BLOCK; i++)
        most = fmaxf(most, fabsf(values[i]));
    return most;
}

static void put_block(int8_t *quants, float scale[2], const float *values)
{
    const float d = most_of(values) / 127, inverse = d > 0 ? 1 / d : 0;
    int sum = 0;
    for (uint32_t i = 0; i < BLOCK; i++) {
        const float q = fminf(fmaxf(roundf(values[i] * inverse), -127), 127);
        quants[i] = (int8_t)q;
        sum += quants[i];
    }
    scale[0] = d;
    scale[1] = d * (float)sum;
}

/* Where element i of SL_ROWS_F16_SCALED stands. */
static uint32_t scaled_place(uint32_t i)
{
    return (i & ~3u) | (i & 1u) << 1 | (i >> 1 & 1u);
}

static void put_scaled_block(uint16_t *halves, float scale[2], const float *values)
{
    const float d = most_of(values), inverse = d > 0 ? 1 / d : 0;
    float sum = 0;
    for (uint32_t i = 0; i < BLOCK; i++) {
        const uint16_t half = sl_float_to_half(values[i] * inverse);
        halves[scaled_place(i)] = half;
        sum += sl_half_to_float(half);
    }
    scale[0] = d;
    scale[1] = d * sum;
}

void sl_rows_put(uint32_t format, void *row, uint32_t n, uint32_t first, uint32_t count, const float *values)
{
    if (format == SL_ROWS_Q8) {
        float *scales = (float *)(void *)((uint8_t *)row + n);
        for (uint32_t i = 0; i < count; i += BLOCK)
            put_block((int8_t *)row + first + i, scales + (first + i) / BLOCK * 2, values + i);
    } else if (format == SL_ROWS_F16_SCALED) {
        float *scales = (float *)(void *)((uint8_t *)row + 2 * (uint64_t)n);
        for (uint32_t i = 0; i < count; i += BLOCK)
            put_scaled_block((uint16_t *)row + first + i, scales + (first + i) / BLOCK * 2, values + i);
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
    if (format == SL_ROWS_F16_SCALED) {
        const float *scales = (const float *)(const void *)((const uint8_t *)row + 2 * (uint64_t)n);
        return scales[i / BLOCK * 2] * sl_half_to_float(((const uint16_t *)row)[scaled_place(i)]);
    }
    const float *scales = (const float *)(const void *)((const uint8_t *)row + n);
    return scales[i / BLOCK * 2] * (float)((const int8_t *)row)[i];
}
