/* sluice info: what a model file holds, and whether it would run. */
#include "cli.h"

#include <string.h>

enum { DEVICES_MAX = 32 };

typedef struct totals {
    bool tensors_too;
    uint64_t tensors, bytes, metadata;
    sl_status verdict;
} totals;

static void on_file(void *user, const char *path, uint64_t bytes, uint32_t version)
{
    char text[32];
    (void)user;
    printf("file      %s (%s, GGUF version %u)\n", path, cli_bytes(bytes, text), version);
}

static void on_metadata(void *user, const char *key, const char *type, const char *value)
{
    totals *t = user;
    t->metadata++;
    printf("metadata  %-44s %-7s %s\n", key, type, value);
}

static void on_tensor(void *user, const char *name, const char *type, uint32_t n_dims, const uint64_t *dims,
                      uint64_t bytes, uint64_t offset)
{
    totals *t = user;
    t->tensors++;
    t->bytes += bytes;
    if (!t->tensors_too) return;
    char shape[96] = "";
    for (uint32_t i = 0; i < n_dims; i++) {
        const size_t at = strlen(shape);
        snprintf(shape + at, sizeof shape - at, "%s%llu", i ? " x " : "", (unsigned long long)dims[i]);
    }
    printf("tensor    %-44s %-7s %-24s %12llu bytes at %llu\n", name, type, shape, (unsigned long long)bytes,
           (unsigned long long)offset);
}

/* Where `sluice run` would take it, without --device and --vram. */
static void print_device(uint64_t weight_bytes)
{
    static sl_device_summary devices[DEVICES_MAX];
    size_t count = 0;
    if (sl_list_devices(devices, DEVICES_MAX, &count, NULL) != SL_OK) return;
    for (size_t i = 0; i < count && i < DEVICES_MAX; i++) {
        if (!devices[i].usable) continue;
        printf("device    %s (%s)%s\n", devices[i].selector, devices[i].name,
               weight_bytes > devices[i].memory_bytes
                   ? ": the weights are larger than its memory and would be streamed"
                   : "");
        return;
    }
    printf("device    none here can be used (sluice devices tells why)\n");
}

static void on_verdict(void *user, sl_status status, const char *reason)
{
    totals *t = user;
    char text[32];
    t->verdict = status;
    printf("total     %llu metadata keys, %llu tensors, %s of weights\n", (unsigned long long)t->metadata,
           (unsigned long long)t->tensors, cli_bytes(t->bytes, text));
    printf("runs      %s%s\n", status == SL_OK ? "yes: " : "no: ", reason);
    if (status == SL_OK) print_device(t->bytes);
}

static int run(int argc, char **argv)
{
    const char *given = NULL;
    totals t = {0};
    const option_spec specs[] = {
        {'m', "model", "FILE", OPTION_STRING, &given,
         "GGUF file (default: $SLUICE_MODEL, else the default model)"},
        {'t', "tensors", NULL, OPTION_FLAG, &t.tensors_too, "list every tensor too"},
        {0, NULL, NULL, OPTION_FLAG, NULL, NULL},
    };
    const int code = cli_parse(&command_info, specs, &argc, argv);
    if (code >= 0) return code;
    if (argc > 2 || (argc == 2 && given)) return cli_usage_error(&command_info, "one file at a time");
    const char *path = cli_model(argc == 2 ? argv[1] : given);
    if (!path) return cli_usage_error(&command_info, "no model: give -m FILE or set SLUICE_MODEL");
    const sl_model_visitor visitor = {&t, on_file, on_metadata, on_tensor, on_verdict};
    sl_diag diag = {0};
    if (sl_model_inspect(path, &visitor, &diag) != SL_OK) return cli_fail(&diag);
    return t.verdict == SL_OK ? EXIT_OK : EXIT_FAILED;
}

const command command_info = {"info", "[-m] FILE [-t]",
                              "show what a model file holds and whether it would run", run};
