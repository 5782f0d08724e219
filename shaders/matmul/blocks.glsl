// blocks.glsl - weights as the file stores them, decoded in registers. SL_KEY is the weight type.
//
// A chunk is what one invocation reads at once: CHUNK_RUNS runs of 16 consecutive weights each. Consecutive chunks are
// consecutive in memory, so that neighbouring invocations read neighbouring bytes.
//   row_at(w, r, row_bytes)   where row r of the tensor at `w` begins
//   chunk_load(row, i, n_k)   reads chunk i of a row
//   chunk_run(chunk, which)   decodes one of its runs
//   chunk_k(i, which)         index of the run's first weight within the row
//   run_chunk(j), run_which(j)  the inverse: where weights 16 j .. 16 j + 15 are
//
// Loads are 32-bit words or vectors of them. A block that begins in the middle of a word (its size is 2 modulo 4) is put together
// by shifts; a word is read only if it holds a byte of the block, so nothing is read beyond the page. There is no second
// path for other alignments: it would double the code, and software drivers compile slowly. What it takes: tensors and
// rows of activations at multiples of 16 bytes, n_k a multiple of 4 (of the block, where there are blocks).
#ifndef SL_BLOCKS_GLSL
#define SL_BLOCKS_GLSL

struct Run {
    vec4 v[4];
};

// Number of chunks that cover n_k weights; run_count: of runs.
uint chunk_count(uint n_k);
uint run_count(uint n_k) { return (n_k + 15u) / 16u; }

// d * q + m for 16 unsigned bytes q. A byte below an exponent of 0x64 is the half 1024 + q: exact, and on most devices
// cheaper than an integer conversion. The 1024 is taken off within the same fma; the rounding of m - 1024 d is 2^-15 of
// a quantization step.
#ifdef RUN_HALVES // of quants, for who takes halves: elements (0, 2), (1, 3), (4, 6), (5, 7), ...
struct HalfRun {
    f16vec2 v[8];
};

HalfRun run_from_bytes(uvec4 q, float d, float m)
{
    HalfRun run;
    const f16vec2 scale = f16vec2(d), base = f16vec2(m);
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        const f16vec2 even = unpackFloat2x16((q[i] & 0x00ff00ffu) | 0x64006400u) - f16vec2(1024.0);
        const f16vec2 odd = unpackFloat2x16(((q[i] >> 8) & 0x00ff00ffu) | 0x64006400u) - f16vec2(1024.0);
        run.v[2u * i] = fma(even, scale, base);
        run.v[2u * i + 1u] = fma(odd, scale, base);
    }
    return run;
}
#define QUANT_RUN HalfRun
#else
#define QUANT_RUN Run
Run run_from_bytes(uvec4 q, float d, float m)
{
    Run run;
    const float base = fma(-1024.0, d, m);
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        const vec2 even = unpackHalf2x16((q[i] & 0x00ff00ffu) | 0x64006400u);
        const vec2 odd = unpackHalf2x16(((q[i] >> 8) & 0x00ff00ffu) | 0x64006400u);
        run.v[i] = fma(vec4(even.x, odd.x, even.y, odd.y), vec4(d), vec4(base));
    }
    return run;
}
#endif

layout(buffer_reference, std430, buffer_reference_align = 8) buffer U32x2 { uvec2 at[]; };

// A place in a tensor: word `word` of the tensor at `base`, or the middle of that word. Indices rather than addresses,
// since the tensor is the same for all invocations (and lavapipe's compiler overruns its stack on addresses that 16
// invocations make each for itself). A tensor is below 8 GiB.
struct Row {
    uvec2 base;
    uint word;
    bool halfway;
};

Row row_at(uvec2 base, uint r, uint row_bytes)
{
    uint high, low;
    umulExtended(r, row_bytes, high, low);
    return Row(base, (low >> 2) | (high << 30), (low & 2u) != 0u);
}

// `row` moved by an even number of bytes.
Row row_after(Row row, uint bytes)
{
    const uint halves = (bytes >> 1) + uint(row.halfway);
    return Row(row.base, row.word + (halves >> 1), (halves & 1u) != 0u);
}

uint one_word(Row row, uint i) { return U32(row.base).at[row.word + i]; }
uvec4 four_words(Row row, uint i)
{
    return uvec4(one_word(row, i), one_word(row, i + 1u), one_word(row, i + 2u), one_word(row, i + 3u));
}

// The words that follow a half at the begin of a block: `high` as it is where the block began halfway in `low`, else
// the upper half of `low` and the lower half of `high`.
uvec4 funnel(uvec4 low, uvec4 high, bool halfway) { return halfway ? high : (low >> 16) | (high << 16); }

float half_at(uint word, bool halfway)
{
    const vec2 pair = unpackHalf2x16(word);
    return halfway ? pair.y : pair.x;
}

#if SL_KEY == 12 // Q4_K: d, dmin, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles

#define CHUNK_RUNS 2
struct Chunk {
    uvec4 head, q;
    uint pair;
};

uint chunk_count(uint n_k) { return n_k / 32u; }
uint chunk_k(uint i, uint which) { return (i >> 3) * 256u + ((i >> 1) & 3u) * 64u + (i & 1u) * 16u + which * 32u; }
uint run_chunk(uint j) { return (j >> 4) * 8u + ((j >> 2) & 3u) * 2u + (j & 1u); }
uint run_which(uint j) { return (j >> 1) & 1u; }

Chunk chunk_load(Row row, uint i, uint n_k)
{
    Chunk c;
    const uint block = row.word / 4u + (i >> 3) * 9u;
    c.head = U32x4(row.base).at[block];
    c.q = U32x4(row.base).at[block + 1u + (i & 7u)];
    c.pair = (i >> 1) & 3u;
    return c;
}

QUANT_RUN chunk_run(Chunk c, uint which)
{
    const vec2 dm = unpackHalf2x16(c.head.x);
    const uint shift = (c.pair & 1u) * 16u + which * 8u;
    const uint low = c.head.y >> shift, middle = c.head.z >> shift, high = c.head.w >> shift;
    const bool second = c.pair >= 2u;
    const uint scale = second ? (high & 15u) | ((low >> 2) & 48u) : low & 63u;
    const uint minimum = second ? ((high >> 4) & 15u) | ((middle >> 2) & 48u) : middle & 63u;
    return run_from_bytes((c.q >> (4u * which)) & 0x0f0f0f0fu, dm.x * float(scale), -dm.y * float(minimum));
}

#elif SL_KEY == 14 // Q6_K: 128 bytes of low nibbles, 64 of high pairs of bits, 16 signed scales, d

#define CHUNK_RUNS 2
struct Chunk {
    uvec4 low, high;
    float d0, d1;
    uint shift;
};

uint chunk_count(uint n_k) { return n_k / 32u; }
uint chunk_k(uint i, uint which) { return (i >> 2) * 128u + (i & 3u) * 16u + which * 64u; }
uint run_chunk(uint j) { return (j >> 3) * 4u + (j & 3u); }
uint run_which(uint j) { return (j >> 2) & 1u; }

uvec4 load_16(Row at)
{
    const uvec4 v = four_words(at, 0u);
    const uint next = one_word(at, at.halfway ? 4u : 3u);
    return at.halfway ? (v >> 16) | (uvec4(v.yzw, next) << 16) : v;
}

// The signed byte i of a place.
int byte_at(Row at, uint i)
{
    const uint byte = i + (at.halfway ? 2u : 0u);
    return int(one_word(at, byte >> 2) << (24u - 8u * (byte & 3u))) >> 24;
}

Chunk chunk_load(Row row, uint i, uint n_k)
{
    Chunk c;
    const Row block = row_after(row, (i >> 3) * 210u);
    const uint part = (i >> 2) & 1u, quarter = i & 3u;
    c.low = load_16(row_after(block, part * 64u + quarter * 16u));
    c.high = load_16(row_after(block, 128u + part * 32u + (quarter & 1u) * 16u));
    c.shift = (quarter >> 1) * 2u;
    const Row scales = row_after(block, 192u);
    const int s0 = byte_at(scales, part * 8u + quarter), s1 = byte_at(scales, part * 8u + quarter + 4u);
    const Row end = row_after(block, 208u);
    const float d = half_at(one_word(end, 0u), end.halfway);
    c.d0 = d * float(s0);
    c.d1 = d * float(s1);
    return c;
}

QUANT_RUN chunk_run(Chunk c, uint which)
{
    const uvec4 q = ((c.low >> (4u * which)) & 0x0f0f0f0fu) | (((c.high >> (c.shift + 4u * which)) & 0x03030303u) << 4);
    const float d = which == 0u ? c.d0 : c.d1;
    return run_from_bytes(q, d, -32.0 * d);
}

#elif SL_KEY == 2 || SL_KEY == 3 || SL_KEY == 6 // Q4_0, Q4_1, Q5_0: low nibbles 0 .. 15, high nibbles 16 .. 31

#define CHUNK_RUNS 2
struct Chunk {
    uvec4 q;
    float d, m;
    uint high;
};

uint chunk_count(uint n_k) { return n_k / 32u; }
uint chunk_k(uint i, uint which) { return i * 32u + which * 16u; }
uint run_chunk(uint j) { return j >> 1; }
uint run_which(uint j) { return j & 1u; }

Chunk chunk_load(Row row, uint i, uint n_k)
{
    Chunk c;
    c.high = 0u;
#if SL_KEY == 3
    const vec2 dm = unpackHalf2x16(one_word(row, i * 5u));
    c.d = dm.x;
    c.m = dm.y;
    c.q = four_words(row, i * 5u + 1u);
#else
    const Row block = row_after(row, i * (SL_KEY == 2 ? 18u : 22u));
    const uvec4 v = four_words(block, 0u);
    const uint v4 = one_word(block, 4u);
    c.d = half_at(v.x, block.halfway);
#if SL_KEY == 2
    c.m = -8.0 * c.d;
    c.q = funnel(v, uvec4(v.yzw, v4), block.halfway);
#else
    const uint v5 = one_word(block, 5u);
    c.m = -16.0 * c.d;
    c.high = block.halfway ? v.y : (v.x >> 16) | (v.y << 16);
    c.q = funnel(uvec4(v.yzw, v4), uvec4(v.zw, v4, v5), block.halfway);
#endif
#endif
    return c;
}

QUANT_RUN chunk_run(Chunk c, uint which)
{
    uvec4 q = (c.q >> (4u * which)) & 0x0f0f0f0fu;
#if SL_KEY == 6
    // Bit i of four becomes bit 4 of byte i: the multiplication copies them to disjoint places.
    const uint bits = c.high >> (16u * which);
    const uvec4 four = (uvec4(bits) >> uvec4(0u, 4u, 8u, 12u)) & 15u;
    q |= ((four * 0x00204081u) & 0x01010101u) << 4;
#endif
    return run_from_bytes(q, c.d, c.m);
}

#elif SL_KEY == 8 // Q8_0: d, 32 signed bytes

#define CHUNK_RUNS 2
struct Chunk {
    uvec4 q0, q1;
    float d;
};

uint chunk_count(uint n_k) { return n_k / 32u; }
uint chunk_k(uint i, uint which) { return i * 32u + which * 16u; }
uint run_chunk(uint j) { return j >> 1; }
uint run_which(uint j) { return j & 1u; }

Chunk chunk_load(Row row, uint i, uint n_k)
{
    Chunk c;
    const Row block = row_after(row, i * 34u);
    const uvec4 v = four_words(block, 0u), u = four_words(block, 4u);
    c.d = half_at(v.x, block.halfway);
    c.q0 = funnel(v, uvec4(v.yzw, u.x), block.halfway);
    c.q1 = funnel(u, uvec4(u.yzw, one_word(block, 8u)), block.halfway);
    return c;
}

QUANT_RUN chunk_run(Chunk c, uint which)
{
    const uvec4 q = which == 0u ? c.q0 : c.q1;
    return run_from_bytes(q ^ 0x80808080u, c.d, -128.0 * c.d);
}

#elif SL_KEY == 0 || SL_KEY == 1 || SL_KEY == 30 // F32, F16, BF16

#define CHUNK_RUNS 1
#define CHUNK_PARTIAL 1
struct Chunk {
    Run run;
};

uint chunk_count(uint n_k) { return run_count(n_k); }
uint chunk_k(uint i, uint which) { return i * 16u; }
uint run_chunk(uint j) { return j; }
uint run_which(uint j) { return 0u; }

vec2 pair_of(uint word)
{
#if SL_KEY == 1
    return unpackHalf2x16(word);
#else
    return vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xffff0000u));
#endif
}

Chunk chunk_load(Row row, uint i, uint n_k)
{
    Chunk c;
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        if (16u * i + 4u * j < n_k) {
#if SL_KEY == 0
            c.run.v[j] = F32x4(row.base).at[row.word / 4u + i * 4u + j];
#else
            const uvec2 words = U32x2(row.base).at[row.word / 2u + i * 4u + j];
            c.run.v[j] = vec4(pair_of(words.x), pair_of(words.y));
#endif
        } else {
            c.run.v[j] = vec4(0.0);
        }
    }
    return c;
}

Run chunk_run(Chunk c, uint which) { return c.run; }

#endif

// 16 activations x[begin + k ...] of f32; zeros where k is beyond n_k. begin is a multiple of 4.
Run load_x(uvec2 x, uint begin, uint k, uint n_k)
{
    Run run;
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
#ifdef CHUNK_PARTIAL
        if (k + 4u * j >= n_k) {
            run.v[j] = vec4(0.0);
            continue;
        }
#endif
        run.v[j] = F32x4(x).at[(begin + k) / 4u + j];
    }
    return run;
}

float run_dot(Run a, Run b, float sum)
{
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        sum = fma(a.v[j].x, b.v[j].x, sum);
        sum = fma(a.v[j].y, b.v[j].y, sum);
        sum = fma(a.v[j].z, b.v[j].z, sum);
        sum = fma(a.v[j].w, b.v[j].w, sum);
    }
    return sum;
}
#endif
