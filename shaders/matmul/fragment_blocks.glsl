// fragment_blocks.glsl - weights from memory through registers into fragments (fragments.glsl). An invocation has ROW_SLOTS
// rows of a matrix each and takes, of each block of BLOCK weights, what belongs to its c (LANE % 4): four weights for each
// of PRODUCTS matrix products, in an order that is cheap to decode; a sum over k may run in any order.
//   x_source(product, c)   the first of these four weights within the block; places 2 c + e hold the weights 0 and 2 after
//                          it, places 8 + 2 c + e the weights 1 and 3
//   row_place(...)         where a row begins
//   fetch_first(c)         reads the first block
//   begin_block(c, more)   the block that was read becomes that which is decoded; the next is read, if there is one
//   half_done(c, more)     the same, for what only the first half of the products needs (second: block_done)
//   decode(product, r, even, odd)
// Before: ROW_SLOTS, MATRIX(r): address of the matrix of slot r.
#ifndef SL_FRAGMENT_BLOCKS_GLSL
#define SL_FRAGMENT_BLOCKS_GLSL

f16vec2 bits_pair(uint bits) { return unpackFloat2x16(bits); }

#define EACH_SLOT [[unroll]] for (uint r = 0u; r < ROW_SLOTS; r++)

#if SL_KEY == 12 // Q4_K: of an invocation the 32 bytes of two sub-blocks, product = 2 * word + nibble

#define BLOCK    256u
#define PRODUCTS 16u

uvec4 head[ROW_SLOTS], low[ROW_SLOTS], high[ROW_SLOTS]; // scales, first and last 16 bytes of this invocation
uint place[ROW_SLOTS];                                  // of the block, in vectors
f16vec2 scale[ROW_SLOTS], minimum[ROW_SLOTS];           // of the two sub-blocks

const f16vec2 BASE = f16vec2(1024.0hf); // an integer below the exponent 0x64 is 1024 more

uint x_source(uint product, uint c) { return 64u * c + 32u * (product & 1u) + 4u * (product >> 1); }
uint row_place(uint row, uint row_bytes, uint block) { return row * (row_bytes / 16u) + block * 9u; }

void load_heads() { EACH_SLOT head[r] = U32x4(MATRIX(r)).at[place[r]]; }
void load_low(uint c) { EACH_SLOT low[r] = U32x4(MATRIX(r)).at[place[r] + 1u + 2u * c]; }
void load_high(uint c) { EACH_SLOT high[r] = U32x4(MATRIX(r)).at[place[r] + 2u + 2u * c]; }

void fetch_first(uint c)
{
    load_heads();
    load_low(c);
    load_high(c);
}

// Scales and minima of sub-blocks 2 c and 2 c + 1 from the heads.
void begin_block(uint c, bool more)
{
    EACH_SLOT {
        const uint shift = (c & 1u) * 16u;
        const uint a = head[r].y >> shift, b = head[r].z >> shift, rest = head[r].w >> shift;
        const uint s = c >= 2u ? (rest & 0x0f0fu) | ((a >> 2) & 0x3030u) : a & 0x3f3fu;
        const uint m = c >= 2u ? ((rest >> 4) & 0x0f0fu) | ((b >> 2) & 0x3030u) : b & 0x3f3fu;
        const f16vec2 dm = bits_pair(head[r].x);
        scale[r] = (bits_pair((s & 0xffu) | ((s & 0xff00u) << 8) | 0x64006400u) - BASE) * dm.x;
        minimum[r] = (bits_pair((m & 0xffu) | ((m & 0xff00u) << 8) | 0x64006400u) - BASE) * -dm.y;
        place[r] += 9u;
    }
    if (more) load_heads();
}

void half_done(uint c, bool more)
{
    if (more) load_low(c);
}

void block_done(uint c, bool more)
{
    if (more) load_high(c);
}

void decode(uint product, uint r, out f16vec2 even, out f16vec2 odd)
{
    const uint j = product >> 1, word = j < 4u ? low[r][j & 3u] : high[r][j & 3u], shifted = word >> 8;
    if ((product & 1u) == 0u) {
        even = fma(bits_pair((word & 0x000f000fu) | 0x64006400u) - BASE, scale[r].xx, minimum[r].xx);
        odd = fma(bits_pair((shifted & 0x000f000fu) | 0x64006400u) - BASE, scale[r].xx, minimum[r].xx);
    } else { // 1024 + 16 q
        const f16vec2 sixteenth = f16vec2(0.0625hf), base = f16vec2(-64.0hf);
        even = fma(fma(bits_pair((word & 0x00f000f0u) | 0x64006400u), sixteenth, base), scale[r].yy, minimum[r].yy);
        odd = fma(fma(bits_pair((shifted & 0x00f000f0u) | 0x64006400u), sixteenth, base), scale[r].yy, minimum[r].yy);
    }
}

#elif SL_KEY == 14 // Q6_K: of each quarter of half c / 2 of the block the weights 16 (c % 2) ..; product = 4 * word + quarter

// Bytes of a block, which begins at any even address: 128 of low bits, 64 of high ones, 16 scales, a factor. What an
// invocation needs of them begins at multiples of 16 bytes from there: two aligned vectors each, and one shift for all,
// which is the same in all rows where these are whole vectors (n_k a multiple of 2048). A vector that is read at the end of
// the last row has a byte of it, so that it is mapped.
#define BLOCK        256u
#define PRODUCTS     16u
#define BLOCK_HALVES 105u
#define WINDOWS      4u // low bits of quarters 0 and 2, those of 1 and 3, high bits, scales

uvec4 raw[ROW_SLOTS * WINDOWS * 2u];
uvec4 bits[ROW_SLOTS * WINDOWS];
uint place[ROW_SLOTS];                       // of the block, in halves
f16vec2 scale01[ROW_SLOTS], scale23[ROW_SLOTS]; // of the quarters

uint x_source(uint product, uint c)
{
    return 128u * (c >> 1) + 16u * (c & 1u) + 32u * (product & 3u) + 4u * (product >> 2);
}
uint row_place(uint row, uint row_bytes, uint block) { return row * (row_bytes / 2u) + block * BLOCK_HALVES; }

void load_raw(uint c)
{
    const uint near = c & 1u, part = c >> 1;
    EACH_SLOT {
        const uint at = place[r] / 8u, low = at + 4u * part + near, high = at + 8u + 2u * part + near;
        [[unroll]] for (uint i = 0u; i < 2u; i++) {
            raw[r * 8u + i] = U32x4(MATRIX(r)).at[low + i];
            raw[r * 8u + 2u + i] = U32x4(MATRIX(r)).at[low + 2u + i];
            raw[r * 8u + 4u + i] = U32x4(MATRIX(r)).at[high + i];
            raw[r * 8u + 6u + i] = U32x4(MATRIX(r)).at[at + 12u + i];
        }
    }
}

void fetch_first(uint c) { load_raw(c); }

uint word_of(uvec4 a, uvec4 b, uint i) { return i < 4u ? a[i & 3u] : b[i & 3u]; }

// 16 bytes from half `n`, a constant, of two vectors on.
uvec4 window(uvec4 a, uvec4 b, uint n)
{
    uvec4 v;
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        const uint first = word_of(a, b, n / 2u + i);
        v[i] = (n & 1u) == 0u ? first : (first >> 16) | (word_of(a, b, min(n / 2u + i + 1u, 7u)) << 16);
    }
    return v;
}

#define ALIGN(n)                                                                                                       \
    case n:                                                                                                            \
        [[unroll]] for (uint i = 0u; i < WINDOWS; i++)                                                                 \
            bits[r * WINDOWS + i] = window(raw[r * 8u + 2u * i], raw[r * 8u + 2u * i + 1u], n);                        \
        d = word_of(raw[r * 8u + 6u], raw[r * 8u + 7u], n / 2u + 4u) >> (n % 2u * 16u);                                \
        break;

void begin_block(uint c, bool more)
{
    EACH_SLOT {
        uint d;
        switch (place[r] & 7u) {
            ALIGN(0u) ALIGN(1u) ALIGN(2u) ALIGN(3u) ALIGN(4u) ALIGN(5u) ALIGN(6u) ALIGN(7u)
        }
        const uvec4 scales = bits[r * WINDOWS + 3u];
        const uvec2 own = (c < 2u ? scales.xy : scales.zw) >> (c & 1u) * 8u;
        const f16vec2 factor = f16vec2(bits_pair(d).x);
        const f16vec2 base = f16vec2(1152.0hf);
        scale01[r] = (bits_pair(((own.x & 0x00ff00ffu) ^ 0x00800080u) | 0x64006400u) - base) * factor;
        scale23[r] = (bits_pair(((own.y & 0x00ff00ffu) ^ 0x00800080u) | 0x64006400u) - base) * factor;
        place[r] += BLOCK_HALVES;
    }
    if (more) load_raw(c);
}

void half_done(uint c, bool more) {}
void block_done(uint c, bool more) {}

void decode(uint product, uint r, out f16vec2 even, out f16vec2 odd)
{
    const uint j = product >> 2, quarter = product & 3u;
    const uint low = bits[r * WINDOWS + (quarter & 1u)][j] >> (quarter >> 1) * 4u, high = bits[r * WINDOWS + 2u][j];
    const uint up = quarter == 0u ? high << 4 : quarter == 1u ? high << 2 : quarter == 2u ? high : high >> 2;
    const uint q = (low & 0x0f0f0f0fu) | (up & 0x30303030u);
    const f16vec2 pair = quarter < 2u ? scale01[r] : scale23[r], base = f16vec2(1056.0hf);
    const f16vec2 scale = (quarter & 1u) == 0u ? pair.xx : pair.yy;
    even = (bits_pair((q & 0x00ff00ffu) | 0x64006400u) - base) * scale;
    odd = (bits_pair(((q >> 8) & 0x00ff00ffu) | 0x64006400u) - base) * scale;
}

#elif SL_KEY == 2 || SL_KEY == 8 // Q4_0, Q8_0: of an invocation two blocks, which begin at a word

// Eight blocks are whole vectors, and the two of an invocation begin c words after one.
#define BLOCK    256u
#define PRODUCTS 16u
#if SL_KEY == 2
#define VECTORS     3u
#define BLOCK_BYTES 18u
#else
#define VECTORS     5u
#define BLOCK_BYTES 34u
#endif
#define WORDS   (BLOCK_BYTES / 2u) // of two blocks
#define SECOND  (WORDS / 2u)       // word whose upper half is the factor of the second

uvec4 raw[ROW_SLOTS * VECTORS];
uint words[ROW_SLOTS * WORDS];
uint place[ROW_SLOTS]; // of the eight blocks, in vectors

uint row_place(uint row, uint row_bytes, uint block) { return row * (row_bytes / 16u) + block * BLOCK_BYTES / 2u; }

void load_raw(uint c)
{
    EACH_SLOT [[unroll]] for (uint i = 0u; i < VECTORS; i++)
        raw[r * VECTORS + i] = U32x4(MATRIX(r)).at[place[r] + (BLOCK_BYTES / 8u) * c + i];
}

void fetch_first(uint c) { load_raw(c); }

uint raw_word(uint r, uint i) { return raw[r * VECTORS + i / 4u][i & 3u]; }

void begin_block(uint c, bool more)
{
    const bool one = (c & 1u) != 0u, two = (c & 2u) != 0u;
    EACH_SLOT {
        uint near[WORDS + 2u]; // from word c % 2 on
        [[unroll]] for (uint i = 0u; i < WORDS + 2u; i++) near[i] = one ? raw_word(r, i + 1u) : raw_word(r, i);
        [[unroll]] for (uint i = 0u; i < WORDS; i++) words[r * WORDS + i] = two ? near[i + 2u] : near[i];
        place[r] += BLOCK_BYTES / 2u;
    }
    if (more) load_raw(c);
}

void half_done(uint c, bool more) {}
void block_done(uint c, bool more) {}

// Word j of what follows the factor of block `second`.
uint quants(uint r, uint second, uint j)
{
    const uint at = r * WORDS;
    return second != 0u ? words[at + SECOND + 1u + j] : (words[at + j] >> 16) | (words[at + j + 1u] << 16);
}

f16vec2 factor(uint r, uint second)
{
    return second != 0u ? bits_pair(words[r * WORDS + SECOND]).yy : bits_pair(words[r * WORDS]).xx;
}

#if SL_KEY == 2 // product = 8 * block + 2 * word + nibble

uint x_source(uint product, uint c)
{
    return 64u * c + 32u * (product >> 3) + 16u * (product & 1u) + 4u * ((product >> 1) & 3u);
}

void decode(uint product, uint r, out f16vec2 even, out f16vec2 odd)
{
    const uint second = product >> 3, q = quants(r, second, (product >> 1) & 3u), q8 = q >> 8;
    const f16vec2 d = factor(r, second);
    if ((product & 1u) == 0u) {
        const f16vec2 base = f16vec2(1032.0hf);
        even = (bits_pair((q & 0x000f000fu) | 0x64006400u) - base) * d;
        odd = (bits_pair((q8 & 0x000f000fu) | 0x64006400u) - base) * d;
    } else { // 1024 + 16 q
        const f16vec2 sixteenth = f16vec2(0.0625hf), base = f16vec2(-72.0hf);
        even = fma(bits_pair((q & 0x00f000f0u) | 0x64006400u), sixteenth, base) * d;
        odd = fma(bits_pair((q8 & 0x00f000f0u) | 0x64006400u), sixteenth, base) * d;
    }
}

#else // product = 8 * block + word

uint x_source(uint product, uint c) { return 64u * c + 4u * product; }

void decode(uint product, uint r, out f16vec2 even, out f16vec2 odd)
{
    const uint q = quants(r, product >> 3, product & 7u) ^ 0x80808080u;
    const f16vec2 d = factor(r, product >> 3), base = f16vec2(1152.0hf);
    even = (bits_pair((q & 0x00ff00ffu) | 0x64006400u) - base) * d;
    odd = (bits_pair(((q >> 8) & 0x00ff00ffu) | 0x64006400u) - base) * d;
}

#endif

#elif SL_KEY == 1 || SL_KEY == 30 // F16, BF16: of an invocation every fourth vector; product = 2 * vector + half

#define BLOCK    256u
#define PRODUCTS 16u
#define VECTORS  8u

uvec4 raw[ROW_SLOTS * VECTORS];
uint place[ROW_SLOTS]; // of the block, in vectors; of the one to be read next

uint x_source(uint product, uint c) { return 32u * (product >> 1) + 8u * c + 4u * (product & 1u); }
uint row_place(uint row, uint row_bytes, uint block) { return row * (row_bytes / 16u) + block * (BLOCK / 8u); }

void load_half(uint c, uint first)
{
    EACH_SLOT [[unroll]] for (uint i = first; i < first + VECTORS / 2u; i++)
        raw[r * VECTORS + i] = U32x4(MATRIX(r)).at[place[r] + 4u * i + c];
}

void fetch_first(uint c)
{
    load_half(c, 0u);
    load_half(c, VECTORS / 2u);
}

void begin_block(uint c, bool more) { EACH_SLOT place[r] += BLOCK / 8u; }

void half_done(uint c, bool more)
{
    if (more) load_half(c, 0u);
}

void block_done(uint c, bool more)
{
    if (more) load_half(c, VECTORS / 2u);
}

void decode(uint product, uint r, out f16vec2 even, out f16vec2 odd)
{
    const uvec4 v = raw[r * VECTORS + (product >> 1)];
    const uvec2 w = (product & 1u) == 0u ? v.xy : v.zw;
#if SL_KEY == 1
    even = bits_pair((w.x & 0xffffu) | (w.y << 16));
    odd = bits_pair((w.x >> 16) | (w.y & 0xffff0000u));
#else
    even = f16vec2(uintBitsToFloat(w << 16));
    odd = f16vec2(uintBitsToFloat(w & 0xffff0000u));
#endif
}

#else
#error "no fragments of this weight type"
#endif
#endif
