// kv_quantize.glsl - from f32 to pieces of the KV cache (kv_rows.glsl), with the same bits on every device.
//
// How a device divides is its own choice, so quotients are made of integers: round(levels * |x| / peak) from the mantissas
// of both, whose product with 2 * 127 fits 32 bits.
#include "attention/half_bits.glsl"
#include "attention/kv_rows.glsl"

layout(buffer_reference, std430, buffer_reference_align = 8) buffer U32x2 { uvec2 at[]; };

const uint MAGNITUDE = 0x7fffffffu;

// The first element of largest magnitude of those so far and four more, all as bits. A NaN is the largest.
uint peak_of(uint peak, uvec4 e)
{
    [[unroll]] for (uint i = 0u; i < 4u; i++)
        if ((e[i] & MAGNITUDE) > (peak & MAGNITUDE)) peak = e[i];
    return peak;
}

// Scale of a block, bits of f16, from its peak.
uint scale_of(uint peak)
{
    const uint magnitude = peak & MAGNITUDE;
    if (magnitude >= 0x7f800000u) return half_bits(magnitude);
    if (KV_TYPE == SL_KV_Q8_0) return half_bits(floatBitsToUint(uintBitsToFloat(magnitude) * SL_KV_127TH));
    const uint eighth = magnitude >= 0x02000000u ? magnitude - (3u << 23) : 0u;
    return half_bits(eighth | (~peak & 0x80000000u));
}

// round(levels * |x| / |peak|), x being one of the elements of a block with a scale.
uint nearest(uint levels, uint x, uint peak)
{
    const uint shift = ((peak & MAGNITUDE) >> 23) - ((x & MAGNITUDE) >> 23);
    const uint a = (x & 0x7fffffu) | 0x800000u, b = (peak & 0x7fffffu) | 0x800000u;
    return shift > 8u ? 0u : ((2u * levels * a >> shift) + b) / (2u * b);
}

uint byte_of(uint x, uint peak)
{
    const uint n = nearest(127u, x, peak);
    return ((x >> 31) != 0u ? 0u - n : n) & 255u;
}

uint nibble_of(uint x, uint peak)
{
    const uint n = nearest(8u, x, peak);
    return (x ^ peak) >> 31 == 0u ? 8u - n : min(8u + n, 15u);
}

uint bytes_of_four(uvec4 x, uint peak)
{
    return byte_of(x.x, peak) | byte_of(x.y, peak) << 8 | byte_of(x.z, peak) << 16 | byte_of(x.w, peak) << 24;
}

uint nibbles_of_four(uvec4 x, uint peak)
{
    return nibble_of(x.x, peak) | nibble_of(x.y, peak) << 8 | nibble_of(x.z, peak) << 16 | nibble_of(x.w, peak) << 24;
}

// Eight elements as a piece; `peak` is that of their block.
uvec4 quantize_piece(uvec4 a, uvec4 b, uint peak)
{
    if (KV_TYPE == SL_KV_F16) return half_piece(a, b);
    const uint d = scale_of(peak);
    const bool no_scale = (d & 0x7fffu) == 0u || (d & 0x7c00u) == 0x7c00u;
    if (KV_TYPE == SL_KV_Q8_0)
        return no_scale ? uvec4(0u, 0u, d, 0u) : uvec4(bytes_of_four(a, peak), bytes_of_four(b, peak), d, 0u);
    return uvec4(no_scale ? 0x88888888u : nibbles_of_four(a, peak) | nibbles_of_four(b, peak) << 4, 0u, d, 0u);
}

// Puts piece `piece` of a row where it belongs in its group.
void store_piece(uvec2 rows, uint row, uint piece, uint head_dim, uvec4 data)
{
    const uint at = row * (head_dim / 8u) + piece;
    if (KV_TYPE == SL_KV_F16) {
        U32x4(rows).at[at] = data;
        return;
    }
    if (KV_TYPE == SL_KV_Q8_0)
        U32x2(rows).at[at] = data.xy;
    else
        U32(rows).at[at] = data.x;
    if (piece % 4u == 0u) U16(scales_of(rows, head_dim)).at[scale_at(row, piece, head_dim)] = uint16_t(data.z);
}
