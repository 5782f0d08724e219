/* sluice tune: measures which kernels run this model best on this device, and keeps the answer. */
#include "cli.h"

#include <jansson.h>
#include <string.h>

enum { SEQUENCES = 64 };

typedef struct tune_options {
    const char *model, *device, *io;
    uint32_t context, batch;
    uint64_t vram;
    bool json, force, quick;
} tune_options;

static void print_choice(void *user, const sl_tuned_choice *c)
{
    const tune_options *o = user;
    const double gain = c->us > 0 ? c->fallback_us / c->us : 1;
    if (o->json) {
        json_t *object =
            json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:f, s:f}", "kernel", c->kernel, "shape", c->shape,
                      "variant", c->variant, "default", c->fallback, "number", (int)c->number, "candidates",
                      (int)c->candidates, "us", c->us, "default_us", c->fallback_us);
        json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(object);
    } else {
        char chosen[64], number[16] = "";
        if (c->number) snprintf(number, sizeof number, " x%u", c->number);
        snprintf(chosen, sizeof chosen, "%s%s", c->variant, number);
        cli_progress_hide();
        printf("| %-18s | %-20s | %10u | %-20s | %-16s | %5.2f |\n", c->kernel, c->shape, c->candidates,
               chosen, c->fallback, gain);
    }
    fflush(stdout);
}

static void print_result(const tune_options *o, const sl_engine *engine, const sl_tune_report *report)
{
    sl_engine_info info;
    sl_engine_get_info(engine, &info);
    if (o->json) {
        json_t *object = json_pack("{s:s, s:s, s:i, s:i, s:i, s:f, s:s, s:s}", "model", info.name, "device",
                                   info.device_name, "measured", (int)report->measured, "known",
                                   (int)report->known, "choices", (int)info.tuned_choices, "seconds",
                                   report->seconds, "tuned", info.tuned, "switch_points", info.switch_points);
        json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(object);
    } else {
        printf("\n%u choices measured in %.1f s, %u were known; %s\n", report->measured, report->seconds,
               report->known, info.switch_points);
    }
}

static int tune_model(const tune_options *o)
{
    const char *model = cli_model(o->model);
    if (!model) return cli_usage_error(&command_tune, "no model: give -m FILE or set SLUICE_MODEL");
    const sl_engine_options options = {
        .model_path = model,
        .device = o->device,
        .vram_bytes = o->vram,
        .context_tokens = o->context,
        .batch_tokens = o->batch,
        .max_outputs = SEQUENCES,
        .io_engine = o->io,
        .progress = cli_progress,
    };
    const sl_tune_options tune = {.quick = o->quick,
                                  .force = o->force,
                                  .progress = cli_tuning_progress,
                                  .choice = print_choice,
                                  .user = (void *)o};
    sl_engine *engine = NULL;
    sl_tune_report report;
    sl_diag diag = {0};
    sl_status st = sl_engine_open(&options, &engine, &diag);
    if (st == SL_OK) {
        sl_engine_info info;
        sl_engine_get_info(engine, &info);
        fprintf(stderr, "sluice: %s on %s (%s)\n", info.name, info.device_name, info.device_reason);
        if (!o->json) {
            printf("| %-18s | %-20s | %10s | %-20s | %-16s | %5s |\n", "kernel", "shape", "candidates",
                   "chosen", "default", "gain");
            printf("| ------------------ | -------------------- | ---------: | -------------------- | "
                   "---------------- "
                   "| ----: |\n");
        }
        st = sl_engine_tune(engine, &tune, &report, &diag);
    }
    if (st == SL_OK) print_result(o, engine, &report);
    sl_engine_close(engine);
    diag.code = st;
    return st == SL_OK ? EXIT_OK : cli_fail(&diag);
}

static int run(int argc, char **argv)
{
    tune_options o = {0};
    const option_spec specs[] = {
        {'m', "model", "FILE", OPTION_STRING, &o.model,
         "GGUF file whose shapes are measured (default: $SLUICE_MODEL, else the default model)"},
        {'c', "context", "N", OPTION_UINT, &o.context, "tokens of context (the model's own, at most 4096)"},
        {'b', "batch", "N", OPTION_UINT, &o.batch, "most prompt tokens computed at once (512)"},
        {0, "device", "NAME", OPTION_STRING, &o.device, "cpu, vulkan, vulkan:N, or part of a device's name"},
        {0, "vram", "SIZE", OPTION_SIZE, &o.vram, "most memory on the device, as 4G or 512M"},
        {0, "io", "ENGINE", OPTION_STRING, &o.io, "auto, io_uring, threads"},
        {0, "quick", NULL, OPTION_FLAG, &o.quick, "only steps of one token and whole batches, as `run` does"},
        {0, "force", NULL, OPTION_FLAG, &o.force, "measure again what is in the cache"},
        {0, "json", NULL, OPTION_FLAG, &o.json, "one JSON object a choice and line, and one of the whole"},
        {0, NULL, NULL, OPTION_FLAG, NULL, NULL},
    };
    const int code = cli_parse(&command_tune, specs, &argc, argv);
    if (code >= 0) return code;
    if (argc > 1) return cli_usage_error(&command_tune, "unexpected argument \"%s\"", argv[1]);
    return tune_model(&o);
}

const command command_tune = {"tune", "[-m FILE] [--device NAME] [OPTIONS]",
                              "measure which kernels run best here, and keep the answer", run};
