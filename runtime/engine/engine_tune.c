/* Tuning of an engine: which passes are measured, on its own memory; results go to its kernel set and the
 * cache. */
#include "runtime/engine/engine.h"

#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "runtime/tune/tuner.h"

#include <stdio.h>
#include <string.h>

#define DECODE_TOKENS_MAX  64u  /* sequences that one decode step is tuned for */
#define PREFILL_TOKENS_MIN 128u /* smallest batch of a prompt that is tuned for */
#define SHAPES_MAX         32u

/* What stands for the model's shapes, and for how its steps are built, in the cache. */
static void name_shapes(const sl_engine *e, char *out, size_t size)
{
    const sl_hparams *h = &e->model.h;
    snprintf(out, size, "%s %ux%u %u/%ux%u %ux%u %u%s", e->model.arch->name, h->n_embd, h->n_ff, h->n_heads,
             h->n_kv_heads, h->head_dim, h->n_experts, h->n_expert_ff, h->n_vocab,
             e->q8_activations ? " q8" : "");
}

static const char *rung_name(sl_product_rung rung)
{
    static const char *const names[] = {
#define X(kernel, columns) #kernel,
        SL_PRODUCTS(X)
#undef X
    };
    return names[rung];
}

/* "Q4_K: matvec up to 4 columns, then matmul_skinny up to 64 columns, then gemm": of the type that most of
 * the weights have. What the device has of products of few columns, and of two phases, goes before what was
 * tuned. */
static void describe_switch(sl_engine *e)
{
    const sl_model_tensor *t = sl_model_find(&e->model, SL_PART_Q, 0);
    const uint32_t *columns = sl_kernel_set_tuning(e->kernels)->columns[t->file->type];
    const bool few = e->limits.few_arrived, gemm = e->limits.gemm_format != SL_ROWS_F32;
    size_t n = (size_t)snprintf(e->switch_points, sizeof e->switch_points,
                                "%s: ", sl_ggml_type_name((uint32_t)t->file->type));
    for (uint32_t i = 0; i + 1 < SL_RUNG_COUNT && n < sizeof e->switch_points; i++)
        if (columns[i])
            n += (size_t)snprintf(e->switch_points + n, sizeof e->switch_points - n,
                                  "%s up to %u columns, then ", rung_name((sl_product_rung)i),
                                  few ? SL_MIN(columns[i], e->limits.few_from - 1) : columns[i]);
    if (few && n < sizeof e->switch_points)
        n += (size_t)snprintf(e->switch_points + n, sizeof e->switch_points - n,
                              "matmul_skinny up to %u columns, then ", SL_FEW_COLUMNS_MAX);
    if (e->limits.decode_to && n < sizeof e->switch_points)
        n += (size_t)snprintf(e->switch_points + n, sizeof e->switch_points - n,
                              "matmul_decode from %u to %u columns, then ", e->limits.decode_from,
                              e->limits.decode_to);
    if (n < sizeof e->switch_points)
        snprintf(e->switch_points + n, sizeof e->switch_points - n, "%s",
                 gemm ? "gemm" : rung_name((sl_product_rung)(SL_RUNG_COUNT - 1)));
}

static sl_tune_cache cache_of(const sl_engine *e, const char *model)
{
    return (sl_tune_cache){.dir = e->cache_dir, .device = sl_device_get_info(e->device), .model = model};
}

void sl_engine_load_tuning(sl_engine *e)
{
    char model[160];
    name_shapes(e, model, sizeof model);
    const sl_tune_cache cache = cache_of(e, model);
    if (!e->options.no_tuning) sl_tune_cache_load(&cache, sl_kernel_set_tuning(e->kernels), &e->tuned);
    describe_switch(e);
}

/* ---- which passes ---- */

static sl_shape prompt_of(uint32_t n_tokens)
{
    return (sl_shape){
        .n_tokens = n_tokens, .n_outputs = 1, .output = SL_OUTPUT_GREEDY, .gather = true, .prefill = true};
}

static uint32_t list_shapes(const sl_engine *e, bool quick, sl_shape *out)
{
    const uint32_t most = e->limits.tokens;
    uint32_t count = 0;
    for (uint32_t n = 1; n <= SL_MIN(most, quick ? 1 : DECODE_TOKENS_MAX); n *= 2)
        out[count++] = (sl_shape){.n_tokens = n,
                                  .n_outputs = SL_MIN(n, e->limits.outputs),
                                  .output = SL_OUTPUT_GREEDY,
                                  .gather = n > e->limits.outputs,
                                  .apart = true};
    for (uint32_t n = PREFILL_TOKENS_MIN; n < most && !quick; n *= 2)
        out[count++] = prompt_of(n);
    if (most > SL_MATVEC_COLUMNS_MAX) out[count++] = prompt_of(most);
    return count;
}

/* ---- running ---- */

typedef struct listener {
    const sl_tune_options *options;
} listener;

static void pass_progress(void *user, uint64_t done, uint64_t total)
{
    const listener *l = user;
    if (l->options->progress) l->options->progress(l->options->user, done, total);
}

static void pass_choice(void *user, const sl_tuning_choice *candidates, const double *seconds, uint32_t count,
                        uint32_t best)
{
    const listener *l = user;
    if (!l->options->choice) return;
    const sl_shape_class *of = &candidates[0].of;
    sl_tuned_choice choice = {
        .kernel = sl_kernel_rows[of->kernel].name,
        .variant = candidates[best].variant->name,
        .fallback = candidates[0].variant->name,
        .number = candidates[best].number,
        .candidates = count,
        .us = seconds[best] * 1e6,
        .fallback_us = seconds[0] * 1e6,
    };
    for (uint32_t i = 0, n = 0; i < SL_SHAPE_DIMS && n < sizeof choice.shape; i++)
        if (of->dims[i])
            n += (uint32_t)snprintf(choice.shape + n, sizeof choice.shape - n, "%s%u", n ? "x" : "",
                                    of->dims[i]);
    l->options->choice(l->options->user, &choice);
}

sl_status sl_engine_tune(sl_engine *e, const sl_tune_options *options, sl_tune_report *report, sl_diag *diag)
{
    static const sl_tune_options defaults;
    const uint64_t begin = sl_now_ns();
    sl_shape shapes[SHAPES_MAX];
    char model[160];
    sl_tuner_result result = {0};
    if (!options) options = &defaults;
    for (uint32_t i = 0; i < e->limits.sessions; i++)
        if (e->sessions[i]) return sl_fail(diag, SL_ERR_BUSY, "tuning: the engine has sessions");
    listener l = {options};
    const sl_tuner tuner = {
        .device = e->device,
        .kernels = e->kernels,
        .layout = &e->layout,
        .batch_host = e->batch_host,
        .force = options->force,
        .switches = !options->quick && (options->force || e->tuned != SL_TUNED_FULL),
        .budget_ns = (uint64_t)(options->seconds_max * 1e9),
        .progress = pass_progress,
        .chosen = pass_choice,
        .user = &l,
    };
    sl_programs_clear(e); /* recorded with what was chosen before */
    const uint32_t count = list_shapes(e, options->quick, shapes);
    sl_status st = sl_tuner_run(&tuner, shapes, count, &result, diag);
    sl_status cleared = sl_engine_clear_memory(e, st == SL_OK ? diag : NULL);
    if (st == SL_OK) st = cleared;
    if (st != SL_OK) return st;
    const sl_tuned reached = options->quick ? SL_TUNED_QUICK : SL_TUNED_FULL;
    if (!result.left) e->tuned = SL_MAX(e->tuned, reached);
    name_shapes(e, model, sizeof model);
    const sl_tune_cache cache = cache_of(e, model);
    sl_tune_cache_store(&cache, sl_kernel_set_tuning(e->kernels), e->tuned);
    describe_switch(e);
    if (report)
        *report = (sl_tune_report){.measured = result.measured,
                                   .known = result.known,
                                   .left = result.left,
                                   .seconds = (double)(sl_now_ns() - begin) / 1e9};
    return SL_OK;
}
