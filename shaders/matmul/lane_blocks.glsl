// lane_blocks.glsl - weights as the file stores them, a row a lane: the counterpart of blocks.glsl for CPUs
// (SL_CAP_SCALAR_LOADS). SL_KEY is the weight type.
//
// There the number of loads decides, not their width or order: each costs a lane tens of cycles, while arithmetic on a
// whole vector of lanes costs one. So blocks are read in aligned 64-bit words, shifted into place where a block does not
// begin at a multiple of 8 bytes. A word is read only if it holds a byte of the row, so nothing is read beyond the page.
//   LANE_UNITS                  units of 32 consecutive weights in a chunk
//   chunk_count(n_k)            chunks of a row
//   chunk_load(row, i, n_k)     chunk i of the row at address `row`
//   unit_k(i, u)                index of the first weight of unit u of chunk i
//   unit_weights(chunk, u, w)   decodes a unit
#ifndef SL_LANE_BLOCKS_GLSL
#define SL_LANE_BLOCKS_GLSL

layout(buffer_reference, std430, buffer_reference_align = 8) buffer U64 { uint64_t at[]; };

uint64_t address(uvec2 a) { return packUint2x32(a); }

// Words first .. first + COUNT - 1 of 64 bits from `begin`, of which only those that hold a byte of the COUNT * 8 - 6
// behind it are read; begin is even.
#define LANE_WORDS(name, COUNT)                                                                                        \
    void name(uint64_t begin, out uint words[2 * COUNT])                                                               \
    {                                                                                                                  \
        U64 source = U64(begin & ~7ul);                                                                                \
        const uint shift = (uint(begin) & 7u) * 8u;                                                                    \
        uint64_t low = source.at[0];                                                                                   \
        [[unroll]] for (uint j = 0u; j < COUNT; j++) {                                                                 \
            uint64_t high = 0ul;                                                                                       \
            if (j + 1u < COUNT) high = source.at[j + 1u];                                                              \
            const uvec2 pair = unpackUint2x32(low >> shift | (high << 1) << (63u - shift));                            \
            words[2u * j] = pair.x;                                                                                    \
            words[2u * j + 1u] = pair.y;                                                                               \
            low = high;                                                                                                \
        }                                                                                                              \
    }

// 4 bytes of a word, or 4 nibbles at `shift`, as weights d * q + m.
void four_weights(uint word, uint shift, uint mask, float d, float m, uint at, inout float w[32])
{
    [[unroll]] for (uint b = 0u; b < 4u; b++)
        w[at + b] = fma(float(int((word >> (shift + 8u * b)) & mask)), d, m);
}

#if SL_KEY == 2 || SL_KEY == 3 || SL_KEY == 6 // Q4_0, Q4_1, Q5_0: low nibbles 0 .. 15, high nibbles 16 .. 31

#define LANE_UNITS 1
#if SL_KEY == 6
#define BLOCK_BYTES 22u
LANE_WORDS(block_words, 4)
struct Chunk { uint words[8]; };
#else
#define BLOCK_BYTES (SL_KEY == 2 ? 18u : 20u)
LANE_WORDS(block_words, 3)
struct Chunk { uint words[6]; };
#endif

uint chunk_count(uint n_k) { return n_k / 32u; }
uint unit_k(uint i, uint u) { return i * 32u; }

Chunk chunk_load(uint64_t row, uint i, uint n_k)
{
    Chunk c;
    block_words(row + uint64_t(i * BLOCK_BYTES), c.words);
    return c;
}

void unit_weights(Chunk c, uint u, out float w[32])
{
    const vec2 head = unpackHalf2x16(c.words[0]);
#if SL_KEY == 3
    [[unroll]] for (uint j = 0u; j < 8u; j++)
        four_weights(c.words[1u + j % 4u], j / 4u * 4u, 15u, head.x, head.y, 4u * j, w);
#elif SL_KEY == 2
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
        const uint q = c.words[j % 4u] >> 16 | c.words[j % 4u + 1u] << 16;
        four_weights(q, j / 4u * 4u, 15u, head.x, -8.0 * head.x, 4u * j, w);
    }
#else
    const uint high = c.words[0] >> 16 | c.words[1] << 16;
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
        const uint q = c.words[1u + j % 4u] >> 16 | c.words[2u + j % 4u] << 16;
        [[unroll]] for (uint b = 0u; b < 4u; b++) {
            const uint nibble = (q >> (j / 4u * 4u + 8u * b)) & 15u, fifth = (high >> (4u * j + b)) & 1u;
            w[4u * j + b] = fma(float(int(nibble | fifth << 4)), head.x, -16.0 * head.x);
        }
    }
#endif
}

#elif SL_KEY == 8 // Q8_0: d, 32 signed bytes

#define LANE_UNITS 1
LANE_WORDS(block_words, 5)
struct Chunk { uint words[10]; };

uint chunk_count(uint n_k) { return n_k / 32u; }
uint unit_k(uint i, uint u) { return i * 32u; }

Chunk chunk_load(uint64_t row, uint i, uint n_k)
{
    Chunk c;
    block_words(row + uint64_t(i * 34u), c.words);
    return c;
}

void unit_weights(Chunk c, uint u, out float w[32])
{
    const float d = unpackHalf2x16(c.words[0]).x;
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
        const int q = int(c.words[j] >> 16 | c.words[j + 1u] << 16);
        [[unroll]] for (uint b = 0u; b < 4u; b++) w[4u * j + b] = d * float((q << (24u - 8u * b)) >> 24);
    }
}

#elif SL_KEY == 12 // Q4_K: d, dmin, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles; always aligned

#define LANE_UNITS 2 // the low nibbles of 32 bytes, then the high ones
struct Chunk {
    uint head[4], q[8];
    uint pair;
};

uint chunk_count(uint n_k) { return n_k / 64u; }
uint unit_k(uint i, uint u) { return i * 64u + u * 32u; }

Chunk chunk_load(uint64_t row, uint i, uint n_k)
{
    Chunk c;
    U64 block = U64(row + uint64_t((i >> 2) * 144u)), q = U64(row + uint64_t((i >> 2) * 144u + 16u + (i & 3u) * 32u));
    [[unroll]] for (uint j = 0u; j < 2u; j++) {
        const uvec2 pair = unpackUint2x32(block.at[j]);
        c.head[2u * j] = pair.x;
        c.head[2u * j + 1u] = pair.y;
    }
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        const uvec2 pair = unpackUint2x32(q.at[j]);
        c.q[2u * j] = pair.x;
        c.q[2u * j + 1u] = pair.y;
    }
    c.pair = i & 3u;
    return c;
}

void unit_weights(Chunk c, uint u, out float w[32])
{
    const vec2 dm = unpackHalf2x16(c.head[0]);
    const uint shift = (c.pair & 1u) * 16u + u * 8u;
    const uint low = c.head[1] >> shift, middle = c.head[2] >> shift, high = c.head[3] >> shift;
    const bool second = c.pair >= 2u;
    const uint scale = second ? (high & 15u) | ((low >> 2) & 48u) : low & 63u;
    const uint minimum = second ? ((high >> 4) & 15u) | ((middle >> 2) & 48u) : middle & 63u;
    const float d = dm.x * float(int(scale)), m = -dm.y * float(int(minimum));
    [[unroll]] for (uint j = 0u; j < 8u; j++) four_weights(c.q[j], 4u * u, 15u, d, m, 4u * j, w);
}

#elif SL_KEY == 14 // Q6_K: 128 bytes of low nibbles, 64 of high pairs of bits, 16 signed scales, d

// Of each half of a block, units 0 .. 3 are 32 weights each: bytes 0 .. 31 of `low` with the high bits at 0, bytes
// 32 .. 63 with those at 2, and the upper nibbles likewise with 4 and 6. A chunk has units 0 and 2, or 1 and 3.
#define LANE_UNITS 2
LANE_WORDS(low_words, 5)
LANE_WORDS(scale_words, 2)
struct Chunk {
    uint low[10], high[10], scales[4];
    float d;
    uint odd;
};

uint chunk_count(uint n_k) { return n_k / 64u; }
uint unit_k(uint i, uint u) { return (i >> 1) * 128u + (i & 1u) * 32u + u * 64u; }

Chunk chunk_load(uint64_t row, uint i, uint n_k)
{
    Chunk c;
    const uint64_t block = row + uint64_t((i >> 2) * 210u);
    const uint part = (i >> 1) & 1u;
    c.odd = i & 1u;
    low_words(block + uint64_t(part * 64u + c.odd * 32u), c.low);
    low_words(block + uint64_t(128u + part * 32u), c.high);
    scale_words(block + uint64_t(192u + part * 8u), c.scales);
    const uint64_t at = block + 208ul;
    const uint d = U32(at & ~3ul).at[0];
    c.d = unpackHalf2x16(d >> ((uint(at) & 2u) * 8u)).x;
    return c;
}

void unit_weights(Chunk c, uint u, out float w[32])
{
    const uint high_shift = 4u * u + 2u * c.odd;
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
        // scales 0 .. 7: two of each unit
        const int scale = int(c.scales[u] << (24u - 16u * c.odd - 8u * (j / 4u))) >> 24;
        const float d = c.d * float(scale), m = -32.0 * d;
        const uint low = (c.low[j] >> (4u * u)) & 0x0f0f0f0fu;
        const uint q = low | ((c.high[j] >> high_shift) & 0x03030303u) << 4;
        four_weights(q, 0u, 255u, d, m, 4u * j, w);
    }
}

#else // F32, F16, BF16: rows begin at multiples of 8 bytes, n_k is a multiple of 4

#define LANE_UNITS 1
#define LANE_PARTIAL 1 // the last unit may have fewer than 32
#if SL_KEY == 0
#define QUADS 2u // words of four weights
#else
#define QUADS 1u
#endif
struct Chunk { uint words[16u * QUADS]; };

uint chunk_count(uint n_k) { return (n_k + 31u) / 32u; }
uint unit_k(uint i, uint u) { return i * 32u; }

// Weights beyond n_k are zeros.
Chunk chunk_load(uint64_t row, uint i, uint n_k)
{
    Chunk c;
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
        [[unroll]] for (uint h = 0u; h < QUADS; h++) {
            uvec2 pair = uvec2(0u);
            if (32u * i + 4u * j < n_k) pair = unpackUint2x32(U64(row).at[(8u * i + j) * QUADS + h]);
            c.words[2u * (j * QUADS + h)] = pair.x;
            c.words[2u * (j * QUADS + h) + 1u] = pair.y;
        }
    }
    return c;
}

void unit_weights(Chunk c, uint u, out float w[32])
{
#if SL_KEY == 0
    [[unroll]] for (uint n = 0u; n < 32u; n++) w[n] = uintBitsToFloat(c.words[n]);
#else
    [[unroll]] for (uint n = 0u; n < 16u; n++) {
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
