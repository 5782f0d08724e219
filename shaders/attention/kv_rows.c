#include "shaders/attention/kv_rows.h"

#include "hal/base/half.h"
#include "shaders/attention/attention_host.h"

#include <math.h>

#define MAGNITUDE 0x7fffffffu

static uint16_t *scales_of(uint32_t type, const void *group, uint32_t head_dim)
{
    return (uint16_t *)(uintptr_t)((const uint8_t *)group +
                                   SL_KV_PAGE_TOKENS * SL_KV_ROW_BYTES(type, head_dim));
}

/* ---- into the cache ---- */

/* The first element of largest magnitude; a NaN is the largest. */
static float peak_of(const float *x, uint32_t n)
{
    uint32_t peak = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t bits = sl_float_to_bits(x[i]);
        if ((bits & MAGNITUDE) > (peak & MAGNITUDE)) peak = bits;
    }
    return sl_bits_to_float(peak);
}

static uint16_t scale_of(uint32_t type, float peak)
{
    const float magnitude = sl_bits_to_float(sl_float_to_bits(peak) & MAGNITUDE);
    if (!isfinite(peak)) return sl_float_to_half(magnitude);
    return sl_float_to_half(type == SL_KV_Q8_0 ? magnitude * SL_KV_127TH : peak / -8);
}

/* round(levels * x / peak): doubles hold the product, and are fine enough for the quotient to be on the right
 * side of every half. */
static int nearest(double levels, float x, float peak)
{
    return (int)round(levels * (double)x / (double)peak);
}

static void put_block(uint32_t type, const float *x, uint32_t n, uint8_t *q, uint16_t *scale)
{
    const float peak = peak_of(x, n);
    *scale = scale_of(type, peak);
    const bool flat = (*scale & 0x7fffu) == 0 || (*scale & 0x7c00u) == 0x7c00u;
    if (type == SL_KV_Q8_0) {
        for (uint32_t i = 0; i < n; i++)
            q[i] = (uint8_t)(flat ? 0 : nearest(127, x[i], fabsf(peak)));
        return;
    }
    for (uint32_t i = 0; i < n / 2; i++) {
        const float *pair = x + i / 4 * 8 + i % 4; /* and the element four behind it */
        const int low = flat ? 8 : nearest(-8, pair[0], peak) + 8;
        const int high = flat ? 8 : nearest(-8, pair[4], peak) + 8;
        q[i] = (uint8_t)((low < 15 ? low : 15) | (high < 15 ? high : 15) << 4);
    }
}

SL_HOST_CLONES
static void floats_to_halves(const float *in, uint16_t *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = sl_float_to_half(in[i]);
}

void sl_kv_put(uint32_t type, void *group, uint32_t head_dim, uint32_t row, const float *x)
{
    uint8_t *q = (uint8_t *)group + row * SL_KV_ROW_BYTES(type, head_dim);
    if (type == SL_KV_F16) {
        floats_to_halves(x, (uint16_t *)(void *)q, head_dim);
        return;
    }
    uint16_t *scales = scales_of(type, group, head_dim) + row * SL_KV_SCALES(head_dim);
    for (uint32_t i = 0; i < head_dim; i += SL_KV_BLOCK) {
        const uint32_t n = head_dim - i < SL_KV_BLOCK ? head_dim - i : SL_KV_BLOCK;
        put_block(type, x + i, n, q + SL_KV_ROW_BYTES(type, i), &scales[i / SL_KV_BLOCK]);
    }
}

/* ---- out of it ---- */

static inline void bytes_to_floats(const uint8_t *q, float d, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = d * (float)(int8_t)q[i];
}

static inline void nibbles_to_floats(const uint8_t *q, float d, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i += 8, q += 4)
        for (uint32_t j = 0; j < 4; j++) {
            out[i + j] = d * (float)((q[j] & 15) - 8);
            out[i + j + 4] = d * (float)((q[j] >> 4) - 8);
        }
}

SL_HOST_CLONES
void sl_kv_get(uint32_t type, const void *group, uint32_t head_dim, uint32_t row, uint32_t count, float *out)
{
    const uint8_t *rows = group;
    if (type == SL_KV_F16) {
        const uint16_t *in = (const uint16_t *)group + (uint64_t)row * head_dim;
        for (uint32_t i = 0; i < count * head_dim; i++)
            out[i] = sl_half_to_float(in[i]);
        return;
    }
    for (uint32_t r = row; r < row + count; r++, out += head_dim) {
        const uint16_t *scales = scales_of(type, group, head_dim) + r * SL_KV_SCALES(head_dim);
        const uint8_t *q = rows + r * SL_KV_ROW_BYTES(type, head_dim);
        for (uint32_t i = 0; i < head_dim; i += SL_KV_BLOCK) {
            const uint32_t n = head_dim - i < SL_KV_BLOCK ? head_dim - i : SL_KV_BLOCK;
            const float d = sl_half_to_float(scales[i / SL_KV_BLOCK]);
            if (type == SL_KV_Q8_0)
                bytes_to_floats(q + i, d, n, out + i);
            else
                nibbles_to_floats(q + i / 2, d, n, out + i);
        }
    }
}
