// fused.glsl - what the fused products share: the input in shared memory, chunks of weights in flight, sums.
//
// Before: blocks.glsl, the push block `p` with x, x_stride, norm, eps and row_bytes, the specialization constants of push.h
// (SL_FUSED_*), macros ROWS (that a subgroup computes at once), IN_FLIGHT (chunks of each that an invocation has in flight)
// and MATRICES (2: act(w x) * (w2 x)), and
//   Chunk weight_chunk(uint which, uint r, uint i)  chunk i of row r of matrix `which`
#ifndef SL_FUSED_GLSL
#define SL_FUSED_GLSL
#include "activation.glsl"
#include "rows_out.glsl"
#include "reduce.glsl"

#define X_FLOAT (SL_KEY == 0 || SL_KEY == 1 || SL_KEY == 30)
#if !X_FLOAT
#include "matmul/quants.glsl"
#endif

#define SUMS (ROWS * MATRICES) // rows of weights that a subgroup has in hand
const uint CHUNKS = N_K / (16u * CHUNK_RUNS);   // in a row
const uint STEP_CHUNKS = SUBGROUP * IN_FLIGHT;  // of a row, in one step of a subgroup
const uint STEPS = (CHUNKS + STEP_CHUNKS - 1u) / STEP_CHUNKS;
const bool FULL = CHUNKS % STEP_CHUNKS == 0u;

// Shared memory holds x of one column; more columns read it where it is.
#if X_FLOAT || defined(HALVES)
const bool STAGED = COLUMNS == 1u && N_K <= SL_FUSED_N_K_MAX / 2u;
#else
const bool STAGED = COLUMNS == 1u && N_K <= SL_FUSED_N_K_MAX;
#endif

layout(buffer_reference, std430, buffer_reference_align = 8) buffer F32x2 { vec2 at[]; };

// ---- x ----

// Neighbouring invocations read neighbouring 16-byte pieces, so that shared memory answers without conflicts: piece
// `part` of chunk i stands behind that of chunk i - 1, in groups of eight chunks.
uint slot(uint i, uint part, uint parts) { return (i & ~7u) * parts + part * 8u + (i & 7u); }

#if X_FLOAT
shared vec4 x_shared[STAGED ? (CHUNKS + 7u) / 8u * 32u : 1u];
uint vec4_slot(uint v) { return slot(v >> 2, v & 3u, 4u); }
#else
const uint RUN_VECTORS = BLOCK_VECTORS / 2; // of 16 bytes
shared uvec4 x_shared[STAGED ? (CHUNKS + 7u) / 8u * 8u * BLOCK_VECTORS : 1u];
shared vec2 scale_shared[STAGED ? N_K / 32u : 1u];

// Where vector `vector` of a row of x stands.
uint vector_slot(uint vector)
{
    const uint j = vector / RUN_VECTORS;
    return slot(run_chunk(j), run_which(j) * RUN_VECTORS + vector % RUN_VECTORS, BLOCK_VECTORS);
}
#endif

// Vectors of four of x that one invocation keeps: rows up to REGISTERS * 4 * WORKGROUP are read once.
const uint REGISTERS = 8u;
const bool HELD = N_K / 4u <= REGISTERS * WORKGROUP && SUBGROUP >= 8u;

// x as it is multiplied goes to shared memory from f32: normed, and in blocks unless the weights are floats.
#if X_FLOAT
void put_x(uint i, vec4 v)
{
    if (i < N_K / 4u) x_shared[vec4_slot(i)] = v;
}
#else
// Eight neighbouring invocations have a block of 32, four elements each. All of a subgroup must call.
void put_x(uint i, vec4 v)
{
    const vec4 size = abs(v);
    float most = max(max(size.x, size.y), max(size.z, size.w));
    most = max(most, subgroupShuffleXor(most, 1u));
    most = max(most, subgroupShuffleXor(most, 2u));
    most = max(most, subgroupShuffleXor(most, 4u));
#ifdef HALVES
    const float d = most, inverse = d > 0.0 ? 1.0 / d : 0.0;
    const uvec2 words = halves_of(v * inverse);
    float sum = sum_of(words);
#else
    const float d = most / 127.0, inverse = d > 0.0 ? 1.0 / d : 0.0;
    const ivec4 q = ivec4(round(v * inverse));
    int sum = q.x + q.y + q.z + q.w;
#endif
    sum += subgroupShuffleXor(sum, 1u);
    sum += subgroupShuffleXor(sum, 2u);
    sum += subgroupShuffleXor(sum, 4u);
    if (i < N_K / 4u) {
#ifdef HALVES
        x_shared[vector_slot(i >> 1)][2u * (i & 1u)] = words.x;
        x_shared[vector_slot(i >> 1)][2u * (i & 1u) + 1u] = words.y;
#else
        x_shared[vector_slot(i >> 2)][i & 3u] = bytes_of(q);
#endif
        if ((i & 7u) == 0u) scale_shared[i >> 3] = vec2(d, d * float(sum));
    }
}
#endif

vec4 x_or_zero(uvec2 x, uint i) { return i < N_K / 4u ? F32x4(x).at[i] : vec4(0.0); }
vec4 weight_of(uint i) { return INPUT == SL_INPUT_NORM && i < N_K / 4u ? F32x4(p.norm).at[i] : vec4(1.0); }

float scale_of(float squares)
{
    return INPUT == SL_INPUT_NORM ? inversesqrt(workgroup_sum(squares) / float(N_K) + p.eps) : 1.0;
}

// Where the row fits registers, x and the norm's weights are loaded at once, before anything waits.
void stage_held(uvec2 x)
{
    vec4 v[REGISTERS], w[REGISTERS];
    float squares = 0.0;
    [[unroll]] for (uint j = 0u; j < REGISTERS; j++) {
        v[j] = w[j] = vec4(0.0);
        if (j * WORKGROUP < N_K / 4u) {
            v[j] = x_or_zero(x, j * WORKGROUP + gl_LocalInvocationIndex);
            w[j] = weight_of(j * WORKGROUP + gl_LocalInvocationIndex);
        }
    }
    [[unroll]] for (uint j = 0u; j < REGISTERS; j++) squares += dot(v[j], v[j]);
    const float scale = scale_of(squares);
    [[unroll]] for (uint j = 0u; j < REGISTERS; j++)
        if (j * WORKGROUP < N_K / 4u) put_x(j * WORKGROUP + gl_LocalInvocationIndex, v[j] * scale * w[j]);
}

void stage_long(uvec2 x)
{
    float squares = 0.0;
    if (INPUT == SL_INPUT_NORM)
        for (uint i = gl_LocalInvocationIndex; i < N_K / 4u; i += WORKGROUP) {
            const vec4 v = F32x4(x).at[i];
            squares += dot(v, v);
        }
    const float scale = scale_of(squares);
#if !X_FLOAT
    if (SUBGROUP < 8u) { // too few to share a block: an invocation has one
        for (uint b = gl_LocalInvocationIndex; b < N_K / 32u; b += WORKGROUP) {
            vec4 v[8];
            uvec4 words[BLOCK_VECTORS];
            [[unroll]] for (uint j = 0u; j < 8u; j++) v[j] = F32x4(x).at[b * 8u + j] * scale * weight_of(b * 8u + j);
            scale_shared[b] = block_of(v, words);
            [[unroll]] for (uint j = 0u; j < BLOCK_VECTORS; j++) x_shared[vector_slot(BLOCK_VECTORS * b + j)] = words[j];
        }
        return;
    }
#endif
    for (uint j = 0u; j < N_K / 4u; j += WORKGROUP) {
        const uint i = j + gl_LocalInvocationIndex;
        put_x(i, x_or_zero(x, i) * scale * weight_of(i));
    }
}

// x in shared memory. Every invocation must call; ends with a barrier.
void stage_x(uvec2 x)
{
    if (!STAGED) return;
#if !X_FLOAT
    if (INPUT == SL_INPUT_ROWS) {
        for (uint j = gl_LocalInvocationIndex; j < N_K / 32u * BLOCK_VECTORS; j += WORKGROUP)
            x_shared[vector_slot(j)] = U32x4(x).at[j];
        for (uint b = gl_LocalInvocationIndex; b < N_K / 32u; b += WORKGROUP)
            scale_shared[b] = F32x2(block_scales(x, N_K)).at[b];
        barrier();
        return;
    }
#endif
    if (HELD)
        stage_held(x);
    else
        stage_long(x);
    barrier();
}

#if X_FLOAT
Run x_of(uvec2 x, uint column, uint i)
{
    Run run;
    [[unroll]] for (uint j = 0u; j < 4u; j++)
        run.v[j] = STAGED ? x_shared[slot(i, j, 4u)] : F32x4(x).at[column * (p.x_stride / 4u) + i * 4u + j];
    return run;
}
#else
X x_of(uvec2 x, uint column, uint i)
{
    const uint j0 = chunk_k(i, 0u) / 16u, j1 = chunk_k(i, 1u) / 16u;
    X a;
    if (STAGED) {
        [[unroll]] for (uint v = 0u; v < RUN_VECTORS; v++) {
            a.run0[v] = x_shared[slot(i, v, BLOCK_VECTORS)];
            a.run1[v] = x_shared[slot(i, RUN_VECTORS + v, BLOCK_VECTORS)];
        }
        a.s0 = scale_shared[j0 / 2u];
        a.s1 = scale_shared[j1 / 2u];
        return a;
    }
    const uvec2 row = offset_mul(x, column, bytes_of_row(BLOCK_FORMAT, p.x_stride));
    F32x2 scales = F32x2(block_scales(row, N_K));
    [[unroll]] for (uint v = 0u; v < RUN_VECTORS; v++) {
        a.run0[v] = U32x4(row).at[j0 * RUN_VECTORS + v];
        a.run1[v] = U32x4(row).at[j1 * RUN_VECTORS + v];
    }
    a.s0 = scales.at[j0 / 2u];
    a.s1 = scales.at[j1 / 2u];
    return a;
}
#endif

// ---- weights ----

// These are macros because an array of chunks that is passed or copied as a whole ends up in memory, not in registers.

// The subgroup's chunks of step `step` of the rows from `first` on; rows beyond the last repeat it.
#define LOAD_CHUNKS(chunks, first, step)                                                                               \
    [[unroll]] for (uint s = 0u; s < SUMS; s++) {                                                                      \
        [[unroll]] for (uint u = 0u; u < IN_FLIGHT; u++) {                                                             \
            const uint i = (step) * STEP_CHUNKS + u * SUBGROUP + gl_SubgroupInvocationID;                              \
            chunks[s * IN_FLIGHT + u] =                                                                                \
                weight_chunk(s / ROWS, min((first) + s % ROWS, p.n_out - 1u), FULL ? i : min(i, CHUNKS - 1u));         \
        }                                                                                                              \
    }

#if X_FLOAT
#define ADD_CHUNK(x, chunks, u, i, sums)                                                                               \
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {                                                                   \
        const Run activations = x_of(x, c, i);                                                                         \
        [[unroll]] for (uint s = 0u; s < SUMS; s++)                                                                    \
            sums[c][s] = run_dot(chunk_run(chunks[s * IN_FLIGHT + u], 0u), activations, sums[c][s]);                   \
    }
#else
#define ADD_CHUNK(x, chunks, u, i, sums)                                                                               \
    Quants weights[SUMS];                                                                                              \
    [[unroll]] for (uint s = 0u; s < SUMS; s++) weights[s] = chunk_quants(chunks[s * IN_FLIGHT + u]);                  \
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {                                                                   \
        const X a = x_of(x, c, i);                                                                                     \
        [[unroll]] for (uint s = 0u; s < SUMS; s++) sums[c][s] += chunk_dot(weights[s], a);                            \
    }
#endif

#define ADD_CHUNKS(x, chunks, step, sums)                                                                              \
    [[unroll]] for (uint u = 0u; u < IN_FLIGHT; u++) {                                                                 \
        const uint i = (step) * STEP_CHUNKS + u * SUBGROUP + gl_SubgroupInvocationID;                                  \
        if (FULL || i < CHUNKS) {                                                                                      \
            ADD_CHUNK(x, chunks, u, i, sums)                                                                           \
        }                                                                                                              \
    }

// ---- results ----

shared float made[OUTPUT != SL_ROWS_F32 ? COLUMNS * ROWS_GROUP : 1u];

float activated(float gate, float up) { return MATRICES == 1u ? gate : ACTIVATED(ACT, gate) * up; }

// Of column c, what this invocation (the r-th of its subgroup, r < ROWS) keeps.
float own_result(float sums[COLUMNS][SUMS], uint c)
{
    float gate = 0.0, up = 0.0;
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        const float g = subgroupAdd(sums[c][r]);
        const float u = MATRICES == 2u ? subgroupAdd(sums[c][SUMS - ROWS + r]) : 0.0;
        if (gl_SubgroupInvocationID == r) {
            gate = g;
            up = u;
        }
    }
    return activated(gate, up);
}

// The workgroup's rows (`begin` on) in blocks, after all are made. Every invocation must call.
void put_made(uvec2 y, uint n, uint begin)
{
    barrier();
    const uint blocks = ROWS_GROUP / 32u;
    for (uint i = gl_LocalInvocationIndex; i < COLUMNS * blocks; i += WORKGROUP) {
        const uint c = i / blocks, b = i % blocks;
        if (begin + b * 32u >= n) continue;
        vec4 v[8];
        [[unroll]] for (uint j = 0u; j < 8u; j++) {
            const uint at = c * ROWS_GROUP + b * 32u + j * 4u;
            v[j] = vec4(made[at], made[at + 1u], made[at + 2u], made[at + 3u]);
        }
        put_block(offset_mul(y, c, bytes_of_row(BLOCK_FORMAT, p.y_stride)), n, begin / 32u + b, v);
    }
}
#endif
