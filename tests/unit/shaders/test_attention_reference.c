/* The C sides of attention against attention computed plainly in double, rope against closed-form values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/half.h"
#include "shaders/attention/kv_rows.h"
#include "shaders/registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAGE        SL_KV_PAGE_TOKENS
#define TOKENS      37u
#define SEQUENCES   2u
#define TABLE       8u /* block_table[SEQUENCES][TABLE] */
#define HEADS       6u
#define KV_HEADS    2u
#define HEAD_MAX    256u
#define SPLITS_MAX  5u
#define CACHE_PAGES (SEQUENCES * TABLE)

/* One batch over two sequences whose pages alternate. The caches are large enough for f16. */
typedef struct fixture {
    uint32_t spec[SL_SPEC_MAX]; /* of the kernel that is run */
    uint32_t positions[TOKENS], sequences[TOKENS], table[SEQUENCES * TABLE];
    float q[TOKENS * HEADS * HEAD_MAX], y[TOKENS * HEADS * HEAD_MAX];
    float partial[TOKENS * HEADS * SPLITS_MAX * (HEAD_MAX + 2)];
    uint16_t k[CACHE_PAGES * KV_HEADS * PAGE * HEAD_MAX], v[CACHE_PAGES * KV_HEADS * PAGE * HEAD_MAX];
    uint32_t random;
} fixture;

static float random_float(fixture *f, float bound)
{
    f->random = f->random * 1664525u + 1013904223u;
    return bound * ((float)(f->random >> 8) / 8388608.0f - 1.0f);
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    for (uint32_t t = 0; t < TOKENS; t++) {
        f->sequences[t] = t >= 20;
        f->positions[t] = t < 20 ? 90 + t : t == 25 ? SL_NO_POSITION : t * 7 - 140;
    }
    for (uint32_t s = 0; s < SEQUENCES; s++)
        for (uint32_t i = 0; i < TABLE; i++)
            f->table[s * TABLE + i] = (i * 5 % TABLE) * SEQUENCES + s;
    for (size_t i = 0; i < sizeof f->q / sizeof *f->q; i++)
        f->q[i] = random_float(f, 3);
    for (size_t i = 0; i < sizeof f->k / sizeof *f->k; i++) {
        f->k[i] = sl_float_to_half(random_float(f, 1));
        f->v[i] = sl_float_to_half(random_float(f, 1));
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static uint64_t at(const void *pointer)
{
    return (uint64_t)(uintptr_t)pointer;
}

static struct sl_push_attention make_push(fixture *f, uint32_t head_dim, uint32_t n_splits)
{
    return (struct sl_push_attention){
        .q = at(f->q),
        .k_cache = at(f->k),
        .v_cache = at(f->v),
        .block_table = at(f->table),
        .positions = at(f->positions),
        .sequences = at(f->sequences),
        .y = at(f->y),
        .partial = at(f->partial),
        .n_heads = HEADS,
        .n_kv_heads = KV_HEADS,
        .head_dim = head_dim,
        .n_tokens = TOKENS,
        .q_stride = HEADS * head_dim,
        .y_stride = HEADS * head_dim,
        .table_stride = TABLE,
        .n_splits = n_splits,
        .scale = 1.0f / sqrtf((float)head_dim),
    };
}

/* out[head_dim] = key (or value) j of a token's sequence. */
static void cached(const fixture *f, const uint16_t *cache, uint32_t t, uint32_t j, uint32_t g,
                   uint32_t head_dim, float *out)
{
    const uint32_t type = f->spec[SL_ATTENTION_KV_TYPE];
    const uint64_t page = f->table[f->sequences[t] * TABLE + j / PAGE];
    const uint64_t at = (page * KV_HEADS + g) * SL_KV_GROUP_BYTES(type, head_dim);
    sl_kv_get(type, (const uint8_t *)cache + at, head_dim, j % PAGE, 1, out);
}

/* out[head_dim]: the definition, with all scores at once. */
static void attend(const fixture *f, const struct sl_push_attention *p, uint32_t t, uint32_t h, double *out)
{
    double scores[TABLE * PAGE], maximum = -INFINITY, sum = 0;
    float row[HEAD_MAX];
    const uint32_t position = f->positions[t], g = h / (HEADS / KV_HEADS), head_dim = p->head_dim;
    memset(out, 0, head_dim * sizeof *out);
    if (position == SL_NO_POSITION) return;
    for (uint32_t j = 0; j <= position; j++) {
        double score = 0;
        cached(f, f->k, t, j, g, head_dim, row);
        for (uint32_t d = 0; d < head_dim; d++)
            score += (double)f->q[(t * HEADS + h) * head_dim + d] * (double)row[d];
        score *= (double)p->scale;
        if (p->softcap > 0) score = (double)p->softcap * tanh(score / (double)p->softcap);
        scores[j] = p->window && position - j >= p->window ? -INFINITY : score;
        maximum = fmax(maximum, scores[j]);
    }
    for (uint32_t j = 0; j <= position; j++)
        sum += scores[j] = exp(scores[j] - maximum);
    for (uint32_t j = 0; j <= position; j++) {
        cached(f, f->v, t, j, g, head_dim, row);
        for (uint32_t d = 0; d < head_dim; d++)
            out[d] += scores[j] / sum * (double)row[d];
    }
}

static void check(const fixture *f, const struct sl_push_attention *p)
{
    double expected[HEAD_MAX], error = 0, size = 0;
    for (uint32_t t = 0; t < TOKENS; t++)
        for (uint32_t h = 0; h < HEADS; h++) {
            attend(f, p, t, h, expected);
            for (uint32_t d = 0; d < p->head_dim; d++) {
                const double got = (double)f->y[(t * HEADS + h) * p->head_dim + d];
                assert_true(isfinite(got));
                error += (got - expected[d]) * (got - expected[d]);
                size += expected[d] * expected[d];
            }
        }
    assert_true(size > 0);
    assert_true(error / size < 1e-11);
}

/* All parts of a dispatch, one after another. */
static void run_with(sl_kernel_host_fn host, const void *push, const uint32_t *spec, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        host(&(sl_kernel_task){.push = push, .spec = spec, .index = i, .count = count});
}

static void run(sl_kernel_host_fn host, const void *push, uint32_t count)
{
    static const uint32_t none[SL_SPEC_MAX];
    run_with(host, push, none, count);
}

static void run_decode(fixture *f, const struct sl_push_attention *p, uint32_t parts)
{
    memset(f->y, 0xff, sizeof f->y);
    memset(f->partial, 0xff, sizeof f->partial);
    run_with(sl_host_attention_decode, p, f->spec, parts);
    if (p->n_splits == 1) return;
    const struct sl_push_attention_combine combine = {
        .partial = p->partial,
        .y = p->y,
        .n_heads = p->n_heads,
        .head_dim = p->head_dim,
        .n_tokens = p->n_tokens,
        .n_splits = p->n_splits,
        .y_stride = p->y_stride,
    };
    run(sl_host_attention_combine, &combine, parts);
}

/* A cache of random rows. */
static void fill_cache(fixture *f, uint32_t kv_type, uint32_t head_dim)
{
    float row[HEAD_MAX];
    uint16_t *const caches[] = {f->k, f->v};
    f->spec[SL_ATTENTION_KV_TYPE] = kv_type;
    for (uint32_t i = 0; i < 2 * CACHE_PAGES * KV_HEADS * PAGE; i++) {
        const uint64_t group = i / 2 / PAGE;
        for (uint32_t d = 0; d < head_dim; d++)
            row[d] = random_float(f, 1);
        sl_kv_put(kv_type, (uint8_t *)caches[i % 2] + group * SL_KV_GROUP_BYTES(kv_type, head_dim), head_dim,
                  i / 2 % PAGE, row);
    }
}

static void both_match_the_definition(void **state)
{
    static const struct {
        uint32_t head_dim, window, n_splits;
        float softcap;
        uint32_t kv_type;
    } cases[] = {{64, 0, 1, 0, SL_KV_F16},     {64, 0, 5, 0, SL_KV_Q8_0},    {80, 33, 1, 0, SL_KV_F16},
                 {96, 64, 2, 1.5f, SL_KV_F16}, {128, 1, 1, 0.0f, SL_KV_F16}, {128, 0, 3, 30, SL_KV_Q4_0},
                 {256, 32, 4, 0, SL_KV_F16},   {256, 500, 1, 2, SL_KV_Q8_0}, {80, 0, 2, 0, SL_KV_Q4_0}};
    fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sl_push_attention p = make_push(f, cases[i].head_dim, cases[i].n_splits);
        p.window = cases[i].window;
        p.softcap = cases[i].softcap;
        fill_cache(f, cases[i].kv_type, p.head_dim);
        run_decode(f, &p, (uint32_t)i + 1);
        check(f, &p);
        memset(f->y, 0xff, sizeof f->y);
        run_with(sl_host_attention_prefill, &p, f->spec, (uint32_t)i + 1);
        check(f, &p);
    }
}

/* A token's result is the same bits whoever shares the batch. */
static void results_do_not_depend_on_the_batch(void **state)
{
    fixture *f = *state;
    static float together[TOKENS * HEADS * 64];
    for (uint32_t prefill = 0; prefill < 2; prefill++) {
        sl_kernel_host_fn host = prefill ? sl_host_attention_prefill : sl_host_attention_decode;
        struct sl_push_attention p = make_push(f, 64, 1);
        run(host, &p, 3);
        memcpy(together, f->y, sizeof together);
        p.n_tokens = 1;
        for (uint32_t t = 0; t < TOKENS; t++) {
            p.q = at(f->q + t * HEADS * 64);
            p.positions = at(f->positions + t);
            p.sequences = at(f->sequences + t);
            run(host, &p, 1);
            assert_memory_equal(f->y, together + t * HEADS * 64, HEADS * 64 * sizeof(float));
        }
    }
}

static void empty_splits_say_so(void **state)
{
    fixture *f = *state;
    struct sl_push_attention p = make_push(f, 64, 5);
    run_decode(f, &p, 2);
    for (uint32_t t = 0; t < TOKENS; t++) {
        const uint32_t pages = f->positions[t] == SL_NO_POSITION ? 0 : f->positions[t] / PAGE + 1;
        const uint32_t share = (pages + 4) / 5, used = share ? (pages + share - 1) / share : 0;
        for (uint32_t i = 0; i < HEADS * 5; i++) {
            const float *part = f->partial + (uint64_t)(t * HEADS * 5 + i) * 66;
            assert_true((part[65] > 0) == (i % 5 < used));
            assert_true((part[64] == -INFINITY) == (i % 5 >= used));
        }
    }
}

static void kv_store_finds_the_slot(void **state)
{
    fixture *f = *state;
    memset(f->k, 0, sizeof f->k);
    memset(f->v, 0, sizeof f->v);
    const struct sl_push_kv_store p = {
        .k = at(f->q),
        .v = at(f->q + 7),
        .k_cache = at(f->k),
        .v_cache = at(f->v),
        .block_table = at(f->table),
        .positions = at(f->positions),
        .sequences = at(f->sequences),
        .n_kv_heads = KV_HEADS,
        .head_dim = 64,
        .n_tokens = TOKENS,
        .k_stride = 200,
        .v_stride = 150,
        .table_stride = TABLE,
    };
    run(sl_host_kv_store, &p, 3);
    uint64_t stored = 0;
    for (uint32_t t = 0; t < TOKENS; t++) {
        if (f->positions[t] == SL_NO_POSITION) continue;
        stored += KV_HEADS * 64;
        for (uint32_t g = 0; g < KV_HEADS; g++) {
            float key[64], value[64];
            cached(f, f->k, t, f->positions[t], g, 64, key);
            cached(f, f->v, t, f->positions[t], g, 64, value);
            for (uint32_t d = 0; d < 64; d++) {
                const float k = f->q[t * 200 + g * 64 + d], v = f->q[7 + t * 150 + g * 64 + d];
                assert_true(key[d] == sl_half_to_float(sl_float_to_half(k)));
                assert_true(value[d] == sl_half_to_float(sl_float_to_half(v)));
            }
        }
    }
    for (size_t i = 0; i < sizeof f->k / sizeof *f->k; i++)
        stored -= f->k[i] != 0;
    assert_int_equal(stored, 0); /* nothing else was touched (no value here rounds to 0) */
}

/* ---- rope ---- */

static void rotate(struct sl_push_rope *p, float *x, const uint32_t *positions)
{
    p->x = at(x);
    p->positions = at(positions);
    run(sl_host_rope, p, 2);
}

static void rope_quarter_turns(void **state)
{
    (void)state;
    /* Pair 0 turns by 1 radian a position, pair 1 by 1/100. 11 radians are 3.5 half turns and 0.0044. */
    const uint32_t positions[3] = {0, 11, SL_NO_POSITION};
    float x[3 * 8] = {1, 2, 3, 4, 9, 9, 9, 9, 1, 0, 1, 0, 0, 1, 0, 1, 5, 6, 7, 8, 5, 6, 7, 8};
    struct sl_push_rope p = {.n_heads = 2,
                             .head_dim = 4,
                             .rot_dim = 4,
                             .n_tokens = 3,
                             .token_stride = 8,
                             .freq_base = 1e4f,
                             .freq_scale = 1,
                             .attn_factor = 1};
    rotate(&p, x, positions);
    const float expected[3 * 8] = {1,
                                   2,
                                   3,
                                   4,
                                   9,
                                   9,
                                   9,
                                   9,
                                   4.4256980e-3f,
                                   -0.99999021f,
                                   0.99395610f,
                                   0.10977830f,
                                   0.99999021f,
                                   4.4256980e-3f,
                                   -0.10977830f,
                                   0.99395610f,
                                   5,
                                   6,
                                   7,
                                   8,
                                   5,
                                   6,
                                   7,
                                   8};
    for (uint32_t i = 0; i < 24; i++)
        assert_true(fabsf(x[i] - expected[i]) < 2e-7f);
}

static void rope_neox_order_and_rest_of_head(void **state)
{
    (void)state;
    const uint32_t positions[1] = {2};
    const float factors[2] = {2, 0.02f}; /* both pairs turn by 1 radian in 2 positions: 2/2, 0.01*2/0.02 */
    float x[6] = {1, 0, 0, 1, 77, 78};
    struct sl_push_rope p = {.factors = at(factors),
                             .n_heads = 1,
                             .head_dim = 6,
                             .rot_dim = 4,
                             .n_tokens = 1,
                             .token_stride = 6,
                             .mode = 1,
                             .freq_base = 1e4f,
                             .freq_scale = 1,
                             .attn_factor = 2};
    rotate(&p, x, positions);
    const float c = 2 * 0.54030231f, s = 2 * 0.84147098f, expected[6] = {c, -s, s, c, 77, 78};
    for (uint32_t i = 0; i < 6; i++)
        assert_true(fabsf(x[i] - expected[i]) < 1e-6f);
}

static void rope_yarn(void **state)
{
    (void)state;
    /* Base 1: every pair turns by 1 radian. Scale 1/2; ramp from pair 1 to 3: pairs 0 and 1 keep their
     * frequency, pair 2 is half way (0.75), pair 3 is interpolated (0.5). */
    const uint32_t positions[1] = {1};
    float x[8] = {1, 0, 1, 0, 1, 0, 1, 0};
    struct sl_push_rope p = {.n_heads = 1,
                             .head_dim = 8,
                             .rot_dim = 8,
                             .n_tokens = 1,
                             .token_stride = 8,
                             .freq_base = 1,
                             .freq_scale = 0.5f,
                             .ext_factor = 1,
                             .attn_factor = 1,
                             .corr_low = 1,
                             .corr_high = 3};
    rotate(&p, x, positions);
    const float angles[4] = {1, 1, 0.75f, 0.5f};
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(fabsf(x[2 * i] - cosf(angles[i])) < 2e-7f);
        assert_true(fabsf(x[2 * i + 1] - sinf(angles[i])) < 2e-7f);
    }
}

/* 131072 radians modulo a turn, from pi to 40 digits. */
static void rope_far_position(void **state)
{
    (void)state;
    const uint32_t positions[1] = {131072};
    float x[2] = {1, 0};
    struct sl_push_rope p = {.n_heads = 1,
                             .head_dim = 2,
                             .rot_dim = 2,
                             .n_tokens = 1,
                             .token_stride = 2,
                             .freq_base = 5e5f,
                             .freq_scale = 1,
                             .attn_factor = 1};
    rotate(&p, x, positions);
    assert_true(fabs((double)x[0] - (0.042090815250296655)) < 1e-7);
    assert_true(fabs((double)x[1] - (-0.9991137889507709)) < 1e-7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_match_the_definition, setup, teardown),
        cmocka_unit_test_setup_teardown(results_do_not_depend_on_the_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_splits_say_so, setup, teardown),
        cmocka_unit_test_setup_teardown(kv_store_finds_the_slot, setup, teardown),
        cmocka_unit_test(rope_quarter_turns),
        cmocka_unit_test(rope_neox_order_and_rest_of_head),
        cmocka_unit_test(rope_yarn),
        cmocka_unit_test(rope_far_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
