#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
// matmul_skinny for Q4_K where invocations know which elements of a matrix they hold (SL_CAP_MATRIX_FRAGMENTS): weights go
// from memory through registers into the A matrices, and never through shared memory. A subgroup makes 16 * FRAGS_X rows of
// all tokens of the tile; its invocation, with g = i / 4 and c = i % 4, reads of rows g and g + 8 of each 16 the 64 weights
// from 64 c on of each block of 256: 32 consecutive bytes, and the scales of two sub-blocks.
//
// A matrix takes four weights a row of each invocation, and a sum over k may run in any order. So matrix product s = (half,
// word) of a block takes what nibble `half` of the four bytes of word `word` holds; the k at place 2 c + e, and 8 + 2 c + e, of
// it are 64 c + 32 half + 4 word + {0, 2}, and {1, 3}: pairs as a mask cuts them out of a word. Activations are
// staged in that order, WORDS words of both halves at a time.
SL_PUSH(sl_push_matmul_skinny);
#include "matmul/skinny_out.glsl"

#define BLOCK     256u
#define ROW_SLOTS (2 * FRAGS_X)
#define FRAGS_Y   (SL_TILE_Y / 16)
#define THREADS   (WARPS * 32u)
#define STRIDE    (WORDS * 4u + 1u) // vectors of a token: WORDS * 2 products of 16 k; odd, so that rows differ in banks
#define X_COUNT   (SL_TILE_Y * WORDS * 2u)
#define X_ITEMS   ((X_COUNT + THREADS - 1u) / THREADS)
#define OUT_ITEMS (SL_TILE_X * 4u) // vectors of the sums of 16 tokens
#define X_TILE    (SL_TILE_Y * STRIDE)
#if SL_KEY != 12 || SL_TILE_X != 16 * FRAGS_X * WARPS
#error "Q4_K, and a tile of 16 * FRAGS_X rows a subgroup"
#endif

layout(buffer_reference, std430, buffer_reference_align = 8) buffer U32x2 { uvec2 at[]; };

shared uvec4 tile[X_TILE > OUT_ITEMS ? X_TILE : OUT_ITEMS];

uvec4 head[ROW_SLOTS], low[ROW_SLOTS], high[ROW_SLOTS]; // of a block: scales, first and last 16 bytes of this invocation
uint place[ROW_SLOTS];                                  // of the block, in vectors
f16vec2 scale[ROW_SLOTS], minimum[ROW_SLOTS];           // of the two sub-blocks
uvec2 x_next[X_ITEMS * 4u];
coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> sums[FRAGS_X * FRAGS_Y];

f16vec2 bits_pair(uint bits) { return unpackFloat2x16(bits); }
const f16vec2 BASE = f16vec2(1024.0hf); // an integer below the exponent 0x64 is 1024 more

// Item i of the activations: token, half and word. Neighbours differ in what puts their stores into different banks.
void x_item(uint i, out uint token, out uint half_, out uint word)
{
    const uint rest = i >> 3;
    word = rest % (WORDS / 4u) * 4u + (i & 3u);
    half_ = rest / (WORDS / 4u) & 1u;
    token = rest / (WORDS / 4u) / 2u * 2u + ((i >> 2) & 1u);
}

bool in_x(uint i) { return X_COUNT % THREADS == 0u || i < X_COUNT; }

// Words word0 .. word0 + WORDS - 1 of both halves of block b.
void fetch_x(uint b, uint word0)
{
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS;
        uint token, half_, word;
        x_item(i, token, half_, word);
        token += gl_WorkGroupID.z * SL_TILE_Y;
        const uint at = (token * p.x_stride + b * BLOCK + 32u * half_ + 4u * (word0 + word)) / 4u;
        if (in_x(i) && token < p.n_tokens)
            [[unroll]] for (uint c = 0u; c < 4u; c++) x_next[n * 4u + c] = U32x2(p.x).at[at + 16u * c];
    }
}

void store_x()
{
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS;
        uint token, half_, word;
        x_item(i, token, half_, word);
        uvec4 even, odd;
        [[unroll]] for (uint c = 0u; c < 4u; c++) {
            const uvec2 v = x_next[n * 4u + c];
            even[c] = (v.x & 0xffffu) | (v.y << 16);
            odd[c] = (v.x >> 16) | (v.y & 0xffff0000u);
        }
        const uint at = token * STRIDE + (half_ * WORDS + word) * 2u;
        if (in_x(i)) {
            tile[at] = even;
            tile[at + 1u] = odd;
        }
    }
}

void load_heads()
{
    [[unroll]] for (uint r = 0u; r < ROW_SLOTS; r++) head[r] = U32x4(p.w).at[place[r]];
}

void load_low(uint c)
{
    [[unroll]] for (uint r = 0u; r < ROW_SLOTS; r++) low[r] = U32x4(p.w).at[place[r] + 1u + 2u * c];
}

void load_high(uint c)
{
    [[unroll]] for (uint r = 0u; r < ROW_SLOTS; r++) high[r] = U32x4(p.w).at[place[r] + 2u + 2u * c];
}

// Scales and minima of sub-blocks 2 c and 2 c + 1 from the heads.
void decode_heads(uint c)
{
    [[unroll]] for (uint r = 0u; r < ROW_SLOTS; r++) {
        const uint shift = (c & 1u) * 16u;
        const uint a = head[r].y >> shift, b = head[r].z >> shift, rest = head[r].w >> shift;
        const uint s = c >= 2u ? (rest & 0x0f0fu) | ((a >> 2) & 0x3030u) : a & 0x3f3fu;
        const uint m = c >= 2u ? ((rest >> 4) & 0x0f0fu) | ((b >> 2) & 0x3030u) : b & 0x3f3fu;
        const f16vec2 dm = bits_pair(head[r].x);
        scale[r] = (bits_pair((s & 0xffu) | ((s & 0xff00u) << 8) | 0x64006400u) - BASE) * dm.x;
        minimum[r] = (bits_pair((m & 0xffu) | ((m & 0xff00u) << 8) | 0x64006400u) - BASE) * -dm.y;
    }
}

// The four weights of nibble `half_` of a word: bytes 0 and 2, bytes 1 and 3.
void decode(uint word, uint r, uint half_, out f16vec2 even, out f16vec2 odd)
{
    const uint shifted = word >> 8;
    if (half_ == 0u) {
        even = fma(bits_pair((word & 0x000f000fu) | 0x64006400u) - BASE, scale[r].xx, minimum[r].xx);
        odd = fma(bits_pair((shifted & 0x000f000fu) | 0x64006400u) - BASE, scale[r].xx, minimum[r].xx);
    } else { // 1024 + 16 q
        const f16vec2 sixteenth = f16vec2(0.0625hf), base = f16vec2(-64.0hf);
        even = fma(fma(bits_pair((word & 0x00f000f0u) | 0x64006400u), sixteenth, base), scale[r].yy, minimum[r].yy);
        odd = fma(fma(bits_pair((shifted & 0x00f000f0u) | 0x64006400u), sixteenth, base), scale[r].yy, minimum[r].yy);
    }
}

// Both products of word `j` of `words` (low or high), which is word `staged` of those in shared memory.
#define MULTIPLY(words, j, staged)                                                                                     \
    [[unroll]] for (uint half_ = 0u; half_ < 2u; half_++) {                                                            \
        coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> a[FRAGS_X];                                        \
        [[unroll]] for (uint f = 0u; f < FRAGS_X; f++) {                                                               \
            f16vec2 even, odd, even8, odd8;                                                                            \
            decode(words[2u * f][j], 2u * f, half_, even, odd);                                                        \
            decode(words[2u * f + 1u][j], 2u * f + 1u, half_, even8, odd8);                                            \
            a[f][0] = even.x, a[f][1] = even.y, a[f][2] = odd.x, a[f][3] = odd.y;                                      \
            a[f][4] = even8.x, a[f][5] = even8.y, a[f][6] = odd8.x, a[f][7] = odd8.y;                                  \
        }                                                                                                              \
        [[unroll]] for (uint y = 0u; y < FRAGS_Y; y++) {                                                               \
            coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB> b;                                             \
            coopMatLoad(b, tile, y * 16u * STRIDE + (half_ * WORDS + (staged)) * 2u, STRIDE,                           \
                        gl_CooperativeMatrixLayoutColumnMajor);                                                        \
            [[unroll]] for (uint f = 0u; f < FRAGS_X; f++)                                                             \
                sums[f * FRAGS_Y + y] = coopMatMulAdd(a[f], b, sums[f * FRAGS_Y + y]);                                 \
        }                                                                                                              \
    }

// Sums of 16 tokens through shared memory. Spelled out for each 16: sums must not be indexed at run time.
#define OUT(y)                                                                                                         \
    if (y < FRAGS_Y) {                                                                                                 \
        barrier();                                                                                                     \
        [[unroll]] for (uint f = 0u; f < FRAGS_X; f++)                                                                 \
            coopMatStore(sums[f * FRAGS_Y + (y < FRAGS_Y ? y : 0)], tile, (warp_row + f * 16u) / 4u, SL_TILE_X / 4u,   \
                         gl_CooperativeMatrixLayoutColumnMajor);                                                       \
        barrier();                                                                                                     \
        for (uint e = gl_LocalInvocationIndex; e < OUT_ITEMS; e += THREADS)                                            \
            put_sum(y * OUT_ITEMS + e, uintBitsToFloat(tile[e]));                                                      \
    }

void main()
{
    const uint g = gl_SubgroupInvocationID >> 2, c = gl_SubgroupInvocationID & 3u;
    const uint warp_row = gl_SubgroupID * 16u * FRAGS_X, row0 = gl_WorkGroupID.x * SL_TILE_X + warp_row + g;
    const uint blocks = p.n_k / BLOCK;
    const uint begin = blocks * gl_WorkGroupID.y / p.n_splits, end = blocks * (gl_WorkGroupID.y + 1u) / p.n_splits;
    [[unroll]] for (uint r = 0u; r < ROW_SLOTS; r++)
        place[r] = min(row0 + 8u * r, p.n_out - 1u) * (p.row_bytes / 16u) + begin * 9u;
    [[unroll]] for (uint i = 0u; i < FRAGS_X * FRAGS_Y; i++)
        sums[i] = coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0.0);

    if (begin < end) {
        load_heads();
        load_low(c);
        load_high(c);
        fetch_x(begin, 0u);
    }
    for (uint b = begin; b < end; b++) {
        // What follows is read as soon as its registers are free, half a block ahead at least.
        const bool more = b + 1u < end;
        decode_heads(c);
        [[unroll]] for (uint r = 0u; r < ROW_SLOTS; r++) place[r] += 9u;
        if (more) load_heads();
        barrier();
        store_x();
#if WORDS == 8
        if (more) fetch_x(b + 1u, 0u);
#else
        fetch_x(b, 4u);
#endif
        barrier();
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
            MULTIPLY(low, j, j)
        }
        if (more) load_low(c);
#if WORDS == 8
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
            MULTIPLY(high, j, j + 4u)
        }
#else
        barrier();
        store_x();
        if (more) fetch_x(b + 1u, 0u);
        barrier();
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
            MULTIPLY(high, j, j)
        }
#endif
        if (more) load_high(c);
    }
    OUT(0) OUT(1) OUT(2) OUT(3)
    finish_tile();
}
