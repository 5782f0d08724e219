// half_blocks.glsl - weights decoded to f16 pairs for matrix units. SL_KEY is the weight type; DEPTH is the number of
// weights of a row that a workgroup decodes at once.
//
// An item is 32 weights of one row: four chunks of 8. Of the weights k0 .. k0 + DEPTH - 1 of a row there are ITEMS.
// Since a sum over k may run in any order, chunks keep the order that is cheap to decode and free of bank conflicts:
// chunk `part` of item i stands at place part * ITEMS + i, and holds the weights from k0 + 8 * source_chunk(place) on,
// those of each group of four in the order 0, 2, 1, 3 where PAIRED. Activations are staged in the same order.
//   raw_load(w, row_word, k0, i)  reads item i; row_word: where the row begins
//   raw_parts(raw, k0, i, part)   decodes it
#ifndef SL_HALF_BLOCKS_GLSL
#define SL_HALF_BLOCKS_GLSL

#if SL_KEY == 14
#define DEPTH 128u // what the halves of a byte are apart
#else
#define DEPTH 64u
#endif
#define ITEMS (DEPTH / 32u)

// Is item i within the row? Types without blocks look at each chunk themselves.
bool raw_exists(uint k0, uint i)
{
#if SL_KEY == 0 || SL_KEY == 1 || SL_KEY == 30
    return true;
#else
    return k0 + 32u * i < N_K;
#endif
}

f16vec2 bits_pair(uint bits) { return unpackFloat2x16(bits); }

// The halves 1024 + byte 0 and 1024 + byte 2 of a word, less `base`: exact.
uint even_bytes(uint q) { return (q & 0x00ff00ffu) | 0x64006400u; }

#if SL_KEY == 12 // Q4_K

#define PAIRED 1
struct Raw {
    uvec4 head, q;
};

uint row_place(uint r, uint row_bytes) { return r * (row_bytes / 16u); }

Raw raw_load(uvec2 w, uint place, uint k0, uint i)
{
    Raw raw;
    const uint at = k0 / 32u + i, block = place + (at >> 3) * 9u;
    raw.head = U32x4(w).at[block];
    raw.q = U32x4(w).at[block + 1u + (at & 7u)];
    return raw;
}

uint source_chunk(uint place)
{
    const uint part = place / ITEMS, i = place % ITEMS;
    return (i >> 1) * 8u + (i & 1u) * 2u + (part >> 1) * 4u + (part & 1u);
}

void raw_parts(Raw raw, uint place, uint k0, uint i, out uvec4 part[4])
{
    const uint pair = ((k0 / 32u + i) >> 1) & 3u, shift = (pair & 1u) * 16u;
    const uint low = raw.head.y >> shift, middle = raw.head.z >> shift, high = raw.head.w >> shift;
    const bool second = pair >= 2u;
    const uint scales = second ? (high & 0x0f0fu) | ((low >> 2) & 0x3030u) : low & 0x3f3fu;
    const uint minima = second ? ((high >> 4) & 0x0f0fu) | ((middle >> 2) & 0x3030u) : middle & 0x3f3fu;
    const f16vec2 dm = bits_pair(raw.head.x), base = f16vec2(1024.0hf);
    const f16vec2 d = (bits_pair((scales & 0xffu) | ((scales & 0xff00u) << 8) | 0x64006400u) - base) * dm.x;
    const f16vec2 m = (bits_pair((minima & 0xffu) | ((minima & 0xff00u) << 8) | 0x64006400u) - base) * -dm.y;
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        const uint q = raw.q[j], q8 = q >> 8;
        const f16vec2 l0 = bits_pair((q & 0x000f000fu) | 0x64006400u) - base;
        const f16vec2 l1 = bits_pair((q8 & 0x000f000fu) | 0x64006400u) - base;
        const f16vec2 h0 = fma(bits_pair((q & 0x00f000f0u) | 0x64006400u), f16vec2(0.0625hf), f16vec2(-64.0hf));
        const f16vec2 h1 = fma(bits_pair((q8 & 0x00f000f0u) | 0x64006400u), f16vec2(0.0625hf), f16vec2(-64.0hf));
        part[j / 2u][(j & 1u) * 2u] = packFloat2x16(fma(l0, d.xx, m.xx));
        part[j / 2u][(j & 1u) * 2u + 1u] = packFloat2x16(fma(l1, d.xx, m.xx));
        part[2u + j / 2u][(j & 1u) * 2u] = packFloat2x16(fma(h0, d.yy, m.yy));
        part[2u + j / 2u][(j & 1u) * 2u + 1u] = packFloat2x16(fma(h1, d.yy, m.yy));
    }
}

#elif SL_KEY == 14 // Q6_K

#define PAIRED 1
struct Raw {
    uint low[5], high[5]; // 16 bytes each, which may begin in the middle of a word
    uint scales[2], d;
};

uint row_place(uint r, uint row_bytes) { return r * (row_bytes / 2u); }

Raw raw_load(uvec2 w, uint place, uint k0, uint i)
{
    Raw raw;
    const uint at = k0 / 32u + i, block = place + (at >> 3) * 105u, part = (at >> 2) & 1u, quarter = at & 3u;
    const uint low = (block + part * 32u + quarter * 8u) / 2u;
    const uint high = (block + 64u + part * 16u + (quarter & 1u) * 8u) / 2u;
    [[unroll]] for (uint j = 0u; j < 5u; j++) {
        raw.low[j] = U32(w).at[low + j];
        raw.high[j] = U32(w).at[high + j];
    }
    const uint scale = block + 96u + part * 4u + (quarter >> 1);
    raw.scales[0] = uint(U16(w).at[scale]);
    raw.scales[1] = uint(U16(w).at[scale + 2u]);
    raw.d = uint(U16(w).at[block + 104u]);
    return raw;
}

uint source_chunk(uint place)
{
    const uint part = place / ITEMS, i = place % ITEMS;
    return (i >> 2) * 16u + (part >> 1) * 8u + (i & 3u) * 2u + (part & 1u);
}

void raw_parts(Raw raw, uint place, uint k0, uint i, out uvec4 part[4])
{
    const uint at = k0 / 32u + i, quarter = at & 3u, shift = 8u * (quarter & 1u);
    const bool halfway = ((place + (at >> 3) * 105u) & 1u) != 0u;
    const uint s = ((raw.scales[0] >> shift) & 0xffu) | (((raw.scales[1] >> shift) & 0xffu) << 16);
    const f16vec2 d = (bits_pair((s ^ 0x00800080u) | 0x64006400u) - f16vec2(1152.0hf)) * bits_pair(raw.d).x;
    const f16vec2 base = f16vec2(1056.0hf);
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        const uint low = halfway ? (raw.low[j] >> 16) | (raw.low[j + 1u] << 16) : raw.low[j];
        const uint high = (halfway ? (raw.high[j] >> 16) | (raw.high[j + 1u] << 16) : raw.high[j]) >> (quarter >> 1) * 2u;
        const uint a = (low & 0x0f0f0f0fu) | ((high << 4) & 0x30303030u);
        const uint b = ((low >> 4) & 0x0f0f0f0fu) | (high & 0x30303030u);
        const uint to = (j & 1u) * 2u;
        part[j / 2u][to] = packFloat2x16((bits_pair(even_bytes(a)) - base) * d.xx);
        part[j / 2u][to + 1u] = packFloat2x16((bits_pair(even_bytes(a >> 8)) - base) * d.xx);
        part[2u + j / 2u][to] = packFloat2x16((bits_pair(even_bytes(b)) - base) * d.yy);
        part[2u + j / 2u][to + 1u] = packFloat2x16((bits_pair(even_bytes(b >> 8)) - base) * d.yy);
    }
}

#elif SL_KEY == 2 || SL_KEY == 3 || SL_KEY == 6 || SL_KEY == 8 // Q4_0, Q4_1, Q5_0, Q8_0: an item is a block

#define PAIRED 1
#if SL_KEY == 2
#define BLOCK_HALVES 9u
#elif SL_KEY == 3
#define BLOCK_HALVES 10u
#elif SL_KEY == 6
#define BLOCK_HALVES 11u
#else
#define BLOCK_HALVES 17u
#endif
#define BLOCK_WORDS ((BLOCK_HALVES + 1u) / 2u)

struct Raw {
    uint word[BLOCK_WORDS];
};

uint row_place(uint r, uint row_bytes) { return r * (row_bytes / 2u); }

Raw raw_load(uvec2 w, uint place, uint k0, uint i)
{
    Raw raw;
    const uint at = (place + (k0 / 32u + i) * BLOCK_HALVES) / 2u;
    [[unroll]] for (uint j = 0u; j < BLOCK_WORDS; j++) raw.word[j] = U32(w).at[at + j];
    return raw;
}

uint source_chunk(uint place) { return place % ITEMS * 4u + place / ITEMS; }

void raw_parts(Raw raw, uint place, uint k0, uint i, out uvec4 part[4])
{
#if SL_KEY == 3
    const bool halfway = true; // two scales are a word
    const f16vec2 dm = bits_pair(raw.word[0]);
    const f16vec2 d = dm.xx, m = dm.yy;
#else
    const bool halfway = ((place + (k0 / 32u + i) * BLOCK_HALVES) & 1u) != 0u;
    const f16vec2 first = bits_pair(raw.word[0]);
    const f16vec2 d = halfway ? first.yy : first.xx;
#endif
    // Word j of what follows the scales.
#define AFTER(j) raw.word[min((j) + 1u, BLOCK_WORDS - 1u)]
#define WORD(j)  (halfway ? AFTER(j) : (raw.word[j] >> 16) | (AFTER(j) << 16))
#if SL_KEY == 8
    const f16vec2 base = f16vec2(1152.0hf);
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
        const uint q = WORD(j) ^ 0x80808080u;
        part[j / 2u][(j & 1u) * 2u] = packFloat2x16((bits_pair(even_bytes(q)) - base) * d);
        part[j / 2u][(j & 1u) * 2u + 1u] = packFloat2x16((bits_pair(even_bytes(q >> 8)) - base) * d);
    }
#else
#if SL_KEY == 6
    const uint bits = WORD(0u);
    const f16vec2 base = f16vec2(1040.0hf);
#define QUANTS 1u
#elif SL_KEY == 2
    const f16vec2 base = f16vec2(1032.0hf);
#define QUANTS 0u
#else
    const f16vec2 base = f16vec2(1024.0hf);
#define QUANTS 0u
#endif
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
        uint q = (WORD(QUANTS + (j & 3u)) >> (j / 4u * 4u)) & 0x0f0f0f0fu;
#if SL_KEY == 6
        // Bit i of four becomes bit 4 of byte i: the multiplication copies them to disjoint places.
        q |= ((((bits >> (j * 4u)) & 15u) * 0x00204081u) & 0x01010101u) << 4;
#endif
        f16vec2 even = bits_pair(even_bytes(q)) - base, odd = bits_pair(even_bytes(q >> 8)) - base;
#if SL_KEY == 3
        even = fma(even, d, m);
        odd = fma(odd, d, m);
#else
        even *= d;
        odd *= d;
#endif
        part[j / 2u][(j & 1u) * 2u] = packFloat2x16(even);
        part[j / 2u][(j & 1u) * 2u + 1u] = packFloat2x16(odd);
    }
#endif
}

#else // F32, F16, BF16: chunks stay in order, and an item is every ITEMS-th of them

layout(buffer_reference, std430, buffer_reference_align = 8) buffer U32x2 { uvec2 at[]; };

#if SL_KEY == 0
#define RAW_VECTORS 8u
#else
#define RAW_VECTORS 4u
#endif
struct Raw {
    uvec4 v[RAW_VECTORS];
};

uint row_place(uint r, uint row_bytes) { return r * (row_bytes / 8u); } // in pairs of words

#define PARTIAL 1 // n_k is a multiple of 4 only
Raw raw_load(uvec2 w, uint place, uint k0, uint i)
{
    Raw raw;
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        const uint k = k0 + 8u * (j * ITEMS + i);
#if SL_KEY == 0
        raw.v[2u * j] = k < N_K ? U32x4(w).at[(place + k / 2u) / 2u] : uvec4(0u);
        raw.v[2u * j + 1u] = k + 4u < N_K ? U32x4(w).at[(place + k / 2u) / 2u + 1u] : uvec4(0u);
#else
        if (ROW_BYTES % 16u == 0u && N_K % 8u == 0u) { // uniform
            raw.v[j] = k < N_K ? U32x4(w).at[(place + k / 4u) / 2u] : uvec4(0u);
        } else {
            raw.v[j].xy = k < N_K ? U32x2(w).at[place + k / 4u] : uvec2(0u);
            raw.v[j].zw = k + 4u < N_K ? U32x2(w).at[place + k / 4u + 1u] : uvec2(0u);
        }
#endif
    }
    return raw;
}

uint source_chunk(uint place) { return place; }

void raw_parts(Raw raw, uint place, uint k0, uint i, out uvec4 part[4])
{
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
#if SL_KEY == 1
        part[j] = raw.v[j];
#elif SL_KEY == 30
        const vec4 low = uintBitsToFloat(raw.v[j] << 16), high = uintBitsToFloat(raw.v[j] & 0xffff0000u);
        [[unroll]] for (uint n = 0u; n < 4u; n++) part[j][n] = packHalf2x16(vec2(low[n], high[n]));
#else
        const vec4 a = uintBitsToFloat(raw.v[2u * j]), b = uintBitsToFloat(raw.v[2u * j + 1u]);
        part[j] = uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
#endif
    }
}

#endif

// Eight activations in the order of a chunk.
uvec4 chunk_order(uvec4 x)
{
#ifdef PAIRED
    return uvec4((x.x & 0xffffu) | (x.y << 16), (x.x >> 16) | (x.y & 0xffff0000u), (x.z & 0xffffu) | (x.w << 16),
                 (x.z >> 16) | (x.w & 0xffff0000u));
#else
    return x;
#endif
}
#endif
