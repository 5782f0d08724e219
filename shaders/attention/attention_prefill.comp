#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
layout(constant_id = SL_ATTENTION_KV_TYPE) const uint KV_TYPE = SL_KV_F16;
#include "attention/attention.glsl"
#include "attention/kv_rows.glsl"
#include "rows_out.glsl"

// One workgroup: SL_TILE_X consecutive tokens (y) of one query head (x), over the keys one page at a time with running
// maxima and sums, so that nothing grows with the length. Source: Dao et al. 2022 (FlashAttention).
//
// Both products are register tiles over f32 staging in shared memory: 4 query rows by SCORE_COLUMNS keys, and 4 query
// rows by SUM_COLUMNS groups of 4 elements. Q and K are staged in chunks of the head size; Q is read again for every
// page, from the cache, which leaves room for four workgroups on a multiprocessor. Rows of the staging are one vec4
// longer than their data, so that rows fall into different banks.
//
// Tokens of a tile that belong to one sequence form a run; runs are done one after another. Usually there is one. The
// tiles with the largest numbers start first: in a prompt they have the most keys.
SL_PUSH(sl_push_attention);

const uint D = SL_KEY;
const uint D4 = D / 4u;
const uint ROWS = SL_TILE_X;
const uint THREADS = 128u;                           // what the registry gives as WORKGROUP
const uint DOWN = ROWS / 4u;                         // invocations down a tile ...
const uint ACROSS = THREADS / DOWN;                  // ... and across
const uint SCORE_COLUMNS = PAGE / ACROSS;            // keys of an invocation
const uint SUM_COLUMNS = (D4 + ACROSS - 1u) / ACROSS; // vec4 of an invocation
const uint CHUNK4 = D % 32u == 0u ? 8u : 4u;         // vec4 of Q and K staged at a time
const uint STRIDE = CHUNK4 + 1u;
const uint K_STAGE = ROWS * STRIDE;                  // where K begins behind Q
const uint V_KEYS = D <= 64u ? 32u : D <= 128u ? 16u : 8u; // keys of V staged at a time
const uint STAGE = max((ROWS + PAGE) * STRIDE, V_KEYS * D4);
const uint WEIGHT_STRIDE = PAGE / 4u + 1u;
const uint ROW_LANES = THREADS / ROWS;               // invocations that share a row of weights

shared vec4 stage[STAGE];
shared vec4 weights[ROWS * WEIGHT_STRIDE];
shared float row_scale[ROWS];

uint lane, down, across, first_token, head, g;
#define RUNS_SIDE_BY_SIDE 0
#include "attention/prefill_rows.glsl"
vec4 sums[4][SUM_COLUMNS];
float row_maximum, row_sum; // of row lane / ROW_LANES

void stage_query(uint chunk)
{
    [[unroll]] for (uint i = 0u; i < ROWS * CHUNK4 / THREADS; i++) {
        uint at = i * THREADS + lane, row = at / CHUNK4, column = at % CHUNK4;
        uint token = min(first_token + row, p.n_tokens - 1u);
        F32x4 q = F32x4(offset(offset_mul(p.q, token, p.q_stride * 4u), head * D * 4u));
        stage[row * STRIDE + column] = q.at[chunk * CHUNK4 + column];
    }
}

void stage_keys(uvec2 rows, uint chunk, uvec2 keys)
{
    const uint pieces = CHUNK4 / 2u;
    if (lane < PAGE * pieces) {
        uint key = lane / pieces, piece = lane % pieces;
        uvec4 k = uvec4(0u);
        if (key >= keys.x && key < keys.y)
            k = load_piece(rows, key * (D / 8u) + chunk * pieces + piece, scales_of(rows, D), scale_at(key, chunk * pieces + piece, D));
        uint at = K_STAGE + key * STRIDE + piece * 2u;
        stage[at] = low_half(k);
        stage[at + 1u] = high_half(k);
    }
}

// Keys outside keys.x .. keys.y - 1 are not touched: their memory may be anything, and 0 times that anything.
void stage_values(uvec2 rows, uint first, uvec2 keys)
{
    const uint pieces = D / 8u;
    for (uint i = lane; i < V_KEYS * pieces; i += THREADS) {
        uint key = first + i / pieces;
        uvec4 v = uvec4(0u);
        if (key >= keys.x && key < keys.y) v = load_piece(rows, first * pieces + i, scales_of(rows, D), scale_at(key, i % pieces, D));
        stage[i * 2u] = low_half(v);
        stage[i * 2u + 1u] = high_half(v);
    }
}

// Scores of all rows with the keys of a page that begins at key `first`, into `weights`.
void score_page(uvec2 k_rows, uint first, uvec2 keys, uvec2 ranges[4])
{
    float s[4][SCORE_COLUMNS];
    [[unroll]] for (uint i = 0u; i < 4u; i++)
        [[unroll]] for (uint j = 0u; j < SCORE_COLUMNS; j++)
            s[i][j] = 0.0;
    for (uint chunk = 0u; chunk < D4 / CHUNK4; chunk++) {
        barrier();
        stage_query(chunk);
        stage_keys(k_rows, chunk, keys);
        barrier();
        [[unroll]] for (uint c = 0u; c < CHUNK4; c++) {
            vec4 q[4];
            [[unroll]] for (uint i = 0u; i < 4u; i++)
                q[i] = stage[(down + DOWN * i) * STRIDE + c];
            [[unroll]] for (uint j = 0u; j < SCORE_COLUMNS; j++) {
                vec4 k = stage[K_STAGE + (across + ACROSS * j) * STRIDE + c];
                [[unroll]] for (uint i = 0u; i < 4u; i++)
                    s[i][j] += dot(q[i], k);
            }
        }
    }
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        [[unroll]] for (uint j = 0u; j < SCORE_COLUMNS; j++) {
            uint column = across + ACROSS * j, key = first + column;
            float score = s[i][j] * p.scale;
            if (p.softcap > 0.0) score = soften(score, p.softcap);
            if (key < ranges[i].x || key >= ranges[i].y) score = NO_SCORE;
            weights[(down + DOWN * i) * WEIGHT_STRIDE + column / 4u][column % 4u] = score;
        }
    }
    barrier();
}

// Turns a row of scores into exp(score - maximum so far); the factor for earlier sums into row_scale.
void weigh_page()
{
    const uint count = PAGE / 4u / ROW_LANES;
    uint row = lane / ROW_LANES, at = row * WEIGHT_STRIDE + lane % ROW_LANES;
    vec4 s[count];
    float largest = row_maximum, sum = 0.0;
    [[unroll]] for (uint i = 0u; i < count; i++) {
        s[i] = weights[at + i * ROW_LANES];
        largest = max(largest, max(max(s[i].x, s[i].y), max(s[i].z, s[i].w)));
    }
    [[unroll]] for (uint step = 1u; step < ROW_LANES; step *= 2u)
        largest = max(largest, subgroupShuffleXor(largest, step));
    [[unroll]] for (uint i = 0u; i < count; i++) {
        vec4 w = exp(s[i] - largest);
        [[unroll]] for (uint e = 0u; e < 4u; e++)
            if (!IS_SCORE(s[i][e])) w[e] = 0.0;
        weights[at + i * ROW_LANES] = w;
        sum += w.x + w.y + w.z + w.w;
    }
    [[unroll]] for (uint step = 1u; step < ROW_LANES; step *= 2u)
        sum += subgroupShuffleXor(sum, step);
    // Exactly 1 for a page that the row does not see: then it makes no difference which rows share the tile.
    float scale = largest == row_maximum ? 1.0 : exp(row_maximum - largest);
    row_maximum = largest;
    row_sum = row_sum * scale + sum;
    if (lane % ROW_LANES == 0u) row_scale[row] = scale;
    barrier();
}

void sum_page(uvec2 v_rows, uvec2 keys)
{
    [[unroll]] for (uint i = 0u; i < 4u; i++)
        [[unroll]] for (uint j = 0u; j < SUM_COLUMNS; j++)
            sums[i][j] *= row_scale[down + DOWN * i];
    for (uint first = 0u; first < PAGE; first += V_KEYS) {
        if (first != 0u) barrier();
        stage_values(v_rows, first, keys);
        barrier();
        [[unroll]] for (uint k4 = 0u; k4 < V_KEYS / 4u; k4++) {
            vec4 w[4];
            [[unroll]] for (uint i = 0u; i < 4u; i++)
                w[i] = weights[(down + DOWN * i) * WEIGHT_STRIDE + first / 4u + k4];
            [[unroll]] for (uint e = 0u; e < 4u; e++) {
                [[unroll]] for (uint j = 0u; j < SUM_COLUMNS; j++) {
                    vec4 v = stage[(k4 * 4u + e) * D4 + min(across + ACROSS * j, D4 - 1u)];
                    [[unroll]] for (uint i = 0u; i < 4u; i++)
                        sums[i][j] += w[i][e] * v;
                }
            }
        }
    }
}

void do_run(uvec4 run)
{
    uvec2 ranges[4];
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint row = down + DOWN * i;
        ranges[i] = row >= run.x && row < run.y ? row_range[row] : uvec2(0u);
    }
    U32 table = U32(offset_mul(p.block_table, sequence_of(run.x), p.table_stride * 4u));
    for (uint first = run.z / PAGE * PAGE; first < run.w; first += PAGE) {
        uint page = table.at[min(first, run.w - 1u) / PAGE];
        uvec2 keys = uvec2(max(run.z, first) - first, min(run.w - first, PAGE));
        score_page(page_rows(p.k_cache, page, g, p.n_kv_heads, D), first, keys, ranges);
        weigh_page();
        sum_page(page_rows(p.v_cache, page, g, p.n_kv_heads, D), keys);
    }
}

void store_rows()
{
    if (lane % ROW_LANES == 0u) row_scale[lane / ROW_LANES] = row_sum > 0.0 ? 1.0 / row_sum : 0.0;
    barrier();
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint row = down + DOWN * i, token = first_token + row;
        if (token < p.n_tokens) {
            const uint bytes = p.format == SL_ROWS_F16 ? 2u : 4u;
            uvec2 y = offset(offset_mul(p.y, token, p.y_stride * bytes), head * D * bytes);
            [[unroll]] for (uint j = 0u; j < SUM_COLUMNS; j++) {
                const uint at = across + ACROSS * j;
                if (at >= D4) continue;
                if (p.format == SL_ROWS_F16)
                    put_halves(y, at, sums[i][j] * row_scale[row]);
                else
                    F32x4(y).at[at] = sums[i][j] * row_scale[row];
            }
        }
    }
}

void main()
{
    lane = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
    down = lane / ACROSS;
    across = lane % ACROSS;
    head = gl_WorkGroupID.x;
    g = head / (p.n_heads / p.n_kv_heads);
    first_token = (gl_NumWorkGroups.y - 1u - gl_WorkGroupID.y) * ROWS;
    row_maximum = NO_SCORE;
    row_sum = 0.0;
    [[unroll]] for (uint i = 0u; i < 4u; i++)
        [[unroll]] for (uint j = 0u; j < SUM_COLUMNS; j++)
            sums[i][j] = vec4(0.0);

    load_rows();
    for (uvec4 run = next_run(0u); run.x < run.y; run = next_run(run.y))
        do_run(run);
    barrier();
    store_rows();
}
