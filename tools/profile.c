/* sluice profile: where the time of a pass goes, kernel by kernel, as a table, as JSON, as a Perfetto trace.
 */
#include "cli.h"
#include "profile_report.h"

#include <stdlib.h>
#include <string.h>

typedef struct profile_options {
    const char *model, *device, *activations, *kv_type, *io, *mode, *trace;
    uint32_t prompt, tokens, depth, sequences, prefills, batch, warm_ms;
    uint64_t vram;
    bool json, layers, no_ceilings;
} profile_options;

typedef struct profile_run {
    const profile_options *o;
    sl_engine *engine;
    sl_engine_info info;
    sl_ceilings ceilings;
    sl_profile *profile;
    sl_profile_view view;
    report reports[2]; /* prefill, decode */
    sl_diag diag;
} profile_run;

static const char *const mode_names[] = {"serial", "concurrent", "layers"};
static const char *const mode_notes[] = {
    "serial: every kernel alone between two timestamps",
    "concurrent: timestamps at barriers; kernels between two of them overlap and are timed together",
    "layers: timestamps between layers; a layer's barriers are in its time",
};
enum { MODES = sizeof mode_names / sizeof mode_names[0] };

static int mode_by_name(const char *name)
{
    int mode = 0;
    while (mode < MODES && strcmp(mode_names[mode], name))
        mode++;
    return mode < MODES ? mode : -1;
}

/* A model that leaves no room to measure ceilings in is profiled all the same, and without shares of them. */
static sl_status measure_ceilings(profile_run *r)
{
    const sl_status st = sl_engine_measure_ceilings(r->engine, &r->ceilings, &r->diag);
    if (st != SL_ERR_BUDGET && st != SL_ERR_DEVICE_MEMORY) return st;
    fprintf(stderr, "sluice: no shares of ceilings: %s\n", r->diag.message);
    r->ceilings = (sl_ceilings){0};
    return SL_OK;
}

static void print_tables(const profile_run *r)
{
    printf("%s on %s (%s)\n%s\n", r->info.name, r->info.device_name, r->info.device_version,
           mode_notes[r->view.mode]);
    report_print_paths(&r->info);
    if (r->ceilings.memory_bytes_per_s) report_print_ceilings(&r->ceilings);
    for (int i = 0; i < 2; i++)
        if (r->reports[i].passes) report_print(&r->reports[i], &r->ceilings, r->o->layers);
    printf("\n* modelled from shapes: every operand moved once, floating point operations of products and "
           "attention. "
           "Other figures are measured;\n  rates are modelled amounts in measured time. Device times are on "
           "the host's "
           "clock, %s.\n",
           r->view.clock);
}

/* ---- JSON ---- */

static json_t *slices_json(const sl_profile_view *v)
{
    json_t *slices = json_array();
    for (size_t i = 0; i < v->kernel_count; i++) {
        const sl_profile_kernel *k = &v->kernels[i];
        json_array_append_new(
            slices,
            json_pack("{s:s, s:s, s:s, s:i, s:o, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "label", k->label,
                      "kernel", k->kernel, "variant", k->variant, "pass", (int)k->pass, "layer",
                      k->layer == SL_PROFILE_NO_LAYER ? json_null() : json_integer(k->layer), "kernels",
                      (int)k->kernels, "submission", (int)k->submission, "begin_ns", (json_int_t)k->begin_ns,
                      "time_ns", (json_int_t)(k->end_ns - k->begin_ns), "weight_bytes",
                      (json_int_t)k->weight_bytes, "activation_bytes", (json_int_t)k->activation_bytes,
                      "kv_bytes", (json_int_t)k->kv_bytes, "flops", (json_int_t)k->flops));
    }
    return slices;
}

static json_t *gaps_json(const sl_profile_view *v)
{
    json_t *gaps = json_array();
    for (size_t i = 0; i < v->gap_count; i++) {
        const sl_profile_gap *g = &v->gaps[i];
        json_array_append_new(gaps,
                              json_pack("{s:s, s:i, s:I, s:I}", "cause", sl_profile_cause_name(g->cause),
                                        "pass", (int)g->pass, "begin_ns", (json_int_t)g->begin_ns, "time_ns",
                                        (json_int_t)(g->end_ns - g->begin_ns)));
    }
    return gaps;
}

static json_t *events_json(const sl_profile_view *v)
{
    json_t *events = json_array();
    for (size_t i = 0; i < v->event_count; i++) {
        const sl_profile_event *e = &v->events[i];
        json_array_append_new(
            events, json_pack("{s:s, s:o, s:I, s:I, s:I}", "activity", sl_profile_activity_name(e->activity),
                              "pass", e->pass == SL_PROFILE_NO_PASS ? json_null() : json_integer(e->pass),
                              "begin_ns", (json_int_t)e->begin_ns, "time_ns",
                              (json_int_t)(e->end_ns - e->begin_ns), "bytes", (json_int_t)e->bytes));
    }
    return events;
}

static json_t *passes_json(const sl_profile_view *v)
{
    json_t *passes = json_array();
    for (size_t i = 0; i < v->pass_count; i++) {
        const sl_profile_pass *p = &v->passes[i];
        json_array_append_new(
            passes,
            json_pack("{s:s, s:b, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I}", "kind",
                      p->prefill ? "prefill" : "decode", "timed", p->timed, "tokens", (int)p->tokens, "depth",
                      (int)p->depth_tokens, "dispatches", (int)p->dispatches, "barriers", (int)p->barriers,
                      "begin_ns", (json_int_t)p->begin_ns, "time_ns", (json_int_t)(p->end_ns - p->begin_ns),
                      "device_begin_ns", (json_int_t)p->device_begin_ns, "device_ns",
                      (json_int_t)(p->device_end_ns - p->device_begin_ns), "busy_ns",
                      (json_int_t)p->busy_ns));
    }
    return passes;
}

static void print_json(const profile_run *r)
{
    json_t *kinds = json_array();
    for (int i = 0; i < 2; i++)
        if (r->reports[i].passes) json_array_append_new(kinds, report_json(&r->reports[i], &r->ceilings));
    json_t *figures =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "time_ns", "measured", "begin_ns",
                  "measured", "weight_bytes", "modelled", "activation_bytes", "modelled", "kv_bytes",
                  "modelled", "flops", "modelled", "gb_per_s", "modelled bytes in measured time",
                  "tflop_per_s", "modelled operations in measured time", "ceilings", "measured");
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "model",
        r->info.name, "device", r->info.device_name, "driver", r->info.device_version, "mode",
        mode_names[r->view.mode], "clock", r->view.clock, "weights", r->info.weights_path, "matmul",
        r->info.matmul_path, "activations", r->info.activations, "kv", r->info.kv_type, "figures", figures,
        "ceilings", report_ceilings_json(&r->ceilings), "profiles", kinds, "passes", passes_json(&r->view),
        "slices", slices_json(&r->view), "gaps", gaps_json(&r->view), "events", events_json(&r->view));
    json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(o);
}

/* ---- running ---- */

static sl_status open_engine(profile_run *r, const char *model)
{
    const profile_options *o = r->o;
    const uint32_t most = o->prompt > o->tokens ? o->prompt : o->tokens;
    const sl_engine_options options = {
        .model_path = model,
        .device = o->device,
        .activations = o->activations,
        .kv_type = o->kv_type,
        .vram_bytes = o->vram,
        .context_tokens = o->depth + most + 1,
        .max_sessions = o->sequences,
        .batch_tokens = o->batch,
        .io_engine = o->io,
        .progress = cli_progress,
    };
    sl_status st = sl_engine_open(&options, &r->engine, &r->diag);
    if (st != SL_OK) return st;
    sl_engine_get_info(r->engine, &r->info);
    fprintf(stderr, "sluice: %s on %s (%s)\n", r->info.name, r->info.device_name, r->info.device_reason);
    return SL_OK;
}

static sl_status measure(profile_run *r, sl_profile_mode mode)
{
    const profile_options *o = r->o;
    const sl_profile_options options = {
        .mode = mode,
        .prompt_tokens = o->prompt,
        .prefills = o->prefills,
        .decode_steps = o->tokens,
        .depth_tokens = o->depth,
        .sequences = o->sequences,
        .warm_ms = o->warm_ms,
    };
    sl_status st = sl_engine_profile(r->engine, &options, &r->profile, &r->diag);
    if (st != SL_OK) return st;
    sl_profile_get(r->profile, &r->view);
    if (report_make(&r->reports[0], &r->view, true) && report_make(&r->reports[1], &r->view, false))
        return SL_OK;
    snprintf(r->diag.message, sizeof r->diag.message, "profile: %s", sl_status_name(SL_ERR_NO_MEMORY));
    return SL_ERR_NO_MEMORY;
}

static int profile_model(const profile_options *o, sl_profile_mode mode)
{
    profile_run r = {.o = o};
    const char *model = cli_model(o->model);
    if (!model) return cli_usage_error(&command_profile, "no model: give -m FILE or set SLUICE_MODEL");
    sl_status st = open_engine(&r, model);
    if (st == SL_OK && !o->no_ceilings) st = measure_ceilings(&r);
    if (st == SL_OK) st = measure(&r, mode);
    if (st == SL_OK && o->json) print_json(&r);
    if (st == SL_OK && !o->json) print_tables(&r);
    if (st == SL_OK && o->trace) st = sl_profile_write_trace(r.profile, o->trace, &r.diag);
    fflush(stdout);
    if (st == SL_OK && o->trace) fprintf(stderr, "sluice: %s: open it at ui.perfetto.dev\n", o->trace);
    r.diag.code = st;
    const int code = st == SL_OK ? EXIT_OK : cli_fail(&r.diag);
    report_clear(&r.reports[0]);
    report_clear(&r.reports[1]);
    sl_profile_destroy(r.profile);
    sl_engine_close(r.engine);
    return code;
}

static int run(int argc, char **argv)
{
    profile_options o = {
        .mode = "serial", .prompt = 512, .tokens = 16, .sequences = 1, .prefills = 3, .warm_ms = 800};
    const option_spec specs[] = {
        {'m', "model", "FILE", OPTION_STRING, &o.model,
         "GGUF file (default: $SLUICE_MODEL, else the default model)"},
        {0, "mode", "MODE", OPTION_STRING, &o.mode,
         "serial: exact times of kernels; concurrent: what overlaps is timed together; layers: least "
         "disturbed"},
        {'p', "prompt", "N", OPTION_UINT, &o.prompt, "profile the prefill of N tokens (512; 0: none)"},
        {'n', "tokens", "N", OPTION_UINT, &o.tokens, "profile N decode steps (16; 0: none)"},
        {'d', "depth", "N", OPTION_UINT, &o.depth, "tokens of context before either (0)"},
        {'b', "sequences", "N", OPTION_UINT, &o.sequences, "decoded together (1)"},
        {'r', "prefills", "N", OPTION_UINT, &o.prefills, "prefills that are measured (3)"},
        {0, "trace", "FILE", OPTION_STRING, &o.trace, "write a trace for ui.perfetto.dev"},
        {0, "layers", NULL, OPTION_FLAG, &o.layers, "a table of layers too"},
        {0, "warm", "MS", OPTION_UINT, &o.warm_ms,
         "work so long before measuring, for the device's clock (800)"},
        {0, "batch", "N", OPTION_UINT, &o.batch, "prompt tokens computed at once (512)"},
        {0, "device", "NAME", OPTION_STRING, &o.device, "cpu, vulkan, vulkan:N, or part of a device's name"},
        {0, "activations", "TYPE", OPTION_STRING, &o.activations,
         "auto, q8 (int8, of prompts too), f16, f32"},
        {0, "kv-type", "TYPE", OPTION_STRING, &o.kv_type, "of the KV cache: f16 (default), q8_0, q4_0"},
        {0, "vram", "SIZE", OPTION_SIZE, &o.vram, "most memory on the device, as 4G or 512M"},
        {0, "io", "ENGINE", OPTION_STRING, &o.io, "auto, io_uring, threads"},
        {0, "no-ceilings", NULL, OPTION_FLAG, &o.no_ceilings,
         "do not measure the device: no shares of its peak"},
        {0, "json", NULL, OPTION_FLAG, &o.json, "one JSON object, with every kernel's run"},
        {0, NULL, NULL, OPTION_FLAG, NULL, NULL},
    };
    const int code = cli_parse(&command_profile, specs, &argc, argv);
    if (code >= 0) return code;
    if (argc > 1) return cli_usage_error(&command_profile, "unexpected argument \"%s\"", argv[1]);
    const int mode = mode_by_name(o.mode);
    if (mode < 0)
        return cli_usage_error(&command_profile, "--mode: \"%s\": serial, concurrent or layers", o.mode);
    if (!o.prompt && !o.tokens)
        return cli_usage_error(&command_profile, "nothing to measure: -p and -n are both 0");
    if (o.prompt > 1u << 20 || o.tokens > 1u << 20 || o.depth > 1u << 20 || !o.sequences ||
        o.sequences > 4096 || !o.prefills || o.prefills > 1000)
        return cli_usage_error(&command_profile,
                               "-p, -n, -d: at most 1048576; --sequences: 1 to 4096; --prefills: 1 to 1000");
    return profile_model(&o, (sl_profile_mode)mode);
}

const command command_profile = {"profile",
                                 "[-m FILE] [-p N] [-n N] [-d N] [--mode MODE] [--trace FILE] [OPTIONS]",
                                 "time of every kernel, achieved bandwidth, gaps; a Perfetto trace", run};
