/* What a device refuses, and what a lost one does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/fault/fault.h"
#include "tests/conformance/suite_kernels.h"
#include "tests/support/test_device.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

static void drivers_and_indices(void **state)
{
    (void)state;
    sl_diag diag;
    size_t count = 99;
    sl_device *device = sl_test_device_open(NULL), *other = device;
    const sl_device_info *info = sl_device_get_info(device);
    assert_string_equal(info->driver, sl_test_device_driver());
    assert_true(info->usable);
    assert_true(info->name[0] && info->version[0]);
    assert_true(info->caps.max_push_bytes >= SL_PUSH_BYTES_MAX);
    EXPECT_OK(sl_hal_enumerate(sl_test_device_driver(), NULL, 0, &count, &diag));
    assert_true(count > sl_test_device_index());
    sl_device_info infos[8];
    memset(infos, 0, sizeof infos);
    EXPECT_OK(sl_hal_enumerate(sl_test_device_driver(), infos, 8, &count, &diag));
    for (uint32_t i = 0; i < count && i < 8; i++) {
        assert_int_equal(infos[i].index, i);
        assert_string_equal(infos[i].driver, sl_test_device_driver());
        assert_true(infos[i].usable ? !infos[i].refused[0] : infos[i].refused[0]);
    }
    if (sl_test_device_index() < 8)
        assert_memory_equal(infos[sl_test_device_index()].uuid, info->uuid, sizeof info->uuid);
    EXPECT_STATUS(SL_ERR_NOT_FOUND,
                  sl_device_create(sl_test_device_driver(), (uint32_t)count, NULL, &other, &diag));
    assert_null(other);
    EXPECT_STATUS(SL_ERR_NOT_FOUND, sl_device_create("abacus", 0, NULL, &other, &diag));
    assert_non_null(strstr(diag.message, "abacus"));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_device_create(NULL, 0, NULL, &other, &diag));
    EXPECT_STATUS(SL_ERR_NOT_FOUND, sl_hal_enumerate("abacus", NULL, 0, &count, &diag));
    assert_int_equal(count, 0);
    sl_device_destroy(device);
    sl_device_destroy(NULL);
}

static void wrong_kernels(void **state)
{
    (void)state;
    sl_diag diag;
    sl_kernel *kernel;
    sl_device *device = sl_test_device_open(NULL);
    const uint64_t lacks = ~sl_device_get_info(device)->caps.features & ((SL_CAP_MATRIX_FRAGMENTS << 1) - 1);
    sl_kernel_desc desc = test_affine;
    desc.push_bytes = SL_PUSH_BYTES_MAX + 4;
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_kernel_create(device, &desc, &kernel, &diag));
    assert_null(kernel);
    assert_non_null(strstr(diag.message, "test-affine"));
    desc.push_bytes = 6;
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_kernel_create(device, &desc, &kernel, &diag));
    desc = test_affine;
    desc.spec_count = SL_SPEC_MAX + 1;
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_kernel_create(device, &desc, &kernel, &diag));
    desc = test_affine;
    desc.spirv_words = 3;
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_kernel_create(device, &desc, &kernel, &diag));
    desc = test_affine;
    desc.spirv = NULL;
    desc.host = NULL;
    EXPECT_STATUS(SL_ERR_UNSUPPORTED, sl_kernel_create(device, &desc, &kernel, &diag));
    desc = test_affine;
    desc.needs = lacks | SL_CAP_STORAGE_16;
    assert_int_not_equal(lacks, 0);
    EXPECT_STATUS(SL_ERR_UNSUPPORTED, sl_kernel_create(device, &desc, &kernel, &diag));
    assert_non_null(
        strstr(diag.message, sl_cap_name(desc.needs & ~sl_device_get_info(device)->caps.features)));
    desc = test_affine;
    desc.subgroup_size = 3;
    EXPECT_STATUS(SL_ERR_UNSUPPORTED, sl_kernel_create(device, &desc, &kernel, &diag));
    sl_kernel_destroy(NULL);
    sl_device_destroy(device);
}

/* Figures of a kernel: only from a device that was opened for them, and has them. */
static void kernel_statistics(void **state)
{
    (void)state;
    sl_diag diag;
    size_t count = 99, again = 99;
    sl_kernel_statistic list[128];
    sl_device *device = sl_test_device_open(NULL);
    sl_kernel *kernel = sl_test_kernel(device, &test_affine);
    EXPECT_STATUS(SL_ERR_UNSUPPORTED, sl_kernel_statistics(kernel, list, 128, &count, &diag));
    assert_int_equal(count, 0);
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_kernel_statistics(NULL, list, 128, &count, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_kernel_statistics(kernel, NULL, 1, &count, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_kernel_statistics(kernel, list, 128, NULL, &diag));
    sl_kernel_destroy(kernel);
    sl_device_destroy(device);

    device = sl_test_device_open(&(sl_device_options){.kernel_statistics = true});
    kernel = sl_test_kernel(device, &test_affine);
    if (sl_caps_have(&sl_device_get_info(device)->caps, SL_CAP_STATISTICS)) {
        EXPECT_OK(sl_kernel_statistics(kernel, list, 128, &count, &diag));
        assert_in_range(count, 1, 128);
        for (size_t i = 0; i < count; i++)
            assert_true(list[i].name[0] && isfinite(list[i].value));
        sl_kernel_statistic first = {0};
        EXPECT_OK(sl_kernel_statistics(kernel, &first, 1, &again, &diag));
        assert_int_equal(again, count);
        assert_string_equal(first.name, list[0].name);
    } else {
        EXPECT_STATUS(SL_ERR_UNSUPPORTED, sl_kernel_statistics(kernel, list, 128, &count, &diag));
    }
    sl_kernel_destroy(kernel);
    sl_device_destroy(device);
}

static void refuse(sl_commands *commands, const char *word)
{
    sl_diag diag;
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_commands_end(commands, &diag));
    assert_non_null(strstr(diag.message, word));
    EXPECT_OK(sl_commands_begin(commands, &diag));
}

static void wrong_dispatches(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = sl_test_device_open(NULL), *second = sl_test_device_open(NULL);
    const sl_device_caps *caps = &sl_device_get_info(device)->caps;
    sl_kernel *kernel = sl_test_kernel(device, &test_groups), *foreign = sl_test_kernel(second, &test_groups);
    const test_groups_push push = {0};
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
    for (int i = 0; i < 3; i++) {
        uint32_t groups[3] = {1, 1, 1};
        groups[i] = 0;
        sl_commands_dispatch(commands, kernel, &push, groups[0], groups[1], groups[2]);
        refuse(commands, "groups");
        if (caps->max_groups[i] == UINT32_MAX) continue;
        groups[i] = caps->max_groups[i] + 1;
        sl_commands_dispatch(commands, kernel, &push, groups[0], groups[1], groups[2]);
        refuse(commands, "groups");
    }
    sl_commands_dispatch(commands, NULL, &push, 1, 1, 1);
    refuse(commands, "kernel");
    sl_commands_dispatch(commands, kernel, NULL, 1, 1, 1);
    refuse(commands, "push");
    sl_commands_dispatch(commands, foreign, &push, 1, 1, 1);
    refuse(commands, "another device");
    sl_commands *transfer = sl_test_begin(device, SL_QUEUE_TRANSFER, 0, 0);
    sl_commands_dispatch(transfer, kernel, &push, 1, 1, 1);
    refuse(transfer, "transfer");
    sl_commands_destroy(commands);
    sl_commands_destroy(transfer);
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_commands_create(device, (sl_queue)5, 0, 0, NULL, &commands, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT,
                  sl_commands_create(device, SL_QUEUE_COMPUTE, 6, 0, NULL, &commands, &diag));
    sl_kernel_destroy(kernel);
    sl_kernel_destroy(foreign);
    sl_device_destroy(device);
    sl_device_destroy(second);
}

static void wrong_submissions(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = sl_test_device_open(NULL), *second = sl_test_device_open(NULL);
    sl_semaphore *foreign = sl_test_semaphore(second, 0);
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0), *many[SL_SUBMIT_COMMANDS_MAX + 1];
    sl_submission s = {.commands = &commands, .command_count = 1};
    EXPECT_STATUS(SL_ERR_ARGUMENT,
                  sl_queue_submit(device, SL_QUEUE_COMPUTE, &s, &diag)); /* still recording */
    sl_test_finish(commands);
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_commands_end(commands, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_queue_submit(device, SL_QUEUE_TRANSFER, &s, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_queue_submit(second, SL_QUEUE_COMPUTE, &s, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_queue_submit(device, (sl_queue)2, &s, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_queue_submit(device, SL_QUEUE_COMPUTE, NULL, &diag));
    for (int i = 0; i <= SL_SUBMIT_COMMANDS_MAX; i++)
        many[i] = commands;
    s = (sl_submission){.commands = many, .command_count = SL_SUBMIT_COMMANDS_MAX + 1};
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_queue_submit(device, SL_QUEUE_COMPUTE, &s, &diag));
    const sl_semaphore_point point = {foreign, 1};
    s = (sl_submission){.signals = &point, .signal_count = 1};
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_queue_submit(device, SL_QUEUE_COMPUTE, &s, &diag));
    s = (sl_submission){.waits = &point, .wait_count = 1};
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_queue_submit(device, SL_QUEUE_COMPUTE, &s, &diag));
    s = (sl_submission){0};
    EXPECT_OK(sl_queue_submit(device, SL_QUEUE_COMPUTE, &s, &diag)); /* nothing to do is legal */
    EXPECT_OK(sl_device_wait_idle(device, &diag));
    sl_commands_destroy(commands);
    sl_semaphore_destroy(foreign);
    sl_device_destroy(device);
    sl_device_destroy(second);
}

static sl_device *wrapped(void)
{
    sl_diag diag;
    sl_device *fault;
    EXPECT_OK(sl_fault_wrap(sl_test_device_open(NULL), &fault, &diag));
    return fault;
}

static void lost_device(void **state)
{
    (void)state;
    sl_diag diag;
    uint64_t value, ns;
    sl_device *device = wrapped();
    assert_string_equal(sl_device_get_info(device)->driver, "fault");
    sl_buffer *buffer = sl_test_buffer(device, 4096, SL_MEMORY_DEVICE), *none;
    sl_semaphore *semaphore = sl_test_semaphore(device, 0), *no_semaphore;
    sl_kernel *kernel = sl_test_kernel(device, &test_groups), *no_kernel;
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0), *no_commands;
    sl_commands_fill(commands, buffer, 0, 4096, 0);
    sl_test_finish(commands);
    const sl_semaphore_point point = {semaphore, 5}; /* nobody signals it: the work can't end by itself */
    const sl_submission stuck = {.waits = &point, .wait_count = 1, .commands = &commands, .command_count = 1};
    EXPECT_OK(sl_queue_submit(device, SL_QUEUE_COMPUTE, &stuck, &diag));
    sl_fault_arm(device, 1, SL_ERR_DEVICE_LOST);
    assert_false(sl_fault_fired(device));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_semaphore_value(semaphore, &value, &diag));
    assert_true(sl_fault_fired(device));
    assert_string_equal(sl_fault_call_name(device), "sl_semaphore_value");
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_semaphore_value(semaphore, &value, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_semaphore_wait(semaphore, 5, UINT64_MAX, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_semaphore_signal(semaphore, 5, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_device_wait_idle(device, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_device_calibrate(device, &value, &ns, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_buffer_create(device, 64, SL_MEMORY_DEVICE, NULL, &none, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_buffer_import(device, &value, 64, NULL, &none, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_semaphore_create(device, 0, &no_semaphore, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_kernel_create(device, &test_groups, &no_kernel, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST,
                  sl_commands_create(device, SL_QUEUE_COMPUTE, 0, 0, NULL, &no_commands, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_commands_begin(commands, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_commands_end(commands, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_commands_read_timestamps(commands, 0, 0, &ns, &diag));
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_queue_submit(device, SL_QUEUE_COMPUTE, &stuck, &diag));
    sl_memory_report report;
    sl_device_memory(device, &report);
    assert_int_equal(report.device_used_bytes, 4096);
    sl_buffer_destroy(buffer);
    sl_semaphore_destroy(semaphore);
    sl_kernel_destroy(kernel);
    sl_commands_destroy(commands);
    sl_device_memory(device, &report);
    assert_int_equal(report.device_used_bytes, 0);
    sl_device_destroy(device);
}

typedef struct waiter {
    sl_semaphore *semaphore;
    sl_status status;
} waiter;

static void *wait_for_ever(void *argument)
{
    waiter *w = argument;
    w->status = sl_semaphore_wait(w->semaphore, 1, UINT64_MAX, NULL);
    return NULL;
}

static void loss_ends_waits(void **state)
{
    (void)state;
    sl_diag diag;
    uint64_t value;
    sl_device *device = wrapped();
    waiter w = {sl_test_semaphore(device, 0), SL_OK};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &w), 0);
    while (sl_fault_calls(device) < 2) /* until the thread is inside its wait */
        sched_yield();
    sl_fault_arm(device, 1, SL_ERR_DEVICE_LOST);
    EXPECT_STATUS(SL_ERR_DEVICE_LOST, sl_semaphore_value(w.semaphore, &value, &diag));
    pthread_join(thread, NULL);
    assert_int_equal(w.status, SL_ERR_DEVICE_LOST);
    sl_semaphore_destroy(w.semaphore);
    sl_device_destroy(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drivers_and_indices), cmocka_unit_test(wrong_kernels),
        cmocka_unit_test(kernel_statistics),   cmocka_unit_test(wrong_dispatches),
        cmocka_unit_test(wrong_submissions),   cmocka_unit_test(lost_device),
        cmocka_unit_test(loss_ends_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
