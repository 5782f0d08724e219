// half_bits.glsl - f32 to f16 with the same rounding on every device.
#ifndef SL_HALF_BITS_GLSL
#define SL_HALF_BITS_GLSL

// Bits of an f32 to bits of an f16, to nearest even. In integers, so that it is the same everywhere: the rounding of
// packHalf2x16 is the device's choice.
uint half_bits(uint w)
{
    uint sign = (w >> 16) & 0x8000u, a = w & 0x7fffffffu;
    if (a > 0x7f800000u) return sign | 0x7e00u;
    if (a >= 0x477ff000u) return sign | 0x7c00u;
    if (a >= 0x38800000u) return sign | ((a + 0xfffu + ((a >> 13) & 1u) - 0x38000000u) >> 13);
    if (a <= 0x33000000u) return sign;
    uint shift = 126u - (a >> 23), mantissa = (a & 0x7fffffu) | 0x800000u;
    uint kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1u), tie = 1u << (shift - 1u);
    return sign | (kept + (rest > tie || (rest == tie && (kept & 1u) != 0u) ? 1u : 0u));
}

uint half_pair(uvec2 w) { return half_bits(w.x) | half_bits(w.y) << 16; }

// Eight elements as a piece of a row of the cache.
uvec4 half_piece(uvec4 a, uvec4 b) { return uvec4(half_pair(a.xy), half_pair(a.zw), half_pair(b.xy), half_pair(b.zw)); }
#endif
