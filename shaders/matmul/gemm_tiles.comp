#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "activation.glsl"
#include "rows_out.glsl"
#if SL_KEY == SL_ROWS_S8
#extension GL_EXT_integer_dot_product : require
#define SUM    int
#define VECTOR uvec4
#define PER    16u // elements of a vector
#define STEP   4  // vectors of a row that are staged at once
#else
#define SUM    float
#define VECTOR uvec2
#define PER    4u
#define STEP   8
#endif
// gemm and gemm_gated (-DGATED) without matrix units: int8 rows by the packed dot product, f16 rows by f32 arithmetic. A
// workgroup makes SL_TILE_X rows of w (and as many of w2) by SL_TILE_Y tokens, an invocation ROWS by COLUMNS of these: both
// by -D, with THREADS. Rows stand in shared memory as they are in memory, 64 bytes at a time, and one more vector, so that
// neighbouring rows lie in different banks. The next step's vectors are read into registers while these are multiplied.
//
// The vectors of f16 are short on purpose: as floats they would take most registers.
SL_PUSH(sl_push_gemm);
layout(constant_id = 2) const uint N_OUT = 0;
layout(constant_id = 3) const uint N_K = 0;
layout(constant_id = 4) const uint Y_STRIDE = 0;
layout(constant_id = 6) const uint ACT = 0;

#ifdef GATED
#define MATRICES 2
#else
#define MATRICES 1
#endif
#define W_ROWS  (SL_TILE_X * MATRICES)
#define LANES_X (W_ROWS / ROWS)
#define LANES_Y (SL_TILE_Y / COLUMNS)
#define STRIDE  (STEP + 1)
#define NEAR    (THREADS / STEP) // rows that the workgroup reads at once
#define W_ITEMS (W_ROWS / NEAR)
#define X_ITEMS (SL_TILE_Y / NEAR)
#if LANES_X * LANES_Y != THREADS || W_ROWS % NEAR != 0 || SL_TILE_Y % NEAR != 0 || SL_TILE_X % NEAR != 0
#error "the tile is not what the workgroup makes"
#endif

layout(buffer_reference, std430, buffer_reference_align = 16) buffer Vectors { VECTOR at[]; };

shared VECTOR w_tile[W_ROWS * STRIDE];
shared VECTOR x_tile[SL_TILE_Y * STRIDE];

VECTOR w_next[W_ITEMS], x_next[X_ITEMS];

// Vectors at, at + 1, ... of the rows, a vector an invocation; zeros behind their end.
void fetch(uint row0, uint token0, uint step)
{
    const uint near = gl_LocalInvocationIndex / STEP, at = step + gl_LocalInvocationIndex % STEP;
    const uint vectors = N_K / PER;
    const bool there = at < vectors;
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++) {
        const uint row = row0 + near + n * NEAR % SL_TILE_X; // the second half: rows of w2
        w_next[n] = VECTOR(0u);
        if (there)
            w_next[n] = Vectors(n * NEAR < SL_TILE_X ? p.w : p.w2).at[min(row, N_OUT - 1u) * vectors + at];
    }
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) {
        x_next[n] = VECTOR(0u);
        if (there) x_next[n] = Vectors(p.x).at[min(token0 + near + n * NEAR, p.n_tokens - 1u) * vectors + at];
    }
}

void store()
{
    const uint at = gl_LocalInvocationIndex / STEP * STRIDE + gl_LocalInvocationIndex % STEP;
    [[unroll]] for (uint n = 0u; n < W_ITEMS; n++) w_tile[at + n * NEAR * STRIDE] = w_next[n];
    [[unroll]] for (uint n = 0u; n < X_ITEMS; n++) x_tile[at + n * NEAR * STRIDE] = x_next[n];
}

SUM dot_add(VECTOR w, VECTOR x, SUM sum)
{
#if SL_KEY == SL_ROWS_S8
    [[unroll]] for (uint c = 0u; c < 4u; c++) sum += dotPacked4x8EXT(int(w[c]), int(x[c]));
#else
    [[unroll]] for (uint c = 0u; c < 2u; c++) {
        const vec2 a = unpackHalf2x16(w[c]), b = unpackHalf2x16(x[c]);
        sum = fma(a.y, b.y, fma(a.x, b.x, sum));
    }
#endif
    return sum;
}

SUM sums[ROWS * COLUMNS];

// An invocation's rows are LANES_X apart, its tokens LANES_Y, so that neighbours read neighbouring rows.
void multiply(uint x, uint y)
{
    [[dont_unroll]] for (uint v = 0u; v < STEP; v++) {
        VECTOR tokens[COLUMNS];
        [[unroll]] for (uint j = 0u; j < COLUMNS; j++) tokens[j] = x_tile[(y + j * LANES_Y) * STRIDE + v];
        [[unroll]] for (uint i = 0u; i < ROWS; i++) {
            const VECTOR w = w_tile[(x + i * LANES_X) * STRIDE + v];
            [[unroll]] for (uint j = 0u; j < COLUMNS; j++)
                sums[i * COLUMNS + j] = dot_add(w, tokens[j], sums[i * COLUMNS + j]);
        }
    }
}

// What the sums of row r of a matrix are multiplied with. Scales stand behind the elements of their matrix.
float scale_of(uvec2 matrix, uint n, uint r)
{
#if SL_KEY == SL_ROWS_S8
    return F32(offset_mul(matrix, n, N_K)).at[r];
#else
    return 1.0;
#endif
}

void write(uint row0, uint token0)
{
#ifdef GATED
    const uint rows = ROWS / 2u;
#else
    const uint rows = ROWS;
#endif
    [[unroll]] for (uint i = 0u; i < rows; i++) {
        const uint r = row0 + i * LANES_X;
        if (r >= N_OUT) continue;
        const float w_scale = scale_of(p.w, N_OUT, r);
#ifdef GATED
        const float w2_scale = scale_of(p.w2, N_OUT, r);
#endif
        [[unroll]] for (uint j = 0u; j < COLUMNS; j++) {
            const uint t = token0 + j * LANES_Y;
            if (t >= p.n_tokens) continue;
            const float x_scale = scale_of(p.x, p.n_tokens, t);
            const float v = float(sums[i * COLUMNS + j]) * (x_scale * w_scale);
            const uint at = t * Y_STRIDE + r;
#ifdef GATED
            const float up = float(sums[(i + rows) * COLUMNS + j]) * (x_scale * w2_scale);
            put_half(p.y, at, ACTIVATED(ACT, v) * up);
#else
            F32(p.y).at[at] = given(p.add) ? v + F32(p.add).at[at] : v;
#endif
        }
    }
}

void main()
{
    const uint token0 = gl_WorkGroupID.x * SL_TILE_Y, row0 = gl_WorkGroupID.y * SL_TILE_X;
    const uint x = gl_LocalInvocationIndex % LANES_X, y = gl_LocalInvocationIndex / LANES_X;
    [[unroll]] for (uint i = 0u; i < ROWS * COLUMNS; i++) sums[i] = SUM(0);
    fetch(row0, token0, 0u);
    for (uint step = 0u; step < N_K / PER; step += STEP) {
        barrier();
        store();
        barrier();
        if (step + STEP < N_K / PER) fetch(row0, token0, step + STEP);
        multiply(x, y);
    }
    write(row0 + x, token0 + y);
}
