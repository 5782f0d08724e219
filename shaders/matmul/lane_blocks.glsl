// lane_blocks.glsl - weights as the file stores them, a row a lane: the counterpart of blocks.glsl for CPUs
// (SL_CAP_SCALAR_LOADS). SL_KEY is the weight type.
//
// There the number of loads decides, not their width or order: each costs a lane tens of cycles, while arithmetic on a
// whole vector of lanes costs one. So blocks are read in aligned 64-bit words, shifted into place where a block does not
// begin at a multiple of 8 bytes. A word is read only if it holds a byte of the row, so nothing is read beyond the page.
//   LANE_RUNS                   runs of 16 consecutive weights in a chunk
//   chunk_count(n_k)            chunks of a row
//   chunk_load(row, i, n_k, last)  chunk i of the row at address `row`; chunks are read in order from 0 on, and `last` is
//                               the last word of the one before, which may hold the begin of this one
//   run_k(i, u)                 index of the first weight of run u of chunk i
//   run_weights(chunk, u, w)    decodes a run; u need not be a constant: the code of one run serves all
#ifndef SL_LANE_BLOCKS_GLSL
#define SL_LANE_BLOCKS_GLSL
#include "pairs.glsl"

uint64_t address(uvec2 a) { return packUint2x32(a); }

// The BYTES bytes from address `begin` on, which is even, as words: COUNT is the number of aligned 64-bit words that they
// can lie in, and of these only those are read that hold one of them. `last`: the aligned word at `begin`, if it has been
// read before and not `first`; becomes the last one that this call has read.
#define LANE_WORDS(name, BYTES, COUNT)                                                                                 \
    void name(uint64_t begin, bool first, inout uint64_t last, out uint words[2 * COUNT])                              \
    {                                                                                                                  \
        U64 source = U64(begin & ~7ul);                                                                                \
        const uint skipped = uint(begin) & 7u, shift = skipped * 8u;                                                   \
        uint64_t low = last;                                                                                           \
        if (first || shift == 0u) low = source.at[0];                                                                  \
        [[unroll]] for (uint j = 0u; j < COUNT; j++) {                                                                 \
            const uint next = 8u * (j + 1u);                                                                           \
            const bool more = j + 1u < COUNT && (next < BYTES || next < BYTES + skipped);                              \
            uint64_t high = low;                                                                                       \
            if (more) high = source.at[j + 1u];                                                                        \
            const uvec2 pair = unpackUint2x32(low >> shift | (high << 1) << (63u - shift));                            \
            words[2u * j] = pair.x;                                                                                    \
            words[2u * j + 1u] = pair.y;                                                                               \
            low = high;                                                                                                \
        }                                                                                                              \
        last = low;                                                                                                    \
    }

// 16 bytes as weights d * q + m. Conversion from signed integers is one instruction.
void weights_of_bytes(uvec4 q, float d, float m, out float w[16])
{
    [[unroll]] for (uint n = 0u; n < 16u; n++) w[n] = fma(float(int((q[n / 4u] >> (8u * (n % 4u))) & 255u)), d, m);
}

// Words at, at + 1, ... of 32 bits, each put together from two halves.
uvec4 halfway(uint a, uint b, uint c, uint d, uint e) { return uvec4(a, b, c, d) >> 16 | uvec4(b, c, d, e) << 16; }

#if SL_KEY == 2 || SL_KEY == 3 || SL_KEY == 6 // Q4_0, Q4_1, Q5_0: low nibbles 0 .. 15, high nibbles 16 .. 31

#define LANE_RUNS 2
struct Chunk {
    uvec4 q;
    float d, m;
    uint high;
};
#if SL_KEY == 6
#define BLOCK_BYTES 22u
LANE_WORDS(block_words, BLOCK_BYTES, 4)
#else
#define BLOCK_BYTES (SL_KEY == 2 ? 18u : 20u)
LANE_WORDS(block_words, BLOCK_BYTES, 3)
#endif

uint chunk_count(uint n_k) { return n_k / 32u; }
uint run_k(uint i, uint u) { return i * 32u + u * 16u; }

Chunk chunk_load(uint64_t row, uint i, uint n_k, inout uint64_t last)
{
    Chunk c;
#if SL_KEY == 6
    uint v[8];
#else
    uint v[6];
#endif
    block_words(row + uint64_t(i * BLOCK_BYTES), i == 0u, last, v);
    const vec2 head = unpackHalf2x16(v[0]);
    c.d = head.x;
    c.high = 0u;
#if SL_KEY == 3
    c.m = head.y;
    c.q = uvec4(v[1], v[2], v[3], v[4]);
#elif SL_KEY == 2
    c.m = -8.0 * c.d;
    c.q = halfway(v[0], v[1], v[2], v[3], v[4]);
#else
    c.m = -16.0 * c.d;
    c.high = v[0] >> 16 | v[1] << 16;
    c.q = halfway(v[1], v[2], v[3], v[4], v[5]);
#endif
    return c;
}

void run_weights(Chunk c, uint u, out float w[16])
{
    uvec4 q = (c.q >> (4u * u)) & 0x0f0f0f0fu;
#if SL_KEY == 6
    // Bit i of four becomes bit 4 of byte i: the multiplication copies them to disjoint places.
    const uvec4 four = (uvec4(c.high >> (16u * u)) >> uvec4(0u, 4u, 8u, 12u)) & 15u;
    q |= ((four * 0x00204081u) & 0x01010101u) << 4;
#endif
    weights_of_bytes(q, c.d, c.m, w);
}

#elif SL_KEY == 8 // Q8_0: d, 32 signed bytes

#define LANE_RUNS 2
LANE_WORDS(block_words, 34u, 5)
struct Chunk {
    uvec4 q0, q1;
    float d;
};

uint chunk_count(uint n_k) { return n_k / 32u; }
uint run_k(uint i, uint u) { return i * 32u + u * 16u; }

Chunk chunk_load(uint64_t row, uint i, uint n_k, inout uint64_t last)
{
    Chunk c;
    uint v[10];
    block_words(row + uint64_t(i * 34u), i == 0u, last, v);
    c.d = unpackHalf2x16(v[0]).x;
    c.q0 = halfway(v[0], v[1], v[2], v[3], v[4]);
    c.q1 = halfway(v[4], v[5], v[6], v[7], v[8]);
    return c;
}

void run_weights(Chunk c, uint u, out float w[16])
{
    weights_of_bytes((u == 0u ? c.q0 : c.q1) ^ 0x80808080u, c.d, -128.0 * c.d, w);
}

#elif SL_KEY == 12 // Q4_K: d, dmin, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles; always aligned

// A chunk is 32 bytes: the low nibbles of all, then the high ones.
#define LANE_RUNS 4
struct Chunk {
    uvec4 head, q0, q1;
    uint pair;
};

uint chunk_count(uint n_k) { return n_k / 64u; }
uint run_k(uint i, uint u) { return i * 64u + u * 16u; }

uvec4 four_words(uint64_t at)
{
    return uvec4(unpackUint2x32(U64(at).at[0]), unpackUint2x32(U64(at).at[1]));
}

Chunk chunk_load(uint64_t row, uint i, uint n_k, inout uint64_t last)
{
    Chunk c;
    const uint64_t block = row + uint64_t((i >> 2) * 144u), q = block + uint64_t(16u + (i & 3u) * 32u);
    c.head = four_words(block);
    c.q0 = four_words(q);
    c.q1 = four_words(q + 16ul);
    c.pair = i & 3u;
    return c;
}

void run_weights(Chunk c, uint u, out float w[16])
{
    const vec2 dm = unpackHalf2x16(c.head.x);
    const uint shift = (c.pair & 1u) * 16u + (u >> 1) * 8u;
    const uint low = c.head.y >> shift, middle = c.head.z >> shift, high = c.head.w >> shift;
    const bool second = c.pair >= 2u;
    const uint scale = second ? (high & 15u) | ((low >> 2) & 48u) : low & 63u;
    const uint minimum = second ? ((high >> 4) & 15u) | ((middle >> 2) & 48u) : middle & 63u;
    const uvec4 q = ((u & 1u) == 0u ? c.q0 : c.q1) >> (4u * (u >> 1));
    weights_of_bytes(q & 0x0f0f0f0fu, dm.x * float(int(scale)), -dm.y * float(int(minimum)), w);
}

#elif SL_KEY == 14 // Q6_K: 128 bytes of low nibbles, 64 of high pairs of bits, 16 signed scales, d

// Each half of a block has 128 weights in four parts of 32: bytes 0 .. 31 of the low nibbles with the high bits at 0,
// bytes 32 .. 63 with those at 2, and the upper nibbles likewise with 4 and 6. A chunk has parts 0 and 2, or 1 and 3.
#define LANE_RUNS 4
LANE_WORDS(half_words, 32u, 5)
LANE_WORDS(scale_words, 8u, 2)
struct Chunk {
    uvec4 low0, low1, high0, high1;
    uint scales[2];
    float d;
    uint odd;
};

uint chunk_count(uint n_k) { return n_k / 64u; }
uint run_k(uint i, uint u) { return (i >> 1) * 128u + (i & 1u) * 32u + (u >> 1) * 64u + (u & 1u) * 16u; }

Chunk chunk_load(uint64_t row, uint i, uint n_k, inout uint64_t last)
{
    Chunk c;
    const uint64_t block = row + uint64_t((i >> 2) * 210u);
    const uint part = (i >> 1) & 1u;
    uint v[10], s[4];
    c.odd = i & 1u;
    half_words(block + uint64_t(part * 64u + c.odd * 32u), true, last, v);
    c.low0 = uvec4(v[0], v[1], v[2], v[3]);
    c.low1 = uvec4(v[4], v[5], v[6], v[7]);
    half_words(block + uint64_t(128u + part * 32u), true, last, v);
    c.high0 = uvec4(v[0], v[1], v[2], v[3]);
    c.high1 = uvec4(v[4], v[5], v[6], v[7]);
    scale_words(block + uint64_t(192u + part * 8u), true, last, s);
    c.scales[0] = s[0];
    c.scales[1] = s[1];
    const uint64_t at = block + 208ul;
    c.d = unpackHalf2x16(U32(at & ~3ul).at[0] >> ((uint(at) & 2u) * 8u)).x;
    return c;
}

void run_weights(Chunk c, uint u, out float w[16])
{
    const bool second = (u & 1u) != 0u, upper = u >= 2u;
    const uint low_shift = upper ? 4u : 0u, high_shift = low_shift + 2u * c.odd;
    const uvec4 low = ((second ? c.low1 : c.low0) >> low_shift) & 0x0f0f0f0fu;
    const uvec4 high = ((second ? c.high1 : c.high0) >> high_shift) & 0x03030303u;
    const uint scales = upper ? c.scales[1] : c.scales[0];
    const float d = c.d * float(int(scales << (24u - 16u * c.odd - 8u * (u & 1u))) >> 24);
    weights_of_bytes(low | high << 4, d, -32.0 * d, w);
}

#else // F32, F16, BF16: rows begin at multiples of 8 bytes, n_k is a multiple of 4

#define LANE_RUNS 1
#define LANE_PARTIAL 1 // the last run may have fewer than 16
#if SL_KEY == 0
#define QUAD_WORDS 2u // of four weights
#else
#define QUAD_WORDS 1u
#endif
struct Chunk {
    uint words[8u * QUAD_WORDS];
};

uint chunk_count(uint n_k) { return (n_k + 15u) / 16u; }
uint run_k(uint i, uint u) { return i * 16u; }

// Weights beyond n_k are zeros.
Chunk chunk_load(uint64_t row, uint i, uint n_k, inout uint64_t last)
{
    Chunk c;
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        [[unroll]] for (uint h = j * QUAD_WORDS; h < (j + 1u) * QUAD_WORDS; h++) {
            uvec2 pair = uvec2(0u);
            if (16u * i + 4u * j < n_k) pair = unpackUint2x32(U64(row).at[4u * QUAD_WORDS * i + h]);
            c.words[2u * h] = pair.x;
            c.words[2u * h + 1u] = pair.y;
        }
    }
    return c;
}

void run_weights(Chunk c, uint u, out float w[16])
{
#if SL_KEY == 0
    [[unroll]] for (uint n = 0u; n < 16u; n++) w[n] = uintBitsToFloat(c.words[n]);
#else
    [[unroll]] for (uint n = 0u; n < 8u; n++) {
#if SL_KEY == 1
        const vec2 pair = unpackHalf2x16(c.words[n]);
#else
        const vec2 pair = vec2(uintBitsToFloat(c.words[n] << 16), uintBitsToFloat(c.words[n] & 0xffff0000u));
#endif
        w[2u * n] = pair.x;
        w[2u * n + 1u] = pair.y;
    }
#endif
}
#endif
#endif
