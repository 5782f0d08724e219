/* Sampling: what each rule of the chain does to the tokens drawn; the device and the host draw the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_device.h"
#include "tests/support/test_engine.h"

#include "hal/base/checked.h"
#include "runtime/engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 40, DRAWS = 600, VOCABULARY_MAX = 512 };

static sl_engine *engine;
static uint32_t n_vocab;
static const uint32_t prompt[] = {3, 99, 41, 7};

static int set_up(void **state)
{
    (void)state;
    const sl_engine_options options = {.context_tokens = 128, .batch_tokens = 16, .max_sessions = 2};
    engine = sl_test_engine_open(sl_test_golden_path("tiny-qwen3.gguf"), &options);
    sl_engine_info info;
    sl_engine_get_info(engine, &info);
    n_vocab = info.vocabulary;
    assert_true(n_vocab > SL_TOPK_MAX && n_vocab <= VOCABULARY_MAX);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_engine_close(engine);
    return 0;
}

static sl_output output_of(const sl_sampling *sampling)
{
    sl_session *session = sl_test_session(engine, sampling);
    const sl_output output = sl_session_output(session);
    sl_session_destroy(session);
    return output;
}

static void draw(const sl_sampling *sampling, uint32_t *out)
{
    sl_test_generate(engine, sampling, prompt, SL_COUNTOF(prompt), out, STEPS);
}

static bool same(const sl_sampling *a, const sl_sampling *b)
{
    uint32_t x[STEPS], y[STEPS];
    draw(a, x);
    draw(b, y);
    return !memcmp(x, y, sizeof x);
}

static void test_where(void **state)
{
    (void)state;
    assert_int_equal(output_of(&(sl_sampling){0}), SL_OUTPUT_GREEDY);
    assert_int_equal(output_of(&(sl_sampling){.repeat_penalty = 1}), SL_OUTPUT_GREEDY);
    assert_int_equal(output_of(&(sl_sampling){.repeat_penalty = 1.1f}), SL_OUTPUT_SAMPLED);
    assert_int_equal(output_of(&(sl_sampling){.temperature = 1, .top_k = 40}), SL_OUTPUT_SAMPLED);
    assert_int_equal(output_of(&(sl_sampling){.temperature = 1, .top_k = SL_TOPK_MAX}), SL_OUTPUT_SAMPLED);
    assert_int_equal(output_of(&(sl_sampling){.temperature = 1, .top_k = SL_TOPK_MAX + 1}), SL_OUTPUT_LOGITS);
    assert_int_equal(output_of(&(sl_sampling){.temperature = 1}), SL_OUTPUT_LOGITS);
}

static void test_seeds(void **state)
{
    (void)state;
    static const sl_sampling chains[] = {
        {.temperature = 1.5f, .top_k = 40},
        {.temperature = 1.5f},
        {.temperature = 1.5f, .top_k = 60, .top_p = 0.9f, .min_p = 0.01f, .presence_penalty = 0.3f},
    };
    for (size_t i = 0; i < SL_COUNTOF(chains); i++) {
        sl_sampling a = chains[i], b = chains[i];
        assert_true(same(&a, &b));
        b.seed = 1;
        assert_false(same(&a, &b));
        a.seed = b.seed = 1ull << 40; /* all of its 64 bits count */
        assert_true(same(&a, &b));
        b.seed = 0;
        assert_false(same(&a, &b));
    }
}

/* Rules that leave one candidate are greedy. */
static void test_one_candidate(void **state)
{
    (void)state;
    const sl_sampling greedy = {0};
    assert_true(same(&greedy, &(sl_sampling){.temperature = 2, .top_k = 1, .seed = 4}));
    assert_true(same(&greedy, &(sl_sampling){.temperature = 2, .top_k = 50, .top_p = 1e-6f, .seed = 4}));
    assert_true(same(&greedy, &(sl_sampling){.temperature = 2, .top_k = 50, .min_p = 1, .seed = 4}));
    assert_true(same(&greedy, &(sl_sampling){.temperature = 2, .top_p = 1e-6f, .seed = 4}));
    assert_true(same(&greedy, &(sl_sampling){.temperature = 1e-4f, .top_k = 50, .seed = 4}));
    assert_true(same(&greedy, &(sl_sampling){.temperature = -1, .top_k = 50, .seed = 4}));
}

/* With min_p nothing that only the host sees is a candidate: both ways draw the same. */
static void test_host_and_device_agree(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        sl_sampling device = {.temperature = 1.2f, .min_p = 0.05f, .top_k = SL_TOPK_MAX, .seed = seed},
                    host = device;
        if (seed % 2) device.repeat_penalty = host.repeat_penalty = 1.3f;
        if (seed % 3 == 2) device.frequency_penalty = host.frequency_penalty = 0.4f;
        host.top_k = 0;
        assert_int_equal(output_of(&device), SL_OUTPUT_SAMPLED);
        assert_int_equal(output_of(&host), SL_OUTPUT_LOGITS);
        assert_true(same(&device, &host));
    }
}

/* Probabilities of the token after the prompt, by plain arithmetic. */
static void probabilities(double *p)
{
    float *logits = malloc(SL_COUNTOF(prompt) * n_vocab * sizeof *logits);
    assert_non_null(logits);
    sl_session *session = sl_test_session(engine, NULL);
    sl_diag diag;
    EXPECT_OK(sl_session_eval(session, prompt, SL_COUNTOF(prompt), logits, &diag));
    const float *last = logits + (SL_COUNTOF(prompt) - 1) * n_vocab;
    double sum = 0, most = -INFINITY;
    for (uint32_t i = 0; i < n_vocab; i++)
        most = fmax(most, (double)last[i]);
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += p[i] = exp((double)last[i] - most);
    for (uint32_t i = 0; i < n_vocab; i++)
        p[i] /= sum;
    sl_session_destroy(session);
    free(logits);
}

static int descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Keeps the candidates of a chain, then applies its temperature: the others' probabilities become 0, the rest
 * sums to 1. */
static void restrict_to(double *p, const sl_sampling *s)
{
    double sorted[VOCABULARY_MAX], sum = 0, kept = 0;
    memcpy(sorted, p, n_vocab * sizeof *p);
    qsort(sorted, n_vocab, sizeof *sorted, descending);
    uint32_t n = s->top_k ? SL_MIN(s->top_k, n_vocab) : n_vocab;
    for (uint32_t i = 0; i < n; i++)
        sum += sorted[i];
    if (s->top_p > 0) {
        double mass = 0;
        uint32_t i = 0;
        while (i < n && mass < (double)s->top_p * sum)
            mass += sorted[i++];
        n = i;
    }
    while (n > 1 && sorted[n - 1] < (double)s->min_p * sorted[0])
        n--;
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (p[i] < sorted[n - 1]) p[i] = 0;
        kept += p[i] = pow(p[i], 1 / (double)s->temperature);
    }
    for (uint32_t i = 0; i < n_vocab; i++)
        p[i] /= kept;
}

/* First tokens drawn with many seeds: only candidates come, and each about as often as it should. */
static void test_frequencies(void **state)
{
    (void)state;
    static const sl_sampling chains[] = {
        {.temperature = 1, .top_k = 5},
        {.temperature = 0.7f, .top_k = 100, .top_p = 0.6f},
        {.temperature = 1, .min_p = 0.2f},
        {.temperature = 1.3f, .top_p = 0.8f},
    };
    for (size_t c = 0; c < SL_COUNTOF(chains); c++) {
        double p[VOCABULARY_MAX];
        uint32_t counts[VOCABULARY_MAX] = {0}, kinds = 0;
        sl_sampling sampling = chains[c];
        probabilities(p);
        restrict_to(p, &sampling);
        for (uint32_t i = 0; i < DRAWS; i++) {
            uint32_t token;
            sampling.seed = i;
            sl_test_generate(engine, &sampling, prompt, SL_COUNTOF(prompt), &token, 1);
            counts[token]++;
        }
        for (uint32_t i = 0; i < n_vocab; i++) {
            const double wanted = p[i] * DRAWS, deviation = sqrt(DRAWS * p[i] * (1 - p[i]));
            kinds += counts[i] > 0;
            if (fabs(counts[i] - wanted) > 5 * deviation + 1e-9)
                fail_msg("chain %zu: token %u came %u times, %.1f +- %.1f were expected", c, i, counts[i],
                         wanted, deviation);
        }
        assert_true(kinds > 1);
    }
}

static void test_penalties(void **state)
{
    (void)state;
    uint32_t tokens[STEPS];
    /* What was seen can't come again, as far as the window reaches. */
    draw(&(sl_sampling){.presence_penalty = 1000}, tokens);
    for (uint32_t i = 0; i < STEPS; i++) {
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(tokens[i], tokens[k]);
        for (uint32_t k = 0; k < SL_COUNTOF(prompt); k++)
            assert_int_not_equal(tokens[i], prompt[k]);
    }
    draw(&(sl_sampling){.frequency_penalty = 1000, .temperature = 1, .top_k = 30, .seed = 2}, tokens);
    for (uint32_t i = 0; i < STEPS; i++)
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(tokens[i], tokens[k]);
    /* A reward makes one token follow itself. */
    draw(&(sl_sampling){.presence_penalty = -1000}, tokens);
    for (uint32_t i = 0; i < STEPS; i++) {
        bool known = false;
        for (uint32_t k = 0; k < SL_COUNTOF(prompt); k++)
            known = known || tokens[i] == prompt[k];
        assert_true(known);
    }
    assert_true(same(&(sl_sampling){0}, &(sl_sampling){.repeat_penalty = 1}));
    assert_false(same(&(sl_sampling){0}, &(sl_sampling){.repeat_penalty = 3}));
}

/* Penalties look at the token that a step appends, wherever the draw is made. */
static void test_penalties_in_steps(void **state)
{
    (void)state;
    static const sl_sampling rules[] = {
        {.presence_penalty = 1000},
        {.temperature = 1, .top_k = 30, .presence_penalty = 1000, .seed = 4},
        {.temperature = 1, .presence_penalty = 1000, .seed = 4},
        {.temperature = 1, .frequency_penalty = -5, .seed = 4},
    };
    for (size_t c = 0; c < SL_COUNTOF(rules); c++) {
        uint32_t wanted[STEPS], token = prompt[SL_COUNTOF(prompt) - 1];
        sl_diag diag;
        draw(&rules[c], wanted);
        sl_session *s = sl_test_session(engine, &rules[c]);
        EXPECT_OK(sl_session_eval(s, prompt, SL_COUNTOF(prompt) - 1, NULL, &diag));
        for (uint32_t i = 0; i < STEPS; i++) {
            EXPECT_OK(sl_engine_step(engine, &s, &token, 1, &token, &diag));
            if (token != wanted[i]) fail_msg("rules %zu, step %u: %u, not %u", c, i, token, wanted[i]);
        }
        sl_session_destroy(s);
    }
}

/* Sessions with different rules in one step draw what each draws alone. */
static void test_mixed_step(void **state)
{
    (void)state;
    static const sl_sampling rules[][2] = {
        {{.temperature = 1, .top_k = 20, .seed = 3}, {.top_k = 0}},
        {{.temperature = 1, .seed = 3}, {.temperature = 0.8f, .top_k = 10, .seed = 9}},
        {{.repeat_penalty = 1.5f}, {.top_k = 0}},
    };
    for (size_t c = 0; c < SL_COUNTOF(rules); c++) {
        uint32_t alone[2][STEPS / 4], tokens[2] = {5, 6};
        sl_diag diag;
        for (uint32_t i = 0; i < 2; i++) {
            sl_session *s = sl_test_session(engine, &rules[c][i]);
            uint32_t token = 5 + i;
            for (uint32_t n = 0; n < STEPS / 4; n++) {
                EXPECT_OK(sl_engine_step(engine, &s, &token, 1, &token, &diag));
                alone[i][n] = token;
            }
            sl_session_destroy(s);
        }
        sl_session *s[2] = {sl_test_session(engine, &rules[c][0]), sl_test_session(engine, &rules[c][1])};
        for (uint32_t n = 0; n < STEPS / 4; n++) {
            EXPECT_OK(sl_engine_step(engine, s, tokens, 2, tokens, &diag));
            for (uint32_t i = 0; i < 2; i++)
                if (tokens[i] != alone[i][n]) fail_msg("rules %zu, session %u, step %u", c, i, n);
        }
        sl_session_destroy(s[0]);
        sl_session_destroy(s[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_one_candidate),
        cmocka_unit_test(test_host_and_device_agree),
        cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_penalties_in_steps),
        cmocka_unit_test(test_mixed_step),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
