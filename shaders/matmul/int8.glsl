// int8.glsl - chunks of quantized weights (blocks.glsl) as integers, for products with int8 activations (SL_ROWS_Q8).
//
// A chunk has two runs of 16 weights, each d * q + m with signed bytes q. The product of a run with 16 activations of a
// block (d', d' * sum) is d d' (q . q') + m * (their share of the block's sum). Where both runs lie in one block of
// activations, m of the second is 0; where two invocations share a block, each takes half of it.
#ifndef SL_INT8_GLSL
#define SL_INT8_GLSL

struct Ints {
    uvec4 q0, q1;
    vec2 d, m;
};

// Bytes q - bias of bytes q below 128.
uvec4 biased(uvec4 q, uint bias) { return ((q | 0x80808080u) - bias * 0x01010101u) ^ 0x80808080u; }

Ints chunk_ints(Chunk c)
{
    Ints w;
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
    w.q0 = biased((c.low & 0x0f0f0f0fu) | (((c.high >> c.shift) & 0x03030303u) << 4), 32u);
    w.q1 = biased(((c.low >> 4) & 0x0f0f0f0fu) | (((c.high >> (c.shift + 4u)) & 0x03030303u) << 4), 32u);
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
    w.q0 = c.q0;
    w.q1 = c.q1;
    w.d = vec2(c.d);
    w.m = vec2(0.0);
#endif
    return w;
}

int dot_16(uvec4 a, uvec4 b)
{
    return dotPacked4x8EXT(int(a.x), int(b.x)) + dotPacked4x8EXT(int(a.y), int(b.y)) +
           dotPacked4x8EXT(int(a.z), int(b.z)) + dotPacked4x8EXT(int(a.w), int(b.w));
}

// The chunk times its 32 activations; s0, s1: (d, d * sum) of the blocks that its runs lie in.
float chunk_dot(Ints w, uvec4 x0, uvec4 x1, vec2 s0, vec2 s1)
{
    const vec2 d = w.d * vec2(s0.x, s1.x), products = vec2(float(dot_16(w.q0, x0)), float(dot_16(w.q1, x1)));
    return dot(d, products) + dot(w.m, vec2(s0.y, s1.y));
}
#endif
