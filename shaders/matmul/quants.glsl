// quants.glsl - chunks of quantized weights (blocks.glsl) as bytes, and their products with activations in blocks of 32:
// int8 (SL_ROWS_Q8), or f16 with -DHALVES (SL_ROWS_F16_SCALED).
//
// A chunk has two runs of 16 weights, each d * q + m with small integers q. The product of a run with 16 activations of a
// block (d', d' * sum) is d d' (q . q') + m * (their share of the block's sum). Where both runs lie in one block of
// activations, m of the second is 0; where two invocations share a block, each takes half of it.
//
// Halves: |q| is 128 at most and |x| 1, so that the sum of eight products that f16 has to hold stays below 1024; what is
// longer is summed in f32.
#ifndef SL_QUANTS_GLSL
#define SL_QUANTS_GLSL

// Bytes q + BIAS, which have no sign.
struct Quants {
    uvec4 q0, q1;
    vec2 d, m;
};

#if SL_KEY == 14
#define BIAS 32u
#elif SL_KEY == 8
#define BIAS 128u
#else
#define BIAS 0u
#endif

// The activations of a chunk.
struct X {
    uvec4 run0[BLOCK_VECTORS / 2], run1[BLOCK_VECTORS / 2];
    vec2 s0, s1; // (d, d * sum) of the blocks that the runs lie in
};

Quants chunk_quants(Chunk c)
{
    Quants w;
#if SL_KEY == 12
    const vec2 dm = unpackHalf2x16(c.head.x);
    const uint shift = (c.pair & 1u) * 16u;
    uint scales, minima; // two each, a byte apart
    if (c.pair < 2u) {
        scales = (c.head.y >> shift) & 0x3f3fu;
        minima = (c.head.z >> shift) & 0x3f3fu;
    } else {
        const uint high = c.head.w >> shift;
        scales = (high & 0x0f0fu) | (((c.head.y >> shift) & 0xc0c0u) >> 2);
        minima = ((high >> 4) & 0x0f0fu) | (((c.head.z >> shift) & 0xc0c0u) >> 2);
    }
    w.q0 = c.q & 0x0f0f0f0fu;
    w.q1 = (c.q >> 4) & 0x0f0f0f0fu;
    w.d = dm.x * vec2(float(scales & 255u), float(scales >> 8));
    w.m = -0.5 * dm.y * vec2(float(minima & 255u), float(minima >> 8));
#elif SL_KEY == 14
    w.q0 = (c.low & 0x0f0f0f0fu) | (((c.high >> c.shift) & 0x03030303u) << 4);
    w.q1 = ((c.low >> 4) & 0x0f0f0f0fu) | (((c.high >> (c.shift + 4u)) & 0x03030303u) << 4);
    w.d = vec2(c.d0, c.d1);
    w.m = vec2(0.0);
#elif SL_KEY == 2 || SL_KEY == 3 || SL_KEY == 6
    w.q0 = c.q & 0x0f0f0f0fu;
    w.q1 = (c.q >> 4) & 0x0f0f0f0fu;
#if SL_KEY == 6
    w.q0 |= ((((uvec4(c.high) >> uvec4(0u, 4u, 8u, 12u)) & 15u) * 0x00204081u) & 0x01010101u) << 4;
    w.q1 |= ((((uvec4(c.high) >> uvec4(16u, 20u, 24u, 28u)) & 15u) * 0x00204081u) & 0x01010101u) << 4;
#endif
    w.d = vec2(c.d);
    w.m = vec2(c.m, 0.0);
#elif SL_KEY == 8
    w.q0 = c.q0 ^ 0x80808080u;
    w.q1 = c.q1 ^ 0x80808080u;
    w.d = vec2(c.d);
    w.m = vec2(0.0);
#endif
    return w;
}

#ifdef HALVES
// q as halves: a byte below an exponent of 0x64 is 1024 + itself.
float dot_16(uvec4 q, uvec4 x[2])
{
    const f16vec2 base = f16vec2(1024.0 + float(BIAS));
    f16vec2 sum = f16vec2(0.0);
    [[unroll]] for (uint c = 0u; c < 4u; c++) {
        const f16vec2 even = unpackFloat2x16((q[c] & 0x00ff00ffu) | 0x64006400u) - base;
        const f16vec2 odd = unpackFloat2x16(((q[c] >> 8) & 0x00ff00ffu) | 0x64006400u) - base;
        sum = fma(even, unpackFloat2x16(x[c / 2u][2u * (c & 1u)]), sum);
        sum = fma(odd, unpackFloat2x16(x[c / 2u][2u * (c & 1u) + 1u]), sum);
    }
    return float(sum.x) + float(sum.y);
}
#else
// The bytes as signed ones.
uvec4 unbiased(uvec4 q)
{
    if (BIAS == 0u) return q;
    return BIAS == 128u ? q ^ 0x80808080u : ((q | 0x80808080u) - BIAS * 0x01010101u) ^ 0x80808080u;
}

float dot_16(uvec4 q, uvec4 x[1])
{
    const ivec4 a = ivec4(unbiased(q)), b = ivec4(x[0]);
    return float(dotPacked4x8EXT(a.x, b.x) + dotPacked4x8EXT(a.y, b.y) + dotPacked4x8EXT(a.z, b.z) +
                 dotPacked4x8EXT(a.w, b.w));
}
#endif

// The chunk times its activations.
float chunk_dot(Quants w, X x)
{
    const vec2 d = w.d * vec2(x.s0.x, x.s1.x), products = vec2(dot_16(w.q0, x.run0), dot_16(w.q1, x.run1));
    return dot(d, products) + dot(w.m, vec2(x.s0.y, x.s1.y));
}
#endif
