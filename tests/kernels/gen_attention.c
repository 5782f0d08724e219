/* gen_attention.c - cases of rope, kv_store and attention: shuffled pages, sequences of mixed lengths,
 * padding, windows, grouped heads. Slots of the cache that no token may see hold NaNs. */
#include "hal/base/half.h"
#include "shaders/attention/kv_rows.h"
#include "tests/kernels/kernel_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PAGE          SL_KV_PAGE_TOKENS
#define RUNS_MAX      6
#define SEQUENCES_MAX 4
#define PADDING       SL_NO_POSITION
#define HEAD_MAX      256
#define COUNT(array)  (sizeof(array) / sizeof *(array))

/* `count` tokens of a sequence from position `first` on; PADDING: padding tokens. */
typedef struct run {
    uint32_t sequence, first, count;
} run;

typedef struct plan {
    const char *name;
    uint32_t n_heads, n_kv_heads, window, n_splits;
    float softcap;
    run runs[RUNS_MAX];
} plan;

/* Positions, sequences and the block table of a plan's tokens. */
typedef struct layout {
    uint32_t n_tokens, n_pages, table_stride;
    uint32_t lengths[SEQUENCES_MAX]; /* keys of a sequence */
    const uint32_t *table;
} layout;

static uint32_t pages_of(uint32_t keys)
{
    return (keys + PAGE - 1) / PAGE;
}

/* Adds positions, sequences and a block table whose pages stand in random order among unused ones. Entries
 * behind a sequence's last page name no page. */
static layout add_layout(sl_kernel_case *c, const run *runs, uint32_t positions_at, uint32_t sequences_at,
                         uint32_t table_at)
{
    layout l = {.n_pages = 2, .table_stride = 1};
    for (uint32_t i = 0; i < RUNS_MAX; i++) {
        l.n_tokens += runs[i].count;
        if (!runs[i].count || runs[i].first == PADDING) continue;
        const uint32_t keys = runs[i].first + runs[i].count;
        uint32_t *length = &l.lengths[runs[i].sequence];
        if (keys > *length) *length = keys;
    }
    uint32_t *positions =
        sl_case_operand_add(c, positions_at, SL_CASE_IN, SL_CASE_U32, l.n_tokens * sizeof *positions);
    uint32_t *sequences =
        sl_case_operand_add(c, sequences_at, SL_CASE_IN, SL_CASE_U32, l.n_tokens * sizeof *sequences);
    for (uint32_t i = 0, t = 0; i < RUNS_MAX; i++)
        for (uint32_t j = 0; j < runs[i].count; j++, t++) {
            positions[t] = runs[i].first == PADDING ? PADDING : runs[i].first + j;
            sequences[t] = runs[i].sequence;
        }

    for (uint32_t s = 0; s < SEQUENCES_MAX; s++) {
        l.n_pages += pages_of(l.lengths[s]);
        if (pages_of(l.lengths[s]) + 1 > l.table_stride) l.table_stride = pages_of(l.lengths[s]) + 1;
    }
    const uint64_t entries = (uint64_t)SEQUENCES_MAX * l.table_stride;
    uint32_t *table = sl_case_operand_add(c, table_at, SL_CASE_IN, SL_CASE_U32, entries * sizeof *table);
    memset(table, 0xff, entries * sizeof *table);
    uint32_t next = 0;
    for (uint32_t s = 0; s < SEQUENCES_MAX; s++)
        for (uint32_t i = 0; i < pages_of(l.lengths[s]); i++)
            table[s * l.table_stride + i] = next++;
    for (uint32_t left = next; left > 1; left--) { /* Fisher-Yates over the used entries */
        uint32_t other = sl_case_random_below(c, left), *a = NULL, *b = NULL;
        for (uint64_t e = 0; e < entries; e++) {
            if (table[e] == left - 1) a = &table[e];
            if (table[e] == other) b = &table[e];
        }
        const uint32_t swap = *a;
        *a = *b;
        *b = swap;
    }
    for (uint64_t e = 0; e < entries; e++)
        if (table[e] != UINT32_MAX) table[e] += 1; /* pages 0 and n_pages - 1 belong to nobody */
    l.table = table;
    return l;
}

#define A_NAN 0x7e /* bytes of f16 that are a NaN, of integers that are far from 0 */

/* A cache with random keys (or values) where the sequences have some. */
static void add_cache(sl_kernel_case *c, uint32_t push_offset, uint32_t flags, uint32_t kv_type,
                      const layout *l, uint32_t n_kv_heads, uint32_t head_dim)
{
    const uint64_t groups = (uint64_t)l->n_pages * n_kv_heads, bytes = SL_KV_GROUP_BYTES(kv_type, head_dim);
    uint8_t *cache = sl_case_cache_add(c, push_offset, flags, kv_type, false, groups, head_dim);
    memset(cache, A_NAN, groups * bytes);
    for (uint32_t s = 0; s < SEQUENCES_MAX; s++)
        for (uint32_t j = 0; j < l->lengths[s]; j++)
            for (uint32_t g = 0; g < n_kv_heads; g++) {
                float row[HEAD_MAX];
                const uint64_t group = (uint64_t)l->table[s * l->table_stride + j / PAGE] * n_kv_heads + g;
                sl_case_fill_floats(c, row, head_dim, -1, 1);
                sl_kv_put(kv_type, cache + group * bytes, head_dim, j % PAGE, row);
            }
}

static const char *kv_name(uint32_t kv_type)
{
    static const char *const names[] = {
        [SL_KV_F16] = "", [SL_KV_Q8_0] = ", kv q8_0", [SL_KV_Q4_0] = ", kv q4_0"};
    return names[kv_type];
}

#define AT(field) ((uint32_t)offsetof(struct sl_push_attention, field))

static void make_attention(sl_kernel_case *c, const plan *plan, uint32_t head_dim, uint32_t format,
                           uint32_t kv_type)
{
    const layout l = add_layout(c, plan->runs, AT(positions), AT(sequences), AT(block_table));
    struct sl_push_attention push = {
        .n_heads = plan->n_heads,
        .n_kv_heads = plan->n_kv_heads,
        .head_dim = head_dim,
        .n_tokens = l.n_tokens,
        .q_stride =
            (plan->n_heads + 2 * plan->n_kv_heads) * head_dim, /* q, k and v as one product made them */
        .y_stride = plan->n_heads * head_dim,
        .table_stride = l.table_stride,
        .window = plan->window,
        .n_splits = plan->n_splits ? plan->n_splits : 1,
        .format = format,
        .scale = 1.0f / sqrtf((float)head_dim),
        .softcap = plan->softcap,
    };
    memcpy(c->push, &push, sizeof push);
    snprintf(c->name, sizeof c->name, "%s d=%u h=%u/%u t=%u w=%u s=%u%s%s", plan->name, head_dim,
             plan->n_heads, plan->n_kv_heads, l.n_tokens, plan->window, push.n_splits,
             format == SL_ROWS_F16 ? " f16" : "", kv_name(kv_type));

    const uint64_t q_floats = (uint64_t)l.n_tokens * push.q_stride;
    float *q = sl_case_operand_add(c, AT(q), SL_CASE_IN, SL_CASE_F32, q_floats * sizeof *q);
    sl_case_fill_floats(c, q, q_floats, -4, 4);
    add_cache(c, AT(k_cache), SL_CASE_IN, kv_type, &l, plan->n_kv_heads, head_dim);
    add_cache(c, AT(v_cache), SL_CASE_IN, kv_type, &l, plan->n_kv_heads, head_dim);
    const uint64_t results = (uint64_t)l.n_tokens * plan->n_heads;
    if (push.n_splits > 1)
        sl_case_operand_add(c, AT(partial), SL_CASE_OUT, SL_CASE_F32,
                            results * push.n_splits * (head_dim + 2) * sizeof(float));
    else
        sl_case_rows_add(c, AT(y), SL_CASE_OUT, format, l.n_tokens, push.y_stride, push.y_stride);
}

/* Case `index` of kernels with `count` plans: all of them with a cache of f16, and the `few_count` of `few`
 * with each other type. False behind the last. */
static bool choose_plan(uint32_t index, uint32_t count, const uint32_t *few, uint32_t few_count,
                        uint32_t *out_plan, uint32_t *out_kv_type)
{
    *out_kv_type = index < count ? SL_KV_F16 : 1 + (index - count) / few_count;
    *out_plan = index < count ? index : few[(index - count) % few_count];
    return *out_kv_type < SL_KV_TYPE_COUNT;
}

bool sl_gen_attention_decode(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const plan plans[] = {
        {"one key", 1, 1, 0, 1, 0, {{0, 0, 1}}},
        {"page edges", 2, 2, 0, 1, 0, {{0, 30, 4}, {1, 63, 2}}},
        {"sequences", 9, 3, 0, 1, 0, {{2, 5, 1}, {0, 199, 1}, {1, 64, 1}, {3, 0, 1}}},
        {"padding", 4, 2, 0, 1, 0, {{0, 40, 1}, {1, PADDING, 2}, {1, 7, 1}, {0, PADDING, 1}}},
        {"seven heads a group", 14, 2, 0, 1, 0, {{0, 100, 2}}},
        {"sixteen heads a group", 16, 1, 0, 1, 0, {{0, 77, 1}, {1, 31, 1}}},
        {"window", 4, 1, 40, 1, 0, {{0, 38, 4}, {1, 150, 2}}},
        {"window of one", 2, 1, 1, 1, 0, {{0, 31, 3}}},
        {"softcap", 8, 2, 0, 1, 2.5f, {{0, 90, 2}}},
        {"splits", 8, 2, 0, 3, 0, {{0, 511, 1}, {1, 320, 1}}},
        {"more splits than pages", 6, 2, 0, 5, 0, {{0, 33, 1}, {1, 0, 1}, {2, PADDING, 1}}},
        {"splits of a window", 4, 4, 100, 2, 30, {{0, 400, 1}, {1, 99, 2}}},
        {"long", 4, 1, 0, 1, 0, {{0, 2000, 1}}},
    };
    static const uint32_t few[] = {1, 2, 3, 6, 9, 11};
    uint32_t plan, kv_type;
    if (!choose_plan(index, COUNT(plans), few, COUNT(few), &plan, &kv_type)) return false;
    make_attention(c, &plans[plan], variant->key, SL_ROWS_F32, kv_type);
    c->spec[SL_DECODE_HEADS - SL_SPEC_FIRST] = SL_DECODE_HEADS_USUAL;
    c->spec[SL_ATTENTION_KV_TYPE - SL_SPEC_FIRST] = kv_type;
    c->spec_count = 2;
    return true;
}

bool sl_gen_attention_prefill(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const plan plans[] = {
        {"one token", 1, 1, 0, 1, 0, {{0, 0, 1}}},
        {"one prompt", 9, 3, 0, 1, 0, {{0, 0, 100}}},
        {"behind a prefix", 4, 2, 0, 1, 0, {{0, 61, 70}}},
        {"prompts in one tile", 4, 1, 0, 1, 0, {{1, 0, 9}, {0, 0, 20}, {2, 40, 3}, {3, 95, 1}}},
        {"padding", 2, 1, 0, 1, 0, {{0, 0, 10}, {0, PADDING, 3}, {0, 10, 5}, {1, PADDING, 1}, {1, 0, 30}}},
        {"only padding", 2, 2, 0, 1, 0, {{0, PADDING, 5}}},
        {"window", 4, 1, 48, 1, 0, {{0, 0, 130}, {1, 200, 20}}},
        {"softcap", 4, 2, 0, 1, 2.5f, {{0, 3, 66}}},
        {"a sequence twice", 2, 2, 0, 1, 0, {{0, 30, 5}, {1, 0, 5}, {0, 10, 40}}},
        {"window behind a prefix", 2, 1, 70, 1, 20, {{0, 300, 140}}},
    };
    static const uint32_t few[] = {1, 2, 4, 6, 8};
    uint32_t number, kv_type; /* the plans with rows of f32, then of f16 */
    if (!choose_plan(index, 2 * COUNT(plans), few, COUNT(few), &number, &kv_type)) return false;
    const plan *plan = &plans[number % COUNT(plans)];
    make_attention(c, plan, variant->key, number < COUNT(plans) ? SL_ROWS_F32 : SL_ROWS_F16, kv_type);
    c->spec[SL_PREFILL_SOFTCAP - SL_SPEC_FIRST] = plan->softcap > 0 || index == 0; /* 1 is right for all */
    c->spec[SL_ATTENTION_KV_TYPE - SL_SPEC_FIRST] = kv_type;
    c->spec_count = 2;
    return true;
}

#undef AT
#define AT(field) ((uint32_t)offsetof(struct sl_push_attention_step, field))

typedef struct step_plan {
    const char *name;
    uint32_t group, n_kv_heads, window, n_splits;
    float softcap;
    uint32_t unturned; /* elements of a head that RoPE leaves alone */
    bool neox, norms;
    uint32_t format;
    run runs[RUNS_MAX]; /* one token each but for padding */
} step_plan;

static void add_norms(sl_kernel_case *c, uint32_t head_dim)
{
    float *q_norm = sl_case_operand_add(c, AT(q_norm), SL_CASE_IN, SL_CASE_F32, head_dim * sizeof *q_norm);
    float *k_norm = sl_case_operand_add(c, AT(k_norm), SL_CASE_IN, SL_CASE_F32, head_dim * sizeof *k_norm);
    sl_case_fill_floats(c, q_norm, head_dim, 0.5f, 2);
    sl_case_fill_floats(c, k_norm, head_dim, 0.5f, 2);
}

/* Cosines and sines of any angles. */
static void add_turns(sl_kernel_case *c, uint32_t n_tokens, uint32_t rot_dim)
{
    const uint32_t n = n_tokens * rot_dim;
    float *turns = sl_case_operand_add(c, AT(rope), SL_CASE_IN, SL_CASE_F32, n * sizeof *turns);
    for (uint32_t i = 0; i < n; i += 2) {
        const float angle = sl_case_random_float(c, -3, 3);
        turns[i] = cosf(angle);
        turns[i + 1] = sinf(angle);
    }
}

static void add_step_rows(sl_kernel_case *c, const struct sl_push_attention_step *p, const layout *l)
{
    const uint32_t n_kv_heads = c->spec[SL_STEP_KV_HEADS - SL_SPEC_FIRST];
    const uint32_t n_heads = c->spec[SL_STEP_GROUP - SL_SPEC_FIRST] * n_kv_heads;
    const uint32_t d = c->spec[SL_STEP_HEAD_DIM - SL_SPEC_FIRST], t = p->n_tokens;
    const uint32_t strides[] = {c->spec[SL_STEP_Q_STRIDE - SL_SPEC_FIRST],
                                c->spec[SL_STEP_KV_STRIDE - SL_SPEC_FIRST],
                                c->spec[SL_STEP_KV_STRIDE - SL_SPEC_FIRST]};
    const uint32_t rows[] = {AT(q), AT(k), AT(v)}, caches[] = {AT(k_cache), AT(v_cache)};
    for (uint32_t i = 0; i < COUNT(rows); i++) {
        const uint64_t floats = (uint64_t)t * strides[i];
        float *x = sl_case_operand_add(c, rows[i], SL_CASE_IN, SL_CASE_F32, floats * sizeof *x);
        sl_case_fill_floats(c, x, floats, -2, 2);
    }
    for (uint32_t i = 0; i < COUNT(caches); i++)
        add_cache(c, caches[i], SL_CASE_IN | SL_CASE_OUT, c->spec[SL_STEP_KV_TYPE - SL_SPEC_FIRST], l,
                  n_kv_heads, d);
    sl_case_rows_add(c, AT(y), SL_CASE_OUT, c->spec[SL_STEP_FORMAT - SL_SPEC_FIRST], t, n_heads * d,
                     n_heads * d);
    sl_case_operand_add(c, AT(arrivals), SL_CASE_IN | SL_CASE_OUT, SL_CASE_U32,
                        (uint64_t)t * n_kv_heads * sizeof(uint32_t));
    if (p->n_splits > 1 || n_heads / n_kv_heads > 8) /* scratch: whatever is left there */
        sl_case_operand_add(c, AT(partial), 0, SL_CASE_F32,
                            (uint64_t)t * p->n_splits * n_heads * (d + 4) * sizeof(float));
}

static void make_step(sl_kernel_case *c, const step_plan *plan, uint32_t head_dim, uint32_t kv_type)
{
    const layout l = add_layout(c, plan->runs, AT(positions), AT(sequences), AT(block_table));
    const uint32_t n_heads = plan->group * plan->n_kv_heads, rot_dim = head_dim - plan->unturned;
    const struct sl_push_attention_step push = {
        .n_tokens = l.n_tokens,
        .n_splits = plan->n_splits,
        .table_stride = l.table_stride,
        .window = plan->window,
    };
    const uint32_t stride = (n_heads + 2 * plan->n_kv_heads) * head_dim;
    const uint32_t spec[] = {
        [SL_STEP_GROUP] = plan->group,
        [SL_STEP_KV_HEADS] = plan->n_kv_heads,
        [SL_STEP_ROT_DIM] = rot_dim,
        [SL_STEP_NEOX] = plan->neox,
        [SL_STEP_FORMAT] = plan->format,
        [SL_STEP_Q_STRIDE] = stride, /* q, k and v as one product made them */
        [SL_STEP_KV_STRIDE] = plan->n_kv_heads * head_dim,
        [SL_STEP_SCALE] = sl_float_to_bits(1 / sqrtf((float)head_dim)),
        [SL_STEP_SOFTCAP] = sl_float_to_bits(plan->softcap),
        [SL_STEP_EPS] = sl_float_to_bits(1e-5f),
        [SL_STEP_HEAD_DIM] = head_dim,
        [SL_STEP_KV_TYPE] = kv_type,
    };
    memcpy(c->push, &push, sizeof push);
    memcpy(c->spec, spec + SL_SPEC_FIRST, sizeof spec - SL_SPEC_FIRST * sizeof *spec);
    c->spec_count = SL_STEP_SPEC_END - SL_SPEC_FIRST;
    snprintf(c->name, sizeof c->name, "%s d=%u h=%u/%u t=%u w=%u s=%u%s", plan->name, head_dim, n_heads,
             plan->n_kv_heads, l.n_tokens, plan->window, push.n_splits, kv_name(kv_type));
    if (plan->norms) add_norms(c, head_dim);
    add_turns(c, l.n_tokens, rot_dim);
    add_step_rows(c, &push, &l);
}

/* Few sets of specialization constants: each is a pipeline to compile. */
bool sl_gen_attention_step(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const step_plan plans[] = {
#define F32 SL_ROWS_F32
        {"splits", 4, 2, 0, 3, 0, 0, 0, 0, F32, {{0, 511, 1}, {1, 320, 1}, {2, 30, 1}, {3, 0, 1}}},
        {"padding", 4, 2, 0, 2, 0, 0, 0, 0, F32, {{0, 40, 1}, {1, PADDING, 2}, {1, 7, 1}, {0, PADDING, 1}}},
        {"a page's edges", 4, 2, 0, 1, 0, 0, 0, 0, F32, {{0, 31, 1}, {1, 32, 1}, {2, 33, 1}, {3, 64, 1}}},
        {"window and norms",
         2,
         2,
         100,
         2,
         0,
         0,
         1,
         1,
         F32,
         {{0, 400, 1}, {1, 99, 1}, {2, 100, 1}, {3, 700, 1}}},
        {"window of one", 2, 2, 1, 1, 0, 0, 1, 1, F32, {{0, 31, 1}, {1, 32, 1}, {2, 0, 1}}},
        {"seven heads, softcap, norms", 7, 1, 0, 4, 2.5f, 16, 0, 1, F32, {{0, 900, 1}, {1, 77, 1}}},
        {"three heads, q8", 3, 2, 0, 2, 0, 32, 1, 0, SL_ROWS_Q8, {{1, 350, 1}, {0, 3, 1}, {2, PADDING, 1}}},
        {"long", 4, 2, 0, 64, 0, 0, 0, 0, F32, {{0, 5000, 1}}},
        {"one workgroup", 4, 2, 0, 1, 0, 0, 0, 0, F32, {{0, 2000, 1}, {1, 1999, 1}}},
        {"sixteen heads", 16, 1, 0, 2, 0, 0, 1, 0, F32, {{0, 300, 1}, {1, 31, 1}}},
        {"one head, f16", 1, 3, 33, 2, 0, 0, 0, 0, SL_ROWS_F16, {{0, 600, 1}, {1, 32, 1}}},
        {"five heads", 5, 1, 0, 2, 0, 0, 1, 0, F32, {{0, 333, 1}}},
        {"six heads, q8", 6, 2, 0, 3, 0, 0, 1, 1, SL_ROWS_Q8, {{0, 650, 1}, {1, 1, 1}}},
        {"eight heads", 8, 2, 0, 3, 0, 0, 1, 1, F32, {{0, 777, 1}, {1, 129, 1}}},
#undef F32
    };
    /* All of them for the most usual size of a head, the first ones for the others. */
    static const uint32_t few[] = {0, 1, 2, 3, 6};
    uint32_t number, kv_type;
    if (!choose_plan(index, variant->key == 128 ? COUNT(plans) : 5, few, variant->key == 128 ? 5 : 4, &number,
                     &kv_type))
        return false;
    step_plan plan = plans[number];
    if (plan.format == SL_ROWS_Q8 && variant->key % 32) plan.format = SL_ROWS_F16;
    make_step(c, &plan, variant->key, kv_type);
    return true;
}

#undef AT
#define AT(field) ((uint32_t)offsetof(struct sl_push_attention_combine, field))

bool sl_gen_attention_combine(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n_heads, head_dim, n_tokens, n_splits;
    } shapes[] = {{1, 64, 1, 2}, {9, 64, 3, 5},   {4, 128, 2, 33},
                  {3, 80, 2, 1}, {8, 256, 1, 64}, {2, 96, 2, 200}};
    (void)variant;
    if (index >= COUNT(shapes)) return false;
    const uint32_t head_dim = shapes[index].head_dim, n_splits = shapes[index].n_splits;
    const uint64_t results = (uint64_t)shapes[index].n_tokens * shapes[index].n_heads;
    struct sl_push_attention_combine push = {
        .n_heads = shapes[index].n_heads,
        .head_dim = head_dim,
        .n_tokens = shapes[index].n_tokens,
        .n_splits = n_splits,
        .y_stride = shapes[index].n_heads * head_dim,
    };
    memcpy(c->push, &push, sizeof push);
    snprintf(c->name, sizeof c->name, "d=%u h=%u t=%u s=%u", head_dim, push.n_heads, push.n_tokens, n_splits);
    float *part = sl_case_operand_add(c, AT(partial), SL_CASE_IN, SL_CASE_F32,
                                      results * n_splits * (head_dim + 2) * sizeof *part);
    for (uint64_t r = 0; r < results; r++)
        for (uint32_t s = 0; s < n_splits; s++, part += head_dim + 2) {
            /* The last result has no keys at all, the others miss some splits. */
            const bool empty = (r && r == results - 1) || (s && sl_case_random_below(c, 4) == 0);
            const float sum = empty ? 0 : sl_case_random_float(c, 1, 100);
            sl_case_fill_floats(c, part, head_dim, -sum, sum);
            part[head_dim] = empty ? -INFINITY : sl_case_random_float(c, -30, 30);
            part[head_dim + 1] = sum;
        }
    sl_case_operand_add(c, AT(y), SL_CASE_OUT, SL_CASE_F32, results * head_dim * sizeof(float));
    return true;
}

#undef AT
#define AT(field) ((uint32_t)offsetof(struct sl_push_kv_store, field))

/* Values of every kind that a conversion to f16 treats in its own way. */
static float any_float(sl_kernel_case *c)
{
    const uint32_t bits = sl_case_random(c), sign = bits & 0x80000000u;
    switch (sl_case_random_below(c, 12)) {
    case 0: /* between two f16, ties among them */
        return sl_bits_to_float(sign | (0x38000000u + ((bits & 0xffffu) << 12)));
    case 1: /* subnormal in f16 */
        return sl_bits_to_float(sign | (0x32800000u + (bits & 0x07ffffffu) % 0x06000000u));
    case 2: /* around the largest f16 */
        return sl_bits_to_float(sign | (0x477fe000u + (bits & 0x3fffu)));
    case 3: /* any bits but NaN, whose payload is not part of the contract */
        return isnan(sl_bits_to_float(bits)) ? sl_bits_to_float(sign | 0x7f800000u) : sl_bits_to_float(bits);
    case 4:
        return sl_bits_to_float(sign);
    default:
        return sl_case_random_float(c, -8, 8);
    }
}

/* One of the values of a block of a quantized cache: all of a kind, since the largest decides about the
 * others; at times halves of the step to the next integer, zeros, a NaN or an infinity among others. */
static float block_float(sl_kernel_case *c, uint32_t kind, uint32_t i)
{
    const float sign = sl_case_random_below(c, 2) ? 1 : -1;
    switch (kind) {
    case 0: /* the largest is 127 or 8, halves between integers */
        return i == 0 ? 127 : (float)sl_case_random_below(c, 254) * 0.5f * sign;
    case 1:
        return i == 3 ? -8 : i == 7 ? 8 : (float)sl_case_random_below(c, 16) * 0.5f * sign;
    case 2:
        return 0 * sign;
    case 3:
        return i == 20 ? INFINITY * sign : any_float(c);
    case 4:
        return i == 9 ? NAN : sl_case_random_float(c, -8, 8);
    case 5: /* scales that are subnormal in f16, or 0 */
        return sl_case_random_float(c, -1, 1) * 2e-5f;
    case 6: /* any magnitudes */
        return any_float(c);
    default:
        return sl_case_random_float(c, -8, 8);
    }
}

static void fill_rows(sl_kernel_case *c, float *x, uint64_t n, uint32_t kv_type)
{
    uint32_t kind = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (i % SL_KV_BLOCK == 0) kind = sl_case_random_below(c, 12);
        x[i] = kv_type == SL_KV_F16 ? any_float(c) : block_float(c, kind, (uint32_t)(i % SL_KV_BLOCK));
    }
}

bool sl_gen_kv_store(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n_kv_heads, head_dim;
        run runs[RUNS_MAX];
    } shapes[] = {
        {1, 64, {{0, 0, 1}}},
        {3, 64, {{0, 17, 40}, {1, 0, 3}}},
        {2, 80, {{0, 31, 2}, {2, PADDING, 3}, {1, 64, 1}}},
        {1, 256, {{3, 5, 1}, {2, 100, 1}, {1, 31, 1}, {0, 32, 1}}},
        {8, 128, {{0, 0, 64}}},
        {2, 96, {{0, PADDING, 2}}},
    };
    (void)variant;
    const uint32_t kv_type = index / COUNT(shapes);
    if (kv_type >= SL_KV_TYPE_COUNT) return false;
    index %= COUNT(shapes);
    const uint32_t n = shapes[index].n_kv_heads * shapes[index].head_dim;
    const layout l = add_layout(c, shapes[index].runs, AT(positions), AT(sequences), AT(block_table));
    struct sl_push_kv_store push = {
        .n_kv_heads = shapes[index].n_kv_heads,
        .head_dim = shapes[index].head_dim,
        .n_tokens = l.n_tokens,
        .k_stride = n,
        .v_stride = n + 32,
        .table_stride = l.table_stride,
    };
    memcpy(c->push, &push, sizeof push);
    c->spec[SL_STORE_KV_TYPE - SL_SPEC_FIRST] = kv_type;
    c->spec_count = 1;
    snprintf(c->name, sizeof c->name, "d=%u g=%u t=%u%s", push.head_dim, push.n_kv_heads, l.n_tokens,
             kv_name(kv_type));
    float *k = sl_case_operand_add(c, AT(k), SL_CASE_IN, SL_CASE_F32, (uint64_t)l.n_tokens * n * sizeof *k);
    float *v = sl_case_operand_add(c, AT(v), SL_CASE_IN, SL_CASE_F32,
                                   (uint64_t)l.n_tokens * push.v_stride * sizeof *v);
    fill_rows(c, k, (uint64_t)l.n_tokens * n, kv_type);
    fill_rows(c, v, (uint64_t)l.n_tokens * push.v_stride, kv_type);
    const uint32_t caches[] = {AT(k_cache), AT(v_cache)};
    for (uint32_t i = 0; i < COUNT(caches); i++) {
        uint8_t *cache = sl_case_cache_add(c, caches[i], SL_CASE_IN | SL_CASE_OUT, kv_type, true,
                                           (uint64_t)l.n_pages * push.n_kv_heads, push.head_dim);
        for (uint64_t j = 0; j < c->operands[c->operand_count - 1].bytes; j++)
            cache[j] = (uint8_t)sl_case_random(c);
    }
    return true;
}

#undef AT
#define AT(field) ((uint32_t)offsetof(struct sl_push_rope, field))

/* x: heads to rotate, or the table of turns. */
static bool make_rope(sl_kernel_case *c, uint32_t index, bool table)
{
    static const struct {
        const char *name;
        struct sl_push_rope push; /* without addresses */
        uint32_t last;            /* positions: random up to here */
        bool factors;
    } shapes[] = {
#define ROPE(heads, dim, rot, tokens, neox)                                                                  \
    .n_heads = heads, .head_dim = dim, .rot_dim = rot, .n_tokens = tokens, .mode = neox
        {"normal",
         {ROPE(9, 64, 64, 5, 0), .freq_base = 1e4f, .freq_scale = 1, .attn_factor = 1},
         2000,
         false},
        {"neox",
         {ROPE(4, 128, 128, 3, 1), .freq_base = 1e6f, .freq_scale = 1, .attn_factor = 1},
         40000,
         false},
        {"far",
         {ROPE(2, 128, 128, 40, 1), .freq_base = 5e5f, .freq_scale = 1, .attn_factor = 1},
         131071,
         false},
        {"part of a head",
         {ROPE(3, 96, 48, 7, 0), .freq_base = 1e4f, .freq_scale = 1, .attn_factor = 1},
         9000,
         false},
        {"linear",
         {ROPE(5, 256, 256, 4, 1), .freq_base = 1e6f, .freq_scale = 0.125f, .attn_factor = 1},
         131071,
         false},
        {"factors",
         {ROPE(8, 128, 128, 9, 0), .freq_base = 5e5f, .freq_scale = 1, .attn_factor = 1},
         131071,
         true},
        {"yarn",
         {ROPE(6, 128, 128, 33, 1), .freq_base = 1e6f, .freq_scale = 0.25f, .ext_factor = 1,
          .attn_factor = 1.1386f, .corr_low = 23, .corr_high = 40},
         131071,
         false},
        {"yarn, half, one step",
         {ROPE(1, 80, 80, 12, 0), .freq_base = 1e4f, .freq_scale = 1.0f / 3, .ext_factor = 0.5f,
          .attn_factor = 0.9f, .corr_low = 7, .corr_high = 7},
         100000,
         true},
        {"one position",
         {ROPE(1, 64, 64, 1, 1), .freq_base = 1e4f, .freq_scale = 1, .attn_factor = 1},
         0,
         false},
        {"far beyond",
         {ROPE(2, 64, 64, 40, 0), .freq_base = 1e4f, .freq_scale = 1, .attn_factor = 1},
         1048575,
         false},
#undef ROPE
    };
    if (index >= COUNT(shapes)) return false;
    struct sl_push_rope push = shapes[index].push;
    push.token_stride = push.n_heads * push.head_dim + (index % 2 ? 64 : 0);
    memcpy(c->push, &push, sizeof push);
    snprintf(c->name, sizeof c->name, "%s d=%u/%u h=%u t=%u", shapes[index].name, push.rot_dim, push.head_dim,
             push.n_heads, push.n_tokens);
    const uint64_t floats = (uint64_t)push.n_tokens * (table ? push.rot_dim : push.token_stride);
    float *x = sl_case_operand_add(c, AT(x), SL_CASE_IN | SL_CASE_OUT, SL_CASE_F32, floats * sizeof *x);
    sl_case_fill_floats(c, x, floats, -2, 2);
    uint32_t *positions =
        sl_case_operand_add(c, AT(positions), SL_CASE_IN, SL_CASE_U32, push.n_tokens * sizeof *positions);
    for (uint32_t t = 0; t < push.n_tokens; t++)
        positions[t] =
            t % 6 == 4 ? PADDING : shapes[index].last - sl_case_random_below(c, shapes[index].last + 1);
    if (shapes[index].factors) {
        float *factors =
            sl_case_operand_add(c, AT(factors), SL_CASE_IN, SL_CASE_F32, push.rot_dim / 2 * sizeof *factors);
        for (uint32_t i = 0; i < push.rot_dim / 2; i++)
            factors[i] = i < push.rot_dim / 8 ? 1.0f : sl_case_random_float(c, 0.7f, 8.0f);
    }
    return true;
}

bool sl_gen_rope(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    (void)variant;
    return make_rope(c, index, false);
}

bool sl_gen_rope_table(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    (void)variant;
    return make_rope(c, index, true);
}
