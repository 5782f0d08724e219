/* gen_sample.c - cases of argmax, topk, sample and penalize: ties, NaNs, infinities, both zeros, subnormals,
 * equal rows, rows sorted either way, vocabularies of real models. */
#include "tests/kernels/kernel_case.h"

#include "hal/base/checked.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum kind {
    NORMAL,      /* like logits: sums of uniform numbers */
    FEW_VALUES,  /* many ties */
    EQUAL,       /* one value everywhere */
    ZEROS,       /* 0 and -0 */
    RISING,      /* sorted */
    FALLING,     /* sorted the other way */
    WITH_NANS,   /* every third is one */
    ALL_NANS,    /* but the last */
    ONLY_NANS,   /* nothing else */
    INFINITIES,  /* a few of both signs */
    MOSTLY_MASK, /* -inf but for a few */
    SUBNORMALS,  /* as bits they differ */
    ANY_BITS,    /* finite and infinite numbers and NaNs of every kind */
} kind;

static const char *const kind_names[] = {"normal",      "few values", "equal",    "zeros",     "rising",
                                         "falling",     "with NaNs",  "all NaNs", "only NaNs", "infinities",
                                         "mostly -inf", "subnormals", "any bits"};

static float bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static float value_of(sl_kernel_case *c, kind kind, uint32_t i, uint32_t n)
{
    const uint32_t random = sl_case_random(c);
    const float sign = random & 1 ? -1 : 1;
    switch (kind) {
    case NORMAL:
        return sl_case_random_float(c, -6, 6) + sl_case_random_float(c, -6, 6) +
               sl_case_random_float(c, -6, 6);
    case FEW_VALUES:
        return (float)(random % 5) - 2;
    case EQUAL:
        return 1.25f;
    case ZEROS:
        return 0 * sign;
    case RISING:
        return (float)i * 1e-3f - 20;
    case FALLING:
        return -(float)i * 1e-3f;
    case WITH_NANS:
        return i % 3 == 0 ? NAN * sign : sl_case_random_float(c, -9, 9);
    case ALL_NANS:
        return i == n - 1 ? -3 : NAN * sign;
    case ONLY_NANS:
        return NAN * sign;
    case INFINITIES:
        return random % 37 == 0 ? INFINITY * sign : sl_case_random_float(c, -9, 9);
    case MOSTLY_MASK:
        return random % 61 == 0 ? sl_case_random_float(c, -9, 9) : -INFINITY;
    case SUBNORMALS:
        return bits((random & 0x80000000u) | (random & 0x7fffffu));
    case ANY_BITS:
        return bits(random);
    }
    return 0;
}

static void fill_rows(sl_kernel_case *c, float *x, uint32_t n, uint32_t rows, uint32_t stride, kind kind)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < n; i++)
            x[(uint64_t)r * stride + i] = value_of(c, kind, i, n);
}

static float *add_rows(sl_kernel_case *c, size_t at, uint32_t n, uint32_t rows, uint32_t stride, kind kind)
{
    const uint64_t floats = (uint64_t)(rows - 1) * stride + n;
    float *x = sl_case_operand_add(c, (uint32_t)at, SL_CASE_IN, SL_CASE_F32, floats * sizeof *x);
    fill_rows(c, x, n, rows, stride, kind);
    return x;
}

bool sl_gen_argmax(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n, rows, pad;
        kind kind;
    } shapes[] = {
        {1, 1, 0, NORMAL},         {1, 2, 3, ONLY_NANS},     {3, 5, 0, NORMAL},      {255, 2, 0, FEW_VALUES},
        {256, 2, 0, EQUAL},        {257, 3, 2, ZEROS},       {1000, 2, 0, RISING},   {1000, 2, 1, FALLING},
        {4097, 2, 0, WITH_NANS},   {4099, 1, 0, ALL_NANS},   {500, 1, 0, ONLY_NANS}, {700, 3, 0, INFINITIES},
        {900, 2, 0, MOSTLY_MASK},  {5000, 3, 0, SUBNORMALS}, {5000, 8, 0, ANY_BITS}, {49152, 1, 0, NORMAL},
        {49152, 4, 0, FEW_VALUES}, {128256, 1, 0, NORMAL},   {262144, 1, 0, NORMAL}, {2, 40, 0, NORMAL},
    };
    (void)variant;
    if (index >= SL_COUNTOF(shapes)) return false;
    struct sl_push_argmax *p = (struct sl_push_argmax *)c->push;
    *p = (struct sl_push_argmax){
        .n = shapes[index].n, .rows = shapes[index].rows, .x_stride = shapes[index].n + shapes[index].pad};
    snprintf(c->name, sizeof c->name, "%s n=%u rows=%u", kind_names[shapes[index].kind], p->n, p->rows);
    add_rows(c, offsetof(struct sl_push_argmax, x), p->n, p->rows, p->x_stride, shapes[index].kind);
    sl_case_operand_add(c, offsetof(struct sl_push_argmax, ids), SL_CASE_OUT, SL_CASE_U32, p->rows * 4ull);
    return true;
}

bool sl_gen_topk(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n, rows, pad, k;
        kind kind;
    } shapes[] = {
        {1, 1, 0, 1, NORMAL},          {2, 3, 0, 1, NORMAL},          {5, 2, 1, 5, NORMAL},
        {40, 1, 0, 40, FEW_VALUES},    {256, 2, 0, 256, NORMAL},      {257, 2, 0, 256, NORMAL},
        {512, 1, 3, 100, NORMAL},      {1000, 2, 0, 256, EQUAL},      {1024, 1, 0, 256, ZEROS},
        {3000, 1, 0, 255, ZEROS},      {2000, 2, 0, 64, RISING},      {2000, 2, 0, 64, FALLING},
        {5000, 2, 0, 256, FEW_VALUES}, {900, 1, 0, 200, WITH_NANS},   {3000, 1, 0, 256, WITH_NANS},
        {400, 1, 0, 20, ALL_NANS},     {3000, 1, 0, 200, ALL_NANS},   {300, 1, 0, 10, ONLY_NANS},
        {4000, 1, 0, 33, INFINITIES},  {4000, 2, 0, 256, INFINITIES}, {6000, 1, 0, 256, MOSTLY_MASK},
        {3000, 2, 0, 128, SUBNORMALS}, {49152, 2, 0, 256, NORMAL},    {49152, 1, 0, 1, NORMAL},
        {49152, 1, 0, 40, FEW_VALUES}, {49152, 1, 0, 256, EQUAL},     {128256, 1, 0, 256, NORMAL},
        {262144, 1, 0, 256, NORMAL},   {262144, 1, 0, 256, RISING},   {5003, 2, 1, 256, NORMAL},
        {20000, 1, 0, 256, ONLY_NANS},
    };
    (void)variant;
    if (index >= SL_COUNTOF(shapes)) return false;
    struct sl_push_topk *p = (struct sl_push_topk *)c->push;
    *p = (struct sl_push_topk){.n = shapes[index].n,
                               .rows = shapes[index].rows,
                               .x_stride = shapes[index].n + shapes[index].pad,
                               .k = shapes[index].k};
    snprintf(c->name, sizeof c->name, "%s n=%u rows=%u k=%u", kind_names[shapes[index].kind], p->n, p->rows,
             p->k);
    add_rows(c, offsetof(struct sl_push_topk, x), p->n, p->rows, p->x_stride, shapes[index].kind);
    const uint64_t results = (uint64_t)p->rows * p->k;
    sl_case_operand_add(c, offsetof(struct sl_push_topk, ids), SL_CASE_OUT, SL_CASE_U32, results * 4);
    sl_case_operand_add(c, offsetof(struct sl_push_topk, values), SL_CASE_OUT, SL_CASE_BYTES, results * 4);
    sl_case_operand_add(c, offsetof(struct sl_push_topk, lse), SL_CASE_OUT, SL_CASE_F32, p->rows * 4ull);
    sl_case_operand_add(c, offsetof(struct sl_push_topk, scratch), 0, SL_CASE_BYTES,
                        (uint64_t)p->rows * SL_TOPK_SCRATCH_BYTES);
    return true;
}

bool sl_gen_sample(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t k, rows;
        kind kind;
        struct sl_sample_params params; /* without seeds */
    } shapes[] = {
        {1, 1, FALLING, {.temperature = 1, .top_p = 1}},
        {40, 70, NORMAL, {.temperature = 0, .top_p = 1}},
        {40, 70, NORMAL, {.temperature = 0.8f, .top_p = 1}},
        {256, 40, FALLING, {.temperature = 1, .top_p = 1}},
        {256, 40, NORMAL, {.temperature = 2, .top_p = 0.9f}},
        {256, 40, NORMAL, {.temperature = 1, .top_p = 1, .top_k = 5}},
        {100, 40, NORMAL, {.temperature = 5, .top_p = 1, .min_p = 0.05f}},
        {256, 40, NORMAL, {.temperature = 1.5f, .top_p = 0.95f, .min_p = 0.02f, .top_k = 50}},
        {64, 20, NORMAL, {.temperature = 1, .top_p = 0, .top_k = 1000}},
        {64, 20, EQUAL, {.temperature = 1, .top_p = 0.5f}},
        {64, 20, EQUAL, {.temperature = 1e-6f, .top_p = 1, .min_p = 2}},
        {20, 20, MOSTLY_MASK, {.temperature = 1, .top_p = 0.9f, .min_p = 0.1f}},
        {30, 20, WITH_NANS, {.temperature = 1, .top_p = 1}},
        {30, 4, INFINITIES, {.temperature = 0.7f, .top_p = 0.9f}},
    };
    (void)variant;
    if (index >= SL_COUNTOF(shapes)) return false;
    const uint32_t k = shapes[index].k, rows = shapes[index].rows;
    struct sl_push_sample *p = (struct sl_push_sample *)c->push;
    *p = (struct sl_push_sample){.k = k, .rows = rows};
    const struct sl_sample_params *wanted = &shapes[index].params;
    snprintf(c->name, sizeof c->name, "%s k=%u rows=%u t=%g top_k=%u top_p=%g min_p=%g",
             kind_names[shapes[index].kind], k, rows, (double)wanted->temperature, wanted->top_k,
             (double)wanted->top_p, (double)wanted->min_p);
    float *values = add_rows(c, offsetof(struct sl_push_sample, values), k, rows, k, shapes[index].kind);
    for (uint32_t r = 0; r < rows; r++) /* largest first and NaNs last, as topk leaves them */
        for (uint32_t i = 1; i < k; i++)
            for (uint32_t j = i; j > 0; j--) {
                float *v = values + (uint64_t)r * k;
                if (!(v[j] > v[j - 1] || (isnan(v[j - 1]) && !isnan(v[j])))) break;
                const float swap = v[j];
                v[j] = v[j - 1];
                v[j - 1] = swap;
            }
    uint32_t *ids = sl_case_operand_add(c, offsetof(struct sl_push_sample, ids), SL_CASE_IN, SL_CASE_U32,
                                        (uint64_t)rows * k * 4);
    for (uint64_t i = 0; i < (uint64_t)rows * k; i++)
        ids[i] = sl_case_random(c);
    struct sl_sample_params *params = sl_case_operand_add(c, offsetof(struct sl_push_sample, params),
                                                          SL_CASE_IN, SL_CASE_BYTES, rows * sizeof *params);
    for (uint32_t r = 0; r < rows; r++) {
        params[r] = *wanted;
        params[r].seed_low = sl_case_random(c);
        params[r].seed_high = sl_case_random(c);
        params[r].counter = r;
    }
    sl_case_operand_add(c, offsetof(struct sl_push_sample, token), SL_CASE_OUT, SL_CASE_U32, rows * 4ull);
    return true;
}

bool sl_gen_penalize(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const struct {
        uint32_t n_vocab, rows, pad, n_entries;
        struct sl_penalty_params params;
    } shapes[] = {
        {1, 1, 0, 1, {.repeat = 1.1f}},
        {100, 3, 5, 7, {.repeat = 1.3f, .frequency = 0.2f, .presence = 0.4f}},
        {49152, 2, 0, 256, {.repeat = 1.1f, .frequency = 0.5f}},
        {3000, 9, 0, 65, {.repeat = 1, .frequency = -0.5f, .presence = -1}},
        {128256, 1, 0, 64, {.repeat = 0.8f}},
    };
    (void)variant;
    if (index >= SL_COUNTOF(shapes)) return false;
    struct sl_push_penalize *p = (struct sl_push_penalize *)c->push;
    const uint32_t n = shapes[index].n_vocab, rows = shapes[index].rows, n_entries = shapes[index].n_entries;
    *p = (struct sl_push_penalize){
        .n_vocab = n, .rows = rows, .logits_stride = n + shapes[index].pad, .n_entries = n_entries};
    snprintf(c->name, sizeof c->name, "vocabulary=%u rows=%u entries=%u", n, rows, n_entries);
    float *logits = add_rows(c, offsetof(struct sl_push_penalize, logits), n, rows, p->logits_stride, NORMAL);
    c->operands[c->operand_count - 1].flags |= SL_CASE_OUT;
    if (n > 7) logits[sl_case_random_below(c, n / n_entries)] = -INFINITY;
    uint32_t(*entries)[2] = sl_case_operand_add(c, offsetof(struct sl_push_penalize, entries), SL_CASE_IN,
                                                SL_CASE_U32, (uint64_t)rows * n_entries * sizeof *entries);
    for (uint32_t i = 0; i < rows * n_entries; i++) { /* ids of a row differ */
        const uint32_t step = n / n_entries, slot = i % n_entries;
        entries[i][0] = slot * step + sl_case_random_below(c, step);
        entries[i][1] = sl_case_random_below(c, 5);
        if (slot == 3) entries[i][0] = n; /* no token of the vocabulary */
        if (slot == 5) entries[i][0] = 0xffffffffu;
    }
    struct sl_penalty_params *params = sl_case_operand_add(c, offsetof(struct sl_push_penalize, params),
                                                           SL_CASE_IN, SL_CASE_BYTES, rows * sizeof *params);
    for (uint32_t r = 0; r < rows; r++)
        params[r] = shapes[index].params;
    return true;
}

bool sl_gen_advance(sl_kernel_case *c, uint32_t index, const sl_variant *variant)
{
    static const uint32_t rows[] = {1, 8, 200};
    (void)variant;
    if (index >= SL_COUNTOF(rows)) return false;
    const uint32_t n = rows[index];
    struct sl_push_advance *p = (struct sl_push_advance *)c->push;
    *p = (struct sl_push_advance){.rows = n};
    snprintf(c->name, sizeof c->name, "rows=%u", n);
#define AT(field) offsetof(struct sl_push_advance, field)
    uint32_t *next = sl_case_operand_add(c, AT(next), SL_CASE_IN, SL_CASE_U32, 4ull * n);
    uint32_t *positions =
        sl_case_operand_add(c, AT(positions), SL_CASE_IN | SL_CASE_OUT, SL_CASE_U32, 4ull * n);
    struct sl_sample_params *params =
        sl_case_operand_add(c, AT(params), SL_CASE_IN | SL_CASE_OUT, SL_CASE_BYTES, sizeof *params * n);
    sl_case_operand_add(c, AT(tokens), SL_CASE_OUT, SL_CASE_U32, 4ull * n);
#undef AT
    for (uint32_t i = 0; i < n; i++) {
        next[i] = sl_case_random(c);
        positions[i] = i % 5 == 4 ? SL_NO_POSITION : sl_case_random_below(c, 100000);
        params[i].counter = sl_case_random(c);
        params[i].temperature = 0.5f;
    }
    return true;
}
