#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
layout(constant_id = SL_ATTENTION_KV_TYPE) const uint KV_TYPE = SL_KV_F16;
#include "attention/attention.glsl"
#include "attention/kv_rows.glsl"
#include "rows_out.glsl"

// attention_prefill on subgroup matrices, f16 x f16 -> f32. One workgroup: SL_TILE_X consecutive tokens (y) of one query
// head (x), over the keys SL_TILE_Y at a time with running maxima and sums. Source: Dao 2023 (FlashAttention-2).
//
// A subgroup has M rows of its own: their queries (scaled, in f16), scores, weights and sums never leave its registers,
// or, where a device lacks operations on matrices, leave them for its own piece of shared memory only. Keys and values go
// through shared memory, for all subgroups: values are read into registers while the matrix units compute scores, the
// next keys while they sum. Rows there are 16 bytes longer than their data, so that 8 of them lie in different banks.
//
// A step is computed without a branch around it, even where a subgroup sees none of its keys: a branch makes the compiler
// copy all matrices at every turn. Scores are masked where a step reaches beyond what all rows of the subgroup see: at the
// diagonal, at the edge of a window and where other sequences share the tile. Steps begin at multiples of SL_TILE_Y keys,
// and a step that a row does not see adds exact zeros to it and scales it by 1: a token's result does not depend on what
// shares its tile.
//
// By -D: M, N, K, shape of one matrix, with N = K; WARPS; LANES, the subgroup size that the module is for; OPERATIONS: 1
// with the operations of NV_cooperative_matrix2 on matrices of a subgroup. All sizes must be known to the first compiler,
// or a driver keeps the matrices in memory; for the same reason loops over them are unrolled.
SL_PUSH(sl_push_attention);
layout(constant_id = SL_PREFILL_SOFTCAP) const uint SOFTCAP = 1; // is there any?

#define D       SL_KEY
#define ROWS    SL_TILE_X
#define KEYS    SL_TILE_Y
#define THREADS (WARPS * LANES)
#define PIECES  (D / 8)      // 16-byte pieces of a row
#define STRIDE  (PIECES + 1) // of rows in shared memory
#define SCORES  (KEYS / N)   // matrices of scores
#define SUMS    (D / N)      // matrices of sums
#define DEPTH   (D / K)      // steps of a product of queries and keys
#if ROWS != WARPS * M || N != K || 32 % KEYS != 0
#error "a subgroup has M rows, weights become an operand as they are, and the keys of a step are of one page"
#endif

#if K < 16 // only software drivers have it, which compile slowly and have no registers to keep matrices in
#define UNROLL [[dont_unroll]]
#else
#define UNROLL [[unroll]]
#endif

#define Accumulator coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define MatrixA     coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define MatrixB     coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>

const float LOG2_E = 1.44269504; // scores are kept in units of log(2)
const float MASKED = -3.0e38;
const float LOWEST = -1.0e38; // where maxima begin: exp2(MASKED - LOWEST) is 0

#define V_TILE (KEYS * STRIDE) // where values begin behind keys
#define TILE   (2 * KEYS * STRIDE)
shared uvec4 tile[TILE];

uint lane, first_token, head, g, row0; // row0: the subgroup's first
#define RUNS_SIDE_BY_SIDE OPERATIONS
#include "attention/prefill_rows.glsl"

MatrixA query[DEPTH];
Accumulator scores[SCORES];
Accumulator sums[SUMS];
#if OPERATIONS
#include "attention/weigh_operations.glsl"
#else
#include "attention/weigh_shared.glsl"
#endif

// Through the memory of keys and values, SLOTS subgroups at a time.
#define SLOTS (2 * KEYS / M)
void load_query()
{
    const float factor = p.scale * LOG2_E;
    for (uint turn = 0u; turn < (WARPS + SLOTS - 1) / SLOTS; turn++) {
        const bool mine = gl_SubgroupID / SLOTS == turn;
        const uint at = gl_SubgroupID % SLOTS * (M * STRIDE);
        if (mine) {
            for (uint i = gl_SubgroupInvocationID; i < M * PIECES; i += LANES) {
                const uint row = i / PIECES, piece = i % PIECES;
                const uint token = min(first_token + row0 + row, p.n_tokens - 1u);
                F32x4 q = F32x4(offset(offset_mul(p.q, token, p.q_stride * 4u), head * (D * 4u)));
                const vec4 a = q.at[piece * 2u] * factor, b = q.at[piece * 2u + 1u] * factor;
                tile[at + row * STRIDE + piece] =
                    uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
            }
        }
        barrier();
        if (mine) {
            UNROLL for (uint k = 0u; k < DEPTH; k++)
                coopMatLoad(query[k], tile, at + k * (K / 8), STRIDE, gl_CooperativeMatrixLayoutRowMajor);
        }
        barrier();
    }
}

// ---- keys and values ----

#define ITEMS ((KEYS * PIECES + THREADS - 1) / THREADS)
#define WHOLE (ITEMS * THREADS == KEYS * PIECES)
uvec4 ahead[ITEMS];

// Where in a cache the lane's first piece of the step at key `first` is, in pieces: a layer's cache has less than 64 GiB.
uint place_of(uint page, uint first)
{
    return (page * p.n_kv_heads + g) * (SL_KV_PAGE_TOKENS * PIECES) + first % SL_KV_PAGE_TOKENS * PIECES + lane;
}

void fetch_halves(uvec2 cache, uint at)
{
    Pieces16 rows = Pieces16(cache);
    [[unroll]] for (uint n = 0u; n < ITEMS; n++)
        if (WHOLE || lane + n * THREADS < KEYS * PIECES) ahead[n] = rows.at[at + n * THREADS];
}

void fetch_quantized(uvec2 cache, uint page, uint first)
{
    const uvec2 rows = page_rows(cache, page, g, p.n_kv_heads, D);
    const uint row = first % SL_KV_PAGE_TOKENS;
    [[unroll]] for (uint n = 0u; n < ITEMS; n++) {
        const uint i = lane + n * THREADS;
        if (WHOLE || i < KEYS * PIECES)
            ahead[n] = load_piece(rows, row * PIECES + i, scales_of(rows, D), scale_at(row + i / PIECES, i % PIECES, D));
    }
}

// The lane's pieces of the step at key `first`, as they stand in the cache.
void fetch(uvec2 cache, uint page, uint first)
{
    if (KV_TYPE == SL_KV_F16)
        fetch_halves(cache, place_of(page, first));
    else
        fetch_quantized(cache, page, first);
}

// Values that no row sees may be anything, NaNs too, and 0 times that anything. (Scores of such keys are masked.)
void clear_unseen(uint first, uvec2 keys)
{
    if (first >= keys.x && first + KEYS <= keys.y) return;
    [[unroll]] for (uint n = 0u; n < ITEMS; n++) {
        const uint key = first + (lane + n * THREADS) / PIECES;
        if (key < keys.x || key >= keys.y) ahead[n] = uvec4(0u);
    }
}

void put(uint at)
{
    [[unroll]] for (uint n = 0u; n < ITEMS; n++) {
        const uint i = lane + n * THREADS;
        if (WHOLE || i < KEYS * PIECES) tile[at + i / PIECES * STRIDE + i % PIECES] = halves_of(ahead[n]);
    }
}

// ---- products ----

void score()
{
    UNROLL for (uint j = 0u; j < SCORES; j++) scores[j] = Accumulator(0.0);
    UNROLL for (uint k = 0u; k < DEPTH; k++) {
        UNROLL for (uint j = 0u; j < SCORES; j++) {
            MatrixB b;
            coopMatLoad(b, tile, j * N * STRIDE + k * (K / 8), STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
            scores[j] = coopMatMulAdd(query[k], b, scores[j]);
        }
    }
}

void sum()
{
    UNROLL for (uint k = 0u; k < SCORES; k++) {
        const MatrixA w = weights(k);
        UNROLL for (uint j = 0u; j < SUMS; j++) {
            MatrixB b;
            coopMatLoad(b, tile, V_TILE + k * K * STRIDE + j * (N / 8), STRIDE, gl_CooperativeMatrixLayoutRowMajor);
            sums[j] = coopMatMulAdd(w, b, sums[j]);
        }
    }
}

// Keys x .. y - 1 are seen by all rows of the subgroup. Rows without keys do not count.
uvec2 seen_by_all(uvec4 run)
{
    const uint row = row0 + gl_SubgroupInvocationID % M;
    const uvec2 range = row_range[row];
    uvec2 seen = uvec2(0u, 0xffffffffu);
    if (range.y != 0u) seen = row >= run.x && row < run.y ? range : uvec2(0u);
    return uvec2(subgroupMax(seen.x), subgroupMin(seen.y));
}

void do_run(uvec4 run)
{
    const uvec2 keys = run.zw, seen = seen_by_all(run);
    U32 table = U32(offset_mul(p.block_table, sequence_of(run.x), p.table_stride * 4u));
    const uint last = keys.y - 1u; // of the keys; page numbers are read one step before they are used
    uint first = keys.x / KEYS * KEYS;
    uint page = table.at[first / PAGE], next = table.at[min(first + KEYS, last) / PAGE];
    fetch(p.k_cache, page, first);
    put(0u);
    barrier();
    [[dont_unroll]] for (; first < keys.y; first += KEYS) {
        const uint later = table.at[min(first + 2u * KEYS, last) / PAGE];
        fetch(p.v_cache, page, first);
        clear_unseen(first, keys);
        score();
        put(V_TILE);
        barrier();
        fetch(p.k_cache, next, first + KEYS); // behind the last keys: others of the last page, unused
        weigh(first, first < seen.x || first + KEYS > seen.y, run);
        sum();
        put(0u);
        barrier();
        page = next;
        next = later;
    }
}

void main()
{
    lane = gl_SubgroupID * LANES + gl_SubgroupInvocationID;
    row0 = gl_SubgroupID * M;
    head = gl_WorkGroupID.x;
    g = head / (p.n_heads / p.n_kv_heads);
    first_token = (gl_NumWorkGroups.y - 1u - gl_WorkGroupID.y) * ROWS;
    load_rows();
    load_query();
    begin_rows();
    UNROLL for (uint j = 0u; j < SUMS; j++) sums[j] = Accumulator(0.0);
    for (uvec4 run = next_run(0u); run.x < run.y; run = next_run(run.y))
        do_run(run);
    store_rows();
}
