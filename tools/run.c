/* sluice run: complete a text. */
#include "cli.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TUNE_SECONDS 4.0

typedef struct run_options {
    const char *model, *prompt, *file, *device, *activations, *kv_type, *io;
    uint32_t n, context, batch;
    uint64_t vram;
    sl_sampling sampling;
    option_list stops;
    bool json, verbose, ignore_end, special, validation, tune, no_tune;
} run_options;

typedef struct run_state {
    sl_engine *engine;
    sl_session *session;
    uint32_t *prompt;
    size_t prompt_count;
    sl_generation generation;
} run_state;

static bool print_text(void *user, const char *bytes, size_t length)
{
    (void)user;
    if (fwrite(bytes, 1, length, stdout) != length) return false; /* the reader is gone */
    return fflush(stdout) == 0;
}

static sl_status read_prompt(const run_options *o, char **out, size_t *out_length, sl_diag *diag)
{
    if (!o->prompt) return cli_read_file(o->file ? o->file : "-", out, out_length, diag);
    *out = strdup(o->prompt);
    *out_length = strlen(o->prompt);
    return *out ? SL_OK : SL_ERR_NO_MEMORY;
}

static sl_status tokenize(run_state *s, const run_options *o, const char *text, size_t length, sl_diag *diag)
{
    const unsigned flags = SL_TOKENIZE_ADD_BOS | (o->special ? SL_TOKENIZE_SPECIAL : 0);
    sl_status st = sl_engine_tokenize(s->engine, text, length, flags, NULL, 0, &s->prompt_count, diag);
    if (st != SL_OK) return st;
    s->prompt = calloc(s->prompt_count + 1, sizeof *s->prompt);
    if (!s->prompt) return SL_ERR_NO_MEMORY;
    return sl_engine_tokenize(s->engine, text, length, flags, s->prompt, s->prompt_count, &s->prompt_count,
                              diag);
}

static json_t *token_array(const uint32_t *tokens, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_integer(tokens[i]));
    return array;
}

static long long peak_rss_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (long long)usage.ru_maxrss * 1024 : 0;
}

static int print_json(const run_state *s)
{
    sl_engine_info info;
    sl_engine_stats stats;
    sl_engine_get_info(s->engine, &info);
    sl_engine_get_stats(s->engine, &stats);
    const sl_generation *g = &s->generation;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:s%, s:s, s:{s:f, s:f, s:f, s:f, s:f}, s:{s:I, s:I, s:I}, s:{s:s, s:b, "
        "s:b, "
        "s:I, s:f}}",
        "model", info.model_path, "device", info.device_name, "tuned", info.tuned, "prompt_tokens",
        token_array(s->prompt, s->prompt_count), "tokens", token_array(g->tokens, g->token_count), "text",
        g->text, g->text_length, "finish_reason", sl_finish_name(g->finish), "timings", "load_ms",
        info.load_ms, "ttft_ms", g->ttft_ms, "tpot_ms", g->tpot_ms, "prompt_tokens_per_s",
        g->prompt_tokens_per_s, "tokens_per_s", g->tokens_per_s, "memory", "vram_peak_bytes",
        (json_int_t)stats.vram_peak_bytes, "vram_budget_bytes", (json_int_t)info.vram_budget_bytes,
        "rss_peak_bytes", (json_int_t)peak_rss_bytes(), "io", "engine", info.io_engine, "direct",
        info.io_direct, "registered", info.io_registered, "read_bytes",
        (json_int_t)stats.load_read_bytes + (json_int_t)stats.stream_read_bytes, "read_bytes_per_token",
        g->decode_steps ? (double)g->stream_read_bytes / g->decode_steps : 0.0);
    if (!object) {
        fprintf(stderr, "sluice run: the result could not be written as JSON\n");
        return EXIT_FAILED;
    }
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
    return EXIT_OK;
}

static void print_summary(const run_state *s)
{
    sl_engine_info info;
    sl_engine_stats stats;
    sl_engine_get_info(s->engine, &info);
    sl_engine_get_stats(s->engine, &stats);
    const sl_generation *g = &s->generation;
    char a[32], b[32], c[32];
    fprintf(stderr, "\nloaded %s in %.0f ms; %zu prompt tokens, %.1f tokens/s; first token after %.1f ms\n",
            info.name, info.load_ms, s->prompt_count, g->prompt_tokens_per_s, g->ttft_ms);
    fprintf(stderr, "%zu tokens, %.2f tokens/s (%.2f ms each); ended by %s\n", g->token_count,
            g->tokens_per_s, g->tpot_ms, sl_finish_name(g->finish));
    fprintf(stderr, "device memory %s at most, of %s; weights: %s resident",
            cli_bytes(stats.vram_peak_bytes, a),
            info.vram_budget_bytes ? cli_bytes(info.vram_budget_bytes, b) : "no limit",
            cli_bytes(info.resident_bytes, c));
    if (info.streamed_bytes)
        fprintf(stderr, ", %s streamed a token, %.1f ms waited", cli_bytes(info.streamed_bytes, a),
                (double)stats.stall_ns / 1e6);
    fprintf(stderr, "\nkernels: %s (%u choices); %s", strcmp(info.tuned, "no") ? "tuned" : "not tuned",
            info.tuned_choices, info.switch_points);
    fprintf(stderr, "\n%llu dispatches and %llu barriers a token; i/o: %s%s%s%s%s\n",
            (unsigned long long)stats.dispatches, (unsigned long long)stats.barriers, info.io_engine,
            info.io_direct ? ", direct" : "", info.io_registered ? ", registered" : "",
            *info.io_note ? "; " : "", info.io_note);
}

/* On first use, where it takes seconds: on a CPU it would take minutes. What is left then waits for the next
 * time. */
static sl_status tune(run_state *s, const run_options *o, const sl_engine_info *info, sl_diag *diag)
{
    const bool wanted = o->tune || (!o->no_tune && !info->device_is_cpu && !strcmp(info->tuned, "no"));
    if (!wanted) return SL_OK;
    const sl_tune_options options = {
        .quick = true, .seconds_max = o->tune ? 0 : TUNE_SECONDS, .progress = cli_tuning_progress};
    sl_tune_report report = {0};
    const sl_status st = sl_engine_tune(s->engine, &options, &report, diag);
    if (st == SL_OK && report.measured)
        fprintf(stderr, "sluice: tuned %u kernels in %.1f s%s\n", report.measured, report.seconds,
                report.left ? ", more with the next run" : "");
    return st;
}

static sl_status complete(run_state *s, const run_options *o, const char *text, size_t length, sl_diag *diag)
{
    const sl_generate_options generate = {
        .max_tokens = o->n,
        .stops = o->stops.items,
        .stop_count = o->stops.count,
        .ignore_end = o->ignore_end,
        .text = o->json ? NULL : print_text,
    };
    sl_status st = tokenize(s, o, text, length, diag);
    if (st == SL_OK) st = sl_session_create(s->engine, &o->sampling, &s->session, diag);
    if (st == SL_OK)
        st = sl_session_generate(s->session, s->prompt, s->prompt_count, &generate, &s->generation, diag);
    return st;
}

static int run_with(const run_options *o)
{
    run_state s = {0};
    sl_diag diag = {0};
    char *text = NULL;
    size_t length = 0;
    const char *model = cli_model(o->model);
    if (!model)
        return cli_usage_error(
            &command_run,
            "no model: give -m FILE, set SLUICE_MODEL, or fetch the default model (make model)");
    const sl_engine_options options = {
        .model_path = model,
        .device = o->device,
        .activations = o->activations,
        .kv_type = o->kv_type,
        .vram_bytes = o->vram,
        .context_tokens = o->context,
        .batch_tokens = o->batch,
        .io_engine = o->io,
        .validation = o->validation,
        .no_tuning = o->no_tune,
        .progress = cli_progress,
    };
    sl_status st = read_prompt(o, &text, &length, &diag);
    if (st == SL_OK) st = sl_engine_open(&options, &s.engine, &diag);
    if (st == SL_OK) {
        sl_engine_info info;
        sl_engine_get_info(s.engine, &info);
        fprintf(stderr, "sluice: %s on %s (%s)\n", info.name, info.device_name, info.device_reason);
        st = tune(&s, o, &info, &diag);
        if (st == SL_OK) st = complete(&s, o, text, length, &diag);
    }
    int code = EXIT_OK;
    if (st == SL_OK && o->json) code = print_json(&s);
    if (st == SL_OK && !o->json) putchar('\n');
    if (st == SL_OK && o->verbose) print_summary(&s);
    if (st != SL_OK) {
        diag.code = st;
        code = cli_fail(&diag);
    }
    sl_generation_clear(&s.generation);
    sl_session_destroy(s.session);
    sl_engine_close(s.engine);
    free(s.prompt);
    free(text);
    return code;
}

/* A value that has no meaning is an error, not another way to say "off". */
static int check_sampling(const sl_sampling *s)
{
    const struct {
        const char *name;
        float value, least, most;
    } ranges[] = {
        {"temp", s->temperature, 0, 100},
        {"top-p", s->top_p, 0, 1},
        {"min-p", s->min_p, 0, 1},
        {"repeat-penalty", s->repeat_penalty, 0, 100},
        {"presence-penalty", s->presence_penalty, -100, 100},
        {"frequency-penalty", s->frequency_penalty, -100, 100},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (ranges[i].value < ranges[i].least || ranges[i].value > ranges[i].most)
            return cli_usage_error(&command_run, "--%s: %g is not between %g and %g", ranges[i].name,
                                   (double)ranges[i].value, (double)ranges[i].least, (double)ranges[i].most);
    return -1;
}

static int run(int argc, char **argv)
{
    run_options o = {.n = 128};
    const option_spec specs[] = {
        {'m', "model", "FILE", OPTION_STRING, &o.model,
         "GGUF file (default: $SLUICE_MODEL, else the default model)"},
        {'p', "prompt", "TEXT", OPTION_STRING, &o.prompt, "the text to complete"},
        {'f', "file", "FILE", OPTION_STRING, &o.file,
         "read the text from a file; without -p and -f: from standard input"},
        {'n', "tokens", "N", OPTION_UINT, &o.n, "most tokens to write (128; 0: until the context is full)"},
        {'c', "context", "N", OPTION_UINT, &o.context,
         "tokens of context (the model's own, at most 4096, less with a small --vram)"},
        {'b', "batch", "N", OPTION_UINT, &o.batch, "prompt tokens computed at once (512)"},
        {0, "temp", "T", OPTION_FLOAT, &o.sampling.temperature,
         "temperature (0: always the most likely token)"},
        {0, "top-k", "K", OPTION_UINT, &o.sampling.top_k,
         "draw from the K most likely tokens (40; 0: from all)"},
        {0, "top-p", "P", OPTION_FLOAT, &o.sampling.top_p,
         "and of these, from those that make up P of the probability"},
        {0, "min-p", "P", OPTION_FLOAT, &o.sampling.min_p,
         "and from those at least P times as likely as the first"},
        {0, "repeat-penalty", "R", OPTION_FLOAT, &o.sampling.repeat_penalty,
         "divide logits of the last 64 tokens by R (1: off)"},
        {0, "presence-penalty", "R", OPTION_FLOAT, &o.sampling.presence_penalty,
         "subtract R from logits of tokens seen"},
        {0, "frequency-penalty", "R", OPTION_FLOAT, &o.sampling.frequency_penalty,
         "subtract R for each time one was seen"},
        {0, "seed", "N", OPTION_UINT64, &o.sampling.seed, "of the random numbers (0)"},
        {0, "stop", "TEXT", OPTION_LIST, &o.stops, "end before this text; may be repeated"},
        {0, "ignore-end", NULL, OPTION_FLAG, &o.ignore_end, "go on after the model's end token"},
        {0, "special", NULL, OPTION_FLAG, &o.special,
         "text like <|im_start|> in the prompt means the control token"},
        {0, "device", "NAME", OPTION_STRING, &o.device, "cpu, vulkan, vulkan:N, or part of a device's name"},
        {0, "activations", "TYPE", OPTION_STRING, &o.activations,
         "auto, q8 (int8, of prompts too), f16, f32"},
        {0, "kv-type", "TYPE", OPTION_STRING, &o.kv_type, "of the KV cache: f16 (default), q8_0, q4_0"},
        {0, "vram", "SIZE", OPTION_SIZE, &o.vram,
         "most memory on the device, as 4G or 512M (0: no limit); the rest is streamed"},
        {0, "io", "ENGINE", OPTION_STRING, &o.io, "auto, io_uring, threads"},
        {0, "tune", NULL, OPTION_FLAG, &o.tune,
         "measure which kernels run best before, however long it takes"},
        {0, "no-tune", NULL, OPTION_FLAG, &o.no_tune,
         "do not, nor use what was measured: the device's defaults"},
        {0, "validation", NULL, OPTION_FLAG, &o.validation, "run under the Vulkan validation layer"},
        {0, "json", NULL, OPTION_FLAG, &o.json, "print one JSON object instead of the text"},
        {'v', "verbose", NULL, OPTION_FLAG, &o.verbose, "say what was done, and how fast"},
        {0, NULL, NULL, OPTION_FLAG, NULL, NULL},
    };
    o.sampling.top_k = 40;
    int code = cli_parse(&command_run, specs, &argc, argv);
    if (code < 0 && argc > 1)
        code = cli_usage_error(&command_run, "unexpected argument \"%s\" (the text goes after -p)", argv[1]);
    if (code < 0 && o.prompt && o.file) code = cli_usage_error(&command_run, "give -p or -f, not both");
    if (code < 0 && o.tune && o.no_tune)
        code = cli_usage_error(&command_run, "give --tune or --no-tune, not both");
    if (code < 0) code = check_sampling(&o.sampling);
    if (code < 0) {
        if (o.verbose) sl_set_log(2, NULL, NULL);
        code = run_with(&o);
    }
    cli_list_free(&o.stops);
    return code;
}

const command command_run = {"run", "[-m FILE] [-p TEXT | -f FILE] [OPTIONS]", "complete a text", run};
