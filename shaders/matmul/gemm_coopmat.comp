#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
#if SL_KEY == SL_ROWS_S8
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#define ELEMENT int8_t
#define SUM     int
#else
#define ELEMENT float16_t
#define SUM     float
#endif
#if SL_KEY == SL_ROWS_S8 && K < 16 // a matrix must begin at a vector
#define VECTOR uvec2
#define PER    8u
#elif SL_KEY == SL_ROWS_S8
#define VECTOR uvec4
#define PER    16u // elements of a vector
#else
#define VECTOR uvec4
#define PER    8u
#endif
// gemm on subgroup matrices. A workgroup of WARPS_X * WARPS_Y subgroups makes SL_TILE_X rows of w by SL_TILE_Y tokens,
// DEPTH weights at a time: both operands lie in shared memory, K-contiguous, each row padded by 16 bytes so that 8 rows
// lie in different banks, and twice, so that the next step is stored while this one is multiplied: one barrier a step.
//
// M, N, K: shape of one matrix, by -D; WARPS_X, WARPS_Y, and LANES, the subgroup size that the module is for, too: all
// array sizes must be known to the first compiler, or a driver keeps the arrays in memory rather than registers.
SL_PUSH(sl_push_gemm);
layout(constant_id = 2) const uint N_OUT = 0;
layout(constant_id = 3) const uint N_K = 0;
layout(constant_id = 4) const uint Y_STRIDE = 0;

#define VECS    (DEPTH / PER)
#define STRIDE  (VECS + 1u)
#define THREADS (WARPS_X * WARPS_Y * LANES)
#define W_ITEMS (SL_TILE_X * VECS / THREADS)
#define X_ITEMS (SL_TILE_Y * VECS / THREADS)
#define WARP_X  (SL_TILE_X / WARPS_X)
#define WARP_Y  (SL_TILE_Y / WARPS_Y)
#define FRAGS_X (WARP_X / M)
#define FRAGS_Y (WARP_Y / N)
#if K < 16 // only software drivers have it, and they compile slowly
#define K_LOOP
#else
#define K_LOOP [[unroll]]
#endif

layout(buffer_reference, std430, buffer_reference_align = 16) buffer Vectors { VECTOR at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Floats { float at[]; };

shared VECTOR w_tile[2][SL_TILE_X * STRIDE];
shared VECTOR x_tile[2][SL_TILE_Y * STRIDE];
shared SUM out_tile[WARPS_X * WARPS_Y * M * N];

VECTOR w_next[W_ITEMS];
VECTOR x_next[X_ITEMS];

// Vector i of a tile: vector i % VECS of row i / VECS, so that neighbours read the same row.
void fetch(uint row0, uint token0, uint k0)
{
    const uint row_vectors = N_K / PER, i0 = gl_LocalInvocationIndex, v = k0 / PER;
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++) {
        const uint i = i0 + n * THREADS, at = v + i % VECS;
        w_next[n] = VECTOR(0u);
        if (at < row_vectors) w_next[n] = Vectors(p.w).at[min(row0 + i / VECS, N_OUT - 1u) * row_vectors + at];
    }
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) {
        const uint i = i0 + n * THREADS, at = v + i % VECS;
        x_next[n] = VECTOR(0u);
        if (at < row_vectors) x_next[n] = Vectors(p.x).at[min(token0 + i / VECS, p.n_tokens - 1u) * row_vectors + at];
    }
}

void store(uint stage)
{
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS;
        w_tile[stage][i / VECS * STRIDE + i % VECS] = w_next[n];
    }
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS;
        x_tile[stage][i / VECS * STRIDE + i % VECS] = x_next[n];
    }
}

#define SUMS coopmat<SUM, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
SUMS sums[FRAGS_X * FRAGS_Y];

void multiply(uint stage, uint warp_x, uint warp_y)
{
    K_LOOP for (uint k = 0u; k < DEPTH; k += K) {
        coopmat<ELEMENT, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a[FRAGS_X];
        [[unroll]] for (uint i = 0u; i < FRAGS_X; i++)
            coopMatLoad(a[i], w_tile[stage], (warp_x + i * M) * STRIDE + k / PER, STRIDE,
                        gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0u; j < FRAGS_Y; j++) {
            coopmat<ELEMENT, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
            coopMatLoad(b, x_tile[stage], (warp_y + j * N) * STRIDE + k / PER, STRIDE,
                        gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint i = 0u; i < FRAGS_X; i++)
                sums[i * FRAGS_Y + j] = coopMatMulAdd(a[i], b, sums[i * FRAGS_Y + j]);
        }
    }
}

#if SL_KEY != SL_ROWS_S8
// A matrix that lies in y as a whole.
void write_whole(SUMS sum, uint row, uint token)
{
    const uint at = token * Y_STRIDE + row;
    if (given(p.add)) {
        SUMS before;
        coopMatLoad(before, Floats(p.add).at, at, Y_STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
        sum += before;
    }
    coopMatStore(sum, Floats(p.y).at, at, Y_STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
}

#endif

// One at an edge, or with a scale an element: out through shared memory, element by element.
void write_part(SUMS sum, uint row, uint token)
{
    const uint mine = gl_SubgroupID * M * N;
    coopMatStore(sum, out_tile, mine, M, gl_CooperativeMatrixLayoutColumnMajor);
    barrier();
    for (uint e = gl_SubgroupInvocationID; e < M * N; e += gl_SubgroupSize) {
        const uint r = row + e % M, t = token + e / M;
        if (r >= N_OUT || t >= p.n_tokens) continue;
        const uint at = t * Y_STRIDE + r;
        float v = float(out_tile[mine + e]);
#if SL_KEY == SL_ROWS_S8 // scales stand behind the elements of their matrix
        v *= F32(offset_mul(p.x, p.n_tokens, N_K)).at[t] * F32(offset_mul(p.w, N_OUT, N_K)).at[r];
#endif
        F32(p.y).at[at] = given(p.add) ? v + F32(p.add).at[at] : v;
    }
    barrier();
}

// Spelled out, not a loop: a driver that does not unroll a loop with barriers in it indexes the sums at run time, and
// so keeps them in memory for the whole kernel.
#define OUT(write, i, j)                                                                                               \
    if (i < FRAGS_X && j < FRAGS_Y)                                                                                    \
        write(sums[i < FRAGS_X && j < FRAGS_Y ? i * FRAGS_Y + j : 0], row0 + warp_x + i * M, token0 + warp_y + j * N);
#define OUT_ROW(write, i) OUT(write, i, 0) OUT(write, i, 1) OUT(write, i, 2) OUT(write, i, 3)
#define OUT_ALL(write) OUT_ROW(write, 0) OUT_ROW(write, 1) OUT_ROW(write, 2) OUT_ROW(write, 3)
#if FRAGS_X > 4 || FRAGS_Y > 4
#error "more than 4 x 4 matrices a subgroup"
#endif

void main()
{
    const uint token0 = gl_WorkGroupID.x * SL_TILE_Y, row0 = gl_WorkGroupID.y * SL_TILE_X;
    const uint warp_x = gl_SubgroupID % WARPS_X * WARP_X, warp_y = gl_SubgroupID / WARPS_X * WARP_Y;
    [[unroll]] for (uint i = 0u; i < FRAGS_X * FRAGS_Y; i++) sums[i] = SUMS(SUM(0));

    fetch(row0, token0, 0u);
    store(0u);
    barrier();
    // Two steps a turn, so that the stage is known to the compiler.
    for (uint k0 = 0u; k0 < N_K; k0 += 2u * DEPTH) {
        if (k0 + DEPTH < N_K) fetch(row0, token0, k0 + DEPTH);
        multiply(0u, warp_x, warp_y);
        if (k0 + DEPTH >= N_K) break;
        store(1u);
        barrier();
        if (k0 + 2u * DEPTH < N_K) fetch(row0, token0, k0 + 2u * DEPTH);
        multiply(1u, warp_x, warp_y);
        if (k0 + 2u * DEPTH < N_K) store(0u);
        barrier();
    }

#if SL_KEY != SL_ROWS_S8
    if (row0 + SL_TILE_X <= N_OUT && token0 + SL_TILE_Y <= p.n_tokens) { // the same for the workgroup
        OUT_ALL(write_whole)
        return;
    }
#endif
    OUT_ALL(write_part)
}
