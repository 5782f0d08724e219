#include "shaders/registry.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "shaders/spirv.h"
#include "shaders/tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const sl_kernel_row sl_kernel_rows[SL_KERNEL_COUNT] = {
#define SL_KERNEL(name, push, tolerance)                                                                     \
    [SL_K_##name] = {#name, sizeof(struct sl_push_##push), sl_host_##name, sl_grid_##name, tolerance},
#define SL_VARIANT(...)
#include "shaders/kernels.def"
#undef SL_KERNEL
#undef SL_VARIANT
};

const sl_variant sl_variants[] = {
#define SL_KERNEL(name, push, tolerance)
#define SL_VARIANT(kernel, variant, key, source, feature, defines, needs, workgroup, tile_x, tile_y, matrix) \
    {SL_K_##kernel, #variant, #kernel "__" #variant, key, needs, workgroup, tile_x, tile_y, matrix},
#include "shaders/kernels.def"
#undef SL_KERNEL
#undef SL_VARIANT
};
const size_t sl_variant_count = SL_COUNTOF(sl_variants);

static int compare_module(const void *name, const void *entry)
{
    return strcmp(name, ((const sl_spirv *)entry)->name);
}

static const sl_spirv *find_spirv(const char *module)
{
    return bsearch(module, sl_spirv_table, sl_spirv_count, sizeof *sl_spirv_table, compare_module);
}

static bool has_matrix_shape(const sl_device_caps *caps, const sl_variant *variant)
{
    const bool integers = variant->needs & SL_CAP_MATRIX_I8;
    const sl_matrix_type ab = integers ? SL_MATRIX_S8 : SL_MATRIX_F16,
                         c = integers ? SL_MATRIX_S32 : SL_MATRIX_F32;
    for (uint32_t i = 0; i < caps->matrix_shape_count; i++) {
        const sl_matrix_shape *s = &caps->matrix_shapes[i];
        if (SL_MATRIX(s->m, s->n, s->k) == variant->matrix && s->ab == ab && s->c == c) return true;
    }
    return false;
}

/* The subgroup size that a variant runs with. Matrix kernels are compiled for one: 32 where the matrix is 16
 * high, 8 where it is 8 high; a device that cannot run that size cannot run them. */
static uint32_t subgroup_size(const sl_variant *variant, const sl_device_caps *caps)
{
    if (!variant->matrix) return caps->subgroup_size;
    const uint32_t wanted = variant->matrix >> 16 >= 16 ? 32 : 8;
    const bool chooses = sl_caps_have(caps, SL_CAP_SUBGROUP_SIZE) && wanted >= caps->subgroup_min &&
                         wanted <= caps->subgroup_max;
    return chooses || wanted == caps->subgroup_size ? wanted : 0;
}

static uint32_t workgroup_size(const sl_variant *variant, const sl_device_caps *caps)
{
    return variant->workgroup > 0 ? (uint32_t)variant->workgroup
                                  : (uint32_t)-variant->workgroup * subgroup_size(variant, caps);
}

bool sl_variant_usable(const sl_variant *variant, const sl_device_caps *caps, const char **out_why)
{
    const char *why = NULL;
    if (sl_caps_have(caps, SL_CAP_HOST_FN))
        why = NULL;
    else if (!sl_caps_have(caps, variant->needs))
        why = sl_cap_name(variant->needs & ~caps->features);
    else if (variant->matrix && !has_matrix_shape(caps, variant))
        why = "matrix shape";
    else if (!sl_caps_have(caps, SL_CAP_HOST_FN) && !subgroup_size(variant, caps))
        why = "subgroup size";
    else if (workgroup_size(variant, caps) > caps->max_workgroup_invocations)
        why = "workgroup size";
    else if (!find_spirv(variant->module))
        why = "left out of this build";
    if (out_why) *out_why = why;
    return !why;
}

const sl_variant *sl_variant_select(sl_kernel_id kernel, uint32_t key, const sl_device_caps *caps)
{
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        if (v->kernel == kernel && v->key == key && sl_variant_usable(v, caps, NULL)) return v;
    }
    return NULL;
}

static uint64_t hash_words(uint64_t hash, const uint32_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ words[i]) * 0x100000001b3ull; /* FNV-1a, a word at a time */
    return hash;
}

uint64_t sl_shaders_build_id(void)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        const uint32_t row[] = {
            v->kernel, v->key,    (uint32_t)v->needs, (uint32_t)(v->needs >> 32), (uint32_t)v->workgroup,
            v->tile_x, v->tile_y, v->matrix};
        const sl_spirv *spirv = find_spirv(v->module);
        hash = hash_words(hash, row, SL_COUNTOF(row));
        if (spirv) hash = hash_words(hash, spirv->words, spirv->word_count);
    }
    return hash;
}

/* ---- kernel set: an unordered list is enough, a model binds some thirty kernels once ---- */

typedef struct set_entry {
    struct set_entry *next;
    uint32_t spec_count;
    sl_bound_kernel bound;
} set_entry;

struct sl_kernel_set {
    sl_device *device;
    set_entry *entries;
    sl_tuning tuning;
};

sl_status sl_kernel_set_create(sl_device *device, sl_kernel_set **out, sl_diag *diag)
{
    sl_kernel_set *set = sl_calloc(1, sizeof *set);
    if (!set) return sl_fail(diag, SL_ERR_NO_MEMORY, "kernel set: out of memory");
    set->device = device;
    sl_tuning_default(&set->tuning, sl_device_get_info(device));
    *out = set;
    return SL_OK;
}

sl_tuning *sl_kernel_set_tuning(sl_kernel_set *set)
{
    return &set->tuning;
}

void sl_kernel_set_destroy(sl_kernel_set *set)
{
    if (!set) return;
    for (set_entry *e = set->entries, *next; e; e = next) {
        next = e->next;
        sl_kernel_destroy(e->bound.kernel);
        sl_free(e);
    }
    sl_tuning_clear(&set->tuning);
    sl_free(set);
}

const sl_device_caps *sl_kernel_set_caps(const sl_kernel_set *set)
{
    return &sl_device_get_info(set->device)->caps;
}

static sl_status make_entry(sl_kernel_set *set, const sl_variant *variant, const uint32_t *spec,
                            uint32_t spec_count, set_entry **out, sl_diag *diag)
{
    const sl_device_caps *caps = &sl_device_get_info(set->device)->caps;
    const sl_kernel_row *row = &sl_kernel_rows[variant->kernel];
    const sl_spirv *spirv = sl_caps_have(caps, SL_CAP_HOST_FN) ? NULL : find_spirv(variant->module);
    set_entry *e = sl_calloc(1, sizeof *e);
    if (!e) return sl_fail(diag, SL_ERR_NO_MEMORY, "kernel %s: out of memory", row->name);
    e->spec_count = SL_SPEC_FIRST + spec_count;
    e->bound.variant = variant;
    e->bound.spec[SL_SPEC_SUBGROUP] = subgroup_size(variant, caps);
    e->bound.spec[SL_SPEC_WORKGROUP] = workgroup_size(variant, caps);
    if (spec_count) memcpy(e->bound.spec + SL_SPEC_FIRST, spec, spec_count * sizeof *spec);

    const sl_kernel_desc desc = {
        .name = variant->module,
        .spirv = spirv ? spirv->words : NULL,
        .spirv_words = spirv ? spirv->word_count : 0,
        .host = row->host,
        .push_bytes = row->push_bytes,
        .spec = e->bound.spec,
        .spec_count = e->spec_count,
        .subgroup_size =
            spirv && sl_caps_have(caps, SL_CAP_SUBGROUP_SIZE) ? e->bound.spec[SL_SPEC_SUBGROUP] : 0,
        .needs = spirv ? variant->needs : 0,
    };
    sl_status st = sl_kernel_create(set->device, &desc, &e->bound.kernel, diag);
    if (st != SL_OK) {
        sl_free(e);
        return st;
    }
    *out = e;
    return SL_OK;
}

sl_status sl_kernel_set_get_variant(sl_kernel_set *set, const sl_variant *variant, const uint32_t *spec,
                                    uint32_t spec_count, const sl_bound_kernel **out, sl_diag *diag)
{
    if (spec_count > SL_SPEC_MAX - SL_SPEC_FIRST)
        return sl_fail(diag, SL_ERR_ARGUMENT, "kernel %s: %u specialization constants", variant->module,
                       spec_count);
    for (set_entry *e = set->entries; e; e = e->next) {
        if (e->bound.variant == variant && e->spec_count == SL_SPEC_FIRST + spec_count &&
            (!spec_count || !memcmp(e->bound.spec + SL_SPEC_FIRST, spec, spec_count * sizeof *spec))) {
            *out = &e->bound;
            return SL_OK;
        }
    }
    set_entry *made = NULL;
    sl_status st = make_entry(set, variant, spec, spec_count, &made, diag);
    if (st != SL_OK) return st;
    made->next = set->entries;
    set->entries = made;
    *out = &made->bound;
    return SL_OK;
}

/* `v`: what was chosen, or NULL. */
static sl_status get_chosen(sl_kernel_set *set, const sl_variant *v, sl_kernel_id kernel, uint32_t key,
                            const uint32_t *spec, uint32_t spec_count, const sl_bound_kernel **out,
                            sl_diag *diag)
{
    if (v) return sl_kernel_set_get_variant(set, v, spec, spec_count, out, diag);
    const sl_device_info *info = sl_device_get_info(set->device);
    const char *why = "no variant for this key";
    for (size_t i = 0; i < sl_variant_count; i++)
        if (sl_variants[i].kernel == kernel && sl_variants[i].key == key)
            sl_variant_usable(&sl_variants[i], &info->caps, &why);
    return sl_fail(diag, SL_ERR_UNSUPPORTED, "kernel %s (key %u) cannot run on %s: %s",
                   sl_kernel_rows[kernel].name, key, info->name, why);
}

sl_status sl_kernel_set_get(sl_kernel_set *set, sl_kernel_id kernel, uint32_t key, const uint32_t *spec,
                            uint32_t spec_count, const sl_bound_kernel **out, sl_diag *diag)
{
    const sl_variant *v = sl_variant_select(kernel, key, &sl_device_get_info(set->device)->caps);
    return get_chosen(set, v, kernel, key, spec, spec_count, out, diag);
}

sl_status sl_kernel_set_get_for(sl_kernel_set *set, sl_kernel_id kernel, uint32_t key, const void *push,
                                const uint32_t *spec, uint32_t spec_count, const sl_bound_kernel **out,
                                sl_diag *diag)
{
    const sl_shape_class of = sl_shape_class_of(kernel, key, push, spec);
    const sl_variant *v = sl_tuning_variant(&set->tuning, &of, &sl_device_get_info(set->device)->caps);
    return get_chosen(set, v, kernel, key, spec, spec_count, out, diag);
}

void sl_bound_kernel_grid(const sl_bound_kernel *bound, const void *push, uint32_t groups[3])
{
    groups[0] = groups[1] = groups[2] = 1;
    sl_kernel_rows[bound->variant->kernel].grid(push, bound->variant, bound->spec, groups);
}

void sl_bound_kernel_dispatch(sl_commands *commands, const sl_bound_kernel *bound, const void *push)
{
    uint32_t groups[3];
    sl_bound_kernel_grid(bound, push, groups);
    sl_commands_dispatch(commands, bound->kernel, push, groups[0], groups[1], groups[2]);
}
