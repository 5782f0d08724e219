/* Tuning of an engine: which passes are measured, on its own memory; results go to its kernel set and the
 * cache. */
#include "runtime/engine/engine.h"

#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "runtime/tune/tuner.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DECODE_TOKENS_MAX  64u  /* sequences that one decode step is tuned for */
#define PREFILL_TOKENS_MIN 128u /* smallest batch of a prompt that is tuned for */
#define SHAPES_MAX         32u

/* What stands for the model's shapes, and for how its steps are built, in the cache. */
static void name_shapes(const sl_engine *e, char *out, size_t size)
{
    const sl_hparams *h = &e->model.h;
    static const char *const gemms[] = {
        [SL_ROWS_F32] = "", [SL_ROWS_F16] = " f16 rows", [SL_ROWS_S8] = " int8 rows"};
    static const char *const decoded[] = {
        [SL_ROWS_F32] = "", [SL_ROWS_Q8] = " q8", [SL_ROWS_F16_SCALED] = " f16"};
    const bool kv_f16 = e->kv_type == SL_KV_F16;
    snprintf(out, size, "%s %ux%u %u/%ux%u %ux%u %u%s%s%s%s", e->model.arch->name, h->n_embd, h->n_ff,
             h->n_heads, h->n_kv_heads, h->head_dim, h->n_experts, h->n_expert_ff, h->n_vocab,
             decoded[e->decode_rows], gemms[e->limits.gemm_format], kv_f16 ? "" : " kv ",
             kv_f16 ? "" : sl_kv_type_name(e->kv_type));
}

typedef struct text {
    char *at;
    size_t left;
} text;

static void __attribute__((format(printf, 2, 3))) append(text *t, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(t->at, t->left, format, arguments);
    va_end(arguments);
    const size_t written = n < 0 ? 0 : SL_MIN((size_t)n, t->left - 1);
    t->at += written;
    t->left -= written;
}

/* "matvec up to 4 columns, then matmul_skinny up to 64 columns, then gemm" */
static void describe_ladder(const sl_engine *e, uint32_t type, text *out)
{
    const sl_tuning *tuning = sl_kernel_set_tuning(e->kernels);
    const uint32_t rungs = sl_step_rungs(&e->limits, tuning, type);
    for (uint32_t columns = 1;;) {
        const sl_product_rung rung = sl_tuning_rung(tuning, type, columns, rungs);
        const uint32_t last = tuning->columns[type][rung];
        append(out, "%s", sl_kernel_rows[sl_products[rung].kernel].name);
        /* Beyond its columns only where no rung follows. */
        if (last < columns || last == UINT32_MAX || sl_tuning_rung(tuning, type, last + 1, rungs) == rung)
            return;
        append(out, " up to %u columns, then ", last);
        columns = last + 1;
    }
}

/* Weight types of a layer's matrices, each once. */
static uint32_t list_types(const sl_model *m, uint32_t out[SL_WEIGHT_NUMBERS])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const sl_model_tensor *t = &m->tensors[i];
        const bool dense = t->part == SL_PART_Q || t->part == SL_PART_K || t->part == SL_PART_V ||
                           t->part == SL_PART_O || t->part == SL_PART_GATE || t->part == SL_PART_UP ||
                           t->part == SL_PART_DOWN;
        uint32_t known = 0;
        while (known < count && out[known] != (uint32_t)t->file->type)
            known++;
        if (dense && known == count) out[count++] = (uint32_t)t->file->type;
    }
    return count;
}

/* The ladders of all types of a layer, those that are the same together: "Q4_K/Q6_K: matvec up to ..." */
static void describe_switch(sl_engine *e)
{
    uint32_t types[SL_WEIGHT_NUMBERS];
    const uint32_t count = list_types(&e->model, types);
    const sl_tuning *tuning = sl_kernel_set_tuning(e->kernels);
    text out = {e->switch_points, sizeof e->switch_points};
    for (uint32_t i = 0; i < count; i++) {
        bool told = false;
        for (uint32_t k = 0; k < i; k++)
            told |= !memcmp(tuning->columns[types[k]], tuning->columns[types[i]], sizeof tuning->columns[0]);
        if (told) continue;
        append(&out, "%s%s", i ? "; " : "", sl_ggml_type_name(types[i]));
        for (uint32_t k = i + 1; k < count; k++)
            if (!memcmp(tuning->columns[types[k]], tuning->columns[types[i]], sizeof tuning->columns[0]))
                append(&out, "/%s", sl_ggml_type_name(types[k]));
        append(&out, ": ");
        describe_ladder(e, types[i], &out);
    }
    if (sl_step_groups_experts(&e->layout, e->kernels))
        append(&out, "; experts grouped from %u tokens", tuning->experts_alone + 1);
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

/* A point of a ladder, told as a choice of the kernel "products" or "experts". */
static void pass_ladder(void *user, const sl_ladder_choice *of)
{
    const listener *l = user;
    if (!l->options->choice) return;
    const bool experts = of->weight_type == SL_WEIGHT_NUMBERS;
    sl_tuned_choice choice = {
        .kernel = experts ? "experts" : "products",
        .variant = sl_kernel_rows[of->chosen].name,
        .fallback = sl_kernel_rows[of->usual].name,
        .candidates = of->candidates,
        .us = of->seconds * 1e6,
        .fallback_us = of->usual_seconds * 1e6,
    };
    if (experts)
        snprintf(choice.shape, sizeof choice.shape, "%u tokens", of->columns);
    else
        snprintf(choice.shape, sizeof choice.shape, "%s, %u columns", sl_ggml_type_name(of->weight_type),
                 of->columns);
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
        .climbed = pass_ladder,
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
