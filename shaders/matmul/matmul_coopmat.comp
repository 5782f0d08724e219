#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "common.glsl"
// matmul on subgroup matrices, f16 x f16 -> f32. A workgroup of WARPS_X * WARPS_Y subgroups makes SL_TILE_X rows by
// SL_TILE_Y tokens, DEPTH weights at a time: weights are decoded to f16 and activations rounded to f16 in shared memory,
// K-contiguous, each row padded by 16 bytes so that 8 rows lie in different banks. The next step's operands are read
// into registers while the matrix units work.
//
// f16 ends at 65504; activations (and weights of adversarial scale) may not. A workgroup notes the largest magnitude of
// each side. When one is beyond LIMIT, which is rare, the tile is computed once more with that side scaled by a power of
// two. Infinities stay what they are, and concern only their own row or token.
//
// M, N, K: shape of one matrix, by -D; WARPS_X, WARPS_Y, and LANES, the subgroup size that the module is for, too: all
// array sizes must be known to the first compiler, or a driver keeps the arrays in memory rather than registers.
SL_PUSH(sl_push_matmul);
#include "matmul/blocks.glsl"

#define DEPTH  32u
#define RUNS   (DEPTH / 16u)
#define VECS   (DEPTH / 8u)  // 16-byte vectors of a row
#define STRIDE (VECS + 1u)
#define LIMIT  32768.0
#define WARP_X (SL_TILE_X / WARPS_X)
#define WARP_Y (SL_TILE_Y / WARPS_Y)
#define FRAGS_X (WARP_X / M)
#define FRAGS_Y (WARP_Y / N)
#if K < 16 // only software drivers have it, and they compile slowly
#define K_LOOP
#else
#define K_LOOP [[unroll]]
#endif

#define THREADS (WARPS_X * WARPS_Y * LANES)
#define W_ITEMS ((SL_TILE_X * RUNS + THREADS - 1u) / THREADS)
#define X_ITEMS ((SL_TILE_Y * RUNS + THREADS - 1u) / THREADS)

shared uvec4 w_tile[SL_TILE_X * STRIDE];
shared uvec4 x_tile[SL_TILE_Y * STRIDE];
shared float out_tile[WARPS_X * WARPS_Y * M * N];
shared uint w_peak, x_peak; // bits of the largest finite magnitude beyond LIMIT, of all steps

Chunk w_next[W_ITEMS];
Run x_next[X_ITEMS];

// Item i of a tile: run i % RUNS of row i / RUNS, so that neighbours read the same row.
void fetch(uint row0, uint token0, uint k0)
{
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS, j = k0 / 16u + i % RUNS;
        const uint r = min(row0 + i / RUNS, p.n_out - 1u);
        if (j < run_count(p.n_k) && i < SL_TILE_X * RUNS)
            w_next[n] = chunk_load(row_at(p.w, r, p.row_bytes), run_chunk(j), p.n_k);
    }
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS, k = k0 + 16u * (i % RUNS);
        const uint t = min(token0 + i / RUNS, p.n_tokens - 1u);
        if (k < p.n_k && i < SL_TILE_Y * RUNS) x_next[n] = load_x(p.x, t * p.x_stride, k, p.n_k);
    }
}

float peak_of(Run run)
{
    vec4 peak = vec4(0.0);
    [[unroll]] for (uint j = 0u; j < 4u; j++) peak = max(peak, abs(run.v[j]));
    return max(max(peak.x, peak.y), max(peak.z, peak.w));
}

uvec4 halves(vec4 a, vec4 b, float scale)
{
    a *= scale;
    b *= scale;
    return uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
}

void note_peak_w(float peak)
{
    if (peak >= LIMIT && !isinf(peak)) atomicMax(w_peak, floatBitsToUint(peak));
}

void note_peak_x(float peak)
{
    if (peak >= LIMIT && !isinf(peak)) atomicMax(x_peak, floatBitsToUint(peak));
}

void store(uint k0, float w_scale, float x_scale)
{
    const Run zero = Run(vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0)));
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS, j = k0 / 16u + i % RUNS;
        if (i >= SL_TILE_X * RUNS) continue;
        Run run = zero;
        if (j < run_count(p.n_k)) run = chunk_run(w_next[n], run_which(j));
        note_peak_w(peak_of(run));
        const uint at = i / RUNS * STRIDE + i % RUNS * 2u;
        w_tile[at] = halves(run.v[0], run.v[1], w_scale);
        w_tile[at + 1u] = halves(run.v[2], run.v[3], w_scale);
    }
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) {
        const uint i = gl_LocalInvocationIndex + n * THREADS, k = k0 + 16u * (i % RUNS);
        if (i >= SL_TILE_Y * RUNS) continue;
        Run run = zero;
        if (k < p.n_k) run = x_next[n];
        note_peak_x(peak_of(run));
        const uint at = i / RUNS * STRIDE + i % RUNS * 2u;
        x_tile[at] = halves(run.v[0], run.v[1], x_scale);
        x_tile[at + 1u] = halves(run.v[2], run.v[3], x_scale);
    }
}

// 1, or the power of two that brings the peak below LIMIT.
float scale_for(uint peak_bits)
{
    if (peak_bits == 0u) return 1.0;
    const uint exponent = peak_bits >> 23; // peak < 2^(exponent - 126); LIMIT is 2^15
    return uintBitsToFloat((127u + 141u - exponent) << 23);
}

// Out through shared memory, a matrix of each subgroup at a time: edges, bias and add need single elements.
void write_out(coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sum, uint row, uint token, float unscale)
{
    const uint mine = gl_SubgroupID * M * N;
    coopMatStore(sum, out_tile, mine, M, gl_CooperativeMatrixLayoutColumnMajor);
    barrier();
    for (uint e = gl_SubgroupInvocationID; e < M * N; e += gl_SubgroupSize) {
        const uint r = row + e % M, t = token + e / M;
        if (r < p.n_out && t < p.n_tokens) {
            float v = out_tile[mine + e] * unscale;
            if (given(p.bias)) v += F32(p.bias).at[r];
            if (given(p.add)) v += F32(p.add).at[t * p.y_stride + r];
            F32(p.y).at[t * p.y_stride + r] = v;
        }
    }
    barrier();
}

// Spelled out, not a loop: a driver that does not unroll a loop with barriers in it indexes the sums at run time, and
// so keeps them in memory for the whole kernel. On an H100 that was 28 instead of over 100 TFLOP/s.
#define OUT(i, j)                                                                                             \
    if (i < FRAGS_X && j < FRAGS_Y)                                                                           \
        write_out(sums[i < FRAGS_X && j < FRAGS_Y ? i * FRAGS_Y + j : 0], row0 + warp_x + i * M,              \
                  token0 + warp_y + j * N, unscale);
#define OUT_ROW(i) OUT(i, 0) OUT(i, 1) OUT(i, 2) OUT(i, 3)
#if FRAGS_X > 4 || FRAGS_Y > 4
#error "more than 4 x 4 matrices a subgroup"
#endif

void main()
{
    const uint row0 = gl_WorkGroupID.x * SL_TILE_X, token0 = gl_WorkGroupID.y * SL_TILE_Y;
    const uint warp_x = gl_SubgroupID % WARPS_X * WARP_X, warp_y = gl_SubgroupID / WARPS_X * WARP_Y;
    if (gl_LocalInvocationIndex == 0u) w_peak = x_peak = 0u;
    float w_scale = 1.0, x_scale = 1.0;

    // Accumulators stay in registers only as long as nothing but the matrix units touches them: a scale that turns out
    // too large is corrected by computing the tile again, not amid the sums.
    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sums[FRAGS_X * FRAGS_Y];
    for (uint attempt = 0u; attempt < 2u; attempt++) {
        [[unroll]] for (uint i = 0u; i < FRAGS_X * FRAGS_Y; i++)
            sums[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
        fetch(row0, token0, 0u);
        for (uint k0 = 0u; k0 < p.n_k; k0 += DEPTH) {
            barrier();
            store(k0, w_scale, x_scale);
            barrier();
            if (k0 + DEPTH < p.n_k) fetch(row0, token0, k0 + DEPTH);
            K_LOOP for (uint k = 0u; k < DEPTH; k += K) {
                coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a[FRAGS_X];
                [[unroll]] for (uint i = 0u; i < FRAGS_X; i++)
                    coopMatLoad(a[i], w_tile, (warp_x + i * M) * STRIDE + k / 8u, STRIDE,
                                gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint j = 0u; j < FRAGS_Y; j++) {
                    coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
                    coopMatLoad(b, x_tile, (warp_y + j * N) * STRIDE + k / 8u, STRIDE,
                                gl_CooperativeMatrixLayoutColumnMajor);
                    [[unroll]] for (uint i = 0u; i < FRAGS_X; i++)
                        sums[i * FRAGS_Y + j] = coopMatMulAdd(a[i], b, sums[i * FRAGS_Y + j]);
                }
            }
        }
        barrier();
        const float w_new = scale_for(w_peak), x_new = scale_for(x_peak); // the same in the whole workgroup
        if (w_new == w_scale && x_new == x_scale) break;
        w_scale = w_new;
        x_scale = x_new;
    }

    const float unscale = 1.0 / w_scale * (1.0 / x_scale);
    OUT_ROW(0) OUT_ROW(1) OUT_ROW(2) OUT_ROW(3)
}
