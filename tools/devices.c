/* sluice devices: every device, what Sluice can use of it, why one is refused. */
#include "cli.h"

#include <jansson.h>

enum { DEVICES_MAX = 32 };

static void print_device(const sl_device_summary *d, bool chosen)
{
    char memory[32];
    printf("%s %-10s %s\n", chosen ? "*" : " ", d->selector, d->name);
    printf("    %s, %s\n", d->type, d->version);
    if (!d->usable) {
        printf("    cannot be used: %s\n", d->refused);
        return;
    }
    printf("    memory %s", cli_bytes(d->memory_bytes, memory));
    printf(", largest buffer %s", cli_bytes(d->max_buffer_bytes, memory));
    if (d->compute_units) printf(", %u compute units", d->compute_units);
    if (d->subgroup_size)
        printf(", subgroups of %u (%u to %u)", d->subgroup_size, d->subgroup_min, d->subgroup_max);
    printf(", shared memory %s\n", cli_bytes(d->shared_bytes, memory));
    printf("    can: %s\n", d->features);
    if (*d->matrix) printf("    matrix units: %s\n", d->matrix);
}

static void print_json(const sl_device_summary *d)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:s, s:s}", "selector",
                               d->selector, "name", d->name, "version", d->version, "type", d->type, "usable",
                               d->usable, "refused", d->refused, "memory_bytes", (json_int_t)d->memory_bytes,
                               "compute_units", (json_int_t)d->compute_units, "subgroup_size",
                               (json_int_t)d->subgroup_size, "max_buffer_bytes",
                               (json_int_t)d->max_buffer_bytes, "features", d->features, "matrix", d->matrix);
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static int run(int argc, char **argv)
{
    bool json = false;
    const option_spec specs[] = {
        {0, "json", NULL, OPTION_FLAG, &json, "one JSON object a line"},
        {0, NULL, NULL, OPTION_FLAG, NULL, NULL},
    };
    const int code = cli_parse(&command_devices, specs, &argc, argv);
    if (code >= 0) return code;
    if (argc > 1) return cli_usage_error(&command_devices, "unexpected argument \"%s\"", argv[1]);
    static sl_device_summary devices[DEVICES_MAX];
    size_t count = 0;
    sl_diag notes = {0};
    sl_status st = sl_list_devices(devices, DEVICES_MAX, &count, &notes);
    if (st != SL_OK) return cli_fail(&notes);
    bool chosen = false;
    for (size_t i = 0; i < count && i < DEVICES_MAX; i++) {
        if (json)
            print_json(&devices[i]);
        else
            print_device(&devices[i], devices[i].usable && !chosen);
        chosen = chosen || devices[i].usable;
    }
    if (notes.message[0]) fprintf(stderr, "sluice: vulkan: %s\n", notes.message);
    if (!json) printf("\n* is what runs without --device.\n");
    return EXIT_OK;
}

const command command_devices = {"devices", "[--json]",
                                 "list devices, what can be used of each, why one is refused", run};
