#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
layout(constant_id = SL_STEP_KV_TYPE) const uint KV_TYPE = SL_KV_F16;
#include "attention/attention.glsl"
#include "attention/kv_quantize.glsl"
#include "rows_out.glsl"

// One workgroup: the query heads of one token (x) that share a kv head (y), over one split (z) of the keys.
//
// The queries are normed, turned and put into registers while the first keys are on their way. Then each subgroup goes
// through keys of its own, STEP at a time, without a barrier. LANES invocations share a row of the cache, each has a
// piece of it (PIECES a row; P of them where a subgroup is narrower than a row) and the same elements of every query; a
// subgroup holds STREAMS such groups. What the lanes of a stream have multiplied is added by exchanging halves, so that
// each ends with other scores of the step, and an exponential is computed once. Keys of the next step are loaded when the
// products of this one are known, values when they have been added: each half of a step hides the other's latency. At the
// end the subgroups are merged through shared memory, and the splits by the workgroup that is last to finish: nobody waits
// for anybody.
//
// The key and value of the token itself come from k and v, as one more step of the last split, which also writes them into
// the cache: no workgroup reads what another one writes, but for the partial results.
SL_PUSH(sl_push_attention_step);

layout(constant_id = SL_STEP_GROUP) const uint GROUP = 4; // query heads of a kv head
layout(constant_id = SL_STEP_KV_HEADS) const uint KV_HEADS = 8;
layout(constant_id = SL_STEP_ROT_DIM) const uint ROT_DIM = 128;
layout(constant_id = SL_STEP_NEOX) const uint NEOX = 0;
layout(constant_id = SL_STEP_FORMAT) const uint FORMAT = SL_ROWS_F32;
layout(constant_id = SL_STEP_Q_STRIDE) const uint Q_STRIDE = 4096;
layout(constant_id = SL_STEP_KV_STRIDE) const uint KV_STRIDE = 1024;
layout(constant_id = SL_STEP_SCALE) const float SCALE = 1.0;
layout(constant_id = SL_STEP_SOFTCAP) const float SOFTCAP = 0.0;
layout(constant_id = SL_STEP_EPS) const float EPS = 1e-6;

const uint D = SL_KEY;
const uint ROW = D / 4u;                 // vectors of a row of floats
const float LOG2_E = 1.4426950408889634; // scores are kept in units of log(2)

// Query heads at a time; more take another pass over the keys.
const uint PASSES = (GROUP + 7u) / 8u;
const uint HEADS = (GROUP + PASSES - 1u) / PASSES;
const uint PADDED = HEADS > 4u ? 8u : HEADS > 2u ? 4u : HEADS; // to a power of two

const uint SUBGROUPS = WORKGROUP / SUBGROUP;
const uint PIECES = D / 8u; // of a row of the cache
const uint LANES = SUBGROUP < SL_TILE_X ? SUBGROUP : SL_TILE_X;
const uint P = (PIECES + LANES - 1u) / LANES;
const uint STREAMS = SUBGROUP / LANES;

// Loads in flight: keys of a stream at a time, as registers allow, and splits. With small subgroups one, for compilers
// that make many instructions of a load.
const uint WANTED = SUBGROUP < 32u ? 1u : HEADS > 4u ? SL_TILE_Y / 4u : SL_TILE_Y;
const uint U = STREAMS * WANTED <= PAGE ? WANTED : PAGE / STREAMS;
const uint FLIGHT = SUBGROUP < 32u ? 1u : 8u;
const uint STEP = STREAMS * U; // keys; divides PAGE

// Scores of a stream's step, [U][PADDED]. A lane ends with OWN of them, or SAME lanes with the same one.
const uint SCORES = U * PADDED;
const uint OWN = SCORES > LANES ? SCORES / LANES : 1u;
const uint SAME = SCORES < LANES ? LANES / SCORES : 1u;
const uint HEAD_LANES = PADDED * SAME / OWN; // lanes this far apart have scores of the same heads

// At least so much is worth a workgroup.
const uint SPLIT_PAGES = 4u;
const uint PART = D + 4u; // floats of a head's partial result: sums, maximum, sum of weights, padding

// Pieces of all heads that subgroups exchange at a time: 16 KB.
const uint ROOM = 512u / (SUBGROUPS * LANES);
const uint CHUNK = ROOM < HEADS * P ? ROOM : HEADS * P;
const uint CHUNK_VECTORS = CHUNK * LANES * 2u;

// Merging of splits: an invocation a vector of the result and, as far as they go, a team for each share of the splits.
const uint VECTORS = HEADS * ROW;
const uint TEAMS = WORKGROUP >= 2u * VECTORS ? WORKGROUP / VECTORS : 1u;

const uint EXCHANGED = SUBGROUPS * CHUNK_VECTORS > 2u * WORKGROUP ? SUBGROUPS * CHUNK_VECTORS : 2u * WORKGROUP;

layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Turns { vec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) coherent buffer Parts { vec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer Arrivals { uint at[]; };

shared vec4 rows[(HEADS + 2u) * ROW]; // queries, the new key, the new value; later results
shared vec4 exchange[EXCHANGED];
shared uvec4 fresh[2u * PIECES];      // the new key and value as in the cache
shared vec2 turns[D / 2u];            // rotations of pairs by RoPE
shared vec2 states[SUBGROUPS * HEADS]; // (maximum, sum of weights) of subgroups
shared uint arrived;

const uint NEW_KEY = HEADS, NEW_VALUE = HEADS + 1u; // rows

uint lane, subgroup, stream, first_piece;
uvec2 keys; // x <= key < y are read from the cache

vec4 query[HEADS * P * 2u];
vec4 sums[HEADS * P * 2u];
float maximum[OWN]; // of the heads that the lane's own scores are of, over the subgroup
float weight_sum[OWN]; // of its own scores
uvec4 key_data[U * P];
uvec4 value_data[U * P];

// ---- preparing rows ----

// Copies queries first_head .. first_head + count - 1, the new key and the new value to `rows`, and the token's turns.
void copy_rows(uint token, uint g, uint first_head, uint count)
{
    const uvec2 q = offset(offset_mul(p.q, token, Q_STRIDE * 4u), first_head * D * 4u);
    const uvec2 k = offset(offset_mul(p.k, token, KV_STRIDE * 4u), g * D * 4u);
    const uvec2 v = offset(offset_mul(p.v, token, KV_STRIDE * 4u), g * D * 4u);
    const uvec2 rotations = offset_mul(p.rope, token, ROT_DIM * 4u);
    const vec2 turn = lane < ROT_DIM / 2u ? Turns(rotations).at[lane] : vec2(0.0);
    for (uint i = lane; i < (HEADS + 2u) * ROW; i += WORKGROUP) {
        const uint row = i / ROW;
        const uvec2 from = row == NEW_KEY ? k : row == NEW_VALUE ? v : q;
        const uint vector = row < HEADS ? i : i % ROW;
        if (row < count || row >= HEADS) rows[i] = F32x4(offset(from, vector * 16u)).at[0];
    }
    if (lane < ROT_DIM / 2u) turns[lane] = turn;
}

float element(uint row, uint i) { return rows[row * ROW + i / 4u][i % 4u]; }

// Norms and turns a row, times `factor`. By one subgroup; a lane has pairs of its own.
void prepare_row(uint row, uvec2 weight, float factor)
{
    const uint pairs = ROT_DIM / 2u;
    if (given(weight)) {
        float squares = 0.0;
        for (uint i = gl_SubgroupInvocationID; i < ROW; i += SUBGROUP) {
            const vec4 e = rows[row * ROW + i];
            squares += dot(e, e);
        }
        factor *= inversesqrt(subgroupAdd(squares) / float(D) + EPS);
    }
    for (uint j = gl_SubgroupInvocationID; j < D / 2u; j += SUBGROUP) {
        const bool apart = NEOX != 0u && j < pairs;
        const uint a = apart ? j : 2u * j, b = apart ? j + pairs : 2u * j + 1u;
        vec2 v = vec2(element(row, a), element(row, b)) * factor;
        if (given(weight)) v *= vec2(F32(weight).at[a], F32(weight).at[b]);
        if (j < pairs) {
            const vec2 turn = turns[j];
            v = vec2(v.x * turn.x - v.y * turn.y, v.x * turn.y + v.y * turn.x);
        }
        rows[row * ROW + a / 4u][a % 4u] = v.x;
        rows[row * ROW + b / 4u][b % 4u] = v.y;
    }
}

void prepare_rows(uint count, bool with_key)
{
    const float scale = SOFTCAP > 0.0 ? SCALE : SCALE * LOG2_E;
    for (uint n = subgroup; n < count + (with_key ? 1u : 0u); n += SUBGROUPS) {
        const bool is_key = n == count;
        prepare_row(is_key ? NEW_KEY : n, is_key ? p.k_norm : p.q_norm, is_key ? 1.0 : scale);
    }
}

void begin_sums(uint count)
{
    [[unroll]] for (uint i = 0u; i < OWN; i++) {
        maximum[i] = NO_SCORE;
        weight_sum[i] = 0.0;
    }
    [[unroll]] for (uint h = 0u; h < HEADS; h++)
        [[unroll]] for (uint i = 0u; i < P; i++) {
            const uint piece = i * LANES + first_piece, at = (h * P + i) * 2u;
            const bool there = h < count && piece < PIECES; // others are computed with zeros
            query[at] = there ? rows[h * ROW + piece * 2u] : vec4(0.0);
            query[at + 1u] = there ? rows[h * ROW + piece * 2u + 1u] : vec4(0.0);
            sums[at] = sums[at + 1u] = vec4(0.0);
        }
}

// ---- keys and values ----

// Where the lane's pieces of the keys from `first` on begin in a page of the cache, and their scales. A step lies within a
// page, so that all of it may be loaded; what stands in slots that are not keys has no say.
uvec4 pieces_of(uvec2 page, uint first)
{
    const uint row = first % PAGE + stream, piece = min(first_piece, PIECES - 1u);
    const uvec2 begin = offset(page, (row * PIECES + piece) * (SL_KV_ROW_BYTES(KV_TYPE, D) / PIECES));
    if (KV_TYPE == SL_KV_F16) return uvec4(begin, uvec2(0u));
    return uvec4(begin, offset(scales_of(page, D), scale_at(row, piece, D) * 2u));
}

// How far behind them a piece is, or its scale, where a row has so many of them, each for so many pieces. A lane behind the
// end of the row takes the last piece again.
uint place_of(uint u, uint i, uint of_row, uint each)
{
    const uint row = u * STREAMS * of_row, at = row + i * LANES / each;
    return (i + 1u) * LANES <= PIECES ? at : min(at, row + (PIECES - 1u) / each - min(first_piece, PIECES - 1u) / each);
}

uvec4 load_from(uvec4 from, uint u, uint i)
{
    return load_piece(from.xy, place_of(u, i, PIECES, 1u), from.zw, place_of(u, i, SL_KV_SCALES(D), 4u));
}

void load_keys(uvec4 from)
{
    [[unroll]] for (uint u = 0u; u < U; u++)
        [[unroll]] for (uint i = 0u; i < P; i++) key_data[u * P + i] = load_from(from, u, i);
}

void load_values(uvec4 from)
{
    [[unroll]] for (uint u = 0u; u < U; u++)
        [[unroll]] for (uint i = 0u; i < P; i++) value_data[u * P + i] = load_from(from, u, i);
}

// Zeros for values of a step that are not there: in their place may be anything.
void clear_unseen(uint first)
{
    [[unroll]] for (uint u = 0u; u < U; u++) {
        const uint key = first + u * STREAMS + stream;
        const bool seen = key >= keys.x && key < keys.y;
        [[unroll]] for (uint i = 0u; i < P; i++)
            value_data[u * P + i] = seen ? value_data[u * P + i] : uvec4(0u);
    }
}

// The new key and value as f16 to `fresh` and into row `row` of the cache.
void pack_halves(bool store, uvec2 k_rows, uvec2 v_rows, uint row)
{
    const uvec2 k_row = offset(k_rows, row * D * 2u), v_row = offset(v_rows, row * D * 2u);
    [[dont_unroll]] for (uint i = lane; i < D; i += WORKGROUP) { // pairs of elements of both
        const vec4 four = rows[NEW_KEY * ROW + i / 2u]; // the rows stand one behind the other
        const uint packed = half_pair(floatBitsToUint(i % 2u == 0u ? four.xy : four.zw));
        fresh[i / 4u][i % 4u] = packed;
        if (store) U32(i < D / 2u ? k_row : v_row).at[i % (D / 2u)] = packed;
    }
}

// The same quantized: an invocation a piece, which looks at its whole block.
void pack_quantized(bool store, uvec2 k_rows, uvec2 v_rows, uint row)
{
    [[dont_unroll]] for (uint i = lane; i < 2u * PIECES; i += WORKGROUP) {
        const uint piece = i % PIECES, first = i - piece % 4u, count = min(4u, PIECES - piece / 4u * 4u);
        const uint begin = NEW_KEY * ROW; // the rows stand one behind the other
        uint peak = 0u;
        [[dont_unroll]] for (uint v = first * 2u; v < (first + count) * 2u; v++)
            peak = peak_of(peak, floatBitsToUint(rows[begin + v]));
        const uvec4 data = quantize_piece(floatBitsToUint(rows[begin + i * 2u]), floatBitsToUint(rows[begin + i * 2u + 1u]), peak);
        fresh[i] = data;
        if (store) store_piece(i < PIECES ? k_rows : v_rows, row, piece, D, data);
    }
}

void pack_new(bool store, uvec2 k_rows, uvec2 v_rows, uint row)
{
    if (KV_TYPE == SL_KV_F16)
        pack_halves(store, k_rows, v_rows, row);
    else
        pack_quantized(store, k_rows, v_rows, row);
}

// The lane's pieces of the new key and value, for a step of their own.
#define TAKE_NEW(data, begin)                                                                                          \
    [[unroll]] for (uint i = 0u; i < P; i++) {                                                                         \
        const uvec4 piece = fresh[(begin) + min(i * LANES + first_piece, PIECES - 1u)];                                \
        [[unroll]] for (uint u = 0u; u < U; u++) data[u * P + i] = piece;                                              \
    }

float product(vec4 a, vec4 b, float c) { return fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, fma(a.w, b.w, c)))); }

// Products of the lane's pieces of the keys with those of the queries.
void multiply(out float s[SCORES])
{
    [[unroll]] for (uint n = 0u; n < SCORES; n++) s[n] = 0.0;
    [[unroll]] for (uint u = 0u; u < U; u++)
        [[unroll]] for (uint i = 0u; i < P; i++) {
            const vec4 low = low_half(key_data[u * P + i]), high = high_half(key_data[u * P + i]);
            [[unroll]] for (uint h = 0u; h < HEADS; h++) {
                const uint at = (h * P + i) * 2u;
                s[u * PADDED + h] = product(query[at], low, product(query[at + 1u], high, s[u * PADDED + h]));
            }
        }
}

// Adds what the lanes of a stream have, by halves: those with bit x of their number keep the second half of the values.
#define EXCHANGE(s, stage)                                                                                             \
    if ((LANES >> (stage)) != 0u) {                                                                                    \
        const uint x = LANES >> (stage), half_count = SCORES >> (stage);                                               \
        const bool second = (first_piece & x) != 0u;                                                                   \
        if ((SCORES >> (stage)) == 0u) s[0] += subgroupShuffleXor(s[0], x);                                            \
        [[unroll]] for (uint n = 0u; n < (SCORES >> (stage)); n++) {                                                   \
            const float other = second ? s[n] : s[n + (SCORES >> (stage))];                                            \
            s[n] = (second ? s[n + (SCORES >> (stage))] : s[n]) + subgroupShuffleXor(other, x);                        \
        }                                                                                                              \
    }

// Which score a lane has as its own i-th, and the lane of a stream that has score n.
uint own_score(uint i) { return first_piece / SAME * OWN + i; }
uint lane_of(uint n) { return n / OWN * SAME; }

// Turns products into the lane's own weights, 2^(score - maximum so far); scales what was summed before.
void weigh(inout float s[SCORES], uint first, bool is_new, out float weights[OWN])
{
    EXCHANGE(s, 1)
    EXCHANGE(s, 2)
    EXCHANGE(s, 3)
    EXCHANGE(s, 4)
    EXCHANGE(s, 5)
    float scales[OWN];
    bool larger = false;
    [[unroll]] for (uint i = 0u; i < OWN; i++) {
        const uint u = own_score(i) / PADDED, key = first + u * STREAMS + stream;
        const bool seen = is_new ? u == 0u && stream == 0u : key >= keys.x && key < keys.y;
        float t = SOFTCAP > 0.0 ? soften(s[i], SOFTCAP) * LOG2_E : s[i];
        t = seen ? t : NO_SCORE;
        float most = max(maximum[i], t);
        [[unroll]] for (uint x = HEAD_LANES; x < SUBGROUP; x *= 2u) most = max(most, subgroupShuffleXor(most, x));
        larger = larger || most > maximum[i];
        scales[i] = exp2(maximum[i] - most);
        maximum[i] = most;
        weights[i] = seen ? exp2(t - most) : 0.0;
        weight_sum[i] = weight_sum[i] * scales[i] + weights[i];
    }
    if (subgroupAny(larger))
        [[unroll]] for (uint h = 0u; h < HEADS; h++) {
            const float scale = subgroupShuffle(scales[h % OWN], lane_of(h));
            [[unroll]] for (uint i = 0u; i < P * 2u; i++) sums[h * P * 2u + i] *= scale;
        }
}

void add_values(float weights[OWN])
{
    [[unroll]] for (uint u = 0u; u < U; u++) {
        float weight[HEADS];
        [[unroll]] for (uint h = 0u; h < HEADS; h++)
            weight[h] = subgroupShuffle(weights[(u * PADDED + h) % OWN], stream * LANES + lane_of(u * PADDED + h));
        [[unroll]] for (uint i = 0u; i < P; i++) {
            const vec4 low = low_half(value_data[u * P + i]), high = high_half(value_data[u * P + i]);
            [[unroll]] for (uint h = 0u; h < HEADS; h++) {
                sums[(h * P + i) * 2u] += weight[h] * low;
                sums[(h * P + i) * 2u + 1u] += weight[h] * high;
            }
        }
    }
}

// Steps of this subgroup over the cache; step i begins at key first_of(i).
uint first_of(uint i) { return keys.x / STEP * STEP + (i * SUBGROUPS + subgroup) * STEP; }

uint step_count()
{
    if (keys.x >= keys.y) return 0u;
    const uint steps = (keys.y - keys.x / STEP * STEP + STEP - 1u) / STEP;
    return (steps + SUBGROUPS - 1u - subgroup) / SUBGROUPS;
}

// Pages of steps i .. i + SUBGROUP - 1, one a lane.
uint find_pages(U32 table, uint i) { return table.at[min(first_of(i + gl_SubgroupInvocationID), keys.y - 1u) / PAGE]; }

uvec2 rows_of(uvec2 cache, uint page, uint g) { return page_rows(cache, page, g, KV_HEADS, D); }

// Goes through the keys of this subgroup, of which the first are loaded, and, `with_new`, the new one.
void attend(U32 table, uint g, uint pages, bool with_new)
{
    const uint steps = step_count(), all = steps + (with_new ? 1u : 0u);
    if (steps == 0u && with_new) {
        TAKE_NEW(key_data, 0u)
        TAKE_NEW(value_data, PIECES)
    }
    [[dont_unroll]] for (uint i = 0u; i < all; i++) {
        float s[SCORES], weights[OWN];
        const uint first = first_of(i), next = first_of(i + 1u);
        const bool more = i + 1u < steps, last_is_new = !more && i + 1u < all;
        uint page = 0u;
        multiply(s);
        if (more) {
            if ((i + 1u) % SUBGROUP == 0u) pages = find_pages(table, i + 1u);
            page = subgroupShuffle(pages, (i + 1u) % SUBGROUP);
            load_keys(pieces_of(rows_of(p.k_cache, page, g), next));
        }
        if (last_is_new) TAKE_NEW(key_data, 0u)
        weigh(s, first, i == steps, weights);
        if (i < steps && (first < keys.x || first + STEP > keys.y)) clear_unseen(first);
        add_values(weights);
        if (more) load_values(pieces_of(rows_of(p.v_cache, page, g), next));
        if (last_is_new) TAKE_NEW(value_data, PIECES)
    }
}

// ---- results ----

// Vector e of heads first_head .. of the token's row of y; of Q8 it waits in `rows` for its block.
void put(uint token, uint first_head, uint e, vec4 v)
{
    const uint n = KV_HEADS * GROUP * D, at = first_head * ROW + e;
    if (FORMAT == SL_ROWS_Q8)
        rows[e] = v;
    else if (FORMAT == SL_ROWS_F16)
        put_halves(offset_mul(p.y, token, n * 2u), at, v);
    else
        F32x4(offset_mul(p.y, token, n * 4u)).at[at] = v;
}

void put_blocks(uint token, uint first_head, uint count)
{
    if (FORMAT != SL_ROWS_Q8) return;
    const uint n = KV_HEADS * GROUP * D;
    barrier();
    for (uint block = lane; block < count * D / 32u; block += WORKGROUP) {
        vec4 v[8];
        [[unroll]] for (uint j = 0u; j < 8u; j++) v[j] = rows[block * 8u + j];
        put_block(offset_mul(p.y, token, n + n / 4u), n, first_head * D / 32u + block, v);
    }
    barrier();
}

// Lanes of the first stream get the sums of all streams.
void merge_streams()
{
    [[unroll]] for (uint x = LANES; x < SUBGROUP; x *= 2u)
        [[unroll]] for (uint n = 0u; n < HEADS * P * 2u; n++)
            sums[n] += vec4(subgroupShuffleXor(sums[n].x, x), subgroupShuffleXor(sums[n].y, x),
                            subgroupShuffleXor(sums[n].z, x), subgroupShuffleXor(sums[n].w, x));
    [[unroll]] for (uint i = 0u; i < OWN; i++)
        [[unroll]] for (uint x = HEAD_LANES; x < SUBGROUP; x *= 2u)
            weight_sum[i] += subgroupShuffleXor(weight_sum[i], x);
}

// The result, where the split is all there is, else this split's part of it. (maximum, sum of weights) of a head stands
// behind its sums.
void merge_subgroups(uint token, uint first_head, uint count, bool whole, uvec2 part)
{
    merge_streams();
    [[unroll]] for (uint i = 0u; i < OWN; i++) {
        const uint h = own_score(i);
        if (gl_SubgroupInvocationID < HEAD_LANES && h < HEADS)
            states[subgroup * HEADS + h] = vec2(maximum[i], weight_sum[i]);
    }
    [[dont_unroll]] for (uint c = 0u; c < HEADS * P; c += CHUNK) {
        [[unroll]] for (uint n = 0u; n < HEADS * P; n++)
            if (n >= c && n < c + CHUNK && stream == 0u) {
                const uint to = subgroup * CHUNK_VECTORS + ((n - c) * LANES + first_piece) * 2u;
                exchange[to] = sums[n * 2u];
                exchange[to + 1u] = sums[n * 2u + 1u];
            }
        barrier();
        for (uint e = lane; e < CHUNK_VECTORS; e += WORKGROUP) {
            const uint n = c + e / (LANES * 2u), h = n / P, at = n % P * LANES * 2u + e % (LANES * 2u);
            if (h >= count || at >= ROW) continue;
            float most = NO_SCORE, sum = 0.0;
            [[dont_unroll]] for (uint s = 0u; s < SUBGROUPS; s++) most = max(most, states[s * HEADS + h].x);
            vec4 total = vec4(0.0);
            [[dont_unroll]] for (uint s = 0u; s < SUBGROUPS; s++) {
                const vec2 state = states[s * HEADS + h];
                const float scale = exp2(state.x - most);
                total += scale * exchange[s * CHUNK_VECTORS + e];
                sum += scale * state.y;
            }
            if (whole) {
                put(token, first_head, h * ROW + at, sum > 0.0 ? total / sum : vec4(0.0));
            } else {
                Parts(part).at[h * (PART / 4u) + at] = total;
                if (at == 0u) Parts(part).at[h * (PART / 4u) + ROW] = vec4(most, sum, 0.0, 0.0);
            }
        }
        barrier();
    }
}

uvec2 part_of(uint token, uint g, uint split)
{
    return offset_mul(p.partial, (token * KV_HEADS + g) * p.n_splits + split, GROUP * PART * 4u);
}

// Adds (total, state) to (all, most_sum), each a sum of weighted values with (maximum, sum of weights).
void merge(vec4 total, vec2 state, inout vec4 all, inout vec2 most_sum)
{
    const float most = max(state.x, most_sum.x);
    const float a = exp2(most_sum.x - most), b = exp2(state.x - most);
    all = a * all + b * total;
    most_sum = vec2(most, a * most_sum.y + b * state.y);
}

// Vector `at` of a head, `head_at` its first, from every TEAMS-th of n splits.
void merge_share(uint token, uint g, uint head_at, uint at, uint first, uint n, out vec4 all, out vec2 state)
{
    all = vec4(0.0);
    state = vec2(NO_SCORE, 0.0);
    for (uint s = first; s < n; s += FLIGHT * TEAMS) {
        vec4 totals[FLIGHT], split_states[FLIGHT];
        [[unroll]] for (uint j = 0u; j < FLIGHT; j++) {
            const uvec2 part = part_of(token, g, min(s + j * TEAMS, n - 1u));
            totals[j] = Parts(part).at[head_at + at];
            split_states[j] = Parts(part).at[head_at + ROW];
        }
        [[unroll]] for (uint j = 0u; j < FLIGHT; j++)
            if (s + j * TEAMS < n) merge(totals[j], split_states[j].xy, all, state);
    }
}

// Heads first .. first + count - 1 of a group from n splits.
void merge_splits(uint token, uint g, uint first, uint count, uint n)
{
    [[dont_unroll]] for (uint e0 = 0u; e0 < VECTORS; e0 += WORKGROUP) { // once where there are teams
        const uint team = TEAMS > 1u ? lane / VECTORS : 0u, e = TEAMS > 1u ? lane % VECTORS : e0 + lane;
        const bool there = e < count * ROW && team < TEAMS;
        vec4 all;
        vec2 state;
        if (there) merge_share(token, g, (first + e / ROW) * (PART / 4u), e % ROW, team, n, all, state);
        if (TEAMS > 1u) {
            exchange[lane] = all;
            exchange[WORKGROUP + lane] = vec4(state, 0.0, 0.0);
            barrier();
            if (there && team == 0u)
                for (uint t = 1u; t < TEAMS; t++)
                    merge(exchange[t * VECTORS + lane], exchange[WORKGROUP + t * VECTORS + lane].xy, all, state);
        }
        if (there && team == 0u)
            put(token, g * GROUP + first, e, state.y > 0.0 ? all / state.y : vec4(0.0));
    }
}

// True in the workgroup that is the last of n to come here, to which the others' partial results are visible then.
bool is_last(uint counter, uint n)
{
    groupMemoryBarrier();
    barrier();
    if (lane == 0u) {
        memoryBarrierBuffer();
        arrived = atomicAdd(Arrivals(p.arrivals).at[counter], 1u) + 1u;
        if (arrived == n) Arrivals(p.arrivals).at[counter] = 0u; // for the next submission
        memoryBarrierBuffer();
    }
    barrier();
    groupMemoryBarrier();
    return arrived == n;
}

void main()
{
    lane = gl_SubgroupID * SUBGROUP + gl_SubgroupInvocationID;
    subgroup = gl_SubgroupID;
    stream = gl_SubgroupInvocationID / LANES;
    first_piece = gl_SubgroupInvocationID % LANES;
    const uint token = gl_WorkGroupID.x, g = gl_WorkGroupID.y, split = gl_WorkGroupID.z;
    const uint position = U32(p.positions).at[token], sequence = U32(p.sequences).at[token];

    // As many splits as the keys deserve, each of as many pages.
    const uvec2 range = visible(position, p.window);
    const bool padding = range.y == 0u;
    uint page = range.x / PAGE, share = 1u, n = 1u;
    if (!padding) {
        const uint pages = (range.y - 1u) / PAGE - page + 1u;
        share = max((pages + p.n_splits - 1u) / p.n_splits, SPLIT_PAGES);
        n = (pages + share - 1u) / share;
    }
    if (split >= n) return;
    const bool newest = !padding && split == n - 1u;
    page += split * share;
    keys = uvec2(max(range.x, page * PAGE), min(max(range.y, 1u) - 1u, (page + share) * PAGE));
    U32 table = U32(offset_mul(p.block_table, padding ? 0u : sequence, p.table_stride * 4u));
    const bool with_new = newest && subgroup == SUBGROUPS - 1u; // it has the fewest other steps
    const bool whole = n == 1u && PASSES == 1u;                 // no partial results

    for (uint done = 0u; done < GROUP; done += HEADS) {
        const uint first_head = g * GROUP + done, count = padding ? 0u : min(HEADS, GROUP - done);
        uint pages = 0u;
        uvec2 k_rows = uvec2(0u), v_rows = uvec2(0u); // of the new key and value
        if (step_count() != 0u) {
            pages = find_pages(table, 0u);
            const uint first_page = subgroupShuffle(pages, 0u);
            load_keys(pieces_of(rows_of(p.k_cache, first_page, g), first_of(0u)));
            load_values(pieces_of(rows_of(p.v_cache, first_page, g), first_of(0u)));
        }
        if (newest) {
            const uint new_page = table.at[position / PAGE];
            k_rows = rows_of(p.k_cache, new_page, g);
            v_rows = rows_of(p.v_cache, new_page, g);
        }
        copy_rows(token, g, first_head, count);
        barrier();
        prepare_rows(count, newest);
        barrier();
        begin_sums(count);
        if (newest) pack_new(done == 0u, k_rows, v_rows, position % PAGE);
        barrier();
        attend(table, g, pages, with_new);
        merge_subgroups(token, first_head, min(HEADS, GROUP - done), whole, offset(part_of(token, g, split), done * PART * 4u));
        if (whole) put_blocks(token, first_head, HEADS);
    }
    if (whole || !is_last(token * KV_HEADS + g, n)) return;
    for (uint done = 0u; done < GROUP; done += HEADS) {
        const uint count = min(HEADS, GROUP - done);
        merge_splits(token, g, done, count, n);
        put_blocks(token, g * GROUP + done, count);
    }
}
