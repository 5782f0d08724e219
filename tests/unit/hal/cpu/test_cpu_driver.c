/* The cpu driver: parts of a dispatch, thread counts, devices that go while work waits, steady state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/alloc.h"
#include "hal/cpu/cpu.h"
#include "tests/support/test_device.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { CELLS = 4096 };

typedef struct mark_push {
    uint64_t cells;
} mark_push;

/* Counts how often each part ran, and keeps the count of parts in the last cell. */
static void mark(const sl_kernel_task *task)
{
    _Atomic uint32_t *cells = sl_host(((const mark_push *)task->push)->cells);
    atomic_fetch_add(&cells[task->index], 1);
    atomic_store(&cells[CELLS - 1], task->count);
}

static void pool_runs_each_part_once(void **state)
{
    (void)state;
    sl_diag diag;
    static _Atomic uint32_t cells[SL_CPU_PARTS_MAX + 1];
    for (uint32_t threads = 1; threads <= 7; threads += 2) {
        sl_cpu_pool *pool;
        EXPECT_OK(sl_cpu_pool_create(threads, &pool, &diag));
        assert_int_equal(sl_cpu_pool_threads(pool), threads);
        const mark_push push = {(uintptr_t)cells};
        const sl_kernel_task task = {.push = &push, .groups = {1, 1, 1}};
        for (uint32_t round = 0; round < 3000; round++) {
            const uint32_t count = round % 50 == 49 ? SL_CPU_PARTS_MAX / 4 : round % 13 + 1;
            memset(cells, 0, sizeof cells);
            sl_cpu_pool_run(pool, mark, &task, count);
            for (uint32_t i = 0; i < count; i++)
                assert_int_equal(cells[i], i == CELLS - 1 ? cells[i] : 1);
            if (round % 1000 == 999) { /* long enough for workers to fall asleep */
                sl_cpu_pool_rest(pool);
                nanosleep(&(struct timespec){0, 1000000}, NULL);
            }
        }
        sl_cpu_pool_destroy(pool);
    }
    sl_cpu_pool_destroy(NULL);
}

static sl_device *open_cpu(uint32_t threads)
{
    sl_diag diag;
    sl_device *device;
    EXPECT_OK(sl_device_create("cpu", 0, &(sl_device_options){.threads = threads}, &device, &diag));
    return device;
}

static void parts_follow_groups_and_threads(void **state)
{
    (void)state;
    static const uint32_t cases[][3] = {
        /* threads, groups, most parts */ {1, 100, 1}, {2, 1, 1}, {2, 3, 3}, {2, 100, 8}, {3, 100, 12}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_device *device = open_cpu(cases[i][0]);
        assert_int_equal(sl_device_get_info(device)->caps.compute_units, cases[i][0]);
        const sl_kernel_desc desc = {.name = "mark", .host = mark, .push_bytes = sizeof(mark_push)};
        sl_kernel *kernel = sl_test_kernel(device, &desc);
        sl_buffer *cells = sl_test_buffer(device, CELLS * 4, SL_MEMORY_READBACK);
        uint32_t *words = sl_buffer_map(cells);
        memset(words, 0, CELLS * 4);
        const mark_push push = {sl_buffer_address(cells)};
        sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
        sl_commands_dispatch(commands, kernel, &push, cases[i][1], 1, 1);
        sl_test_finish(commands);
        sl_test_run(device, SL_QUEUE_COMPUTE, commands);
        assert_int_equal(words[CELLS - 1], cases[i][2]);
        for (uint32_t part = 0; part < CELLS - 1; part++)
            assert_int_equal(words[part], part < cases[i][2]);
        sl_commands_destroy(commands);
        sl_kernel_destroy(kernel);
        sl_buffer_destroy(cells);
        sl_device_destroy(device);
    }
    sl_diag diag;
    sl_device *none;
    EXPECT_STATUS(SL_ERR_ARGUMENT,
                  sl_device_create("cpu", 0, &(sl_device_options){.threads = 5000}, &none, &diag));
}

/* Destroying drains: what can run runs; what waits for a signal that can't come any more is dropped. */
static void destroy_with_work_behind(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = open_cpu(2);
    sl_buffer *filled = sl_test_buffer(device, 1 << 20, SL_MEMORY_READBACK);
    sl_buffer *never = sl_test_buffer(device, 4096, SL_MEMORY_READBACK);
    memset(sl_buffer_map(filled), 0, 1 << 20);
    memset(sl_buffer_map(never), 0, 4096);
    sl_commands *fill = sl_test_begin(device, SL_QUEUE_TRANSFER, 0, 0);
    sl_commands_fill(fill, filled, 0, 1 << 20, 9);
    sl_test_finish(fill);
    sl_commands *blocked = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
    sl_commands_fill(blocked, never, 0, 4096, 9);
    sl_test_finish(blocked);
    sl_semaphore *go = sl_test_semaphore(device, 0), *done = sl_test_semaphore(device, 0);
    const sl_semaphore_point wait = {go, 1}, signal = {done, 1};
    EXPECT_OK(sl_queue_submit(device, SL_QUEUE_COMPUTE, &(sl_submission){&wait, 1, &blocked, 1, &signal, 1},
                              &diag));
    EXPECT_OK(
        sl_queue_submit(device, SL_QUEUE_TRANSFER, &(sl_submission){NULL, 0, &fill, 1, NULL, 0}, &diag));
    EXPECT_OK(
        sl_queue_submit(device, SL_QUEUE_TRANSFER, &(sl_submission){&signal, 1, NULL, 0, NULL, 0}, &diag));
    sl_device_destroy(device); /* must come back */
    const uint32_t *words = sl_buffer_map(filled);
    assert_int_equal(words[0], 9);
    assert_int_equal(words[(1 << 18) - 1], 9);
    assert_int_equal(*(uint32_t *)sl_buffer_map(never), 0);
    /* The objects outlived their device: free them as the driver would. */
    sl_cpu_commands_destroy(fill);
    sl_cpu_commands_destroy(blocked);
    sl_free(sl_buffer_map(filled));
    sl_free(sl_buffer_map(never));
    sl_free(filled);
    sl_free(never);
    sl_free(go);
    sl_free(done);
}

static void pending_twice_is_refused(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = open_cpu(1);
    sl_semaphore *go = sl_test_semaphore(device, 0);
    const sl_semaphore_point wait = {go, 1};
    sl_buffer *buffer = sl_test_buffer(device, 64, SL_MEMORY_DEVICE);
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 1);
    sl_commands_fill(commands, buffer, 0, 64, 1);
    sl_test_finish(commands);
    const sl_submission submission = {&wait, 1, &commands, 1, NULL, 0};
    uint64_t ns;
    EXPECT_OK(sl_queue_submit(device, SL_QUEUE_COMPUTE, &submission, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_queue_submit(device, SL_QUEUE_COMPUTE, &submission, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_commands_begin(commands, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_commands_read_timestamps(commands, 0, 1, &ns, &diag));
    EXPECT_OK(sl_semaphore_signal(go, 1, &diag));
    EXPECT_OK(sl_device_wait_idle(device, &diag));
    sl_test_run(device, SL_QUEUE_COMPUTE, commands);
    sl_commands_destroy(commands);
    sl_semaphore_destroy(go);
    sl_buffer_destroy(buffer);
    sl_device_destroy(device);
}

static void steady_state_allocates_nothing(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = open_cpu(2);
    sl_semaphore *done = sl_test_semaphore(device, 0);
    sl_buffer *buffer = sl_test_buffer(device, 64, SL_MEMORY_DEVICE);
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
    sl_commands_fill(commands, buffer, 0, 64, 1);
    sl_test_finish(commands);
    uint64_t after_first = 0;
    for (uint64_t i = 1; i <= 50; i++) {
        const sl_semaphore_point signal = {done, i};
        EXPECT_OK(sl_queue_submit(device, SL_QUEUE_COMPUTE,
                                  &(sl_submission){NULL, 0, &commands, 1, &signal, 1}, &diag));
        EXPECT_OK(sl_semaphore_wait(done, i, UINT64_MAX, &diag));
        EXPECT_OK(sl_device_wait_idle(device, &diag));
        if (i == 1) after_first = sl_alloc_count();
    }
    assert_int_equal(sl_alloc_count(), after_first);
    sl_commands_destroy(commands);
    sl_semaphore_destroy(done);
    sl_buffer_destroy(buffer);
    sl_device_destroy(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_runs_each_part_once),       cmocka_unit_test(parts_follow_groups_and_threads),
        cmocka_unit_test(destroy_with_work_behind),       cmocka_unit_test(pending_twice_is_refused),
        cmocka_unit_test(steady_state_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
