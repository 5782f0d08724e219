/* sluice bench: tokens per second, in the table and by the conventions that users know from llama-bench. */
#include "cli.h"
#include "profile_report.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEQUENCE_PROMPT = 128, SEQUENCE_STEPS = 32, WARM_MS = 800 };
enum { PROFILED_STEPS = 16, LIST_MAX = 16, SEQUENCES_MAX = 256, TOKENS_MAX = 1 << 20 };

typedef struct bench_options {
    const char *model, *device, *activations, *kv_type, *io, *prompt, *generate, *depth, *sequences;
    uint32_t repetitions, batch;
    uint64_t vram;
    bool json, verbose, no_ceilings, no_tune;
} bench_options;

typedef struct number_list {
    uint32_t n[LIST_MAX];
    size_t count;
} number_list;

typedef struct bench {
    const bench_options *o;
    sl_engine *engine;
    sl_engine_info info;
    sl_ceilings ceilings;
    sl_session *sessions[SEQUENCES_MAX];
    sl_diag diag;
} bench;

/* One line of the table. */
typedef struct test {
    char name[48];
    uint32_t prompt, generate, depth, sequences;
} test;

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Numbers separated by commas. A zero means "none", and is left out, unless `zeros`. */
static bool parse_list(const char *text, uint32_t most, bool zeros, number_list *out)
{
    *out = (number_list){0};
    while (text && *text) {
        char *end;
        const unsigned long v = strtoul(text, &end, 10);
        if (end == text || (*end && *end != ',') || v > most || out->count == LIST_MAX) return false;
        if (v || zeros) out->n[out->count++] = (uint32_t)v;
        text = *end ? end + 1 : end;
    }
    return true;
}

/* Token ids do not matter for speed; these are spread over the vocabulary and always the same. */
static void fill_tokens(uint32_t *tokens, size_t count, uint32_t vocabulary)
{
    for (size_t i = 0; i < count; i++)
        tokens[i] = (uint32_t)((1103515245ull * i + 12345) % 32000 % vocabulary);
}

static sl_status feed(bench *b, sl_session *session, uint32_t count)
{
    uint32_t *tokens = calloc(count ? count : 1, sizeof *tokens);
    if (!tokens) return SL_ERR_NO_MEMORY;
    fill_tokens(tokens, count, b->info.vocabulary);
    const sl_status st = count ? sl_session_eval(session, tokens, count, NULL, &b->diag) : SL_OK;
    free(tokens);
    return st;
}

static sl_status reset(bench *b, uint32_t sequences)
{
    for (uint32_t i = 0; i < sequences; i++) {
        if (!b->sessions[i]) {
            sl_status st = sl_session_create(b->engine, NULL, &b->sessions[i], &b->diag);
            if (st != SL_OK) return st;
        }
        sl_session_truncate(b->sessions[i], 0);
    }
    return sl_engine_wait(b->engine, &b->diag);
}

static sl_status run_once(bench *b, const test *t, double *out_rate)
{
    const uint32_t sequences = t->sequences ? t->sequences : 1;
    uint32_t tokens[SEQUENCES_MAX];
    sl_status st = reset(b, sequences);
    for (uint32_t i = 0; i < sequences && st == SL_OK; i++)
        st = feed(b, b->sessions[i], t->sequences ? SEQUENCE_PROMPT : t->depth);
    if (st != SL_OK) return st;
    st = sl_engine_wait(b->engine, &b->diag);
    if (st != SL_OK) return st;
    const double begin = now_seconds();
    double count = 0;
    if (t->prompt) {
        st = feed(b, b->sessions[0], t->prompt);
        count = t->prompt;
    }
    fill_tokens(tokens, sequences, b->info.vocabulary);
    const uint32_t steps = t->sequences ? SEQUENCE_STEPS : t->generate;
    for (uint32_t i = 0; i < steps && st == SL_OK; i++) {
        st = sl_engine_step(b->engine, b->sessions, tokens, sequences, tokens, &b->diag);
        count += sequences;
    }
    *out_rate = count / (now_seconds() - begin);
    return st;
}

/* Bytes that one step reads and floating point operations that one token costs, from the model's sizes. */
static double step_bytes(const bench *b, const test *t)
{
    const sl_engine_info *m = &b->info;
    const double sequences = t->sequences ? t->sequences : 1;
    const double length =
        t->sequences ? SEQUENCE_PROMPT + SEQUENCE_STEPS / 2.0 : t->depth + t->generate / 2.0;
    return (double)m->token_bytes + sequences * length * (double)m->kv_token_bytes;
}

static double token_flops(const bench *b, const test *t)
{
    const sl_engine_info *m = &b->info;
    const double length = t->prompt ? t->depth + t->prompt / 2.0 : t->sequences ? SEQUENCE_PROMPT : t->depth;
    return 2.0 * (double)m->active_parameters + 4.0 * m->layers * m->heads * m->head_size * length;
}

static void print_line(const bench *b, const test *t, double mean, double deviation)
{
    const double steps_per_s = mean / (t->sequences ? t->sequences : 1);
    const double mbu = b->ceilings.memory_bytes_per_s && !t->prompt
                           ? steps_per_s * step_bytes(b, t) / b->ceilings.memory_bytes_per_s
                           : 0;
    const double mfu =
        b->ceilings.matmul_flops_per_s ? mean * token_flops(b, t) / b->ceilings.matmul_flops_per_s : 0;
    if (b->o->json) {
        json_t *object = json_pack(
            "{s:s, s:s, s:f, s:f, s:i, s:f, s:f, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:i}", "model",
            b->info.name, "test", t->name, "tokens_per_s", mean, "stdev", deviation, "runs",
            (int)b->o->repetitions, "mbu", mbu, "mfu", mfu, "device", b->info.device_name, "weights",
            b->info.weights_path, "matmul", b->info.matmul_path, "activations", b->info.activations, "kv",
            b->info.kv_type, "ceilings", report_ceilings_json(&b->ceilings), "tuned", b->info.tuned,
            "tuned_choices", (int)b->info.tuned_choices);
        json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(object);
    } else {
        char rate[48], size[32], used[2][16];
        snprintf(rate, sizeof rate, "%.2f ± %.2f", mean, deviation);
        snprintf(used[0], sizeof used[0], mbu ? "%.1f %%" : "-", mbu * 100);
        snprintf(used[1], sizeof used[1], mfu ? "%.1f %%" : "-", mfu * 100);
        printf("| %-28.28s | %10s | %-10.10s | %-14s | %19s | %7s | %7s |\n", b->info.name,
               cli_bytes(b->info.model_bytes, size), b->info.device, t->name, rate, used[0], used[1]);
    }
    fflush(stdout);
}

/* ---- where the time goes ---- */

/* Sums of kernels by family, slowest first. */
static size_t sum_families(const report *r, report_row *out, size_t capacity)
{
    size_t count = 0;
    for (size_t i = 0; i < r->row_count; i++) {
        size_t n = 0;
        while (n < count && strcmp(out[n].kernel, r->rows[i].kernel))
            n++;
        if (n == capacity) continue;
        if (n == count) out[count++] = (report_row){.kernel = r->rows[i].kernel};
        out[n].seconds += r->rows[i].seconds;
        out[n].kernels += r->rows[i].kernels;
    }
    for (size_t i = 1; i < count; i++) /* few: insertion */
        for (size_t k = i; k > 0 && out[k].seconds > out[k - 1].seconds; k--) {
            const report_row swapped = out[k];
            out[k] = out[k - 1];
            out[k - 1] = swapped;
        }
    return count;
}

static sl_status profile(bench *b, const test *t, sl_profile_mode mode, sl_profile **out, report *r)
{
    const sl_profile_options options = {
        .mode = mode,
        .prompt_tokens = t->prompt,
        .decode_steps = t->prompt ? 0 : PROFILED_STEPS,
        .depth_tokens = t->sequences ? SEQUENCE_PROMPT : t->depth,
        .sequences = t->sequences,
        .warm_ms = WARM_MS / 2, /* the test has just run, but recordings are new */
    };
    sl_profile_view view;
    sl_status st = sl_engine_profile(b->engine, &options, out, &b->diag);
    if (st != SL_OK) return st;
    sl_profile_get(*out, &view);
    return report_make(r, &view, t->prompt != 0) ? SL_OK : SL_ERR_NO_MEMORY;
}

static void print_explanation(const report *kernels, const report *pass)
{
    report_row families[LIST_MAX];
    const size_t count = sum_families(kernels, families, LIST_MAX);
    fprintf(stderr, "  a pass: %u dispatches, %u barriers; a layer: %u and %u; %.2f us from call to result\n",
            pass->dispatches, pass->barriers, pass->layer_dispatches, pass->layer_barriers,
            pass->untimed_seconds * 1e6);
    fprintf(stderr,
            "  with timestamps at barriers: %.2f us, device busy %.2f, idle %.2f: ", pass->seconds * 1e6,
            pass->busy_seconds * 1e6, pass->idle_seconds * 1e6);
    report_print_parts(stderr, pass->cause_seconds, SL_PROFILE_CAUSES, report_cause_name);
    fprintf(stderr, "  host, us: ");
    report_print_parts(stderr, pass->activity_seconds, SL_PROFILE_ACTIVITIES, report_activity_name);
    fprintf(stderr, "  kernels, each alone, us: ");
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "%s%s %.2f (%.1f %%)", i ? ", " : "", families[i].kernel, families[i].seconds * 1e6,
                100 * families[i].seconds / kernels->total.seconds);
    fprintf(stderr, "\n");
}

/* What a pass of this test is made of. The profiler wants the engine's sessions; the next run makes new ones.
 */
static sl_status explain(bench *b, const test *t)
{
    report kernels = {0}, pass = {0};
    sl_profile *profiles[2] = {NULL, NULL};
    sl_engine_stats stats;
    for (uint32_t i = 0; i < SEQUENCES_MAX; i++) {
        sl_session_destroy(b->sessions[i]);
        b->sessions[i] = NULL;
    }
    sl_status st = profile(b, t, SL_PROFILE_SERIAL, &profiles[0], &kernels);
    if (st == SL_OK) st = profile(b, t, SL_PROFILE_CONCURRENT, &profiles[1], &pass);
    if (st == SL_OK) {
        print_explanation(&kernels, &pass);
        sl_engine_get_stats(b->engine, &stats);
        fprintf(stderr, "  device memory %llu bytes at most\n", (unsigned long long)stats.vram_peak_bytes);
    } else if (st == SL_ERR_UNSUPPORTED) {
        fprintf(stderr, "  %s\n", b->diag.message);
        st = SL_OK;
    }
    report_clear(&kernels);
    report_clear(&pass);
    sl_profile_destroy(profiles[0]);
    sl_profile_destroy(profiles[1]);
    return st;
}

static sl_status run_test(bench *b, const test *t)
{
    double rate, sum = 0, squares = 0;
    /* One run to compile, in which a GPU idles; then enough of them for it to reach its clock. */
    sl_status st = run_once(b, t, &rate);
    if (st != SL_OK) return st;
    const double begin = now_seconds();
    do {
        if ((st = run_once(b, t, &rate)) != SL_OK) return st;
    } while (now_seconds() - begin < WARM_MS / 1e3);
    for (uint32_t r = 0; r < b->o->repetitions; r++) {
        if ((st = run_once(b, t, &rate)) != SL_OK) return st;
        sum += rate;
        squares += rate * rate;
    }
    const double n = b->o->repetitions, mean = sum / n;
    print_line(b, t, mean, n > 1 ? sqrt(fmax(0, (squares - n * mean * mean) / (n - 1))) : 0);
    return b->o->verbose ? explain(b, t) : SL_OK;
}

typedef struct plan {
    number_list prompt, generate, depth, sequences;
} plan;

static sl_status run_all(bench *b, const plan *p)
{
    sl_status st = SL_OK;
    for (size_t d = 0; d <= p->depth.count; d++) {
        if (d == 0 && p->depth.count) continue;
        const uint32_t depth = d ? p->depth.n[d - 1] : 0;
        char at[20] = "";
        if (depth) snprintf(at, sizeof at, "@d%u", depth);
        for (size_t i = 0; i < p->prompt.count && st == SL_OK; i++) {
            test t = {.prompt = p->prompt.n[i], .depth = depth};
            snprintf(t.name, sizeof t.name, "pp%u%s", t.prompt, at);
            st = run_test(b, &t);
        }
        for (size_t i = 0; i < p->generate.count && st == SL_OK; i++) {
            test t = {.generate = p->generate.n[i], .depth = depth};
            snprintf(t.name, sizeof t.name, "tg%u%s", t.generate, at);
            st = run_test(b, &t);
        }
    }
    for (size_t i = 0; i < p->sequences.count && st == SL_OK; i++) {
        test t = {.sequences = p->sequences.n[i]};
        snprintf(t.name, sizeof t.name, "bg%u", t.sequences);
        st = run_test(b, &t);
    }
    return st;
}

static uint32_t largest(const number_list *list)
{
    uint32_t most = 0;
    for (size_t i = 0; i < list->count; i++)
        most = list->n[i] > most ? list->n[i] : most;
    return most;
}

static void print_head(const bench *b)
{
    if (b->o->json) return;
    printf("%s (%s)\n", b->info.device_name, b->info.device_version);
    report_print_paths(&b->info);
    if (b->ceilings.memory_bytes_per_s) report_print_ceilings(&b->ceilings);
    if (!strcmp(b->info.tuned, "no"))
        printf("kernels: not tuned, the device's defaults (sluice tune measures); %s\n",
               b->info.switch_points);
    else
        printf("kernels: tuned (%s, %u choices); %s\n", b->info.tuned, b->info.tuned_choices,
               b->info.switch_points);
    printf("\n");
    printf("| model                        |       size | device     | test           |                 t/s "
           "|     MBU |     MFU |\n");
    printf("| ---------------------------- | ---------: | ---------- | -------------- | ------------------: "
           "| ------: | ------: |\n");
}

/* A budget that the model uses up leaves no room to measure in: the tests run all the same, and say so. */
static sl_status measure_ceilings(bench *b)
{
    const sl_status st = sl_engine_measure_ceilings(b->engine, &b->ceilings, &b->diag);
    if (st != SL_ERR_BUDGET && st != SL_ERR_DEVICE_MEMORY) return st;
    fprintf(stderr, "sluice: no MBU and MFU: %s\n", b->diag.message);
    b->ceilings = (sl_ceilings){0};
    return SL_OK;
}

static int bench_model(const bench_options *o, const plan *p)
{
    bench b = {.o = o};
    const char *model = cli_model(o->model);
    if (!model) return cli_usage_error(&command_bench, "no model: give -m FILE or set SLUICE_MODEL");
    const uint32_t sequences = largest(&p->sequences) ? largest(&p->sequences) : 1;
    uint32_t context =
        largest(&p->depth) +
        (largest(&p->prompt) > largest(&p->generate) ? largest(&p->prompt) : largest(&p->generate)) + 1;
    if (context < SEQUENCE_PROMPT + SEQUENCE_STEPS + 1) context = SEQUENCE_PROMPT + SEQUENCE_STEPS + 1;
    const sl_engine_options options = {
        .model_path = model,
        .device = o->device,
        .activations = o->activations,
        .kv_type = o->kv_type,
        .vram_bytes = o->vram,
        .context_tokens = context,
        .max_sessions = sequences,
        .batch_tokens = o->batch,
        .io_engine = o->io,
        .no_tuning = o->no_tune,
        .progress = cli_progress,
    };
    sl_status st = sl_engine_open(&options, &b.engine, &b.diag);
    if (st == SL_OK) {
        sl_engine_get_info(b.engine, &b.info);
        fprintf(stderr, "sluice: %s on %s (%s)\n", b.info.name, b.info.device_name, b.info.device_reason);
        if (!o->no_ceilings) st = measure_ceilings(&b);
    }
    if (st == SL_OK) {
        print_head(&b);
        st = run_all(&b, p);
    }
    b.diag.code = st;
    const int code = st == SL_OK ? EXIT_OK : cli_fail(&b.diag);
    for (uint32_t i = 0; i < SEQUENCES_MAX; i++)
        sl_session_destroy(b.sessions[i]);
    sl_engine_close(b.engine);
    return code;
}

static int run(int argc, char **argv)
{
    bench_options o = {.repetitions = 5, .prompt = "512", .generate = "128"};
    const option_spec specs[] = {
        {'m', "model", "FILE", OPTION_STRING, &o.model,
         "GGUF file (default: $SLUICE_MODEL, else the default model)"},
        {'p', "prompt", "N,...", OPTION_STRING, &o.prompt, "tests ppN: a prompt of N tokens (512; 0: none)"},
        {'n', "tokens", "N,...", OPTION_STRING, &o.generate,
         "tests tgN: N tokens one after another (128; 0: none)"},
        {'d', "depth", "N,...", OPTION_STRING, &o.depth, "run pp and tg after N tokens of context (0)"},
        {'b', "sequences", "N,...", OPTION_STRING, &o.sequences,
         "tests bgN: N sequences decoded together (none)"},
        {'r', "repetitions", "N", OPTION_UINT, &o.repetitions, "counted runs of each test (5)"},
        {0, "batch", "N", OPTION_UINT, &o.batch, "prompt tokens computed at once (512)"},
        {0, "device", "NAME", OPTION_STRING, &o.device, "cpu, vulkan, vulkan:N, or part of a device's name"},
        {0, "activations", "TYPE", OPTION_STRING, &o.activations,
         "auto, q8 (int8, of prompts too), f16, f32"},
        {0, "kv-type", "TYPE", OPTION_STRING, &o.kv_type, "of the KV cache: f16 (default), q8_0, q4_0"},
        {0, "vram", "SIZE", OPTION_SIZE, &o.vram, "most memory on the device, as 4G or 512M"},
        {0, "io", "ENGINE", OPTION_STRING, &o.io, "auto, io_uring, threads"},
        {0, "no-ceilings", NULL, OPTION_FLAG, &o.no_ceilings, "do not measure the device: no MBU and MFU"},
        {0, "no-tune", NULL, OPTION_FLAG, &o.no_tune,
         "the device's defaults, not what `sluice tune` measured"},
        {0, "json", NULL, OPTION_FLAG, &o.json, "one JSON object a test and line"},
        {'v', "verbose", NULL, OPTION_FLAG, &o.verbose,
         "dispatches and barriers, where the time of a pass goes, memory"},
        {0, NULL, NULL, OPTION_FLAG, NULL, NULL},
    };
    const int code = cli_parse(&command_bench, specs, &argc, argv);
    if (code >= 0) return code;
    if (argc > 1) return cli_usage_error(&command_bench, "unexpected argument \"%s\"", argv[1]);
    if (!o.repetitions || o.repetitions > 1000) return cli_usage_error(&command_bench, "-r: 1 to 1000");
    plan p;
    const struct {
        const char *letter, *text;
        uint32_t most;
        bool zeros;
        number_list *out;
    } lists[] = {{"-p", o.prompt, TOKENS_MAX, false, &p.prompt},
                 {"-n", o.generate, TOKENS_MAX, false, &p.generate},
                 {"-d", o.depth, TOKENS_MAX, true, &p.depth},
                 {"-b", o.sequences, SEQUENCES_MAX, false, &p.sequences}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        if (!parse_list(lists[i].text, lists[i].most, lists[i].zeros, lists[i].out))
            return cli_usage_error(&command_bench, "%s: \"%s\": at most %d numbers, each at most %u",
                                   lists[i].letter, lists[i].text, LIST_MAX, lists[i].most);
    if (!p.prompt.count && !p.generate.count && !p.sequences.count)
        return cli_usage_error(&command_bench, "nothing to measure: -p, -n and -b are all 0 or none");
    if (o.verbose) sl_set_log(2, NULL, NULL);
    return bench_model(&o, &p);
}

const command command_bench = {"bench", "[-m FILE] [-p N,...] [-n N,...] [OPTIONS]",
                               "measure tokens per second", run};
