#include "tests/kernels/gen_weights.h"

#include "hal/base/half.h"

#include <string.h>

uint32_t sl_gen_row_bytes(uint32_t type, uint32_t n)
{
    uint32_t weights = 1, bytes = 0;
    sl_weight_block(type, &weights, &bytes);
    return n / weights * bytes;
}

static void put_half(uint8_t *p, float v)
{
    const uint16_t h = sl_float_to_half(v);
    memcpy(p, &h, sizeof h);
}

static float random_scale(sl_kernel_case *c)
{
    const float v = sl_case_random_float(c, 0.002f, 0.05f);
    return sl_case_random_below(c, 4) ? v : -v;
}

/* Where a type keeps its halves. */
static void put_scales(uint32_t type, uint8_t *block, float d, float m)
{
    switch (type) {
    case SL_WEIGHT_Q4_0:
    case SL_WEIGHT_Q5_0:
    case SL_WEIGHT_Q8_0:
        put_half(block, d);
        break;
    case SL_WEIGHT_Q4_1:
        put_half(block, d);
        put_half(block + 2, m);
        break;
    case SL_WEIGHT_Q4_K:
        put_half(block, d * 0.05f);
        put_half(block + 2, m * 0.05f);
        break;
    case SL_WEIGHT_Q6_K:
        put_half(block + 208, d * 0.02f);
        break;
    }
}

static void quantized_block(sl_kernel_case *c, uint32_t type, uint8_t *block, uint32_t bytes)
{
    const uint32_t kind = sl_case_random_below(c, 32);
    for (uint32_t i = 0; i < bytes; i++)
        block[i] = (uint8_t)(kind == 0 ? 0 : kind == 1 ? 0xff : sl_case_random(c) >> 24);
    if (kind == 0)
        put_scales(type, block, 0, 0);
    else if (kind == 2)
        put_scales(type, block, 0x1p-24f * 5, 0x1p-24f * 3);
    else
        put_scales(type, block, random_scale(c), random_scale(c));
}

static void plain_weight(sl_kernel_case *c, uint32_t type, uint8_t *out)
{
    const float v = sl_case_random_below(c, 50) ? sl_case_random_float(c, -1, 1) : 0;
    const uint16_t b = sl_float_to_bf16(v);
    if (type == SL_WEIGHT_F32)
        memcpy(out, &v, sizeof v);
    else if (type == SL_WEIGHT_F16)
        put_half(out, v);
    else
        memcpy(out, &b, sizeof b);
}

void sl_gen_weights(sl_kernel_case *c, uint32_t type, void *out, uint32_t rows, uint32_t n)
{
    uint32_t weights = 1, bytes = 0;
    sl_weight_block(type, &weights, &bytes);
    uint8_t *block = out;
    for (uint64_t i = 0; i < (uint64_t)rows * (n / weights); i++, block += bytes) {
        if (weights == 1)
            plain_weight(c, type, block);
        else
            quantized_block(c, type, block, bytes);
    }
}
