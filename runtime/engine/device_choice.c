#include "runtime/engine/engine.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <stdio.h>
#include <stdlib.h> /* qsort */
#include <string.h>
#include <strings.h>

enum { DEVICES_MAX = 32 };

typedef struct listing {
    sl_device_info *infos; /* best first */
    size_t count;
} listing;

/* Order of preference: hardware first, the cpu driver (C kernels) before Vulkan on a CPU, refused devices
 * last. */
static int rank(const sl_device_info *d)
{
    static const int by_type[] = {[SL_DEVICE_DISCRETE] = 0,
                                  [SL_DEVICE_INTEGRATED] = 1,
                                  [SL_DEVICE_VIRTUAL] = 2,
                                  [SL_DEVICE_CPU] = 4,
                                  [SL_DEVICE_NONE] = 6};
    const int cpu_driver = !strcmp(d->driver, "cpu") ? -1 : 0;
    return by_type[d->type] + cpu_driver + (d->usable ? 0 : 100);
}

static int compare(const void *a, const void *b)
{
    const sl_device_info *x = a, *y = b;
    if (rank(x) != rank(y)) return rank(x) < rank(y) ? -1 : 1;
    if (x->caps.device_bytes != y->caps.device_bytes)
        return x->caps.device_bytes > y->caps.device_bytes ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static sl_status list(listing *out, sl_diag *notes)
{
    static const char *const drivers[] = {"vulkan", "cpu"};
    *out = (listing){.infos = sl_calloc(DEVICES_MAX, sizeof *out->infos)};
    if (!out->infos) return sl_fail(notes, SL_ERR_NO_MEMORY, "list of devices");
    for (size_t d = 0; d < SL_COUNTOF(drivers); d++) {
        size_t n = 0;
        sl_status st =
            sl_hal_enumerate(drivers[d], out->infos + out->count, DEVICES_MAX - out->count, &n, notes);
        if (st != SL_OK) {
            sl_free(out->infos);
            return st;
        }
        out->count += SL_MIN(n, DEVICES_MAX - out->count);
    }
    qsort(out->infos, out->count, sizeof *out->infos, compare);
    return SL_OK;
}

static void selector_of(const sl_device_info *d, char *text, size_t size)
{
    if (strcmp(d->driver, "vulkan"))
        snprintf(text, size, "%s", d->driver);
    else
        snprintf(text, size, "vulkan:%u", d->index);
}

static bool contains(const char *text, const char *part)
{
    const size_t n = strlen(part);
    for (; strlen(text) >= n; text++)
        if (!strncasecmp(text, part, n)) return true;
    return false;
}

/* Does the device answer to this selector: "cpu", "vulkan", "vulkan:N", or part of its name? */
static bool answers(const sl_device_info *d, const char *wanted)
{
    char own[32];
    selector_of(d, own, sizeof own);
    if (!strcasecmp(wanted, own) || !strcasecmp(wanted, d->driver)) return true;
    if (!strncasecmp(wanted, "vulkan:", 7) || !strcasecmp(wanted, "cpu") || !strcasecmp(wanted, "vulkan"))
        return false;
    return contains(d->name, wanted);
}

static void names_of(const listing *l, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < l->count && at < size; i++) {
        char own[32];
        selector_of(&l->infos[i], own, sizeof own);
        const int n = snprintf(text + at, size - at, "%s%s (%.60s)", at ? ", " : "", own, l->infos[i].name);
        at += n > 0 ? (size_t)n : 0;
    }
}

static const char *const type_names[] = {[SL_DEVICE_DISCRETE] = "discrete GPU",
                                         [SL_DEVICE_INTEGRATED] = "integrated GPU",
                                         [SL_DEVICE_VIRTUAL] = "virtual GPU",
                                         [SL_DEVICE_CPU] = "CPU",
                                         [SL_DEVICE_NONE] = "none"};

sl_status sl_device_choose(const char *wanted, sl_device_choice *out, sl_diag *diag)
{
    listing l;
    sl_diag notes = {0};
    sl_status st = list(&l, &notes);
    if (st != SL_OK) {
        if (diag) *diag = notes;
        return st;
    }
    const sl_device_info *found = NULL;
    for (size_t i = 0; i < l.count && !found; i++)
        if (wanted && *wanted ? answers(&l.infos[i], wanted) : l.infos[i].usable) found = &l.infos[i];
    char names[300];
    names_of(&l, names, sizeof names);
    if (!found) {
        st = sl_fail(diag, SL_ERR_NOT_FOUND, "device \"%s\": there is none; this machine has %s%s%s",
                     wanted ? wanted : "", *names ? names : "no device", notes.message[0] ? "; vulkan: " : "",
                     notes.message);
    } else if (!found->usable) {
        st = sl_fail(diag, SL_ERR_UNSUPPORTED, "device \"%s\" (%s) cannot be used: %s", wanted ? wanted : "",
                     found->name, found->refused);
    } else {
        snprintf(out->driver, sizeof out->driver, "%s", found->driver);
        out->index = found->index;
        selector_of(found, out->selector, sizeof out->selector);
        if (wanted && *wanted)
            snprintf(out->reason, sizeof out->reason, "asked for as \"%.64s\"", wanted);
        else
            snprintf(out->reason, sizeof out->reason, "%s, the best of %zu device%s here",
                     type_names[found->type], l.count, l.count == 1 ? "" : "s");
    }
    sl_free(l.infos);
    return st;
}

static void append(char *text, size_t size, const char *separator, const char *word)
{
    const size_t at = strlen(text);
    snprintf(text + at, size - at, "%s%s", at ? separator : "", word);
}

static void summarise(const sl_device_info *d, sl_device_summary *s)
{
    static const char *const matrix_names[] = {"f16", "f32", "s8", "u8", "s32", "bf16"};
    *s = (sl_device_summary){
        .type = type_names[d->type],
        .usable = d->usable,
        .memory_bytes = d->caps.device_bytes,
        .compute_units = d->caps.compute_units,
        .subgroup_size = d->caps.subgroup_size,
        .subgroup_min = d->caps.subgroup_min,
        .subgroup_max = d->caps.subgroup_max,
        .shared_bytes = d->caps.max_shared_bytes,
        .max_buffer_bytes = d->caps.max_buffer_bytes,
    };
    selector_of(d, s->selector, sizeof s->selector);
    snprintf(s->name, sizeof s->name, "%s", d->name);
    snprintf(s->version, sizeof s->version, "%s", d->version);
    snprintf(s->refused, sizeof s->refused, "%s", d->refused);
    for (int bit = 0; bit < 64; bit++)
        if (d->caps.features >> bit & 1)
            append(s->features, sizeof s->features, " ", sl_cap_name(1ull << bit));
    for (uint32_t i = 0; i < d->caps.matrix_shape_count; i++) {
        const sl_matrix_shape *m = &d->caps.matrix_shapes[i];
        char text[64];
        snprintf(text, sizeof text, "%ux%ux%u %s->%s", m->m, m->n, m->k, matrix_names[m->ab],
                 matrix_names[m->c]);
        append(s->matrix, sizeof s->matrix, ", ", text);
    }
}

sl_status sl_list_devices(sl_device_summary *out, size_t capacity, size_t *out_count, sl_diag *notes)
{
    listing l;
    sl_status st = list(&l, notes);
    if (st != SL_OK) return st;
    for (size_t i = 0; i < SL_MIN(l.count, capacity); i++)
        summarise(&l.infos[i], &out[i]);
    *out_count = l.count;
    sl_free(l.infos);
    return SL_OK;
}
