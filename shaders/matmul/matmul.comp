#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
// matmul, plain: SL_TILE_X rows by SL_TILE_Y tokens a workgroup, 32 weights deep, both sides as f32 in shared memory,
// k-major so that an invocation reads its ROWS rows and TOKENS tokens (by -D) of one k as a few vectors.
// 17 KiB of shared memory; 128 invocations make the tile, more only help to stage it.
//
// GROUPED: moe_matmul. The tokens of a workgroup are the items of a tile that moe_group has made, its rows those of their
// expert; activations are rows of f16.
#ifdef GROUPED
SL_PUSH(sl_push_moe_matmul);
#include "moe/grouped.glsl"
#else
SL_PUSH(sl_push_matmul);
#endif
#include "matmul/blocks.glsl"

#define DEPTH  32u
#define RUNS   (DEPTH / 16u)
#define MAKERS (SL_TILE_X / ROWS * (SL_TILE_Y / TOKENS))
#if TOKENS == 4
#define X_VECTOR vec4
#else
#define X_VECTOR vec2
#endif

shared vec4 w_tile[DEPTH][SL_TILE_X / 4 + 1]; // + 1: consecutive k fall into different banks
shared X_VECTOR x_tile[DEPTH][SL_TILE_Y / TOKENS + 1];

//   w_row0()              where the rows of the workgroup's matrix begin in w
//   columns()             tokens that there are for the workgroup
//   load_column(c, k)     16 activations of one from k on, zeros behind n_k
//   put(c, r, v)          its result of row r
#ifdef GROUPED
uint w_row0() { return share.expert * p.n_out; }
uint columns() { return share.count; }

Run load_column(uint column, uint k)
{
    Run run;
    const uint row = x_row(column) * (p.x_stride / 8u);
    [[unroll]] for (uint j = 0u; j < 2u; j++) {
        uvec4 x = uvec4(0u);
        if (k + 8u * j < p.n_k) x = U32x4(p.x).at[row + k / 8u + j];
#ifdef CHUNK_PARTIAL
        if (k + 8u * j + 4u >= p.n_k) x.zw = uvec2(0u);
#endif
        run.v[2u * j] = vec4(unpackHalf2x16(x.x), unpackHalf2x16(x.y));
        run.v[2u * j + 1u] = vec4(unpackHalf2x16(x.z), unpackHalf2x16(x.w));
    }
    return run;
}

void put(uint column, uint r, float v) { F32(offset_mul(p.y, item_of(column), 4u * p.n_out)).at[r] = v; }
#else
uint w_row0() { return 0u; }
uint columns() { return p.n_tokens - gl_WorkGroupID.y * SL_TILE_Y; }

uint token_of(uint column) { return gl_WorkGroupID.y * SL_TILE_Y + column; }

Run load_column(uint column, uint k) { return load_x(p.x, token_of(column) * p.x_stride, k, p.n_k); }

void put(uint column, uint r, float v)
{
    const uint at = token_of(column) * p.y_stride + r;
    if (given(p.bias)) v += F32(p.bias).at[r];
    if (given(p.add)) v += F32(p.add).at[at];
    F32(p.y).at[at] = v;
}
#endif

void stage(uint row0, uint k0)
{
    // Consecutive invocations take consecutive rows: their stores go to consecutive words.
    for (uint i = gl_LocalInvocationIndex; i < SL_TILE_X * RUNS; i += WORKGROUP) {
        const uint r = i % SL_TILE_X, j = i / SL_TILE_X, k = k0 + 16u * j;
        Run run = Run(vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0)));
        if (row0 + r < p.n_out && k < p.n_k) {
            const Row row = row_at(p.w, w_row0() + row0 + r, p.row_bytes);
            run = chunk_run(chunk_load(row, run_chunk(k / 16u), p.n_k), run_which(k / 16u));
        }
        [[unroll]] for (uint n = 0u; n < 16u; n++) w_tile[16u * j + n][r / 4u][r % 4u] = run.v[n / 4u][n % 4u];
    }
    for (uint i = gl_LocalInvocationIndex; i < SL_TILE_Y * RUNS; i += WORKGROUP) {
        const uint t = i % SL_TILE_Y, j = i / SL_TILE_Y, k = k0 + 16u * j;
        Run run = Run(vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0)));
        if (t < columns() && k < p.n_k) run = load_column(t, k);
        [[unroll]] for (uint n = 0u; n < 16u; n++)
            x_tile[16u * j + n][t / TOKENS][t % TOKENS] = run.v[n / 4u][n % 4u];
    }
}

void main()
{
    const uint row0 = gl_WorkGroupID.x * SL_TILE_X;
    const uint me = gl_LocalInvocationIndex, rows = me % (SL_TILE_X / ROWS), tokens = me / (SL_TILE_X / ROWS);
#ifdef GROUPED
    share = Tiles(p.tiles).at[gl_WorkGroupID.y];
    if (share.count == 0u) return; // a workgroup
#endif
    vec4 sums[TOKENS][ROWS / 4];
    [[unroll]] for (uint t = 0u; t < TOKENS; t++)
        [[unroll]] for (uint i = 0u; i < ROWS / 4u; i++) sums[t][i] = vec4(0.0);

    for (uint k0 = 0u; k0 < p.n_k; k0 += DEPTH) {
        barrier();
        stage(row0, k0);
        barrier();
        if (me < MAKERS) {
            for (uint k0 = 0u; k0 < DEPTH; k0 += 4u) {
                [[unroll]] for (uint k = k0; k < k0 + 4u; k++) {
                    const X_VECTOR x = x_tile[k][tokens];
                    [[unroll]] for (uint i = 0u; i < ROWS / 4u; i++) {
                        const vec4 w = w_tile[k][rows * (ROWS / 4u) + i];
                        [[unroll]] for (uint t = 0u; t < TOKENS; t++) sums[t][i] = fma(w, vec4(x[t]), sums[t][i]);
                    }
                }
            }
        }
    }
    if (me >= MAKERS) return;
    [[unroll]] for (uint t = 0u; t < TOKENS; t++) {
        const uint column = tokens * TOKENS + t;
        if (column >= columns()) continue;
        [[unroll]] for (uint i = 0u; i < ROWS; i++) {
            const uint r = row0 + rows * ROWS + i;
            if (r < p.n_out) put(column, r, sums[t][i / 4u][i % 4u]);
        }
    }
}
