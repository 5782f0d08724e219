// attention_lanes.glsl - attention of a few query rows where lanes are vector elements of a CPU (SL_CAP_SCALAR_LOADS):
// a load costs each lane tens of cycles whatever it loads, a shuffle costs one.
//
// One subgroup, no shared memory, no barrier. A step takes SUBGROUP keys. For the scores a lane has a key, whose row it
// loads in words of 64 bits (Q4_0: 32); the elements of the queries, two a lane, are broadcast. For the values the subgroup
// takes one key after another, a lane has four elements of its row, and the weights are broadcast. So every word of the
// cache is loaded once for all rows.
// Before: the push block `p` of attention, and the constant ROWS.
#include "pairs.glsl"
#define KV_WORDS
#include "attention/kv_rows.glsl"
#include "rows_out.glsl"

const uint D = SL_KEY;
const uint PIECES = D / 8u;                                   // of a row of the cache
const uint WORDS = D / 4u;                                    // of it, four elements each
const uint PAIRS = D / 2u;                                    // of elements of a query
const uint Q_SHARE = (PAIRS + SUBGROUP - 1u) / SUBGROUP;      // that a lane keeps
const uint V_SHARE = (WORDS + SUBGROUP - 1u) / SUBGROUP;

float q_even[ROWS][Q_SHARE], q_odd[ROWS][Q_SHARE];
uvec2 row_range[ROWS]; // keys that a row sees: x <= key < y
float maximum[ROWS];
float weight_sum[ROWS]; // of the lane's keys
vec4 sums[ROWS][V_SHARE];

void begin_row(uint r, uvec2 q, uvec2 range)
{
    row_range[r] = range;
    maximum[r] = NO_SCORE;
    weight_sum[r] = 0.0;
    [[unroll]] for (uint j = 0u; j < V_SHARE; j++) sums[r][j] = vec4(0.0);
    [[unroll]] for (uint j = 0u; j < Q_SHARE; j++) {
        const uint pair = j * SUBGROUP + gl_SubgroupInvocationID;
        vec2 e = vec2(0.0);
        if (pair < PAIRS) e = uintBitsToFloat(unpackUint2x32(U64(q).at[pair])) * p.scale;
        q_even[r][j] = e.x;
        q_odd[r][j] = e.y;
    }
}

vec4 four_halves(uint64_t word)
{
    const uvec2 w = unpackUint2x32(word);
    return vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
}

// Four elements: word `at` of a row of the cache.
vec4 load_word(uvec2 rows, uint row, uint at)
{
    if (KV_TYPE == SL_KV_F16) return four_halves(U64(rows).at[row * WORDS + at]);
    const float d = unpackHalf2x16(uint(Scales(scales_of(rows, D)).at[scale_at(row, at / 2u, D)])).x;
    if (KV_TYPE == SL_KV_Q8_0) return d * signed_bytes(Pieces4(rows).at[row * WORDS + at]);
    return d * signed_halves(Pieces4(rows).at[row * PIECES + at / 2u] >> at % 2u * 4u);
}

// Adds the products of four elements of the lane's key with those of the queries, which lanes n and n + 1 have.
void multiply(vec4 e, uint n, float even[ROWS], float odd[ROWS], inout float scores[ROWS])
{
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        scores[r] = fma(subgroupShuffle(even[r], n), e.x, scores[r]);
        scores[r] = fma(subgroupShuffle(odd[r], n), e.y, scores[r]);
        scores[r] = fma(subgroupShuffle(even[r], n + 1u), e.z, scores[r]);
        scores[r] = fma(subgroupShuffle(odd[r], n + 1u), e.w, scores[r]);
    }
}

// scores[r] of the lane's key, which is a row of the cache; nothing is loaded where `seen` is false.
void score(uvec2 k, uint row, bool seen, out float scores[ROWS])
{
    [[unroll]] for (uint r = 0u; r < ROWS; r++) scores[r] = 0.0;
    [[dont_unroll]] for (uint j = 0u; j < Q_SHARE; j++) {
        float even[ROWS], odd[ROWS];
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            even[r] = q_even[r][j];
            odd[r] = q_odd[r][j];
        }
        [[unroll]] for (uint n = 0u; n < SUBGROUP; n += 4u) {
            const uint at = (j * SUBGROUP + n) / 4u;
            uvec4 piece = uvec4(0u);
            if (seen && at < PIECES) piece = load_piece(k, row * PIECES + at, scales_of(k, D), scale_at(row, at, D));
            multiply(low_half(piece), n, even, odd, scores);
            multiply(high_half(piece), n + 2u, even, odd, scores);
        }
    }
}

// Turns scores into exp(score - maximum so far) and scales what was summed before.
void weigh(uint key, inout float scores[ROWS])
{
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        float s = p.softcap > 0.0 ? soften(scores[r], p.softcap) : scores[r];
        if (key < row_range[r].x || key >= row_range[r].y) s = NO_SCORE;
        const float largest = max(maximum[r], subgroupMax(s));
        // Exactly 1 where the row sees no key: it makes no difference which rows are computed together.
        const float scale = largest == maximum[r] ? 1.0 : exp(maximum[r] - largest);
        maximum[r] = largest;
        scores[r] = IS_SCORE(s) ? exp(s - largest) : 0.0;
        weight_sum[r] = weight_sum[r] * scale + scores[r];
        [[unroll]] for (uint j = 0u; j < V_SHARE; j++) sums[r][j] *= scale;
    }
}

// Adds the values of keys first + begin .. first + end - 1; that of key `first` is row `row` of the cache.
void add_values(uvec2 v, uint row, uint begin, uint end, float weights[ROWS])
{
    [[dont_unroll]] for (uint n = begin; n < end; n++) {
        float weight[ROWS];
        [[unroll]] for (uint r = 0u; r < ROWS; r++) weight[r] = subgroupShuffle(weights[r], n);
        [[unroll]] for (uint j = 0u; j < V_SHARE; j++) {
            const uint at = j * SUBGROUP + gl_SubgroupInvocationID;
            vec4 e = vec4(0.0);
            if (at < WORDS) e = load_word(v, row + n, at);
            [[unroll]] for (uint r = 0u; r < ROWS; r++) sums[r][j] = fma(vec4(weight[r]), e, sums[r][j]);
        }
    }
}

// Keys keys.x .. keys.y - 1 of kv head g, for all rows.
void attend(U32 table, uint g, uvec2 keys)
{
    [[dont_unroll]] for (uint first = keys.x / SUBGROUP * SUBGROUP; first < keys.y; first += SUBGROUP) {
        uint page = 0u;
        if (gl_SubgroupInvocationID == 0u) page = table.at[min(first, max(keys.y, 1u) - 1u) / PAGE];
        page = subgroupShuffle(page, 0u);
        const uvec2 k = page_rows(p.k_cache, page, g, p.n_kv_heads, D);
        const uvec2 v = page_rows(p.v_cache, page, g, p.n_kv_heads, D);
        const uint key = first + gl_SubgroupInvocationID;
        float scores[ROWS];
        score(k, key % PAGE, key >= keys.x && key < keys.y, scores);
        weigh(key, scores);
        add_values(v, first % PAGE, max(keys.x, first) - first, min(keys.y - first, SUBGROUP), scores);
    }
}

// The row's sums times `factor` to an address that is a multiple of 8.
void store_sums(uint r, float factor, uvec2 y)
{
    [[unroll]] for (uint j = 0u; j < V_SHARE; j++) {
        const uint at = j * SUBGROUP + gl_SubgroupInvocationID;
        if (at >= WORDS) continue;
        const uvec4 e = floatBitsToUint(sums[r][j] * factor);
        U64(y).at[2u * at] = packUint2x32(e.xy);
        U64(y).at[2u * at + 1u] = packUint2x32(e.zw);
    }
}

// The same as f16.
void store_halves(uint r, float factor, uvec2 y)
{
    [[unroll]] for (uint j = 0u; j < V_SHARE; j++) {
        const uint at = j * SUBGROUP + gl_SubgroupInvocationID;
        if (at < WORDS) put_halves(y, at, sums[r][j] * factor);
    }
}

// One over the sum of weights; zero where that is 0.
float row_scale(float weight_sum) { return weight_sum > 0.0 ? 1.0 / weight_sum : 0.0; }
