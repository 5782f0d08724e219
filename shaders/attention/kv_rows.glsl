// kv_rows.glsl - rows of the KV cache, in whatever type it has (SL_KV_* in push.h).
//
// Kernels take a row in pieces of 8 elements, which is what 16 bytes of f16 are, 8 of Q8_0 and 4 of Q4_0. A piece stays as
// it is loaded, in at most 4 registers, and becomes numbers where it is multiplied. So a kernel is laid out alike for all
// types, and what it costs to choose among them is a specialization constant, which the driver folds.
// Before: KV_TYPE, that constant. With KV_WORDS the cache is read 64 bits at a time, for CPUs.
#ifndef SL_KV_ROWS_GLSL
#define SL_KV_ROWS_GLSL

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Pieces16 { uvec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Pieces8 { uvec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Pieces4 { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 2) readonly buffer Scales { uint16_t at[]; };

// The group of kv head g in a page of a cache.
uvec2 page_rows(uvec2 cache, uint page, uint g, uint n_kv_heads, uint head_dim)
{
    uint rows_bytes = SL_KV_GROUP_BYTES(KV_TYPE, head_dim);
    return offset(offset_mul(cache, page, n_kv_heads * rows_bytes), g * rows_bytes);
}

uvec2 scales_of(uvec2 rows, uint head_dim) { return offset(rows, SL_KV_PAGE_TOKENS * SL_KV_ROW_BYTES(KV_TYPE, head_dim)); }

// The number of the scale of a piece of a row.
uint scale_at(uint row, uint piece, uint head_dim) { return row * SL_KV_SCALES(head_dim) + piece / 4u; }

// Piece `at` of the rows (counted over all of them) with scale `scale` of the scales: f16 as they are, or (integers, bits
// of d, 0).
uvec4 load_piece(uvec2 rows, uint at, uvec2 scales, uint scale)
{
    if (KV_TYPE == SL_KV_F16) {
#ifdef KV_WORDS
        return uvec4(unpackUint2x32(U64(rows).at[2u * at]), unpackUint2x32(U64(rows).at[2u * at + 1u]));
#else
        return Pieces16(rows).at[at];
#endif
    }
    const uint d = uint(Scales(scales).at[scale]);
    if (KV_TYPE == SL_KV_Q4_0) return uvec4(Pieces4(rows).at[at], 0u, d, 0u);
#ifdef KV_WORDS
    return uvec4(unpackUint2x32(U64(rows).at[at]), d, 0u);
#else
    return uvec4(Pieces8(rows).at[at], d, 0u);
#endif
}

vec4 signed_bytes(uint w) { return vec4(ivec4(w << 24, w << 16, w << 8, w) >> 24); }
vec4 signed_halves(uint w) { return vec4(uvec4(w, w >> 8, w >> 16, w >> 24) & 15u) - 8.0; }

// Elements 0 to 3 and 4 to 7 of a piece. Of zeros: zeros.
vec4 low_half(uvec4 piece)
{
    if (KV_TYPE == SL_KV_F16) return vec4(unpackHalf2x16(piece.x), unpackHalf2x16(piece.y));
    const float d = unpackHalf2x16(piece.z).x;
    return d * (KV_TYPE == SL_KV_Q8_0 ? signed_bytes(piece.x) : signed_halves(piece.x));
}

vec4 high_half(uvec4 piece)
{
    if (KV_TYPE == SL_KV_F16) return vec4(unpackHalf2x16(piece.z), unpackHalf2x16(piece.w));
    const float d = unpackHalf2x16(piece.z).x;
    return d * (KV_TYPE == SL_KV_Q8_0 ? signed_bytes(piece.y) : signed_halves(piece.x >> 4));
}

// The piece as f16.
uvec4 halves_of(uvec4 piece)
{
    if (KV_TYPE == SL_KV_F16) return piece;
    const vec4 a = low_half(piece), b = high_half(piece);
    return uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
}
#endif
