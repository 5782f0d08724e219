#include "runtime/tune/tune_cache.h"

#include "hal/base/checked.h"
#include "hal/base/files.h"
#include "hal/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT 2 /* 1: of fewer kernels of products */

static void name_device(const sl_device_info *device, char out[64])
{
    char hex[33];
    for (size_t i = 0; i < sizeof device->uuid; i++)
        snprintf(hex + 2 * i, 3, "%02x", device->uuid[i]);
    snprintf(out, 64, "%s-%08" PRIx32, hex, device->driver_version);
}

static void name_build(char out[24])
{
    snprintf(out, 24, "%016" PRIx64, sl_shaders_build_id());
}

/* False when there is no room for it in `out`. */
static bool path_of(const sl_tune_cache *c, char *out, size_t size)
{
    char device[64], build[24];
    name_device(c->device, device);
    name_build(build);
    const int n = snprintf(out, size, "%s/%s-%s.tuning.json", c->dir, device, build);
    return n > 0 && (size_t)n < size;
}

/* The file's object, to be released by the caller; NULL when there is none or it is not of this device and
 * build. */
static json_t *read_file(const sl_tune_cache *c, const char *path)
{
    char device[64], build[24];
    json_error_t error;
    int format = 0;
    const char *of_device = "", *of_build = "", *why = NULL;
    sl_log_level level = SL_LOG_WARN;
    json_t *root = NULL;
    if (access(path, F_OK) != 0) return NULL;
    name_device(c->device, device);
    name_build(build);
    root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        why = error.text;
    else if (json_unpack(root, "{s:i, s:s, s:s}", "sluice_tuning", &format, "device", &of_device, "build",
                         &of_build) ||
             format < 1 || format > FORMAT)
        why = "it is not a file of tuned choices";
    else if (strcmp(of_device, device) != 0 || strcmp(of_build, build) != 0)
        why = "it was made by another device, driver or build";
    else if (format < FORMAT) {
        why = "an older version made it";
        level = SL_LOG_INFO; /* nothing is wrong with it */
    }
    if (!why) return root;
    sl_log(level, "tuning: %s is ignored: %s", path, why);
    json_decref(root);
    return NULL;
}

/* ---- choices ---- */

static bool find_kernel(const char *name, sl_kernel_id *out)
{
    for (uint32_t k = 0; k < SL_KERNEL_COUNT; k++) {
        if (strcmp(sl_kernel_rows[k].name, name) != 0) continue;
        *out = (sl_kernel_id)k;
        return true;
    }
    return false;
}

static const sl_variant *find_variant(const sl_shape_class *of, const char *name, const sl_device_caps *caps)
{
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        if (v->kernel == of->kernel && v->key == of->key && !strcmp(v->name, name))
            return sl_variant_usable(v, caps, NULL) ? v : NULL;
    }
    return NULL;
}

/* The choice that an entry of the file stands for; false when it stands for none on this device. */
static bool read_choice(json_t *entry, const sl_device_caps *caps, sl_tuning_choice *out)
{
    const char *kernel = "", *variant = "";
    json_int_t key = 0, number = 0, dims[SL_SHAPE_DIMS] = {0};
    _Static_assert(SL_SHAPE_DIMS == 4, "the format below");
    if (json_unpack(entry, "{s:s, s:I, s:[I, I, I, I], s:s, s:I}", "kernel", &kernel, "key", &key, "shape",
                    &dims[0], &dims[1], &dims[2], &dims[3], "variant", &variant, "number", &number))
        return false;
    *out = (sl_tuning_choice){.of = {.key = (uint32_t)key}, .number = (uint32_t)number};
    for (uint32_t i = 0; i < SL_SHAPE_DIMS; i++)
        out->of.dims[i] = (uint32_t)dims[i];
    if (!find_kernel(kernel, &out->of.kernel)) return false;
    out->variant = find_variant(&out->of, variant, caps);
    return out->variant != NULL;
}

static json_t *write_choice(const sl_tuning_choice *c)
{
    return json_pack("{s:s, s:I, s:[I, I, I, I], s:s, s:I}", "kernel", sl_kernel_rows[c->of.kernel].name,
                     "key", (json_int_t)c->of.key, "shape", (json_int_t)c->of.dims[0],
                     (json_int_t)c->of.dims[1], (json_int_t)c->of.dims[2], (json_int_t)c->of.dims[3],
                     "variant", c->variant ? c->variant->name : "", "number", (json_int_t)c->number);
}

static void read_choices(json_t *root, const sl_device_caps *caps, const char *path, sl_tuning *tuning)
{
    size_t i, refused = 0;
    json_t *entry;
    json_array_foreach(json_object_get(root, "choices"), i, entry)
    {
        sl_tuning_choice choice;
        if (!read_choice(entry, caps, &choice) || sl_tuning_set(tuning, &choice, NULL) != SL_OK) refused++;
    }
    if (refused) sl_log(SL_LOG_WARN, "tuning: %zu choices of %s are none of this device", refused, path);
}

/* ---- the model's own ---- */

static void read_columns(json_t *model, sl_tuning *tuning)
{
    const char *text;
    json_t *list;
    json_object_foreach(json_object_get(model, "columns"), text, list)
    {
        const unsigned long type = strtoul(text, NULL, 10);
        if (type >= SL_WEIGHT_NUMBERS || json_array_size(list) != SL_RUNG_COUNT) continue;
        for (uint32_t rung = 0; rung < SL_RUNG_COUNT; rung++) {
            const json_int_t columns = json_integer_value(json_array_get(list, rung));
            const uint32_t most = sl_products[rung].columns_max;
            tuning->columns[type][rung] = (uint32_t)SL_MIN(SL_MAX(columns, 0), (json_int_t)most);
        }
    }
}

static void read_experts(json_t *model, sl_tuning *tuning)
{
    const json_t *alone = json_object_get(model, "experts_alone");
    if (json_is_integer(alone))
        tuning->experts_alone =
            (uint32_t)SL_MIN(SL_MAX(json_integer_value(alone), 1), (json_int_t)UINT32_MAX);
}

/* Switch points of all types that the device multiplies, measured or not. */
static json_t *write_columns(const sl_tuning *tuning)
{
    json_t *columns = json_object();
    for (uint32_t type = 0; type < SL_WEIGHT_NUMBERS; type++) {
        char text[8];
        if (!tuning->rungs[type]) continue;
        json_t *list = json_array();
        for (uint32_t rung = 0; rung < SL_RUNG_COUNT; rung++)
            json_array_append_new(list, json_integer(tuning->columns[type][rung]));
        snprintf(text, sizeof text, "%u", type);
        json_object_set_new(columns, text, list);
    }
    return columns;
}

/* ---- the file ---- */

void sl_tune_cache_load(const sl_tune_cache *c, sl_tuning *tuning, sl_tuned *out_tuned)
{
    char path[1024];
    *out_tuned = SL_TUNED_NOT;
    if (!*c->dir || !path_of(c, path, sizeof path)) return;
    json_t *root = read_file(c, path);
    if (!root) return;
    json_t *model = json_object_get(json_object_get(root, "models"), c->model);
    const json_int_t tuned = json_integer_value(json_object_get(model, "tuned"));
    *out_tuned = (sl_tuned)SL_MIN(SL_MAX(tuned, 0), (json_int_t)SL_TUNED_FULL);
    read_choices(root, &c->device->caps, path, tuning);
    if (*out_tuned == SL_TUNED_FULL) {
        read_columns(model, tuning);
        read_experts(model, tuning);
    }
    json_decref(root);
}

/* Replaces the entry of the same class, or appends. */
static void put_choice(json_t *list, const sl_tuning_choice *choice, const sl_device_caps *caps)
{
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry)
    {
        sl_tuning_choice there;
        if (!read_choice(entry, caps, &there) || !sl_shape_class_equal(&there.of, &choice->of)) continue;
        json_array_set_new(list, i, write_choice(choice));
        return;
    }
    json_array_append_new(list, write_choice(choice));
}

static json_t *new_root(const sl_tune_cache *c)
{
    char device[64], build[24];
    name_device(c->device, device);
    name_build(build);
    return json_pack("{s:i, s:s, s:s, s:s, s:[], s:{}}", "sluice_tuning", FORMAT, "device", device, "name",
                     c->device->name, "build", build, "choices", "models");
}

static bool write_root(const char *dir, const char *path, json_t *root)
{
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS);
    if (!text) {
        errno = ENOMEM;
        return false;
    }
    const sl_bytes parts[] = {{text, strlen(text)}, {"\n", 1}};
    const bool good = sl_make_directories(dir) && sl_replace_file(path, parts, SL_COUNTOF(parts));
    free(text);
    return good;
}

void sl_tune_cache_store(const sl_tune_cache *c, const sl_tuning *tuning, sl_tuned tuned)
{
    char path[1024];
    if (!*c->dir || !path_of(c, path, sizeof path)) return;
    json_t *root = read_file(c, path);
    if (!json_is_array(json_object_get(root, "choices")) ||
        !json_is_object(json_object_get(root, "models"))) {
        json_decref(root);
        root = new_root(c);
    }
    json_t *choices = json_object_get(root, "choices");
    for (uint32_t i = 0; i < tuning->choice_count; i++)
        put_choice(choices, &tuning->choices[i], &c->device->caps);
    if (tuned != SL_TUNED_NOT) {
        json_t *model = json_pack("{s:i}", "tuned", (int)tuned);
        if (tuned == SL_TUNED_FULL) {
            json_object_set_new(model, "columns", write_columns(tuning));
            json_object_set_new(model, "experts_alone", json_integer(tuning->experts_alone));
        }
        json_object_set_new(json_object_get(root, "models"), c->model, model);
    }
    errno = 0;
    if (!root || !write_root(c->dir, path, root))
        sl_log(SL_LOG_WARN, "tuning: cannot write %s: %s", path, strerror(errno ? errno : ENOMEM));
    json_decref(root);
}
