#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
layout(constant_id = SL_ATTENTION_KV_TYPE) const uint KV_TYPE = SL_KV_F16;
#include "attention/attention.glsl"
#include "attention/kv_rows.glsl"

// One workgroup: the query heads of one token (x) that share a kv head (y), over one split (z) of the keys.
//
// A step takes KEYS keys. Four invocations share a key for the scores: each loads every fourth piece of its row
// and multiplies it with the query of every head, and two shuffles add the four parts; that works at any subgroup size
// from 4. For the values the workgroup is laid out anew: D / 8 invocations share a row, each keeps the sums of its 8
// elements for all heads over every ROWS-th key. The rows' sums are added once at the end. Keys and values of the next
// step are loaded as soon as the registers of this one's are free, and arrive while the other half is computed.
SL_PUSH(sl_push_attention);

// Query heads at a time; more take another pass over the keys. Heads that are not there are computed with a query of
// zeros and not stored: a branch for each would cost more.
layout(constant_id = SL_DECODE_HEADS) const uint HEADS = SL_DECODE_HEADS_USUAL;

const uint D = SL_KEY;
const uint PIECES = D / 8u;               // of a row of the cache
const uint KEY_PIECES = (PIECES + 3u) / 4u; // that one invocation loads of a key
const uint KEYS = SL_TILE_Y;
const uint GROUP = KEYS * 4u; // what the registry gives as WORKGROUP
const uint PAGES = KEYS / PAGE;
const uint ROWS = GROUP / PIECES; // keys whose values are loaded at once
const uint ROW_KEYS = (KEYS + ROWS - 1u) / ROWS;

shared vec4 query[HEADS * D / 4u];
shared float scores[2u * HEADS * KEYS];
shared float maxima[HEADS * KEYS];     // of each subgroup, of which there are at most KEYS
shared float maximum[2u * HEADS];      // of each head so far
shared float scales[2u * HEADS];       // what the step multiplies earlier sums by
shared vec4 row_sums[GROUP * 2u];
shared float row_weights[ROWS];

uint lane; // index in the workgroup; lanes of a subgroup are neighbours
uvec4 key_data[KEY_PIECES];
uvec4 value_data[ROW_KEYS];
vec4 sums[HEADS * 2u];
float weights[HEADS];

void load_query(uint token, uint first_head, uint count)
{
    F32x4 q = F32x4(offset(offset_mul(p.q, token, p.q_stride * 4u), first_head * D * 4u));
    for (uint i = lane; i < HEADS * D / 4u; i += GROUP) {
        vec4 e = vec4(0.0);
        if (i < count * D / 4u) e = q.at[i] * p.scale;
        query[i] = e;
    }
    if (lane < HEADS) maximum[lane] = NO_SCORE;
    [[unroll]] for (uint h = 0u; h < HEADS; h++) {
        sums[h * 2u] = sums[h * 2u + 1u] = vec4(0.0);
        weights[h] = 0.0;
    }
}

// The page that key `key` of the step stands in.
uint page_of(uint pages[PAGES], uint key)
{
    uint page = pages[0];
    [[unroll]] for (uint i = 1u; i < PAGES; i++)
        if (key / PAGE == i) page = pages[i];
    return page;
}

// Pages of a step; behind the last key, the last page again: every load is of an entry that is there.
void find_pages(U32 table, uint first, uvec2 range, out uint pages[PAGES])
{
    uint last = (max(range.y, 1u) - 1u) / PAGE;
    [[unroll]] for (uint i = 0u; i < PAGES; i++)
        pages[i] = table.at[min(first / PAGE + i, last)];
}

// Loads keys first .. first + KEYS - 1; those outside `range` are not touched: their memory may be anything.
void load_keys(uint first, uvec2 range, uint g, uint pages[PAGES])
{
    uint key = lane / 4u;
    bool seen = first + key >= range.x && first + key < range.y;
    uvec2 rows = page_rows(p.k_cache, page_of(pages, key), g, p.n_kv_heads, D);
    [[unroll]] for (uint i = 0u; i < KEY_PIECES; i++) {
        uint piece = i * 4u + lane % 4u;
        key_data[i] = uvec4(0u);
        if (seen && piece < PIECES)
            key_data[i] = load_piece(rows, key % PAGE * PIECES + piece, scales_of(rows, D), scale_at(key % PAGE, piece, D));
    }
}

void load_values(uint first, uvec2 range, uint g, uint pages[PAGES])
{
    [[unroll]] for (uint i = 0u; i < ROW_KEYS; i++) {
        uint key = lane / PIECES + i * ROWS;
        uvec2 rows = page_rows(p.v_cache, page_of(pages, key), g, p.n_kv_heads, D);
        value_data[i] = uvec4(0u);
        if (lane < ROWS * PIECES && key < KEYS && first + key >= range.x && first + key < range.y)
            value_data[i] = load_piece(rows, key % PAGE * PIECES + lane % PIECES, scales_of(rows, D),
                                       scale_at(key % PAGE, lane % PIECES, D));
    }
}

// Scores of this step's keys for all heads, and their maximum over each subgroup.
void score_step(uint first, uvec2 range, uint parity)
{
    float s[HEADS];
    [[unroll]] for (uint h = 0u; h < HEADS; h++)
        s[h] = 0.0;
    [[unroll]] for (uint i = 0u; i < KEY_PIECES; i++) {
        uint piece = min(i * 4u + lane % 4u, PIECES - 1u); // past the end the key's piece is 0
        vec4 a = low_half(key_data[i]), b = high_half(key_data[i]);
        [[unroll]] for (uint h = 0u; h < HEADS; h++) {
            uint at = h * (D / 4u) + piece * 2u;
            s[h] += dot(query[at], a) + dot(query[at + 1u], b);
        }
    }
    uint key = lane / 4u;
    bool seen = first + key >= range.x && first + key < range.y;
    [[unroll]] for (uint h = 0u; h < HEADS; h++) {
        s[h] += subgroupShuffleXor(s[h], 1u);
        s[h] += subgroupShuffleXor(s[h], 2u);
        if (p.softcap > 0.0) s[h] = soften(s[h], p.softcap);
        if (!seen) s[h] = NO_SCORE;
        float largest = subgroupMax(s[h]);
        if (subgroupElect()) maxima[h * KEYS + gl_SubgroupID] = largest;
        if (lane % 4u == h % 4u) scores[(parity * HEADS + h) * KEYS + key] = s[h];
    }
}

// Turns scores into exp(score - maximum so far).
void weigh_step(uint parity)
{
    for (uint i = lane; i < HEADS * KEYS; i += GROUP) {
        uint h = i / KEYS;
        float before = maximum[parity * HEADS + h], now = before;
        for (uint j = 0u; j < gl_NumSubgroups; j++)
            now = max(now, maxima[h * KEYS + j]);
        float s = scores[parity * HEADS * KEYS + i];
        scores[parity * HEADS * KEYS + i] = IS_SCORE(s) ? exp(s - now) : 0.0;
        if (i % KEYS == 0u) {
            maximum[(1u - parity) * HEADS + h] = now;
            scales[parity * HEADS + h] = exp(before - now);
        }
    }
}

void sum_step(uint parity)
{
    [[unroll]] for (uint h = 0u; h < HEADS; h++) {
        float scale = scales[parity * HEADS + h];
        sums[h * 2u] *= scale;
        sums[h * 2u + 1u] *= scale;
        weights[h] *= scale;
    }
    [[unroll]] for (uint i = 0u; i < ROW_KEYS; i++) {
        uint key = lane / PIECES + i * ROWS;
        if (key < KEYS) {
            vec4 a = low_half(value_data[i]), b = high_half(value_data[i]);
            [[unroll]] for (uint h = 0u; h < HEADS; h++) {
                float weight = scores[(parity * HEADS + h) * KEYS + key];
                sums[h * 2u] += weight * a;
                sums[h * 2u + 1u] += weight * b;
                weights[h] += weight;
            }
        }
    }
}

void store(uint token, uint head, uint split, uint d, vec4 total, float sum, float largest)
{
    if (p.n_splits == 1u) {
        F32x4 y = F32x4(offset(offset_mul(p.y, token, p.y_stride * 4u), head * D * 4u));
        y.at[d / 4u] = sum > 0.0 ? total / sum : vec4(0.0);
        return;
    }
    F32 y = F32(offset_mul(p.partial, (token * p.n_heads + head) * p.n_splits + split, (D + 2u) * 4u));
    y.at[d] = total.x;
    y.at[d + 1u] = total.y;
    y.at[d + 2u] = total.z;
    y.at[d + 3u] = total.w;
    if (d == 0u) {
        y.at[D] = sum > 0.0 ? largest : uintBitsToFloat(0xff800000u);
        y.at[D + 1u] = sum;
    }
}

// Adds up the rows, one head at a time.
void store_heads(uint token, uint first_head, uint count, uint split, uint parity)
{
    [[unroll]] for (uint h = 0u; h < HEADS; h++) {
        if (h < count) {
            row_sums[lane * 2u] = sums[h * 2u];
            row_sums[lane * 2u + 1u] = sums[h * 2u + 1u];
            if (lane < ROWS * PIECES && lane % PIECES == 0u) row_weights[lane / PIECES] = weights[h];
            barrier();
            if (lane < D / 4u) {
                vec4 total = vec4(0.0);
                float sum = 0.0;
                for (uint row = 0u; row < ROWS; row++) {
                    total += row_sums[row * PIECES * 2u + lane];
                    sum += row_weights[row];
                }
                store(token, first_head + h, split, lane * 4u, total, sum, maximum[parity * HEADS + h]);
            }
            barrier();
        }
    }
}

void main()
{
    lane = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
    uint token = gl_WorkGroupID.x, g = gl_WorkGroupID.y, split = gl_WorkGroupID.z;
    uint group = p.n_heads / p.n_kv_heads;
    uint position = U32(p.positions).at[token];
    uvec2 range = split_range(visible(position, p.window), split, p.n_splits);
    uvec2 table_at = p.block_table;
    if (range.y != 0u) table_at = offset_mul(table_at, U32(p.sequences).at[token], p.table_stride * 4u);
    U32 table = U32(table_at);

    for (uint done = 0u; done < group; done += HEADS) {
        uint first_head = g * group + done, count = min(HEADS, group - done), parity = 0u;
        load_query(token, first_head, count);
        barrier();
        uint first = range.x / PAGE * PAGE, pages[PAGES], next_pages[PAGES];
        find_pages(table, first, range, pages);
        load_keys(first, range, g, pages);
        load_values(first, range, g, pages);
        for (; first < range.y; first += KEYS) {
            find_pages(table, first + KEYS, range, next_pages);
            score_step(first, range, parity);
            load_keys(first + KEYS, range, g, next_pages);
            barrier();
            weigh_step(parity);
            barrier();
            sum_step(parity);
            load_values(first + KEYS, range, g, next_pages);
            parity = 1u - parity;
        }
        store_heads(token, first_head, count, split, parity);
    }
}
