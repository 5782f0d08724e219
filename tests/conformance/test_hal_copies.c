/* Copies and fills on both queues. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/checked.h"
#include "tests/support/test_device.h"

#include <string.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

static void write_pattern(uint8_t *bytes, uint64_t size, uint32_t seed)
{
    for (uint64_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
}

/* Host -> device -> device -> host. */
static void round_trip(sl_device *device, sl_queue queue, uint64_t size, uint32_t seed)
{
    sl_buffer *upload = sl_test_buffer(device, size, SL_MEMORY_UPLOAD);
    sl_buffer *first = sl_test_buffer(device, size, SL_MEMORY_DEVICE);
    sl_buffer *second = sl_test_buffer(device, size, SL_MEMORY_DEVICE);
    sl_buffer *back = sl_test_buffer(device, size, SL_MEMORY_READBACK);
    write_pattern(sl_buffer_map(upload), size, seed);
    memset(sl_buffer_map(back), 0, size);
    sl_commands *commands = sl_test_begin(device, queue, 0, 0);
    sl_commands_copy(commands, upload, 0, first, 0, size);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_commands_copy(commands, first, 0, second, 0, size);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_commands_copy(commands, second, 0, back, 0, size);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_test_finish(commands);
    sl_test_run(device, queue, commands);
    assert_memory_equal(sl_buffer_map(back), sl_buffer_map(upload), size);
    sl_commands_destroy(commands);
    sl_buffer_destroy(upload);
    sl_buffer_destroy(first);
    sl_buffer_destroy(second);
    sl_buffer_destroy(back);
}

static void copies_of_many_sizes(void **state)
{
    (void)state;
    sl_device *device = sl_test_device_open_computing(NULL);
    static const uint64_t sizes[] = {1, 3, 4 * KIB, 4 * KIB + 1, 64 * KIB, MIB - 4, 4 * MIB, 64 * MIB};
    for (size_t i = 0; i < SL_COUNTOF(sizes); i++) {
        round_trip(device, SL_QUEUE_COMPUTE, sizes[i], (uint32_t)i);
        round_trip(device, SL_QUEUE_TRANSFER, sizes[i], (uint32_t)i + 100);
    }
    sl_device_destroy(device);
}

/* Only the range asked for changes. */
static void copies_at_offsets(void **state)
{
    (void)state;
    sl_device *device = sl_test_device_open_computing(NULL);
    enum { SIZE = 4096 };
    uint8_t wanted[SIZE];
    sl_buffer *source = sl_test_buffer(device, SIZE, SL_MEMORY_UPLOAD);
    sl_buffer *target = sl_test_buffer(device, SIZE, SL_MEMORY_READBACK);
    uint8_t *from = sl_buffer_map(source), *to = sl_buffer_map(target);
    write_pattern(from, SIZE, 1);
    write_pattern(to, SIZE, 2);
    memcpy(wanted, to, SIZE);
    static const uint32_t moves[][3] = {
        {0, 1, 7}, {13, 100, 1}, {5, 1024, 511}, {4095, 4095, 1}, {0, 2048, 2000}};
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
    for (size_t i = 0; i < SL_COUNTOF(moves); i++) {
        sl_commands_copy(commands, source, moves[i][0], target, moves[i][1], moves[i][2]);
        memcpy(wanted + moves[i][1], from + moves[i][0], moves[i][2]);
    }
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_commands_copy(commands, target, 1024, target, 3, 64); /* within one buffer */
    memcpy(wanted + 3, wanted + 1024, 64);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_test_finish(commands);
    sl_test_run(device, SL_QUEUE_COMPUTE, commands);
    assert_memory_equal(to, wanted, SIZE);
    sl_commands_destroy(commands);
    sl_buffer_destroy(source);
    sl_buffer_destroy(target);
    sl_device_destroy(device);
}

static void fills(void **state)
{
    (void)state;
    sl_device *device = sl_test_device_open_computing(NULL);
    for (int queue = SL_QUEUE_COMPUTE; queue <= SL_QUEUE_TRANSFER; queue++) {
        enum { WORDS = 5000 };
        sl_buffer *buffer = sl_test_buffer(device, WORDS * 4, SL_MEMORY_DEVICE);
        sl_buffer *back = sl_test_buffer(device, WORDS * 4, SL_MEMORY_READBACK);
        sl_commands *commands = sl_test_begin(device, (sl_queue)queue, 0, 0);
        sl_commands_fill(commands, buffer, 0, WORDS * 4, 0xdeadbeefu);
        sl_commands_barrier(commands, SL_BARRIER_ALL);
        sl_commands_fill(commands, buffer, 400, 800, 0x01020304u);
        sl_commands_fill(commands, buffer, WORDS * 4 - 4, 4, 0);
        sl_commands_barrier(commands, SL_BARRIER_ALL);
        sl_commands_copy(commands, buffer, 0, back, 0, WORDS * 4);
        sl_commands_barrier(commands, SL_BARRIER_ALL);
        sl_test_finish(commands);
        sl_test_run(device, (sl_queue)queue, commands);
        const uint32_t *words = sl_buffer_map(back);
        for (uint32_t i = 0; i < WORDS; i++)
            assert_int_equal(words[i], i == WORDS - 1 ? 0 : i >= 100 && i < 300 ? 0x01020304u : 0xdeadbeefu);
        sl_commands_destroy(commands);
        sl_buffer_destroy(buffer);
        sl_buffer_destroy(back);
    }
    sl_device_destroy(device);
}

/* One wrong command in a recording: end says so, and the recording can't be submitted. */
static void expect_refused(sl_device *device, sl_commands *commands, const char *word)
{
    sl_diag diag;
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_commands_end(commands, &diag));
    assert_non_null(strstr(diag.message, word));
    const sl_submission submission = {.commands = &commands, .command_count = 1};
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_queue_submit(device, SL_QUEUE_COMPUTE, &submission, &diag));
    EXPECT_OK(sl_commands_begin(commands, &diag));
}

static void wrong_ranges(void **state)
{
    (void)state;
    sl_device *device = sl_test_device_open(NULL);
    sl_buffer *a = sl_test_buffer(device, 256, SL_MEMORY_DEVICE),
              *b = sl_test_buffer(device, 128, SL_MEMORY_DEVICE);
    sl_commands *commands = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
    sl_commands_copy(commands, a, 0, b, 0, 129);
    expect_refused(device, commands, "copy");
    sl_commands_copy(commands, a, 250, b, 0, 7);
    expect_refused(device, commands, "copy");
    sl_commands_copy(commands, a, UINT64_MAX, b, 0, 2);
    expect_refused(device, commands, "copy");
    sl_commands_copy(commands, a, 0, b, 0, 0);
    expect_refused(device, commands, "copy");
    sl_commands_copy(commands, a, 0, a, 10, 11);
    expect_refused(device, commands, "overlap");
    sl_commands_copy(commands, NULL, 0, a, 10, 11);
    expect_refused(device, commands, "copy");
    sl_commands_fill(commands, a, 2, 4, 0);
    expect_refused(device, commands, "fill");
    sl_commands_fill(commands, a, 0, 6, 0);
    expect_refused(device, commands, "fill");
    sl_commands_fill(commands, b, 128, 4, 0);
    expect_refused(device, commands, "fill");
    sl_commands_barrier(commands, (sl_barrier)7);
    expect_refused(device, commands, "barrier");
    sl_commands_timestamp(commands, 0);
    expect_refused(device, commands, "timestamp");
    /* The first error counts, and a new recording starts clean. */
    sl_commands_fill(commands, b, 128, 4, 0);
    sl_commands_copy(commands, a, 0, b, 0, 129);
    expect_refused(device, commands, "fill");
    sl_commands_fill(commands, b, 0, 128, 0);
    sl_test_finish(commands);
    sl_test_run(device, SL_QUEUE_COMPUTE, commands);
    sl_commands_destroy(commands);
    sl_buffer_destroy(a);
    sl_buffer_destroy(b);
    sl_device_destroy(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_of_many_sizes),
        cmocka_unit_test(copies_at_offsets),
        cmocka_unit_test(fills),
        cmocka_unit_test(wrong_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
