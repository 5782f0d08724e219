/* What the driver's compiler makes of the kernels. Nothing is dispatched, so that the device may be one that
 * is not there (a drm-shim under the driver).
 *
 *   passes      the kernels that passes of usual models run on this device keep their values in registers
 *   each variant that the device could run compiles; nor does one spill that the registry prefers for a key
 * that those models lack
 *
 * SLUICE_PORTABILITY_NAME=text   the device's name must contain it: the driver took the chip it was told to
 * SLUICE_PORTABILITY_TYPES="q4_k f16"   only these weight types; unset: all */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/portability/compiler_figures.h"
#include "tests/portability/passes.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "tests/kernels/kernel_run.h"
#include "tests/support/test_device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Constants of one kernel, as its test cases use them. */
typedef struct constants {
    uint32_t values[SL_SPEC_MAX], count;
} constants;

typedef struct context {
    sl_device *device;
    sl_kernel_set *set;
    const sl_bound_kernel **seen; /* kernels of passes that were looked at */
    size_t seen_count, seen_capacity;
    uint32_t spilled; /* of these */
} context;

typedef struct variant_test {
    context *context;
    const sl_variant *variant;
    char name[64];
} variant_test;

/* ---- One kernel ---- */

static void print_title(void)
{
    print_message("#   %-44s%10s%10s%10s%10s%10s%10s\n", "kernel/variant constants", "registers", "spilled",
                  "moved", "scratch B", "occupancy", "code B");
}

/* `mark`: '*' what the device would run. */
static void print_row(char mark, const sl_bound_kernel *bound, uint32_t spec_count, const compiler_figures *f,
                      const char *note)
{
    const double values[] = {f->registers,     f->spilled,   f->moved,
                             f->scratch_bytes, f->occupancy, f->code_bytes};
    const sl_variant *v = bound->variant;
    char line[192];
    int n = snprintf(line, sizeof line, "%s/%s", sl_kernel_rows[v->kernel].name, v->name);
    for (uint32_t i = 0; i < spec_count && n < 80; i++)
        n += snprintf(line + n, sizeof line - (size_t)n, "%c%u", i ? ',' : ' ',
                      bound->spec[SL_SPEC_FIRST + i]);
    n += snprintf(line + n, sizeof line - (size_t)n, "%*s", n < 44 ? 44 - n : 0, "");
    for (size_t i = 0; i < SL_COUNTOF(values); i++)
        n += isnan(values[i]) ? snprintf(line + n, sizeof line - (size_t)n, "%10s", "-")
                              : snprintf(line + n, sizeof line - (size_t)n, "%10.0f", values[i]);
    print_message("# %c %s  %s\n", mark, line, note);
}

static compiler_figures figures_of(const sl_bound_kernel *bound)
{
    sl_diag diag;
    sl_kernel_statistic list[COMPILER_STATISTICS_MAX];
    size_t count = 0;
    compiler_figures figures;
    EXPECT_OK(sl_kernel_statistics(bound->kernel, list, SL_COUNTOF(list), &count, &diag));
    assert_in_range(count, 1, SL_COUNTOF(list));
    if (!compiler_figures_read(list, count, &figures)) {
        for (size_t i = 0; i < count; i++)
            print_message("# %s = %g\n", list[i].name, list[i].value);
        fail_msg("none of these statistics is known to count spills");
    }
    return figures;
}

static bool spills(const compiler_figures *f)
{
    return f->spilled > 0 || f->scratch_bytes > 0;
}

/* ---- Passes ---- */

static bool seen_before(context *c, const sl_bound_kernel *bound)
{
    for (size_t i = 0; i < c->seen_count; i++)
        if (c->seen[i] == bound) return true;
    if (c->seen_count == c->seen_capacity) {
        c->seen_capacity = 2 * c->seen_capacity + 64;
        c->seen = sl_realloc(c->seen, c->seen_capacity, sizeof *c->seen);
        assert_non_null(c->seen);
    }
    c->seen[c->seen_count++] = bound;
    return false;
}

static void look_at_phase(void *user, const char *where, const sl_phase *phase)
{
    context *c = user;
    char note[128];
    if (seen_before(c, phase->kernel)) return;
    const compiler_figures figures = figures_of(phase->kernel);
    uint32_t spec_count =
        SL_SPEC_MAX - SL_SPEC_FIRST; /* a phase does not say how many: those that are not 0 */
    while (spec_count && !phase->kernel->spec[SL_SPEC_FIRST + spec_count - 1])
        spec_count--;
    snprintf(note, sizeof note, "%s: %s", where, phase->label);
    print_row('*', phase->kernel, spec_count, &figures, note);
    c->spilled += spills(&figures);
}

/* What passes must have run on chips without matrix units: the arithmetic that each is best at. */
static const struct {
    const char *chip, *variants[3];
} best[] = {
    {"VEGA10", {"gemm/f16_t128", "matvec_fused_f16/q4_k", "moe_matmul/q4_k_64"}},
    {"VEGA20", {"gemm/s8_t128", "matvec_fused/q4_k", "moe_matmul/q4_k_64"}},
    {"NAVI10", {"gemm/f16_t128", "matvec_fused_f16/q4_k", "moe_matmul/q4_k_64"}},
    {"NAVI21", {"gemm/s8_t128", "matvec_fused/q4_k", "moe_matmul/q4_k_64"}},
    {"730", {"gemm/f16_t128", "matvec_fused_f16/q4_k", "moe_matmul/q4_k_64"}},
    {"830", {"gemm/f16_t128", "matvec_fused_f16/q4_k", "moe_matmul/q4_k_64"}},
};

static bool variant_seen(const context *c, const char *wanted)
{
    char name[64];
    for (size_t i = 0; i < c->seen_count; i++) {
        const sl_variant *v = c->seen[i]->variant;
        snprintf(name, sizeof name, "%s/%s", sl_kernel_rows[v->kernel].name, v->name);
        if (!strcmp(name, wanted)) return true;
    }
    return false;
}

static void check_best(const context *c)
{
    const char *chip = getenv("SLUICE_PORTABILITY_NAME");
    for (size_t i = 0; chip && i < SL_COUNTOF(best); i++)
        for (size_t k = 0; !strcmp(chip, best[i].chip) && k < SL_COUNTOF(best[i].variants); k++)
            if (!variant_seen(c, best[i].variants[k]))
                fail_msg("no pass runs %s on %s", best[i].variants[k], chip);
}

static void test_passes(void **state)
{
    context *c = *state;
    assert_non_null(c->set); /* else the first test has failed */
    passes_visit(c->device, c->set, getenv("SLUICE_PORTABILITY_TYPES"), look_at_phase, c);
    print_message("# %zu kernels in the passes of usual models\n", c->seen_count);
    print_title();
    if (c->spilled) fail_msg("%u kernels that this device would run spill", c->spilled);
    check_best(c);
}

/* Whether this device would run the variant although no pass above did: the kernel is one of passes, but none
 * of those models has the key (a head size, say). With the key, the passes say which constants it runs with.
 */
static bool preferred(const context *c, const sl_variant *v)
{
    const sl_device_caps *caps = &sl_device_get_info(c->device)->caps;
    /* Nothing runs an emulated dot product unless it is asked to. */
    if (v->needs & SL_CAP_DOT_8 && !sl_caps_have(caps, SL_CAP_DOT_8_FAST)) return false;
    bool kernel_seen = false;
    for (size_t i = 0; i < c->seen_count; i++) {
        const sl_variant *seen = c->seen[i]->variant;
        if (seen->kernel == v->kernel && seen->key == v->key) return false;
        kernel_seen |= seen->kernel == v->kernel;
    }
    return kernel_seen && sl_variant_select(v->kernel, v->key, caps) == v;
}

/* ---- The constants to compile with ---- */

static int compare_constants(const void *left, const void *right)
{
    const constants *a = left, *b = right;
    for (uint32_t i = 0; i < a->count && i < b->count; i++)
        if (a->values[i] != b->values[i]) return a->values[i] < b->values[i] ? -1 : 1;
    return (a->count > b->count) - (a->count < b->count);
}

/* The smallest and the largest constants that the kernel's test cases and passes on this device use, which
 * for a product are those of one column and of the most. Returns how many there are: 1 or 2. */
static uint32_t constants_of(const sl_variant *variant, constants out[2])
{
    uint32_t found = 0;
    for (uint32_t index = 0;; index++) {
        sl_kernel_case c;
        sl_case_begin(&c, variant, index);
        const bool more = sl_generators[variant->kernel](&c, index, variant);
        constants one = {.count = c.spec_count};
        memcpy(one.values, c.spec, c.spec_count * sizeof *c.spec);
        sl_case_end(&c);
        if (!more) break;
        if (!found || compare_constants(&one, &out[0]) < 0) out[0] = one;
        if (!found || compare_constants(&one, &out[1]) > 0) out[1] = one;
        found++;
    }
    assert_int_not_equal(found, 0);
    return compare_constants(&out[0], &out[1]) ? 2 : 1;
}

/* ---- Variants ---- */

static void test_variant(void **state)
{
    const variant_test *t = *state;
    context *c = t->context;
    sl_diag diag;
    assert_non_null(c->set);
    const sl_device_caps *caps = &sl_device_get_info(c->device)->caps;
    const char *why = NULL;
    if (!sl_variant_usable(t->variant, caps, &why)) {
        print_message("#   %-44s not for this device: %s\n", t->name, why);
        skip();
    }
    constants both[2] = {{{0}, 0}};
    const uint32_t count = constants_of(t->variant, both);
    const bool chosen = preferred(c, t->variant);
    uint32_t spilled = 0;
    for (uint32_t i = 0; i < count; i++) {
        const sl_bound_kernel *bound = NULL;
        EXPECT_OK(
            sl_kernel_set_get_variant(c->set, t->variant, both[i].values, both[i].count, &bound, &diag));
        const compiler_figures figures = figures_of(bound);
        print_row(chosen ? '*' : ' ', bound, both[i].count, &figures, "");
        spilled += chosen && spills(&figures);
    }
    if (spilled) fail_msg("%s is what this device would run, and it spills", t->name);
}

/* ---- The device ---- */

static void test_device(void **state)
{
    context *c = *state;
    const char *wanted = getenv("SLUICE_PORTABILITY_NAME");
    sl_diag diag;
    const sl_device_options options = {.kernel_statistics = true};
    EXPECT_OK(sl_device_create(sl_test_device_driver(), sl_test_device_index(), &options, &c->device, &diag));
    const sl_device_info *info = sl_device_get_info(c->device);
    if (wanted && !strstr(info->name, wanted)) fail_msg("%s is not a %s", info->name, wanted);
    assert_true(sl_caps_have(&info->caps, SL_CAP_STATISTICS));
    EXPECT_OK(sl_kernel_set_create(c->device, &c->set, &diag));
    print_message("# %s, %s\n", info->name, info->version);
    print_title();
}

/* Whether the variant is of a weight type, and then of one that is left out. */
static bool left_out(const sl_variant *v, const char *types)
{
#define X(NAME, type, number, weights, bytes)                                                                \
    if (v->key == number && !strncmp(v->name, #type, strlen(#type)) &&                                       \
        (v->name[strlen(#type)] == 0 || v->name[strlen(#type)] == '_'))                                      \
        return !strstr(types, #type);
    SL_WEIGHT_TYPES(X)
#undef X
    return false;
}

int main(void)
{
    const char *types = getenv("SLUICE_PORTABILITY_TYPES");
    context shared = {0};
    variant_test *tests = sl_calloc(sl_variant_count, sizeof *tests);
    struct CMUnitTest *table = sl_calloc(sl_variant_count + 2, sizeof *table);
    size_t count = 0;
    if (!tests || !table) return 1;
    table[0] = (struct CMUnitTest){.name = "device", .test_func = test_device, .initial_state = &shared};
    table[1] = (struct CMUnitTest){.name = "passes", .test_func = test_passes, .initial_state = &shared};
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        if (types && left_out(v, types)) continue;
        variant_test *t = &tests[count++];
        *t = (variant_test){.context = &shared, .variant = v};
        snprintf(t->name, sizeof t->name, "%s/%s", sl_kernel_rows[v->kernel].name, v->name);
        table[count + 1] =
            (struct CMUnitTest){.name = t->name, .test_func = test_variant, .initial_state = t};
    }
    const int result = _cmocka_run_group_tests("portability", table, count + 2, NULL, NULL);
    sl_kernel_set_destroy(shared.set);
    sl_device_destroy(shared.device);
    sl_free(shared.seen);
    sl_free(tests);
    sl_free(table);
    return result;
}
