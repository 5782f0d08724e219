/* Recordings: kernels, push blocks, specialization, barriers, re-submission, timestamps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/clock.h"
#include "hal/base/checked.h"
#include "tests/conformance/suite_kernels.h"
#include "tests/support/test_device.h"

#include <string.h>

#define LONG_NS UINT64_C(60000000000)

static void full_push_block(void **state)
{
    (void)state;
    sl_device *device = sl_test_device_open_computing(NULL);
    sl_buffer *out = sl_test_buffer(device, 2 * 256, SL_MEMORY_READBACK);
    sl_kernel *kernel = sl_test_kernel(device, &test_push128);
    test_push128_push push = {.target = sl_buffer_address(out)};
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
    for (uint32_t i = 0; i < 30; i++)
        push.words[i] = 0x10000u * i;
    sl_commands_dispatch(commands, kernel, &push, 1, 1, 1);
    push.target += 256; /* the block was copied: the caller may reuse its own */
    for (uint32_t i = 0; i < 30; i++)
        push.words[i] = 0xabcd0000u - i;
    sl_commands_dispatch(commands, kernel, &push, 1, 1, 1);
    memset(&push, 0, sizeof push);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_test_finish(commands);
    sl_test_run(device, SL_QUEUE_COMPUTE, commands);
    const uint32_t *words = sl_buffer_map(out);
    for (uint32_t i = 0; i < 30; i++) {
        assert_int_equal(words[i], 0x10001u * i);
        assert_int_equal(words[64 + i], 0xabcd0000u);
    }
    sl_commands_destroy(commands);
    sl_kernel_destroy(kernel);
    sl_buffer_destroy(out);
    sl_device_destroy(device);
}

static void groups_in_three_dimensions(void **state)
{
    (void)state;
    sl_device *device = sl_test_device_open_computing(NULL);
    static const uint32_t shapes[][3] = {{1, 1, 1}, {7, 1, 1},   {1, 5, 1},
                                         {1, 1, 9}, {13, 11, 7}, {100, 3, 2}};
    sl_kernel *kernel = sl_test_kernel(device, &test_groups);
    sl_buffer *out = sl_test_buffer(device, 4 * 13 * 11 * 7, SL_MEMORY_READBACK);
    const test_groups_push push = {sl_buffer_address(out)};
    for (size_t s = 0; s < SL_COUNTOF(shapes); s++) {
        const uint32_t *n = shapes[s];
        sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
        sl_commands_dispatch(commands, kernel, &push, n[0], n[1], n[2]);
        sl_commands_barrier(commands, SL_BARRIER_ALL);
        sl_test_finish(commands);
        sl_test_run(device, SL_QUEUE_COMPUTE, commands);
        const uint32_t *words = sl_buffer_map(out);
        for (uint32_t z = 0; z < n[2]; z++) {
            for (uint32_t y = 0; y < n[1]; y++) {
                for (uint32_t x = 0; x < n[0]; x++)
                    assert_int_equal(words[(z * n[1] + y) * n[0] + x], x + 100 * y + 10000 * z);
            }
        }
        sl_commands_destroy(commands);
    }
    sl_kernel_destroy(kernel);
    sl_buffer_destroy(out);
    sl_device_destroy(device);
}

/* Two kernels of one module with other constants, in one recording. */
static void specialization(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    sl_device *device = sl_test_device_open_computing(NULL);
    sl_buffer *in = sl_test_buffer(device, COUNT * 4, SL_MEMORY_UPLOAD);
    sl_buffer *out = sl_test_buffer(device, 8192, SL_MEMORY_READBACK);
    uint32_t spec[] = {7, 3};
    sl_kernel_desc desc = test_affine;
    desc.spec = spec;
    sl_kernel *times3 = sl_test_kernel(device, &desc);
    spec[0] = 8, spec[1] = 1000003; /* the driver copied the constants */
    sl_kernel *large = sl_test_kernel(device, &desc);
    memset(spec, 0, sizeof spec);
    uint32_t *source = sl_buffer_map(in);
    for (uint32_t i = 0; i < COUNT; i++)
        source[i] = i;
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
    test_affine_push push = {sl_buffer_address(in), sl_buffer_address(out), COUNT, 11};
    sl_commands_dispatch(commands, times3, &push, test_affine_groups(COUNT), 1, 1);
    push.target += 4096;
    sl_commands_dispatch(commands, large, &push, test_affine_groups(COUNT), 1, 1);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_test_finish(commands);
    sl_test_run(device, SL_QUEUE_COMPUTE, commands);
    const uint32_t *words = sl_buffer_map(out);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(words[i], 3 * i + 11);
        assert_int_equal(words[1024 + i], 1000003 * i + 12);
    }
    sl_commands_destroy(commands);
    sl_kernel_destroy(times3);
    sl_kernel_destroy(large);
    sl_buffer_destroy(in);
    sl_buffer_destroy(out);
    sl_device_destroy(device);
}

/* x = 3 x + 1, again and again between two buffers: each step needs all of the one before. Mixed with copies.
 */
static void chain_of_dependent_dispatches(void **state)
{
    (void)state;
    enum { COUNT = 30000, BYTES = COUNT * 4, STEPS = 120 };
    sl_device *device = sl_test_device_open_computing(NULL);
    sl_buffer *upload = sl_test_buffer(device, BYTES, SL_MEMORY_UPLOAD);
    sl_buffer *a = sl_test_buffer(device, BYTES, SL_MEMORY_DEVICE),
              *b = sl_test_buffer(device, BYTES, SL_MEMORY_DEVICE);
    sl_buffer *back = sl_test_buffer(device, BYTES, SL_MEMORY_READBACK);
    sl_kernel_desc desc = test_affine;
    desc.spec = (const uint32_t[]){7, 3};
    sl_kernel *kernel = sl_test_kernel(device, &desc);
    uint32_t *values = sl_buffer_map(upload);
    for (uint32_t i = 0; i < COUNT; i++)
        values[i] = i;
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
    sl_commands_label(commands, "chain");
    sl_commands_copy(commands, upload, 0, a, 0, BYTES);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    for (uint32_t step = 0; step < STEPS; step++) {
        const test_affine_push push = {sl_buffer_address(a), sl_buffer_address(b), COUNT, 1};
        sl_commands_dispatch(commands, kernel, &push, test_affine_groups(COUNT), 1, 1);
        if (step % 16 == 15) {
            sl_commands_label(commands, "copy");
            sl_commands_barrier(commands, SL_BARRIER_ALL);
            sl_commands_copy(commands, b, 0, a, 0, BYTES);
            sl_commands_barrier(commands, SL_BARRIER_ALL);
            sl_commands_label(commands, NULL);
        } else {
            sl_commands_barrier(commands, SL_BARRIER_COMPUTE);
            sl_buffer *swap = a;
            a = b;
            b = swap;
        }
    }
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_commands_copy(commands, a, 0, back, 0, BYTES);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_commands_label(commands, NULL);
    sl_test_finish(commands);
    sl_test_run(device, SL_QUEUE_COMPUTE, commands);
    const uint32_t *words = sl_buffer_map(back);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t x = i;
        for (uint32_t step = 0; step < STEPS; step++)
            x = 3 * x + 1;
        assert_int_equal(words[i], x);
    }
    sl_commands_destroy(commands);
    sl_kernel_destroy(kernel);
    sl_buffer_destroy(upload);
    sl_buffer_destroy(a);
    sl_buffer_destroy(b);
    sl_buffer_destroy(back);
    sl_device_destroy(device);
}

/* counter += 1 in place, and the recording again: what it reads is what memory holds now. */
static void resubmission(void **state)
{
    (void)state;
    enum { COUNT = 256, TIMES = 30 };
    sl_diag diag;
    sl_device *device = sl_test_device_open_computing(NULL);
    sl_buffer *cells = sl_test_buffer(device, COUNT * 4, SL_MEMORY_READBACK);
    memset(sl_buffer_map(cells), 0, COUNT * 4);
    sl_kernel *kernel = sl_test_kernel(device, &test_affine);
    const test_affine_push push = {sl_buffer_address(cells), sl_buffer_address(cells), COUNT, 1};
    for (uint32_t flags = 0; flags <= SL_COMMANDS_CONCURRENT; flags += SL_COMMANDS_CONCURRENT) {
        sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, flags, 0);
        sl_commands_barrier(commands, SL_BARRIER_ALL);
        sl_commands_dispatch(commands, kernel, &push, test_affine_groups(COUNT), 1, 1);
        sl_commands_barrier(commands, SL_BARRIER_ALL);
        sl_test_finish(commands);
        sl_semaphore *done = sl_test_semaphore(device, 0);
        for (uint64_t i = 0; i < TIMES; i++) {
            const sl_semaphore_point wait = {done, i}, signal = {done, i + 1};
            const sl_submission submission = {&wait, 1, &commands, 1, &signal, 1};
            EXPECT_OK(sl_queue_submit(device, SL_QUEUE_COMPUTE, &submission, &diag));
            if (!flags) EXPECT_OK(sl_semaphore_wait(done, i + 1, LONG_NS, &diag));
        }
        EXPECT_OK(sl_semaphore_wait(done, TIMES, LONG_NS, &diag));
        const uint32_t *words = sl_buffer_map(cells);
        for (uint32_t i = 0; i < COUNT; i++)
            assert_int_equal(words[i], flags ? 2 * TIMES : TIMES);
        sl_commands_destroy(commands);
        sl_semaphore_destroy(done);
    }
    sl_kernel_destroy(kernel);
    sl_buffer_destroy(cells);
    sl_device_destroy(device);
}

/* The command buffers of a submission run as if recorded one after another; barriers in one hold for the
 * next. */
static void several_command_buffers(void **state)
{
    (void)state;
    enum { COUNT = 5000, BYTES = COUNT * 4, BUFFERS = 16 };
    sl_diag diag;
    sl_device *device = sl_test_device_open_computing(NULL);
    sl_buffer *cells = sl_test_buffer(device, BYTES, SL_MEMORY_READBACK);
    sl_commands *commands[BUFFERS];
    sl_kernel_desc desc = test_affine;
    desc.spec = (const uint32_t[]){7, 5};
    sl_kernel *kernel = sl_test_kernel(device, &desc);
    memset(sl_buffer_map(cells), 0, BYTES);
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < BUFFERS; i++) {
        commands[i] = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
        const test_affine_push push = {sl_buffer_address(cells), sl_buffer_address(cells), COUNT, i};
        sl_commands_dispatch(commands[i], kernel, &push, test_affine_groups(COUNT), 1, 1);
        sl_commands_barrier(commands[i], SL_BARRIER_ALL);
        sl_test_finish(commands[i]);
        wanted = wanted * 5 + i;
    }
    const sl_submission submission = {.commands = commands, .command_count = BUFFERS};
    EXPECT_OK(sl_queue_submit(device, SL_QUEUE_COMPUTE, &submission, &diag));
    EXPECT_OK(sl_device_wait_idle(device, &diag));
    const uint32_t *words = sl_buffer_map(cells);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(words[i], wanted);
    for (uint32_t i = 0; i < BUFFERS; i++)
        sl_commands_destroy(commands[i]);
    sl_kernel_destroy(kernel);
    sl_buffer_destroy(cells);
    sl_device_destroy(device);
}

/* begin drops what was recorded, also without an end between. */
static void recording_again(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = sl_test_device_open_computing(NULL);
    sl_buffer *cells = sl_test_buffer(device, 64, SL_MEMORY_READBACK);
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
    for (uint32_t round = 1; round <= 3; round++) {
        sl_commands_fill(commands, cells, 0, 64, 0xffffffffu);
        EXPECT_OK(sl_commands_begin(commands, &diag));
        sl_commands_fill(commands, cells, 0, 32, round);
        sl_commands_barrier(commands, SL_BARRIER_ALL);
        sl_test_finish(commands);
        memset(sl_buffer_map(cells), 0, 64);
        sl_test_run(device, SL_QUEUE_COMPUTE, commands);
        const uint32_t *words = sl_buffer_map(cells);
        for (uint32_t i = 0; i < 16; i++)
            assert_int_equal(words[i], i < 8 ? round : 0);
        EXPECT_OK(sl_commands_begin(commands, &diag));
    }
    sl_commands_destroy(commands); /* while it records */
    sl_commands_destroy(NULL);
    sl_buffer_destroy(cells);
    sl_device_destroy(device);
}

static void timestamps(void **state)
{
    (void)state;
    enum { SLOTS = 8, COUNT = 100000 };
    sl_diag diag;
    sl_device *device = sl_test_device_open_computing(NULL);
    sl_commands *commands;
    if (!(sl_device_get_info(device)->caps.timestamp_period_ns > 0)) {
        EXPECT_STATUS(SL_ERR_UNSUPPORTED,
                      sl_commands_create(device, SL_QUEUE_COMPUTE, 0, SLOTS, NULL, &commands, &diag));
        sl_device_destroy(device);
        return;
    }
    sl_buffer *cells = sl_test_buffer(device, COUNT * 4, SL_MEMORY_DEVICE);
    sl_kernel *kernel = sl_test_kernel(device, &test_affine);
    commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, SLOTS);
    sl_commands_fill(commands, cells, 0, COUNT * 4, 1);
    for (uint32_t i = 0; i < SLOTS; i++) {
        const test_affine_push push = {sl_buffer_address(cells), sl_buffer_address(cells), COUNT, 1};
        sl_commands_barrier(commands, SL_BARRIER_ALL);
        sl_commands_timestamp(commands, i);
        sl_commands_dispatch(commands, kernel, &push, test_affine_groups(COUNT), 1, 1);
    }
    sl_test_finish(commands);
    uint64_t ns[SLOTS], last = 0;
    for (int round = 0; round < 3; round++) {
        const uint64_t start = sl_now_ns();
        sl_test_run(device, SL_QUEUE_COMPUTE, commands);
        const uint64_t took = sl_now_ns() - start;
        EXPECT_OK(sl_commands_read_timestamps(commands, 0, SLOTS, ns, &diag));
        assert_true(ns[0] >= last); /* rounds follow each other */
        for (int i = 1; i < SLOTS; i++)
            assert_true(ns[i] >= ns[i - 1]);
        assert_true(ns[SLOTS - 1] > ns[0]);
        assert_true(ns[SLOTS - 1] - ns[0] <= took + took / 4 + 1000000); /* the unit is ns */
        last = ns[SLOTS - 1];
    }
    uint64_t two[2];
    EXPECT_OK(sl_commands_read_timestamps(commands, 3, 2, two, &diag));
    assert_int_equal(two[0], ns[3]);
    assert_int_equal(two[1], ns[4]);
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_commands_read_timestamps(commands, 7, 2, two, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_commands_read_timestamps(commands, UINT32_MAX, 2, two, &diag));
    sl_commands_destroy(commands);
    sl_kernel_destroy(kernel);
    sl_buffer_destroy(cells);
    sl_device_destroy(device);
}

static void calibration(void **state)
{
    (void)state;
    sl_diag diag;
    uint64_t device_ns[2], host_ns[2];
    sl_device *device = sl_test_device_open_computing(NULL);
    if (!sl_caps_have(&sl_device_get_info(device)->caps, SL_CAP_CALIBRATED_TIME)) {
        EXPECT_STATUS(SL_ERR_UNSUPPORTED, sl_device_calibrate(device, device_ns, host_ns, &diag));
        sl_device_destroy(device);
        return;
    }
    for (int i = 0; i < 2; i++) {
        const uint64_t before = sl_now_ns();
        EXPECT_OK(sl_device_calibrate(device, &device_ns[i], &host_ns[i], &diag));
        assert_true(host_ns[i] + 1000000 >= before && host_ns[i] <= sl_now_ns() + 1000000);
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    const double rate = (double)(device_ns[1] - device_ns[0]) / (double)(host_ns[1] - host_ns[0]);
    assert_true(rate > 0.9 && rate < 1.1);
    sl_device_destroy(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_push_block), cmocka_unit_test(groups_in_three_dimensions),
        cmocka_unit_test(specialization),  cmocka_unit_test(chain_of_dependent_dispatches),
        cmocka_unit_test(resubmission),    cmocka_unit_test(several_command_buffers),
        cmocka_unit_test(recording_again), cmocka_unit_test(timestamps),
        cmocka_unit_test(calibration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
