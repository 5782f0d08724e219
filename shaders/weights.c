/* The formats, written for reading: one function a type, one block at a time. Little-endian fields. The fast
 * decoders of the kernels are tested against these. Source: the GGML block layouts as the gguf package
 * decodes them. */
#include "shaders/weights.h"

#include "hal/base/half.h"

#include <string.h>

bool sl_weight_block(uint32_t type, uint32_t *out_weights, uint32_t *out_bytes)
{
    switch (type) {
#define X(NAME, name, number, weights, bytes)                                                                \
    case number:                                                                                             \
        *out_weights = weights;                                                                              \
        *out_bytes = bytes;                                                                                  \
        return true;
        SL_WEIGHT_TYPES(X)
#undef X
    default:
        return false;
    }
}

static uint16_t read_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static float read_half(const uint8_t *p)
{
    return sl_half_to_float(read_u16(p));
}

static void block_f32(const uint8_t *b, float *out)
{
    memcpy(out, b, sizeof *out);
}

static void block_f16(const uint8_t *b, float *out)
{
    *out = read_half(b);
}

static void block_bf16(const uint8_t *b, float *out)
{
    *out = sl_bf16_to_float(read_u16(b));
}

/* f16 d; 16 bytes, low nibbles the first half: d * (q - 8) */
static void block_q4_0(const uint8_t *b, float *out)
{
    const float d = read_half(b);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((b[2 + i] & 15) - 8);
        out[16 + i] = d * (float)((b[2 + i] >> 4) - 8);
    }
}

/* f16 d, m; 16 bytes of nibbles: d * q + m */
static void block_q4_1(const uint8_t *b, float *out)
{
    const float d = read_half(b), m = read_half(b + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(b[4 + i] & 15) + m;
        out[16 + i] = d * (float)(b[4 + i] >> 4) + m;
    }
}

/* f16 d; 32 fifth bits; 16 bytes of nibbles: d * (q - 16) */
static void block_q5_0(const uint8_t *b, float *out)
{
    const float d = read_half(b);
    const uint32_t high = read_u16(b + 2) | (uint32_t)read_u16(b + 4) << 16;
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((int)((b[6 + i] & 15) | (high >> i & 1) << 4) - 16);
        out[16 + i] = d * (float)((int)((b[6 + i] >> 4) | (high >> (16 + i) & 1) << 4) - 16);
    }
}

/* f16 d; 32 signed bytes: d * q */
static void block_q8_0(const uint8_t *b, float *out)
{
    const float d = read_half(b);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(int8_t)b[2 + i];
}

/* f16 d, dmin; 12 bytes of eight 6-bit scales and minima; 128 bytes, of which 32 hold two groups of 32:
 * d * scale * q - dmin * minimum */
static void block_q4_k(const uint8_t *b, float *out)
{
    const float d = read_half(b), dmin = read_half(b + 2);
    const uint8_t *s = b + 4, *q = b + 16;
    for (int g = 0; g < 8; g++) {
        const int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
        const int minimum = g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | (s[g] >> 6) << 4;
        for (int i = 0; i < 32; i++) {
            const int v = q[g / 2 * 32 + i] >> (g % 2 * 4) & 15;
            out[g * 32 + i] = d * (float)scale * (float)v - dmin * (float)minimum;
        }
    }
}

/* 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, f16 d; each half of the block by itself:
 * nibbles of 64 bytes make groups (0, 1) low and (2, 3) high, bit pairs of 32 bytes groups 0 .. 3:
 * d * scale * (q - 32) */
static void block_q6_k(const uint8_t *b, float *out)
{
    const float d = read_half(b + 208);
    const int8_t *scales = (const int8_t *)(b + 192);
    for (int half = 0; half < 2; half++)
        for (int g = 0; g < 4; g++)
            for (int i = 0; i < 32; i++) {
                const int low = b[half * 64 + g % 2 * 32 + i] >> (g / 2 * 4) & 15;
                const int high = b[128 + half * 32 + i] >> (g * 2) & 3;
                const int8_t scale = scales[half * 8 + g * 2 + i / 16];
                out[half * 128 + g * 32 + i] = d * (float)scale * (float)((low | high << 4) - 32);
            }
}

void sl_weights_to_f32(uint32_t type, const void *blocks, float *out, uint64_t n)
{
    const uint8_t *b = blocks;
    switch (type) {
#define X(NAME, name, number, weights, bytes)                                                                \
    case number:                                                                                             \
        for (uint64_t i = 0; i < n; i += (weights), b += (bytes))                                            \
            block_##name(b, out + i);                                                                        \
        break;
        SL_WEIGHT_TYPES(X)
#undef X
    default:
        break;
    }
}

bool sl_weight_is_float(uint32_t type)
{
    return type == SL_WEIGHT_F32 || type == SL_WEIGHT_F16 || type == SL_WEIGHT_BF16;
}
