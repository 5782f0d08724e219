/* Buffers: kinds of memory, addresses, mapping, import, the budget and its account. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/alloc.h"
#include "tests/conformance/suite_kernels.h"
#include "tests/support/test_device.h"

#include <pthread.h>
#include <string.h>

#define MIB      (UINT64_C(1) << 20)
#define ATTEMPTS 200

static void kinds_of_memory(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = sl_test_device_open(NULL);
    const bool mapped_kind = sl_caps_have(&sl_device_get_info(device)->caps, SL_CAP_DEVICE_MAPPED);
    static const uint64_t sizes[] = {1, 4, 255, 4096, 65537, 3 * MIB + 1};
    for (int memory = SL_MEMORY_DEVICE; memory <= SL_MEMORY_READBACK; memory++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            sl_buffer *buffer;
            if (memory == SL_MEMORY_DEVICE_MAPPED && !mapped_kind) {
                EXPECT_STATUS(SL_ERR_UNSUPPORTED,
                              sl_buffer_create(device, sizes[i], memory, "kind", &buffer, &diag));
                assert_null(buffer);
                continue;
            }
            EXPECT_OK(sl_buffer_create(device, sizes[i], memory, "kind", &buffer, &diag));
            assert_int_equal(sl_buffer_size(buffer), sizes[i]);
            assert_int_not_equal(sl_buffer_address(buffer), 0);
            assert_int_equal(sl_buffer_address(buffer) % 256, 0);
            uint8_t *bytes = sl_buffer_map(buffer);
            if (memory != SL_MEMORY_DEVICE) {
                assert_non_null(bytes);
                memset(bytes, 0x5a, sizes[i]);
                assert_int_equal(bytes[sizes[i] - 1], 0x5a);
            } else {
                assert_null(bytes);
            }
            sl_buffer_destroy(buffer);
        }
    }
    sl_device_destroy(device);
}

static void addresses_do_not_overlap(void **state)
{
    (void)state;
    enum { COUNT = 24 };
    sl_device *device = sl_test_device_open(NULL);
    sl_buffer *buffers[COUNT];
    for (int i = 0; i < COUNT; i++)
        buffers[i] =
            sl_test_buffer(device, 1000u * (unsigned)(i + 1), i % 2 ? SL_MEMORY_DEVICE : SL_MEMORY_UPLOAD);
    for (int i = 0; i < COUNT; i++) {
        const uint64_t begin = sl_buffer_address(buffers[i]), end = begin + sl_buffer_size(buffers[i]);
        for (int j = 0; j < i; j++) {
            const uint64_t other = sl_buffer_address(buffers[j]);
            assert_true(other >= end || other + sl_buffer_size(buffers[j]) <= begin);
        }
    }
    for (int i = 0; i < COUNT; i++)
        sl_buffer_destroy(buffers[i]);
    sl_buffer_destroy(NULL);
    sl_device_destroy(device);
}

static void wrong_buffers(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = sl_test_device_open(NULL);
    const sl_device_caps *caps = &sl_device_get_info(device)->caps;
    sl_buffer *buffer = (sl_buffer *)device;
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_buffer_create(device, 0, SL_MEMORY_DEVICE, NULL, &buffer, &diag));
    assert_null(buffer);
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_buffer_create(device, 16, (sl_memory)9, "x", &buffer, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_buffer_create(NULL, 16, SL_MEMORY_DEVICE, "x", &buffer, &diag));
    if (caps->max_buffer_bytes < UINT64_MAX) {
        EXPECT_STATUS(SL_ERR_DEVICE_MEMORY, sl_buffer_create(device, caps->max_buffer_bytes + 1,
                                                             SL_MEMORY_DEVICE, "giant", &buffer, &diag));
        assert_non_null(strstr(diag.message, "giant"));
    }
    sl_memory_report report;
    sl_device_memory(device, &report);
    assert_int_equal(report.device_used_bytes, 0);
    assert_int_equal(report.device_peak_bytes, 0);
    sl_device_destroy(device);
}

static void account_and_limit(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = sl_test_device_open(&(sl_device_options){.device_memory_limit_bytes = 4 * MIB});
    sl_memory_report report;
    sl_buffer *a = sl_test_buffer(device, 3 * MIB, SL_MEMORY_DEVICE), *b;
    EXPECT_STATUS(SL_ERR_DEVICE_MEMORY,
                  sl_buffer_create(device, MIB + 1, SL_MEMORY_DEVICE, "big", &b, &diag));
    assert_non_null(strstr(diag.message, "big"));
    assert_non_null(strstr(diag.message, "4194304"));
    EXPECT_STATUS(SL_ERR_DEVICE_MEMORY,
                  sl_buffer_create(device, UINT64_MAX / 2, SL_MEMORY_DEVICE, "big", &b, &diag));
    b = sl_test_buffer(device, MIB, SL_MEMORY_DEVICE);
    sl_buffer *host = sl_test_buffer(device, 8 * MIB, SL_MEMORY_UPLOAD); /* host memory is not limited */
    sl_device_memory(device, &report);
    assert_int_equal(report.device_used_bytes, 4 * MIB);
    assert_int_equal(report.device_peak_bytes, 4 * MIB);
    assert_int_equal(report.device_limit_bytes, 4 * MIB);
    assert_int_equal(report.host_used_bytes, 8 * MIB);
    if (sl_caps_have(&sl_device_get_info(device)->caps, SL_CAP_MEMORY_BUDGET))
        assert_int_not_equal(report.driver_budget_bytes, 0);
    sl_buffer_destroy(a);
    sl_buffer_destroy(host);
    sl_device_memory(device, &report);
    assert_int_equal(report.device_used_bytes, MIB);
    assert_int_equal(report.device_peak_bytes, 4 * MIB);
    assert_int_equal(report.host_used_bytes, 0);
    a = sl_test_buffer(device, 3 * MIB, SL_MEMORY_DEVICE); /* what was freed may be had again */
    sl_buffer_destroy(a);
    sl_buffer_destroy(b);
    sl_device_memory(device, &report);
    assert_int_equal(report.device_used_bytes, 0);
    sl_device_destroy(device);
}

typedef struct contender {
    sl_device *device;
    pthread_t thread;
    uint32_t refused, other;
    bool over;
} contender;

static void *contend(void *argument)
{
    contender *c = argument;
    for (int i = 0; i < ATTEMPTS; i++) {
        sl_buffer *buffer;
        sl_status st = sl_buffer_create(c->device, 3 * MIB / 4, SL_MEMORY_DEVICE, NULL, &buffer, NULL);
        sl_memory_report report;
        sl_device_memory(c->device, &report);
        c->over |= report.device_used_bytes > report.device_limit_bytes;
        c->over |= report.device_peak_bytes > report.device_limit_bytes;
        c->refused += st == SL_ERR_DEVICE_MEMORY;
        c->other += st != SL_OK && st != SL_ERR_DEVICE_MEMORY;
        if (st == SL_OK) sl_buffer_destroy(buffer);
    }
    return NULL;
}

/* Four threads want room that is there for one of them only. */
static void limit_holds_among_threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    sl_device *device = sl_test_device_open(&(sl_device_options){.device_memory_limit_bytes = MIB});
    contender contenders[THREADS] = {0};
    uint32_t refused = 0;
    for (int i = 0; i < THREADS; i++) {
        contenders[i].device = device;
        assert_int_equal(pthread_create(&contenders[i].thread, NULL, contend, &contenders[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(contenders[i].thread, NULL);
        assert_false(contenders[i].over);
        assert_int_equal(contenders[i].other, 0);
        refused += contenders[i].refused;
    }
    assert_true(refused < THREADS * ATTEMPTS);
    sl_memory_report report;
    sl_device_memory(device, &report);
    assert_int_equal(report.device_used_bytes, 0);
    assert_int_equal(report.device_peak_bytes, 3 * MIB / 4);
    sl_device_destroy(device);
}

static void import_of_host_memory(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = sl_test_device_open_computing(NULL);
    const sl_device_caps *caps = &sl_device_get_info(device)->caps;
    const uint64_t alignment = caps->import_alignment_bytes ? caps->import_alignment_bytes : 4096;
    const uint64_t size = 64 * alignment;
    uint32_t *memory = sl_aligned_alloc(alignment, size);
    assert_non_null(memory);
    sl_buffer *imported;
    if (!sl_caps_have(caps, SL_CAP_HOST_IMPORT)) {
        EXPECT_STATUS(SL_ERR_UNSUPPORTED, sl_buffer_import(device, memory, size, "import", &imported, &diag));
        assert_null(imported);
        sl_free(memory);
        sl_device_destroy(device);
        return;
    }
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_buffer_import(device, memory, size - 4, "import", &imported, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT,
                  sl_buffer_import(device, memory + 1, alignment, "import", &imported, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_buffer_import(device, NULL, size, "import", &imported, &diag));
    EXPECT_OK(sl_buffer_import(device, memory, size, "import", &imported, &diag));
    assert_ptr_equal(sl_buffer_map(imported), memory);
    assert_int_equal(sl_buffer_size(imported), size);
    sl_memory_report report;
    sl_device_memory(device, &report);
    assert_int_equal(report.device_used_bytes + report.host_used_bytes, 0);

    /* Read by a copy and by a kernel, in place. */
    const uint32_t count = (uint32_t)(size / 4);
    for (uint32_t i = 0; i < count; i++)
        memory[i] = i * 2654435761u;
    sl_buffer *copied = sl_test_buffer(device, size, SL_MEMORY_READBACK);
    sl_buffer *computed = sl_test_buffer(device, size, SL_MEMORY_READBACK);
    sl_kernel *kernel = sl_test_kernel(device, &test_affine);
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
    const test_affine_push push = {sl_buffer_address(imported), sl_buffer_address(computed), count, 5};
    sl_commands_copy(commands, imported, 0, copied, 0, size);
    sl_commands_dispatch(commands, kernel, &push, test_affine_groups(count), 1, 1);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_test_finish(commands);
    sl_test_run(device, SL_QUEUE_COMPUTE, commands);
    assert_memory_equal(sl_buffer_map(copied), memory, size);
    const uint32_t *words = sl_buffer_map(computed);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(words[i], memory[i] + 5);
    sl_commands_destroy(commands);
    sl_kernel_destroy(kernel);
    sl_buffer_destroy(copied);
    sl_buffer_destroy(computed);
    sl_buffer_destroy(imported);
    sl_device_memory(device, &report);
    assert_int_equal(report.host_used_bytes, 0);
    sl_device_destroy(device);
    sl_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_of_memory),
        cmocka_unit_test(addresses_do_not_overlap),
        cmocka_unit_test(wrong_buffers),
        cmocka_unit_test(account_and_limit),
        cmocka_unit_test(limit_holds_among_threads),
        cmocka_unit_test(import_of_host_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
