/* What the kernel set chooses by where nothing was measured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "shaders/tuning.h"

static sl_device_info device_with(uint64_t features, uint32_t vendor)
{
    return (sl_device_info){
        .vendor_id = vendor,
        .caps = {.features = features, .subgroup_size = 32, .max_workgroup_invocations = 256}};
}

static const uint64_t base = SL_CAP_SPIRV | SL_CAP_STORAGE_16 | SL_CAP_SUBGROUP;

static void test_switch_of_products(void **state)
{
    (void)state;
    sl_tuning t;
    const sl_device_info device = device_with(base, 0x10de);
    sl_tuning_default(&t, &device);
    assert_int_equal(sl_tuning_product(&t, SL_WEIGHT_Q4_K, 1), SL_K_matvec);
    assert_int_equal(sl_tuning_product(&t, SL_WEIGHT_Q4_K, SL_MATVEC_COLUMNS_MAX), SL_K_matvec);
    assert_int_equal(sl_tuning_product(&t, SL_WEIGHT_Q4_K, SL_MATVEC_COLUMNS_MAX + 1), SL_K_matmul);
    t.columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec] = 2;
    assert_int_equal(sl_tuning_product(&t, SL_WEIGHT_Q4_K, 2), SL_K_matvec);
    assert_int_equal(sl_tuning_product(&t, SL_WEIGHT_Q4_K, 3), SL_K_matmul);
    assert_int_equal(sl_tuning_product(&t, SL_WEIGHT_F16, 3), SL_K_matvec);
    t.columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec] = 0;
    assert_int_equal(sl_tuning_product(&t, SL_WEIGHT_Q4_K, 1), SL_K_matmul);
}

static void test_vendors(void **state)
{
    (void)state;
    sl_tuning t;
    const sl_device_info adreno = device_with(base, 0x5143);
    sl_tuning_default(&t, &adreno);
    assert_int_equal(sl_tuning_product(&t, SL_WEIGHT_Q6_K, 4), SL_K_matvec);
    assert_int_equal(sl_tuning_product(&t, SL_WEIGHT_Q6_K, 5), SL_K_matmul);
}

/* A kernel that the device cannot run has no columns. */
static void test_what_cannot_run(void **state)
{
    (void)state;
    sl_tuning t;
    const sl_device_info device = device_with(SL_CAP_SPIRV, 0);
    sl_tuning_default(&t, &device);
    assert_int_equal(t.columns[SL_WEIGHT_F16][SL_RUNG_matvec], 0);
    assert_int_equal(t.columns[5][SL_RUNG_matmul], 0); /* no weight type has this number */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_switch_of_products),
        cmocka_unit_test(test_vendors),
        cmocka_unit_test(test_what_cannot_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
