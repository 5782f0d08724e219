#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#ifndef EMULATED
#extension GL_KHR_cooperative_matrix : require
#endif
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
// matmul_skinny where invocations know which elements of a matrix they hold (SL_CAP_MATRIX_FRAGMENTS): weights go from
// memory through registers into the A matrices, and never through shared memory. A subgroup makes 16 * FRAGS_X rows of all
// tokens of the tile; GATED: 8 * FRAGS_X rows of both matrices. Only activations are staged, in the order in which
// fragment_blocks.glsl decodes, for STAGED of a block's products at a time.
SL_PUSH(sl_push_matmul_skinny);
#include "matmul/skinny_out.glsl"

#define ROW_SLOTS (2 * FRAGS_X)
#define FRAGS_Y   (SL_TILE_Y / 16)
#define THREADS   (WARPS * 32u)
#define STRIDE    (STAGED * 2u + 1u) // vectors of a token; odd, so that rows differ in banks
#define X_COUNT   (SL_TILE_Y * STAGED)
#define X_ITEMS   ((X_COUNT + THREADS - 1u) / THREADS)
#define OUT_ITEMS (TOKEN_ROWS * 4u) // vectors of the sums of 16 tokens
#define X_TILE    (SL_TILE_Y * STRIDE)
#ifdef GATED
#define MATRIX(r) (((r) / 2u & 1u) == 0u ? p.w : p.w2)
#else
#define MATRIX(r) p.w
#endif

layout(buffer_reference, std430, buffer_reference_align = 8) buffer U32x2 { uvec2 at[]; };

shared uvec4 tile[X_TILE > OUT_ITEMS ? X_TILE : OUT_ITEMS];

#include "matmul/fragment_blocks.glsl"
#include "matmul/fragments.glsl"

uvec2 x_next[X_ITEMS * 4u];
Sums sums[FRAGS_X * FRAGS_Y];

// First row of fragment f of the subgroup, of the tile's rows of its matrix; and where its sums stand among those of a token.
uint fragment_row(uint f) { return (WARP * (FRAGS_X / MATRICES) + f / MATRICES) * 16u; }
uint fragment_sums(uint f) { return (f % MATRICES * SL_TILE_X + fragment_row(f)) / 4u; }

// Item i of the activations: token, and which of the staged products. Neighbours differ in what puts their stores into
// different banks.
void x_item(uint i, out uint token, out uint product)
{
    const uint rest = i >> 3;
    product = rest % (STAGED / 4u) * 4u + (i & 3u);
    token = rest / (STAGED / 4u) * 2u + ((i >> 2) & 1u);
}

bool in_x(uint i) { return X_COUNT % THREADS == 0u || i < X_COUNT; }

// For the STAGED products of block b from `first` on.
void fetch_x(uint b, uint first)
{
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS;
        uint token, product;
        x_item(i, token, product);
        token += gl_WorkGroupID.z * SL_TILE_Y;
        const uint row = token * p.x_stride + b * BLOCK;
        if (in_x(i) && token < p.n_tokens)
            [[unroll]] for (uint c = 0u; c < 4u; c++)
                x_next[n * 4u + c] = U32x2(p.x).at[(row + x_source(first + product, c)) / 4u];
    }
}

void store_x()
{
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS;
        uint token, product;
        x_item(i, token, product);
        uvec4 even, odd;
        [[unroll]] for (uint c = 0u; c < 4u; c++) {
            const uvec2 v = x_next[n * 4u + c];
            even[c] = (v.x & 0xffffu) | (v.y << 16);
            odd[c] = (v.x >> 16) | (v.y & 0xffff0000u);
        }
        const uint at = token * STRIDE + product * 2u;
        if (in_x(i)) {
            tile[at] = even;
            tile[at + 1u] = odd;
        }
    }
}

void multiply(uint product)
{
    FragmentA a[FRAGS_X];
    [[unroll]] for (uint f = 0u; f < FRAGS_X; f++) {
        [[unroll]] for (uint slot = 0u; slot < 2u; slot++) {
            f16vec2 even, odd;
            decode(product, 2u * f + slot, even, odd);
            set_fragment(a[f], slot, even, odd);
        }
    }
    [[unroll]] for (uint y = 0u; y < FRAGS_Y; y++) {
        FRAGMENT_B(b, y * 16u * STRIDE + product % STAGED * 2u, STRIDE);
        [[unroll]] for (uint f = 0u; f < FRAGS_X; f++) {
            MULTIPLY_ADD(a[f], b, STRIDE, sums[f * FRAGS_Y + y]);
        }
    }
}

#define MULTIPLY(first, end) [[unroll]] for (uint product = first; product < (end); product++) multiply(product);

// Sums of 16 tokens through shared memory. Spelled out for each 16: sums must not be indexed at run time.
#define OUT(y)                                                                                                         \
    if (y < FRAGS_Y) {                                                                                                 \
        barrier();                                                                                                     \
        [[unroll]] for (uint f = 0u; f < FRAGS_X; f++)                                                                 \
            store_sums(sums[f * FRAGS_Y + (y < FRAGS_Y ? y : 0)], fragment_sums(f), TOKEN_ROWS / 4u);                  \
        barrier();                                                                                                     \
        for (uint e = gl_LocalInvocationIndex; e < TOKEN_OUTPUTS * 16u; e += THREADS) {                                \
            vec4 v[MATRICES];                                                                                          \
            [[unroll]] for (uint m = 0u; m < MATRICES; m++) v[m] = uintBitsToFloat(tile[sum_at(e, m)]);                \
            put_sums(y * TOKEN_OUTPUTS * 16u + e, v);                                                                  \
        }                                                                                                              \
    }

void main()
{
    const uint g = LANE >> 2, c = LANE & 3u, row0 = gl_WorkGroupID.x * SL_TILE_X + g;
    const uint blocks = p.n_k / BLOCK;
    const uint begin = blocks * gl_WorkGroupID.y / p.n_splits, end = blocks * (gl_WorkGroupID.y + 1u) / p.n_splits;
    EACH_SLOT place[r] = row_place(min(row0 + fragment_row(r / 2u) + 8u * (r & 1u), p.n_out - 1u), p.row_bytes, begin);
    [[unroll]] for (uint i = 0u; i < FRAGS_X * FRAGS_Y; i++) clear_sums(sums[i]);

    if (begin < end) {
        fetch_first(c);
        fetch_x(begin, 0u);
    }
    for (uint b = begin; b < end; b++) {
        // What follows is read as soon as its registers are free, half a block ahead at least.
        const bool more = b + 1u < end;
        begin_block(c, more);
        barrier();
        store_x();
#if STAGED == 16
        if (more) fetch_x(b + 1u, 0u);
#else
        fetch_x(b, PRODUCTS / 2u);
#endif
        barrier();
        MULTIPLY(0u, PRODUCTS / 2u)
        half_done(c, more);
#if STAGED != 16
        barrier();
        store_x();
        if (more) fetch_x(b + 1u, 0u);
        barrier();
#endif
        MULTIPLY(PRODUCTS / 2u, PRODUCTS)
        block_done(c, more);
    }
    OUT(0) OUT(1) OUT(2) OUT(3)
    finish_tile();
}
