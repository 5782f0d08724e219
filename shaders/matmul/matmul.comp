#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// matmul, plain: SL_TILE_X rows by SL_TILE_Y tokens a workgroup, 32 weights deep, both sides as f32 in shared memory,
// k-major so that an invocation reads its 8 rows and 4 tokens of one k as three vectors.
// 17 KiB of shared memory; 128 invocations make the tile, more only help to stage it.
SL_PUSH(sl_push_matmul);
#include "matmul/blocks.glsl"

#define DEPTH  32u
#define RUNS   (DEPTH / 16u)
#define ROWS   8u // a thread's
#define TOKENS 4u
#define MAKERS (SL_TILE_X / ROWS * (SL_TILE_Y / TOKENS))

shared vec4 w_tile[DEPTH][SL_TILE_X / 4 + 1]; // + 1: consecutive k fall into different banks
shared vec4 x_tile[DEPTH][SL_TILE_Y / 4 + 1];

void stage(uint row0, uint token0, uint k0)
{
    // Consecutive invocations take consecutive rows: their stores go to consecutive words.
    for (uint i = gl_LocalInvocationIndex; i < SL_TILE_X * RUNS; i += WORKGROUP) {
        const uint r = i % SL_TILE_X, j = i / SL_TILE_X, k = k0 + 16u * j;
        Run run = Run(vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0)));
        if (row0 + r < p.n_out && k < p.n_k) {
            const Row row = row_at(p.w, row0 + r, p.row_bytes);
            run = chunk_run(chunk_load(row, run_chunk(k / 16u), p.n_k), run_which(k / 16u));
        }
        [[unroll]] for (uint n = 0u; n < 16u; n++) w_tile[16u * j + n][r / 4u][r % 4u] = run.v[n / 4u][n % 4u];
    }
    for (uint i = gl_LocalInvocationIndex; i < SL_TILE_Y * RUNS; i += WORKGROUP) {
        const uint t = i % SL_TILE_Y, j = i / SL_TILE_Y, k = k0 + 16u * j;
        Run run = Run(vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0)));
        if (token0 + t < p.n_tokens && k < p.n_k)
            run = load_x(p.x, (token0 + t) * p.x_stride, k, p.n_k);
        [[unroll]] for (uint n = 0u; n < 16u; n++) x_tile[16u * j + n][t / 4u][t % 4u] = run.v[n / 4u][n % 4u];
    }
}

void main()
{
    const uint row0 = gl_WorkGroupID.x * SL_TILE_X, token0 = gl_WorkGroupID.y * SL_TILE_Y;
    const uint me = gl_LocalInvocationIndex, rows = me % (SL_TILE_X / ROWS), tokens = me / (SL_TILE_X / ROWS);
    vec4 sums[TOKENS][2];
    [[unroll]] for (uint t = 0u; t < TOKENS; t++) sums[t][0] = sums[t][1] = vec4(0.0);

    for (uint k0 = 0u; k0 < p.n_k; k0 += DEPTH) {
        barrier();
        stage(row0, token0, k0);
        barrier();
        if (me < MAKERS) {
            for (uint k0 = 0u; k0 < DEPTH; k0 += 4u) {
                [[unroll]] for (uint k = k0; k < k0 + 4u; k++) {
                    const vec4 x = x_tile[k][tokens], w0 = w_tile[k][2u * rows], w1 = w_tile[k][2u * rows + 1u];
                    [[unroll]] for (uint t = 0u; t < TOKENS; t++) {
                        sums[t][0] = fma(w0, vec4(x[t]), sums[t][0]);
                        sums[t][1] = fma(w1, vec4(x[t]), sums[t][1]);
                    }
                }
            }
        }
    }
    if (me >= MAKERS) return;
    [[unroll]] for (uint t = 0u; t < TOKENS; t++) {
        const uint token = token0 + tokens * TOKENS + t;
        if (token >= p.n_tokens) continue;
        [[unroll]] for (uint i = 0u; i < ROWS; i++) {
            const uint r = row0 + rows * ROWS + i;
            if (r >= p.n_out) continue;
            float v = sums[t][i / 4u][i % 4u];
            if (given(p.bias)) v += F32(p.bias).at[r];
            if (given(p.add)) v += F32(p.add).at[token * p.y_stride + r];
            F32(p.y).at[token * p.y_stride + r] = v;
        }
    }
}
