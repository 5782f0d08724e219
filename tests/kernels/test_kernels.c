/* Every variant of every kernel on the device under test against the C side.
 *
 * SLUICE_KERNEL_ONLY=kernel[/variant[/case]]: only those. SLUICE_KERNEL_BENCH: times instead of testing
 * (kernel_bench.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/kernels/kernel_bench.h"
#include "tests/kernels/kernel_run.h"

#include "hal/base/alloc.h"
#include "tests/support/test_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct context {
    sl_device *device; /* opened by the first test */
    sl_kernel_set *set;
} context;

typedef struct variant_test {
    context *context;
    const sl_variant *variant;
    uint32_t only; /* case, or UINT32_MAX */
    char name[64];
} variant_test;

static void open_device(context *c)
{
    sl_diag diag;
    if (c->device) return;
    c->device = sl_test_device_open_computing(NULL);
    EXPECT_OK(sl_kernel_set_create(c->device, &c->set, &diag));
    print_message("# %s\n", sl_device_get_info(c->device)->name);
}

static void test_variant(void **state)
{
    const variant_test *t = *state;
    open_device(t->context);
    const char *why = NULL;
    if (!sl_variant_usable(t->variant, &sl_device_get_info(t->context->device)->caps, &why)) {
        print_message("# %s skipped: %s\n", t->name, why);
        skip();
    }
    uint32_t cases = 0;
    const uint32_t failed =
        sl_kernel_run_variant(t->context->device, t->context->set, t->variant, t->only, &cases);
    if (failed) fail_msg("%s: %u of %u cases failed", t->name, failed, cases);
    assert_int_not_equal(cases, 0);
}

/* Does "kernel", "kernel/variant" or "kernel/variant/case" name this test? */
static bool wanted(variant_test *t, const char *only)
{
    if (!only || !*only) return true;
    const char *kernel = sl_kernel_rows[t->variant->kernel].name;
    char name[64] = "", variant[64] = "";
    unsigned index = 0;
    const int fields = sscanf(only, "%63[^/]/%63[^/]/%u", name, variant, &index);
    if (fields == 3) t->only = index;
    return !strcmp(name, kernel) && (fields < 2 || !strcmp(variant, t->variant->name));
}

int main(void)
{
    const char *bench = getenv("SLUICE_KERNEL_BENCH");
    if (bench && *bench) return sl_kernel_bench(sl_test_device_driver(), sl_test_device_index(), bench);

    context shared = {0};
    variant_test *tests = sl_calloc(sl_variant_count, sizeof *tests);
    struct CMUnitTest *table = sl_calloc(sl_variant_count, sizeof *table);
    size_t count = 0;
    if (!tests || !table) return 1;
    for (size_t i = 0; i < sl_variant_count; i++) {
        variant_test *t = &tests[count];
        *t = (variant_test){.context = &shared, .variant = &sl_variants[i], .only = UINT32_MAX};
        if (!wanted(t, getenv("SLUICE_KERNEL_ONLY"))) continue;
        snprintf(t->name, sizeof t->name, "%s/%s", sl_kernel_rows[t->variant->kernel].name, t->variant->name);
        table[count++] = (struct CMUnitTest){.name = t->name, .test_func = test_variant, .initial_state = t};
    }
    if (!count) fprintf(stderr, "no variant is named so\n");
    const int failed = count ? _cmocka_run_group_tests("kernels", table, count, NULL, NULL) : 1;
    sl_kernel_set_destroy(shared.set);
    sl_device_destroy(shared.device);
    sl_free(table);
    sl_free(tests);
    return failed;
}
