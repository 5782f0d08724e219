#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
// matmul_skinny on subgroup matrices, f16 x f16 -> f32, through shared memory. A workgroup of WARPS_X * WARPS_Y * WARPS_K
// subgroups makes SL_TILE_X rows by SL_TILE_Y tokens, DEPTH weights at a time, of which each of the WARPS_K takes its
// share: each weight is decoded once and stands in shared memory, K-contiguous, each row padded by 16 bytes so that 8 rows
// lie in different banks. The next step's operands are read into registers while the matrix units work.
//
// M, N, K: shape of one matrix, by -D; WARPS_*, DEPTH, and LANES, the subgroup size that the module is for, too: all array
// sizes must be known to the first compiler. Shared memory is small on purpose: drivers give all workgroups of a processor
// 56 KiB together, and it takes three or four of them to hide the latency of a step.
//
// GATED: matmul_skinny_gated, the rows of w2 below those of w in one tile. GROUPED: moe_matmul. The tokens of a workgroup are the items of a tile that moe_group has made, its rows those of their
// expert.
#ifdef GROUPED
SL_PUSH(sl_push_moe_matmul);
#include "moe/grouped.glsl"
#define COLUMNS  share.count
#define N_SPLITS 1u
#define PART     0u
#define MATRICES 1u
#define TOKEN_OUTPUTS (SL_TILE_X / 4u)
#define TILE_OUTPUTS  (TOKEN_OUTPUTS * SL_TILE_Y)
#define TILE_VECTORS  TILE_OUTPUTS
uint sum_at(uint e, uint m) { return e; }

void put_sums(uint e, vec4 sums[MATRICES])
{
    const uint column = e / TOKEN_OUTPUTS, r = gl_WorkGroupID.x * SL_TILE_X + e % TOKEN_OUTPUTS * 4u;
    if (column >= COLUMNS) return;
    F32 y = F32(offset_mul(p.y, item_of(column), 4u * p.n_out));
    [[unroll]] for (uint i = 0u; i < 4u; i++)
        if (r + i < p.n_out) y.at[r + i] = sums[0][i];
}
#else
SL_PUSH(sl_push_matmul_skinny);
#include "matmul/skinny_out.glsl"
#define COLUMNS  (p.n_tokens - gl_WorkGroupID.z * SL_TILE_Y)
#define N_SPLITS p.n_splits
#define PART     gl_WorkGroupID.y
uint x_row(uint column) { return gl_WorkGroupID.z * SL_TILE_Y + column; }
#endif
#define N_K p.n_k
#define ROW_BYTES p.row_bytes
#include "matmul/half_blocks.glsl"

#define CHUNKS  (DEPTH / 8u)
#define STRIDE  (CHUNKS + 1u)
#define ROWS    (SL_TILE_X * MATRICES)
#define WARP_X  (ROWS / WARPS_X)
#define WARP_Y  (SL_TILE_Y / WARPS_Y)
#define WARP_K  (DEPTH / WARPS_K)
#define FRAGS_X (WARP_X / M)
#define FRAGS_Y (WARP_Y / N)
#define THREADS (WARPS_X * WARPS_Y * WARPS_K * LANES)
#define W_COUNT (ROWS * ITEMS)
#define W_ITEMS ((W_COUNT + THREADS - 1u) / THREADS)
#define X_COUNT (SL_TILE_Y * CHUNKS)
#define X_ITEMS ((X_COUNT + THREADS - 1u) / THREADS)
#define X_TILE  (ROWS * STRIDE) // where the activations begin in `tile`
#define INPUTS  ((ROWS + SL_TILE_Y) * STRIDE)
#define SUMS    (WARPS_K * TILE_VECTORS)
#if K < 16 // only software drivers have it, and they compile slowly
#define K_LOOP
#else
#define K_LOOP [[unroll]]
#endif

shared uvec4 tile[INPUTS > SUMS ? INPUTS : SUMS];

Raw w_next[W_ITEMS];
uint w_place[W_ITEMS];
uvec4 x_next[X_ITEMS];
uint x_place[X_ITEMS]; // of its row, in chunks

// Row of item i: in an order that lets the eight invocations of one store write to different banks.
uint item_row(uint i)
{
    const uint rest = i / ITEMS, near = 8u / ITEMS;
    return rest / 8u * 8u + rest % near * ITEMS + rest / near % ITEMS;
}

// Where the matrix begins of which row `row` of the tile is.
uvec2 matrix_of(uint row)
{
#ifdef GATED
    if (row >= SL_TILE_X) return p.w2;
#endif
    return p.w;
}

bool in_w(uint i) { return W_COUNT % THREADS == 0u || i < W_COUNT; }
bool in_x(uint i) { return X_COUNT % THREADS == 0u || i < X_COUNT; }

// Eight activations of the row at `row` from weight k on, zeros beyond n_k.
uvec4 load_chunk(uint row, uint k)
{
    if (k >= p.n_k) return uvec4(0u);
    uvec4 x = U32x4(p.x).at[row + k / 8u];
#ifdef PARTIAL
    if (k + 4u >= p.n_k) x.zw = uvec2(0u);
#endif
    return x;
}

void fetch(uint k0)
{
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS;
        if (in_w(i) && raw_exists(k0, i % ITEMS))
            w_next[n] = raw_load(matrix_of(item_row(i)), w_place[n], k0, i % ITEMS);
    }
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS;
        if (in_x(i) && i / CHUNKS < COLUMNS) x_next[n] = load_chunk(x_place[n], k0 + 8u * source_chunk(i % CHUNKS));
    }
}

void store(uint k0)
{
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS;
        if (!in_w(i)) continue;
        uvec4 part[4] = uvec4[4](uvec4(0u), uvec4(0u), uvec4(0u), uvec4(0u));
        if (raw_exists(k0, i % ITEMS)) raw_parts(w_next[n], w_place[n], k0, i % ITEMS, part);
        const uint at = item_row(i) * STRIDE + i % ITEMS;
        [[unroll]] for (uint j = 0u; j < 4u; j++) tile[at + j * ITEMS] = part[j];
    }
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS;
        if (in_x(i)) tile[X_TILE + i / CHUNKS * STRIDE + i % CHUNKS] = chunk_order(x_next[n]);
    }
}

void main()
{
    const uint row0 = gl_WorkGroupID.x * SL_TILE_X;
#ifdef GROUPED
    share = Tiles(p.tiles).at[gl_WorkGroupID.y];
    if (share.count == 0u) return;
    const uint w_row0 = share.expert * p.n_out;
#else
    const uint w_row0 = 0u;
#endif
    const uint warp_x = gl_SubgroupID % WARPS_X * WARP_X, warp_y = gl_SubgroupID / WARPS_X % WARPS_Y * WARP_Y;
    const uint warp_k = gl_SubgroupID / (WARPS_X * WARPS_Y);
    const uint steps = (p.n_k + DEPTH - 1u) / DEPTH;
    const uint begin = steps * PART / N_SPLITS * DEPTH, end = steps * (PART + 1u) / N_SPLITS * DEPTH;
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++)
        w_place[n] = row_place(
            w_row0 + min(row0 + item_row(gl_LocalInvocationIndex + n * THREADS) % SL_TILE_X, p.n_out - 1u), p.row_bytes);
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++)
        x_place[n] = x_row((gl_LocalInvocationIndex + n * THREADS) / CHUNKS) * (p.x_stride / 8u);

    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sums[FRAGS_X * FRAGS_Y];
    [[unroll]] for (uint i = 0u; i < FRAGS_X * FRAGS_Y; i++)
        sums[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
    fetch(begin);
    for (uint k0 = begin; k0 < end; k0 += DEPTH) {
        barrier();
        store(k0);
        if (k0 + DEPTH < end) fetch(k0 + DEPTH);
        barrier();
        K_LOOP for (uint k = 0u; k < WARP_K; k += K) {
            const uint at = (warp_k * WARP_K + k) / 8u;
            coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a[FRAGS_X];
            [[unroll]] for (uint i = 0u; i < FRAGS_X; i++)
                coopMatLoad(a[i], tile, (warp_x + i * M) * STRIDE + at, STRIDE, gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint j = 0u; j < FRAGS_Y; j++) {
                coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
                coopMatLoad(b, tile, X_TILE + (warp_y + j * N) * STRIDE + at, STRIDE,
                            gl_CooperativeMatrixLayoutColumnMajor);
                [[unroll]] for (uint i = 0u; i < FRAGS_X; i++)
                    sums[i * FRAGS_Y + j] = coopMatMulAdd(a[i], b, sums[i * FRAGS_Y + j]);
            }
        }
    }

    // sums[warp_k][token][row], as floats.
    barrier();
    [[unroll]] for (uint i = 0u; i < FRAGS_X; i++)
        [[unroll]] for (uint j = 0u; j < FRAGS_Y; j++)
            coopMatStore(sums[i * FRAGS_Y + j], tile,
                         warp_k * TILE_VECTORS + ((warp_y + j * N) * ROWS + warp_x + i * M) / 4u, ROWS / 4u,
                         gl_CooperativeMatrixLayoutColumnMajor);
    barrier();
    for (uint e = gl_LocalInvocationIndex; e < TILE_OUTPUTS; e += THREADS) {
        vec4 v[MATRICES];
        [[unroll]] for (uint m = 0u; m < MATRICES; m++) {
            v[m] = uintBitsToFloat(tile[sum_at(e, m)]);
            [[unroll]] for (uint part = 1u; part < WARPS_K; part++)
                v[m] += uintBitsToFloat(tile[part * TILE_VECTORS + sum_at(e, m)]);
        }
        put_sums(e, v);
    }
#ifndef GROUPED
    finish_tile();
#endif
}
