/* Logits and greedy continuations against references that another program computed in float32 from the same
 * dequantized weights; streamed weights against resident ones; the budget as a limit that holds.
 *
 * On a device that is not the cpu driver the real models are checked over fewer positions, unless
 * SLUICE_GOLDEN_FULL is set: a software Vulkan device takes minutes for all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/golden/golden_file.h"
#include "tests/support/test_engine.h"

#include "hal/base/checked.h"
#include "runtime/engine/engine.h"
#include "shaders/tuning.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KL_MAX      1e-4
#define TOP1_MIN    0.995
#define INT8_KL_MAX 5e-3
#define F16_KL_MAX  1e-4
#define TOP1_EVERY                                                                                           \
    200 /* positions a disagreement, 1 - TOP1_MIN; fewer positions than that may have one near tie */
/* Logits closer than this count as tied: the f16 KV cache moves logits of these models by a few hundredths.
 */
#define NEAR_TIE 0.1f

/* Of quantized KV caches, from one of f16. Measured: 9e-5 to 1.1e-3, and 0.024 to 0.23; a step of q4_0 is 16
 * times one of q8_0, and the divergence goes with the square of it. Small models suffer more than large ones.
 */
#define Q8_KV_KL_MAX   2e-3
#define Q4_KV_KL_MAX   0.4
#define Q8_KV_NEAR_TIE 0.3f

enum { OUTPUTS = 32, BATCH = 64, CONTEXT = 512, LIMITED_POSITIONS = 32, LIMITED_GREEDY = 8 };

typedef struct golden_case {
    const char *model, *golden; /* files in data/; `model` NULL: `real` says where */
    const char *(*real)(void);
} golden_case;

static const golden_case cases[] = {
    {"tiny-qwen3.gguf", "tiny-qwen3.golden", NULL},
    {"tiny-qwen3moe.gguf", "tiny-qwen3moe.golden", NULL},
    {"tiny-gemma3.gguf", "tiny-gemma3.golden", NULL},
    {"tiny-llama-yarn.gguf", "tiny-llama-yarn.golden", NULL},
    {"tiny-llama3-rope.gguf", "tiny-llama3-rope.golden", NULL},
    {NULL, "smollm2-135m-instruct-q4_1.golden", sl_test_model_smollm2},
    {NULL, "gemma-3-270m-q4_k_m.golden", sl_test_model_gemma3},
};

typedef struct figures {
    uint32_t positions, agreeing, excused, greedy_same, greedy_prompts;
    double kl_sum, kl_max;
} figures;

static bool limited(const golden_case *c)
{
    return c->real && (!sl_test_device_is_cpu() || sl_engine_hooks.attention_step) &&
           !getenv("SLUICE_GOLDEN_FULL");
}

/* Path of a case's model, or the test is skipped. */
static const char *model_of(const golden_case *c)
{
    static char path[1024];
    const char *found = c->real ? c->real() : sl_test_golden_path(c->model);
    if (!found) {
        print_message("skipped: the model of %s is not in the cache\n", c->golden);
        skip();
    }
    snprintf(path, sizeof path, "%s", found);
    return path;
}

static void check_logits(sl_engine *engine, const golden *g, uint32_t n, uint32_t positions, figures *f)
{
    const golden_prompt *p = &g->prompts[n];
    sl_diag diag = {0};
    float *logits = malloc((size_t)positions * g->n_vocab * sizeof *logits);
    assert_non_null(logits);
    sl_session *session = sl_test_session(engine, NULL);
    /* In one step, if at all, attend only passes of single tokens. */
    const uint32_t piece = sl_engine_hooks.attention_step ? 1 : positions;
    for (uint32_t i = 0; i < positions; i += piece) {
        const sl_status st =
            sl_session_eval(session, p->tokens + i, piece, logits + (size_t)i * g->n_vocab, &diag);
        if (st != SL_OK) fail_msg("prompt %u: %s: %s", n, sl_status_name(st), diag.message);
    }
    assert_int_equal(sl_session_length(session), positions);
    for (uint32_t i = 0; i < positions; i++) {
        uint32_t top;
        const golden_top *reference = p->top + (size_t)i * g->n_top;
        const double kl = golden_divergence(g, p, i, logits + (size_t)i * g->n_vocab, &top);
        assert_true(isfinite(kl));
        f->kl_sum += kl;
        f->kl_max = fmax(f->kl_max, kl);
        f->positions++;
        f->agreeing += top == reference[0].id;
        if (top != reference[0].id) f->excused += reference[0].logit - reference[1].logit < NEAR_TIE;
    }
    sl_session_destroy(session);
    free(logits);
}

static void check_greedy(sl_engine *engine, const golden *g, uint32_t n, uint32_t count, float near_tie,
                         figures *f)
{
    const golden_prompt *p = &g->prompts[n];
    uint32_t *tokens = calloc(count, sizeof *tokens);
    assert_non_null(tokens);
    sl_test_generate(engine, NULL, p->tokens, p->n_prefix, tokens, count);
    uint32_t i = 0;
    while (i < count && tokens[i] == p->greedy[i])
        i++;
    f->greedy_prompts++;
    f->greedy_same += i == count;
    if (i < count) {
        print_message("  prompt %u: greedy token %u is %u, the reference has %u with a lead of %.4f\n", n, i,
                      tokens[i], p->greedy[i], (double)p->greedy_leads[i]);
        if (p->greedy_leads[i] >= near_tie) fail_msg("prompt %u: token %u differs and is no near tie", n, i);
    }
    free(tokens);
}

static void test_golden(void **state)
{
    const golden_case *c = *state;
    const char *path = model_of(c);
    golden g;
    char why[256];
    figures f = {0};
    if (!golden_read(sl_test_golden_path(c->golden), &g, why, sizeof why)) fail_msg("%s", why);
    const sl_engine_options options = {
        .context_tokens = CONTEXT,
        .batch_tokens = BATCH,
        .max_outputs = limited(c) ? OUTPUTS / 2 : OUTPUTS,
        .activations = "f32",
    };
    sl_engine *engine = sl_test_engine_open(path, &options);
    sl_engine_info info;
    sl_engine_get_info(engine, &info);
    assert_int_equal(info.vocabulary, g.n_vocab);
    assert_string_equal(info.weights_path, "resident");
    for (uint32_t n = 0; n < g.n_prompts; n++) {
        uint32_t positions = g.prompts[n].n_tokens, greedy = g.n_greedy;
        if (limited(c)) {
            positions = n == 0 ? SL_MIN(positions, LIMITED_POSITIONS) : 0;
            greedy = n == 0 ? SL_MIN(greedy, LIMITED_GREEDY) : 0;
        }
        if (positions) check_logits(engine, &g, n, positions, &f);
        if (greedy) check_greedy(engine, &g, n, greedy, NEAR_TIE, &f);
    }
    print_message(
        "%s on %s: mean KL %.3g (most %.3g) over %u positions, top-1 agreement %.2f %%, greedy same for %u "
        "of %u prompts\n",
        c->golden, info.device_name, f.kl_sum / f.positions, f.kl_max, f.positions,
        100.0 * f.agreeing / f.positions, f.greedy_same, f.greedy_prompts);
    assert_true(f.kl_sum / f.positions <= KL_MAX);
    if (f.positions >= TOP1_EVERY)
        assert_true(f.agreeing >= TOP1_MIN * f.positions);
    else
        assert_true(f.agreeing + f.excused == f.positions);
    assert_true(f.greedy_same + (f.greedy_prompts > 1) >= f.greedy_prompts);
    if (!limited(c)) assert_int_equal(f.greedy_prompts, g.n_prompts);
    if (c->real && !limited(c)) assert_true(f.positions >= 512);
    sl_engine_close(engine);
    golden_free(&g);
}

/* ---- activations of fewer bits ---- */

/* Logits of `count` tokens, `chunk` at a time: of few tokens, as in decode steps. */
static float *chunk_logits(const char *path, const char *activations, const char *kv_type, const golden *g,
                           uint32_t count, uint32_t chunk)
{
    const golden_prompt *p = &g->prompts[0];
    const sl_engine_options options = {.context_tokens = CONTEXT,
                                       .batch_tokens = BATCH,
                                       .max_outputs = SL_MATVEC_COLUMNS_MAX,
                                       .activations = activations,
                                       .kv_type = kv_type};
    float *logits = malloc((size_t)count * g->n_vocab * sizeof *logits);
    assert_non_null(logits);
    sl_engine *engine = sl_test_engine_open(path, &options);
    sl_session *session = sl_test_session(engine, NULL);
    sl_engine_info info;
    sl_diag diag = {0};
    sl_engine_get_info(engine, &info);
    assert_string_equal(info.activations, activations);
    assert_string_equal(info.kv_type, kv_type);
    for (uint32_t i = 0; i < count; i += chunk) {
        const sl_status st = sl_session_eval(session, p->tokens + i, SL_MIN(chunk, count - i),
                                             logits + (size_t)i * g->n_vocab, &diag);
        if (st != SL_OK) fail_msg("token %u: %s: %s", i, sl_status_name(st), diag.message);
    }
    sl_session_destroy(session);
    sl_engine_close(engine);
    return logits;
}

/* KL divergence of softmax(b) from softmax(a), of n numbers each. */
static double divergence(const float *a, const float *b, uint32_t n)
{
    double most_a = -INFINITY, most_b = -INFINITY, sum_a = 0, sum_b = 0, kl = 0;
    for (uint32_t i = 0; i < n; i++) {
        most_a = fmax(most_a, (double)a[i]);
        most_b = fmax(most_b, (double)b[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        sum_a += exp((double)a[i] - most_a);
        sum_b += exp((double)b[i] - most_b);
    }
    for (uint32_t i = 0; i < n; i++) {
        const double la = (double)a[i] - most_a - log(sum_a), lb = (double)b[i] - most_b - log(sum_b);
        kl += exp(la) * (la - lb);
    }
    return kl;
}

/* Their mean over `count` rows. */
static double mean_divergence(const float *a, const float *b, uint32_t n, uint32_t count)
{
    double sum = 0;
    for (uint32_t t = 0; t < count; t++)
        sum += divergence(a + (size_t)t * n, b + (size_t)t * n, n);
    return sum / count;
}

/* Others against f32: near, and not the same; one token at a time and several. */
static void check_activations(const golden_case *c, const char *activations, double kl_max)
{
    if (sl_test_device_is_cpu()) {
        print_message("skipped: the cpu driver has f32 activations only\n");
        skip();
    }
    const char *path = model_of(c);
    golden g;
    char why[256];
    if (!golden_read(sl_test_golden_path(c->golden), &g, why, sizeof why)) fail_msg("%s", why);
    const uint32_t count = SL_MIN(g.prompts[0].n_tokens, getenv("SLUICE_GOLDEN_FULL") ? 128u
                                                         : c->real                    ? 24u
                                                                                      : 48u);
    static const uint32_t chunks[] = {1, 5};
    float *wanted = chunk_logits(path, "f32", "f16", &g, count, 1);
    for (uint32_t i = limited(c); i < SL_COUNTOF(chunks); i++) {
        float *got = chunk_logits(path, activations, "f16", &g, count, chunks[i]);
        const double kl = mean_divergence(wanted, got, g.n_vocab, count);
        print_message("%s, %s activations, %u tokens a pass: mean KL %.3g over %u positions\n", c->golden,
                      activations, chunks[i], kl, count);
        assert_true(kl <= kl_max);
        assert_true(memcmp(wanted, got, (size_t)count * g.n_vocab * sizeof *got) != 0);
        free(got);
    }
    free(wanted);
    golden_free(&g);
}

static void test_int8_activations(void **state)
{
    check_activations(*state, "q8", INT8_KL_MAX);
}

static void test_f16_activations(void **state)
{
    check_activations(*state, "f16", F16_KL_MAX);
}

/* ---- quantized KV cache ---- */

static const struct {
    const char *name;
    double kl_max;
} kv_types[] = {{"q8_0", Q8_KV_KL_MAX}, {"q4_0", Q4_KV_KL_MAX}};

/* Against a cache of f16: near, and not the same; a prompt at once and token by token. */
static void test_kv_types(void **state)
{
    const golden_case *c = *state;
    const char *path = model_of(c);
    golden g;
    char why[256];
    if (!golden_read(sl_test_golden_path(c->golden), &g, why, sizeof why)) fail_msg("%s", why);
    const uint32_t count = SL_MIN(g.prompts[0].n_tokens, limited(c) ? LIMITED_POSITIONS : 4u * BATCH);
    const uint32_t chunks[] = {count, 1};
    for (uint32_t i = 0; i < SL_COUNTOF(chunks); i++) {
        float *wanted = chunk_logits(path, "f32", "f16", &g, count, chunks[i]);
        for (uint32_t k = 0; k < SL_COUNTOF(kv_types); k++) {
            float *got = chunk_logits(path, "f32", kv_types[k].name, &g, count, chunks[i]);
            const double kl = mean_divergence(wanted, got, g.n_vocab, count);
            print_message("%s, KV cache %s, %s: mean KL %.3g over %u positions\n", c->golden,
                          kv_types[k].name, i ? "token by token" : "at once", kl, count);
            assert_true(kl <= kv_types[k].kl_max);
            assert_true(memcmp(wanted, got, (size_t)count * g.n_vocab * sizeof *got) != 0);
            free(got);
        }
        free(wanted);
    }
    golden_free(&g);
}

/* Greedy tokens with q8_0 are those of the reference, but for near ties: of every prompt, or of the first. */
static void test_kv_greedy(void **state)
{
    const golden_case *c = *state;
    const char *path = model_of(c);
    golden g;
    char why[256];
    figures f = {0};
    if (!golden_read(sl_test_golden_path(c->golden), &g, why, sizeof why)) fail_msg("%s", why);
    const sl_engine_options options = {
        .context_tokens = CONTEXT, .batch_tokens = BATCH, .activations = "f32", .kv_type = "q8_0"};
    sl_engine *engine = sl_test_engine_open(path, &options);
    for (uint32_t n = 0; n < (limited(c) ? 1 : g.n_prompts); n++)
        check_greedy(engine, &g, n, limited(c) ? LIMITED_GREEDY : g.n_greedy, Q8_KV_NEAR_TIE, &f);
    print_message("%s, KV cache q8_0: %u of %u continuations the same\n", c->golden, f.greedy_same,
                  f.greedy_prompts);
    sl_engine_close(engine);
    golden_free(&g);
}

/* ---- products of many tokens: in two phases, or decoded while they load ---- */

#define KL_MAX_S8 5e-3

typedef struct many_tokens {
    const char *name;
    uint32_t gemm_format; /* matrices are decoded to rows of it first; SL_ROWS_F32: not so */
    uint32_t half_rung;   /* SL_RUNG_*, or 0 */
    double kl_max;
} many_tokens;

static const many_tokens by_f16_rows = {"rows of f16", SL_ROWS_F16, 0, KL_MAX},
                         by_s8_rows = {"rows of int8", SL_ROWS_S8, 0, KL_MAX_S8},
                         by_decoding = {"matmul_decode", SL_ROWS_F32, SL_RUNG_matmul_decode, KL_MAX};

static bool multiplies_so(const sl_engine *e, const many_tokens *how)
{
    const sl_tuning *tuning = sl_kernel_set_tuning(e->kernels);
    if (!how->half_rung) return e->limits.gemm_format == how->gemm_format;
    for (uint32_t i = 0; i < e->model.tensor_count; i++) {
        const uint32_t type = (uint32_t)e->model.tensors[i].file->type;
        const uint32_t rungs = sl_step_rungs(&e->limits, tuning, type);
        if (sl_part_is_matrix(e->model.tensors[i].part) &&
            sl_tuning_rung(tuning, type, 2 * BATCH, rungs) != how->half_rung)
            return false;
    }
    return true;
}

/* An engine that makes them so, also on devices that would not; or skips. */
static sl_engine *open_many(const char *path, const many_tokens *how, uint64_t vram_bytes)
{
    const sl_engine_options options = {.context_tokens = CONTEXT,
                                       .batch_tokens = 2 * BATCH,
                                       .max_outputs = 2 * BATCH,
                                       .vram_bytes = vram_bytes};
    const sl_engine_test_hooks before = sl_engine_hooks;
    sl_engine_hooks.gemm_format = how->gemm_format;
    sl_engine_hooks.half_rung = how->half_rung;
    sl_engine *engine = sl_test_engine_open(path, &options);
    sl_engine_hooks = before;
    if (!multiplies_so(engine, how)) {
        sl_engine_close(engine);
        print_message("skipped: the device has no kernels for it\n");
        skip();
    }
    return engine;
}

/* The same logits that way. cut: bytes of device memory too few for all weights to stay. */
static void check_many(const golden_case *c, const many_tokens *how, uint64_t cut)
{
    const char *path = model_of(c);
    golden g;
    char why[256];
    figures f = {0};
    if (c->real && sl_test_device_is_cpu()) {
        print_message("skipped: the C sides of these kernels are written to be read\n");
        skip();
    }
    sl_engine *engine = open_many(path, how, 0);
    if (cut) {
        sl_engine_stats stats;
        sl_engine_info info;
        sl_engine_get_stats(engine, &stats);
        sl_engine_close(engine);
        engine = open_many(path, how, stats.vram_peak_bytes - cut);
        sl_engine_get_info(engine, &info);
        assert_string_equal(info.weights_path, "streamed");
    }
    if (!golden_read(sl_test_golden_path(c->golden), &g, why, sizeof why)) fail_msg("%s", why);
    const uint32_t positions = g.prompts[0].n_tokens;
    assert_true(positions > BATCH);
    check_logits(engine, &g, 0, limited(c) ? SL_MIN(positions, 2u * BATCH) : positions, &f);
    print_message("%s, %s: mean KL %.3g (most %.3g) over %u positions, top-1 agreement %.2f %%\n", c->golden,
                  how->name, f.kl_sum / f.positions, f.kl_max, f.positions, 100.0 * f.agreeing / f.positions);
    assert_true(f.kl_sum / f.positions <= how->kl_max);
    sl_engine_close(engine);
    golden_free(&g);
}

static void test_gemm_f16(void **state)
{
    check_many(*state, &by_f16_rows, 0);
}

static void test_gemm_streamed(void **state)
{
    check_many(*state, &by_f16_rows, 400 << 10);
    check_many(*state, &by_s8_rows, 400 << 10);
}

static void test_gemm_s8(void **state)
{
    check_many(*state, &by_s8_rows, 0);
}

static void test_decoding(void **state)
{
    check_many(*state, &by_decoding, 0);
}

static void test_decoding_streamed(void **state)
{
    check_many(*state, &by_decoding, 400 << 10);
}

/* The same where decode attends in one dispatch a layer, which a CPU does not do by itself. */
static int attend_in_one_step(void **state)
{
    (void)state;
    sl_engine_hooks.attention_step = true;
    return 0;
}

static int attend_as_usual(void **state)
{
    (void)state;
    sl_engine_hooks.attention_step = false;
    return 0;
}

/* Dispatches of a decode step of two sessions. */
static uint64_t step_dispatches(const char *path)
{
    const sl_engine_options options = {.context_tokens = CONTEXT, .max_sessions = 2, .max_outputs = 2};
    sl_engine *engine = sl_test_engine_open(path, &options);
    sl_session *sessions[] = {sl_test_session(engine, NULL), sl_test_session(engine, NULL)};
    const uint32_t tokens[] = {1, 2};
    uint32_t next[2];
    sl_diag diag = {0};
    const sl_status st = sl_engine_step(engine, sessions, tokens, 2, next, &diag);
    if (st != SL_OK) fail_msg("step: %s: %s", sl_status_name(st), diag.message);
    const uint64_t dispatches = engine->dispatches;
    sl_session_destroy(sessions[0]);
    sl_session_destroy(sessions[1]);
    sl_engine_close(engine);
    return dispatches;
}

/* That is what it saves: RoPE of q and k, the KV store and, with them, the norms of heads in every layer.
 */
static void test_step_dispatches(void **state)
{
    const char *path = model_of(*state);
    sl_engine *engine = sl_test_engine_open(path, NULL);
    const uint32_t layers = engine->model.h.n_layers, saved = engine->model.arch->qk_norm ? 5 : 3;
    const uint32_t tables = engine->model.h.window_tokens ? 2 : 1;
    const bool usual = engine->layout.attention_step;
    sl_engine_close(engine);
    sl_engine_hooks.attention_step = true;
    const uint64_t with = step_dispatches(path);
    sl_engine_hooks.attention_step = false;
    const uint64_t without = step_dispatches(path);
    if (usual)
        assert_int_equal(with, without); /* a GPU does it anyway */
    else
        assert_int_equal(with + saved * layers, without + tables);
}

/* The same with matrix units for batches of up to 64 tokens wherever the device has them, at whatever speed.
 */
static int few_columns(void **state)
{
    (void)state;
    sl_engine_hooks.half_rung = SL_RUNG_matmul_skinny;
    return 0;
}

static int few_columns_as_usual(void **state)
{
    (void)state;
    sl_engine_hooks.half_rung = 0;
    return 0;
}

/* ---- many sequences at once ---- */

/* The same, and attention in one step, as a GPU does both. */
static int as_on_gpus(void **state)
{
    attend_in_one_step(state);
    return few_columns(state);
}

static int as_usual(void **state)
{
    attend_as_usual(state);
    return few_columns_as_usual(state);
}

enum { SEQUENCES_MAX = 64, SEQUENCE_STEPS = 3, LENGTHS = 5 };

/* Tokens that sequence i has before the steps; what it goes on with are those of its prompt. */
static uint32_t length_of(uint32_t i)
{
    return i % LENGTHS;
}

static const golden_prompt *prompt_of(const golden *g, uint32_t i)
{
    return &g->prompts[i / LENGTHS % g->n_prompts];
}

static void begin_sequences(sl_engine *engine, const golden *g, sl_session **sessions, uint32_t count,
                            float *logits)
{
    sl_diag diag = {0};
    for (uint32_t i = 0; i < count; i++) {
        sessions[i] = sl_test_session(engine, NULL);
        assert_true(prompt_of(g, i)->n_tokens > length_of(i) + SEQUENCE_STEPS);
        if (length_of(i) == 0) continue;
        const sl_status st =
            sl_session_eval(sessions[i], prompt_of(g, i)->tokens, length_of(i), logits, &diag);
        if (st != SL_OK) fail_msg("sequence %u: %s: %s", i, sl_status_name(st), diag.message);
    }
}

/* One step of all: what comes after each is what the reference has, but for near ties. */
static void step_sequences(sl_engine *engine, const golden *g, sl_session **sessions, uint32_t count,
                           uint32_t step, figures *f)
{
    uint32_t tokens[SEQUENCES_MAX], next[SEQUENCES_MAX];
    sl_diag diag = {0};
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = prompt_of(g, i)->tokens[length_of(i) + step];
    const sl_status st = sl_engine_step(engine, sessions, tokens, count, next, &diag);
    if (st != SL_OK) fail_msg("step of %u: %s: %s", count, sl_status_name(st), diag.message);
    for (uint32_t i = 0; i < count; i++) {
        const golden_top *reference = prompt_of(g, i)->top + (size_t)(length_of(i) + step) * g->n_top;
        f->positions++;
        if (next[i] == reference[0].id)
            f->agreeing++;
        else if (reference[0].logit - reference[1].logit < NEAR_TIE)
            f->excused++;
        else
            fail_msg("%u sequences, step %u: token %u after sequence %u, not %u", count, step, next[i], i,
                     reference[0].id);
    }
}

/* One more token each, alone: its logits come from the keys and values that the steps have stored. */
static void end_sequences(const golden *g, sl_session **sessions, uint32_t count, float *logits, figures *f)
{
    sl_diag diag = {0};
    for (uint32_t i = 0; i < count; i++) {
        const golden_prompt *p = prompt_of(g, i);
        const uint32_t at = length_of(i) + SEQUENCE_STEPS;
        uint32_t top;
        const sl_status st = sl_session_eval(sessions[i], p->tokens + at, 1, logits, &diag);
        if (st != SL_OK) fail_msg("sequence %u: %s: %s", i, sl_status_name(st), diag.message);
        const double kl = golden_divergence(g, p, at, logits, &top);
        f->kl_sum += kl / count;
        f->kl_max = fmax(f->kl_max, kl);
        sl_session_destroy(sessions[i]);
    }
}

/* Decode steps of several sequences, of different lengths and contents, on both sides of every bound between
 * kernels for some numbers of columns. */
static void test_sequences(void **state)
{
    static const uint32_t counts[] = {1, 5, 9, 17, 40, 64};
    const golden_case *c = *state;
    const char *path = model_of(c);
    golden g;
    char why[256];
    if (!golden_read(sl_test_golden_path(c->golden), &g, why, sizeof why)) fail_msg("%s", why);
    const sl_engine_options options = {.context_tokens = SEQUENCE_STEPS + LENGTHS + 1,
                                       .batch_tokens = BATCH,
                                       .max_sessions = SEQUENCES_MAX,
                                       .max_outputs = SEQUENCES_MAX,
                                       .activations = "f32"};
    sl_engine *engine = sl_test_engine_open(path, &options);
    float *logits = malloc((size_t)LENGTHS * g.n_vocab * sizeof *logits);
    assert_non_null(logits);
    for (uint32_t n = 0; n < SL_COUNTOF(counts); n++) {
        sl_session *sessions[SEQUENCES_MAX];
        figures f = {0};
        begin_sequences(engine, &g, sessions, counts[n], logits);
        for (uint32_t step = 0; step < SEQUENCE_STEPS; step++)
            step_sequences(engine, &g, sessions, counts[n], step, &f);
        end_sequences(&g, sessions, counts[n], logits, &f);
        print_message(
            "%s, %u sequences: %u of %u tokens the same, %u near ties; then mean KL %.3g (most %.3g)\n",
            c->golden, counts[n], f.agreeing, f.positions, f.excused, f.kl_sum, f.kl_max);
        assert_true(f.kl_sum <= KL_MAX);
    }
    free(logits);
    sl_engine_close(engine);
    golden_free(&g);
}

/* ---- streaming ---- */

static uint64_t file_bytes(const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    const long size = ftell(f);
    fclose(f);
    assert_true(size > 0);
    return (uint64_t)size;
}

/* Bytes read for a generation's decode steps: in each, what is streamed, within the alignment, and the
 * row of the embedding where the host looks it up. */
static void check_read_bytes(const sl_engine *e, const sl_generation *generation)
{
    const uint64_t row = e->host_embeddings ? e->model.tensors[0].row_bytes : 0;
    print_message("  read %llu bytes for %u tokens, %llu each; the streamed tensors have %llu\n",
                  (unsigned long long)generation->stream_read_bytes, generation->decode_steps,
                  (unsigned long long)(generation->stream_read_bytes / generation->decode_steps),
                  (unsigned long long)e->plan.streamed_bytes);
    assert_int_equal(generation->stream_read_bytes, generation->decode_steps * (e->plan.read_bytes + row));
    const uint64_t alignment = 2ull * 4096 * e->plan.piece_count;
    assert_true(e->plan.read_bytes >= e->plan.streamed_bytes);
    assert_true(e->plan.read_bytes <= e->plan.streamed_bytes + alignment);
}

/* Greedy tokens with `budget` bytes, compared with `wanted`. */
static void check_streamed(const char *path, const char *kv_type, uint64_t budget, const uint32_t *prompt,
                           uint32_t prompt_count, const uint32_t *wanted, uint32_t count,
                           const char *io_engine)
{
    const sl_engine_options options = {.context_tokens = CONTEXT / 4,
                                       .batch_tokens = BATCH / 2,
                                       .vram_bytes = budget,
                                       .kv_type = kv_type,
                                       .io_engine = io_engine};
    sl_engine *engine = sl_test_engine_open(path, &options);
    sl_session *session = sl_test_session(engine, NULL);
    sl_engine_info info;
    sl_engine_stats stats;
    sl_generation generation;
    sl_diag diag = {0};
    sl_engine_get_info(engine, &info);
    assert_string_equal(info.weights_path, "streamed");
    assert_true(info.streamed_bytes > 0);
    const sl_generate_options generate = {.max_tokens = count, .ignore_end = true};
    const sl_status st = sl_session_generate(session, prompt, prompt_count, &generate, &generation, &diag);
    if (st != SL_OK) fail_msg("streamed generation: %s: %s", sl_status_name(st), diag.message);
    assert_int_equal(generation.token_count, count);
    assert_memory_equal(generation.tokens, wanted, count * sizeof *wanted);
    sl_engine_get_stats(engine, &stats);
    print_message("  %llu of %llu bytes of device memory, %llu streamed a token through %llu, by %s\n",
                  (unsigned long long)stats.vram_peak_bytes, (unsigned long long)budget,
                  (unsigned long long)info.streamed_bytes, (unsigned long long)info.ring_bytes,
                  info.io_engine);
    assert_true(stats.vram_peak_bytes <= budget);
    check_read_bytes(engine, &generation);
    sl_generation_clear(&generation);
    sl_session_destroy(session);
    sl_engine_close(engine);
}

/* The budget that a message names as the smallest that works. */
static uint64_t smallest_budget(const char *path, const sl_engine_options *options)
{
    sl_engine *engine = NULL;
    sl_diag diag = {0};
    sl_engine_options o = *options;
    o.vram_bytes = 1;
    const sl_status st = sl_test_engine_try(path, &o, &engine, &diag);
    if (st != SL_ERR_BUDGET) fail_msg("%s: %s", sl_status_name(st), diag.message);
    const char *at = strstr(diag.message, "smallest that works is ");
    if (!at || !strstr(diag.message, path)) fail_msg("message: %s", diag.message);
    return strtoull(at + strlen("smallest that works is "), NULL, 10) << 20;
}

/* Streams with what is left of the device memory that the resident engine took, less `cut` bytes; or,
 * with cut 0, with half of the model's bytes in all. */
static void check_stream_case(const golden_case *c, const char *kv_type, uint32_t count, uint64_t cut)
{
    const char *path = model_of(c);
    golden g;
    char why[256];
    if (!golden_read(sl_test_golden_path(c->golden), &g, why, sizeof why)) fail_msg("%s", why);
    const golden_prompt *p = &g.prompts[0];
    const sl_engine_options options = {
        .context_tokens = CONTEXT / 4, .batch_tokens = BATCH / 2, .kv_type = kv_type};
    uint32_t *wanted = calloc(count, sizeof *wanted);
    assert_non_null(wanted);
    sl_engine *engine = sl_test_engine_open(path, &options);
    sl_engine_stats stats;
    sl_test_generate(engine, NULL, p->tokens, p->n_prefix, wanted, count);
    sl_engine_get_stats(engine, &stats);
    assert_int_equal(stats.stream_read_bytes, 0);
    sl_engine_close(engine);
    const uint64_t budget = cut ? stats.vram_peak_bytes - cut : file_bytes(path) / 2;
    check_streamed(path, kv_type, budget, p->tokens, p->n_prefix, wanted, count, NULL);
    if (!c->real) check_streamed(path, kv_type, budget, p->tokens, p->n_prefix, wanted, count, "threads");
    free(wanted);
    golden_free(&g);
}

static void test_streamed_half(void **state)
{
    const golden_case *c = *state;
    check_stream_case(c, NULL, limited(c) ? LIMITED_GREEDY : 64, 0);
}

static void test_streamed_tiny(void **state)
{
    const golden_case *c = *state;
    check_stream_case(c, NULL, 24, 400 << 10);
}

static void test_streamed_kv(void **state)
{
    for (uint32_t k = 0; k < SL_COUNTOF(kv_types); k++)
        check_stream_case(*state, kv_types[k].name, 24, 300 << 10);
}

/* The budget that the error names works, and one MiB less does not. */
static void test_smallest_budget(void **state)
{
    const golden_case *c = *state;
    const char *path = model_of(c);
    if (limited(c)) {
        print_message("skipped: on a software Vulkan device the tiny model has to do\n");
        skip();
    }
    sl_engine_options options = {.context_tokens = CONTEXT / 4, .batch_tokens = BATCH / 2};
    sl_engine *engine = NULL;
    sl_diag diag = {0};
    uint32_t tokens[4];
    const uint64_t smallest = smallest_budget(path, &options);
    options.vram_bytes = smallest - (1u << 20);
    if (options.vram_bytes)
        assert_int_equal(sl_test_engine_try(path, &options, &engine, &diag), SL_ERR_BUDGET);
    options.vram_bytes = smallest;
    engine = sl_test_engine_open(path, &options);
    sl_test_generate(engine, NULL, (const uint32_t[]){1, 2, 3}, 3, tokens, 4);
    sl_engine_stats stats;
    sl_engine_get_stats(engine, &stats);
    print_message("%s: %llu MiB are enough, %llu bytes were used\n", path, (unsigned long long)smallest >> 20,
                  (unsigned long long)stats.vram_peak_bytes);
    assert_true(stats.vram_peak_bytes <= smallest);
    sl_engine_close(engine);
}

int main(void)
{
#define CASE(test, n)                                                                                        \
    {                                                                                                        \
#test " " #n, test, NULL, NULL, (void *)&cases[n]                                                    \
    }
#define STEP_CASE(test, n)                                                                                   \
    {                                                                                                        \
#test ", attention in one step " #n, test, attend_in_one_step, attend_as_usual, (void *)&cases[n]    \
    }
#define FEW_CASE(test, n)                                                                                    \
    {                                                                                                        \
#test ", few columns on matrix units " #n, test, few_columns, few_columns_as_usual,                  \
            (void *)&cases[n]                                                                                \
    }
#define GPU_CASE(test, n)                                                                                    \
    {                                                                                                        \
#test ", as on a GPU " #n, test, as_on_gpus, as_usual, (void *)&cases[n]                             \
    }
    const struct CMUnitTest tests[] = {
        CASE(test_golden, 0),           CASE(test_golden, 1),           CASE(test_golden, 2),
        CASE(test_golden, 3),           CASE(test_golden, 4),           CASE(test_golden, 5),
        CASE(test_golden, 6),           CASE(test_streamed_half, 5),    CASE(test_streamed_tiny, 0),
        CASE(test_streamed_tiny, 1),    CASE(test_streamed_tiny, 2),    CASE(test_smallest_budget, 0),
        CASE(test_smallest_budget, 5),  CASE(test_int8_activations, 0), CASE(test_int8_activations, 1),
        CASE(test_int8_activations, 2), CASE(test_int8_activations, 3), CASE(test_int8_activations, 4),
        CASE(test_int8_activations, 5), CASE(test_int8_activations, 6), CASE(test_f16_activations, 0),
        CASE(test_f16_activations, 1),  CASE(test_f16_activations, 2),  CASE(test_f16_activations, 3),
        CASE(test_f16_activations, 4),  CASE(test_f16_activations, 5),  CASE(test_gemm_streamed, 0),
        CASE(test_gemm_streamed, 1),    CASE(test_gemm_f16, 0),         CASE(test_gemm_f16, 1),
        CASE(test_gemm_f16, 2),         CASE(test_gemm_f16, 4),         CASE(test_gemm_f16, 5),
        CASE(test_gemm_f16, 6),         CASE(test_gemm_s8, 0),          CASE(test_gemm_s8, 1),
        CASE(test_gemm_s8, 2),          CASE(test_gemm_s8, 4),          CASE(test_gemm_s8, 5),
        CASE(test_gemm_s8, 6),          STEP_CASE(test_golden, 0),      STEP_CASE(test_golden, 1),
        STEP_CASE(test_golden, 2),      STEP_CASE(test_golden, 3),      STEP_CASE(test_golden, 4),
        STEP_CASE(test_golden, 5),      STEP_CASE(test_golden, 6),      STEP_CASE(test_int8_activations, 0),
        CASE(test_step_dispatches, 0),  CASE(test_step_dispatches, 2),  CASE(test_step_dispatches, 3),
        CASE(test_kv_types, 0),         CASE(test_kv_types, 1),         CASE(test_kv_types, 2),
        CASE(test_kv_types, 3),         CASE(test_kv_types, 4),         CASE(test_kv_types, 5),
        CASE(test_kv_types, 6),         STEP_CASE(test_kv_types, 0),    STEP_CASE(test_kv_types, 2),
        STEP_CASE(test_kv_types, 5),    CASE(test_kv_greedy, 0),        CASE(test_kv_greedy, 5),
        CASE(test_kv_greedy, 6),        STEP_CASE(test_kv_greedy, 2),   CASE(test_streamed_kv, 0),
        CASE(test_streamed_kv, 1),      FEW_CASE(test_golden, 0),       FEW_CASE(test_golden, 1),
        FEW_CASE(test_golden, 2),       FEW_CASE(test_golden, 3),       FEW_CASE(test_golden, 4),
        GPU_CASE(test_sequences, 0),    GPU_CASE(test_sequences, 1),    GPU_CASE(test_sequences, 2),
        GPU_CASE(test_sequences, 3),    GPU_CASE(test_sequences, 4),    CASE(test_decoding, 0),
        CASE(test_decoding, 1),         CASE(test_decoding, 2),         CASE(test_decoding, 4),
        CASE(test_decoding, 5),         CASE(test_decoding, 6),         CASE(test_decoding_streamed, 0),
        CASE(test_decoding_streamed, 1)};
    const char *only = getenv("SLUICE_TEST_FILTER"); /* "test_golden 5", with * and ? */
    if (only) cmocka_set_test_filter(only);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
