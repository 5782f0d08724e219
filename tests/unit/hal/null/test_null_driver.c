/* The null driver: what it counts, its table, its addresses. And the names of capabilities. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/null/null.h"
#include "tests/support/test_device.h"

#include <string.h>

static void counts(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device;
    EXPECT_OK(sl_device_create("null", 0, NULL, &device, &diag));
    static const uint32_t spirv[] = {0x07230203u, 0x00010500u, 0, 1, 0};
    const sl_kernel_desc desc = {.name = "k", .spirv = spirv, .spirv_words = 5};
    sl_kernel *kernel = sl_test_kernel(device, &desc);
    sl_buffer *a = sl_test_buffer(device, UINT64_C(40) << 30, SL_MEMORY_DEVICE); /* takes no memory */
    sl_buffer *b = sl_test_buffer(device, UINT64_C(30) << 30, SL_MEMORY_DEVICE);
    assert_null(sl_buffer_map(a));
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 4);
    for (int i = 0; i < 5; i++) {
        sl_commands_dispatch(commands, kernel, NULL, 1, 2, 3);
        sl_commands_barrier(commands, SL_BARRIER_COMPUTE);
    }
    sl_commands_copy(commands, a, 0, b, 0, UINT64_C(20) << 30);
    sl_commands_fill(commands, a, 0, 400, 0);
    sl_commands_fill(commands, a, 0, 4000, 0);
    sl_commands_timestamp(commands, 3);
    sl_test_finish(commands);
    const sl_null_counts wanted = {.dispatches = 5,
                                   .barriers = 5,
                                   .copies = 1,
                                   .fills = 2,
                                   .timestamps = 1,
                                   .copied_bytes = UINT64_C(20) << 30,
                                   .filled_bytes = 4400};
    sl_null_counts got;
    uint64_t submissions;
    sl_null_recorded(commands, &got);
    assert_memory_equal(&got, &wanted, sizeof got);
    sl_null_submitted(device, &got, &submissions);
    assert_int_equal(submissions + got.dispatches, 0);
    sl_test_run(device, SL_QUEUE_COMPUTE, commands);
    sl_test_run(device, SL_QUEUE_COMPUTE, commands);
    sl_null_submitted(device, &got, &submissions);
    assert_int_equal(submissions, 2);
    assert_int_equal(got.dispatches, 10);
    assert_int_equal(got.barriers, 10);
    assert_int_equal(got.copied_bytes, UINT64_C(40) << 30);
    EXPECT_OK(sl_commands_begin(commands, &diag));
    sl_null_recorded(commands, &got);
    assert_int_equal(got.dispatches, 0);
    sl_commands_destroy(commands);
    sl_kernel_destroy(kernel);
    sl_buffer_destroy(a);
    sl_buffer_destroy(b);
    sl_device_destroy(device);
}

static void device_of_a_table(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device;
    sl_device_info table = {.driver = "vulkan",
                            .name = "a card of 1 GiB",
                            .type = SL_DEVICE_DISCRETE,
                            .usable = true,
                            .caps = {.features = SL_CAP_SPIRV | SL_CAP_STORAGE_16, .device_bytes = 1u << 30}};
    EXPECT_OK(sl_device_create("null", 0, &(sl_device_options){.table = &table}, &device, &diag));
    const sl_device_info *info = sl_device_get_info(device);
    assert_string_equal(info->driver, "null");
    assert_string_equal(info->name, "a card of 1 GiB");
    assert_int_equal(info->type, SL_DEVICE_DISCRETE);
    assert_true(info->caps.features == table.caps.features);
    assert_int_equal(info->caps.max_push_bytes, SL_PUSH_BYTES_MAX);
    sl_buffer *a = sl_test_buffer(device, 1u << 29, SL_MEMORY_DEVICE), *b;
    EXPECT_STATUS(SL_ERR_DEVICE_MEMORY,
                  sl_buffer_create(device, (1u << 29) + 1, SL_MEMORY_DEVICE, "b", &b, &diag));
    EXPECT_STATUS(SL_ERR_UNSUPPORTED, sl_buffer_create(device, 1, SL_MEMORY_DEVICE_MAPPED, "b", &b, &diag));
    static const uint32_t spirv[] = {0x07230203u, 0x00010500u, 0, 1, 0};
    sl_kernel *kernel;
    const sl_kernel_desc desc = {.name = "m", .spirv = spirv, .spirv_words = 5, .needs = SL_CAP_MATRIX_F16};
    EXPECT_STATUS(SL_ERR_UNSUPPORTED, sl_kernel_create(device, &desc, &kernel, &diag));
    assert_non_null(strstr(diag.message, "matrix-f16"));
    sl_buffer_destroy(a);
    sl_device_destroy(device);
    table.usable = false;
    strcpy(table.refused, "no timeline semaphores");
    EXPECT_STATUS(SL_ERR_UNSUPPORTED,
                  sl_device_create("null", 0, &(sl_device_options){.table = &table}, &device, &diag));
    assert_non_null(strstr(diag.message, "no timeline semaphores"));
}

static void names_of_capabilities(void **state)
{
    (void)state;
    for (int a = 0; (1ull << a) <= SL_CAP_MATRIX_FRAGMENTS; a++) {
        assert_string_not_equal(sl_cap_name(1ull << a), "unknown");
        for (int b = 0; b < a; b++)
            assert_string_not_equal(sl_cap_name(1ull << a), sl_cap_name(1ull << b));
    }
    assert_string_equal(sl_cap_name(SL_CAP_STORAGE_16 | SL_CAP_MATRIX_2), "storage16");
    assert_string_equal(sl_cap_name(SL_CAP_DEVICE_MAPPED), "device-mapped");
    assert_string_equal(sl_cap_name(SL_CAP_SCALAR_LOADS), "scalar-loads");
    assert_string_equal(sl_cap_name(SL_CAP_INT_64), "int64");
    assert_string_equal(sl_cap_name(SL_CAP_MATRIX_OPS), "matrix-ops");
    assert_string_equal(sl_cap_name(SL_CAP_MATRIX_2), "matrix2");
    assert_string_equal(sl_cap_name(0), "none");
    assert_string_equal(sl_cap_name(1ull << 63), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts),
        cmocka_unit_test(device_of_a_table),
        cmocka_unit_test(names_of_capabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
