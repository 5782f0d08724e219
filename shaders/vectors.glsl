// vectors.glsl - rows of floats in vectors of four: one 16-byte access where the row begins at a multiple of 16 bytes,
// else, and at a tail, single ones.
#ifndef SL_VECTORS_GLSL
#define SL_VECTORS_GLSL

// Elements 4 * i .. 4 * i + 3 of a row of n; zeros beyond its end.
vec4 load4(uvec2 row, uint i, uint n)
{
    if ((row.x & 15u) == 0u && 4u * i + 4u <= n) return F32x4(row).at[i];
    vec4 v = vec4(0.0);
    [[unroll]] for (uint c = 0u; c < 4u; c++)
        if (4u * i + c < n) v[c] = F32(row).at[4u * i + c];
    return v;
}

void store4(uvec2 row, uint i, uint n, vec4 v)
{
    if ((row.x & 15u) == 0u && 4u * i + 4u <= n) {
        F32x4(row).at[i] = v;
        return;
    }
    [[unroll]] for (uint c = 0u; c < 4u; c++)
        if (4u * i + c < n) F32(row).at[4u * i + c] = v[c];
}

uint vectors_of(uint n) { return (n + 3u) / 4u; }
#endif
