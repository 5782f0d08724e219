/* half.h - IEEE 754 binary16 and bfloat16 on the host, without compiler extensions. Round to nearest even. */
#ifndef SL_BASE_HALF_H
#define SL_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float sl_bits_to_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t sl_float_to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Branch-free: scales the exponent, then a subtraction renormalises subnormals. */
static inline float sl_half_to_float(uint16_t h)
{
    const uint32_t w = (uint32_t)h << 16, sign = w & 0x80000000u, two_w = w + w;
    const float normal = sl_bits_to_float((two_w >> 4) + (0xE0u << 23)) * 0x1.0p-112f;
    const float subnormal = sl_bits_to_float((two_w >> 17) | (126u << 23)) - 0.5f;
    return sl_bits_to_float(sign |
                            (two_w < (1u << 27) ? sl_float_to_bits(subnormal) : sl_float_to_bits(normal)));
}

static inline uint16_t sl_float_to_half(float f)
{
    const float magnitude = sl_bits_to_float(sl_float_to_bits(f) & 0x7fffffffu);
    float base = (magnitude * 0x1.0p+112f) * 0x1.0p-110f;
    const uint32_t w = sl_float_to_bits(f), shl1 = w + w, sign = w & 0x80000000u;
    uint32_t bias = shl1 & 0xff000000u;
    if (bias < 0x71000000u) bias = 0x71000000u;
    base = sl_bits_to_float((bias >> 1) + 0x07800000u) + base;
    const uint32_t bits = sl_float_to_bits(base);
    const uint32_t exponent = (bits >> 13) & 0x00007c00u, mantissa = bits & 0x00000fffu;
    return (uint16_t)((sign >> 16) | (shl1 > 0xff000000u ? 0x7e00u : exponent + mantissa));
}

static inline float sl_bf16_to_float(uint16_t b)
{
    return sl_bits_to_float((uint32_t)b << 16);
}

static inline uint16_t sl_float_to_bf16(float f)
{
    const uint32_t bits = sl_float_to_bits(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 64u); /* keep a NaN a NaN */
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#endif
