// pairs.glsl - rows of floats in pairs, for CPUs (SL_CAP_SCALAR_LOADS), where the number of accesses of a lane decides and
// 64 bits are the most that one moves: one access where the row begins at a multiple of 8 bytes, else, and at a tail, two.
#ifndef SL_PAIRS_GLSL
#define SL_PAIRS_GLSL

layout(buffer_reference, std430, buffer_reference_align = 8) buffer U64 { uint64_t at[]; };

uint pairs_of(uint n) { return (n + 1u) / 2u; }

bool is_whole(uvec2 row, uint i, uint n) { return (row.x & 7u) == 0u && 2u * i + 2u <= n; }

// Elements 2 * i and 2 * i + 1 of a row of n; zeros beyond its end.
vec2 load2(uvec2 row, uint i, uint n)
{
    if (is_whole(row, i, n)) return uintBitsToFloat(unpackUint2x32(U64(row).at[i]));
    vec2 v = vec2(0.0);
    [[unroll]] for (uint c = 0u; c < 2u; c++)
        if (2u * i + c < n) v[c] = F32(row).at[2u * i + c];
    return v;
}

void store2(uvec2 row, uint i, uint n, vec2 v)
{
    if (is_whole(row, i, n)) {
        U64(row).at[i] = packUint2x32(floatBitsToUint(v));
        return;
    }
    [[unroll]] for (uint c = 0u; c < 2u; c++)
        if (2u * i + c < n) F32(row).at[2u * i + c] = v[c];
}
#endif
