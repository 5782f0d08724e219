/* Timeline semaphores: the host, the queues, and who comes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/clock.h"
#include "tests/conformance/suite_kernels.h"
#include "tests/support/test_device.h"

#include <pthread.h>

#define LONG_NS UINT64_C(60000000000)

static void host_side(void **state)
{
    (void)state;
    sl_diag diag;
    uint64_t value;
    sl_device *device = sl_test_device_open(NULL);
    sl_semaphore *s = sl_test_semaphore(device, 5);
    EXPECT_OK(sl_semaphore_value(s, &value, &diag));
    assert_int_equal(value, 5);
    EXPECT_OK(sl_semaphore_wait(s, 5, 0, &diag));
    EXPECT_OK(sl_semaphore_wait(s, 0, UINT64_MAX, &diag));
    const uint64_t start = sl_now_ns();
    EXPECT_STATUS(SL_ERR_TIMEOUT, sl_semaphore_wait(s, 6, 20000000, &diag));
    assert_true(sl_now_ns() - start >= 15000000);
    EXPECT_STATUS(SL_ERR_TIMEOUT, sl_semaphore_wait(s, 6, 0, &diag));
    EXPECT_OK(sl_semaphore_signal(s, 9, &diag));
    EXPECT_OK(sl_semaphore_wait(s, 7, UINT64_MAX, &diag));
    EXPECT_OK(sl_semaphore_value(s, &value, &diag));
    assert_int_equal(value, 9);
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_semaphore_signal(s, 9, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_semaphore_signal(s, 3, &diag));
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_semaphore_wait(NULL, 3, 0, &diag));
    sl_semaphore_destroy(s);
    sl_semaphore_destroy(NULL);
    sl_device_destroy(device);
}

typedef struct signaller {
    sl_semaphore *semaphore;
    sl_status status;
} signaller;

static void *signal_later(void *argument)
{
    signaller *s = argument;
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    s->status = sl_semaphore_signal(s->semaphore, 1, NULL);
    return NULL;
}

static void host_wakes_host(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = sl_test_device_open(NULL);
    signaller s = {sl_test_semaphore(device, 0), SL_ERR_INTERNAL};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, signal_later, &s), 0);
    EXPECT_OK(sl_semaphore_wait(s.semaphore, 1, LONG_NS, &diag));
    pthread_join(thread, NULL);
    assert_int_equal(s.status, SL_OK);
    sl_semaphore_destroy(s.semaphore);
    sl_device_destroy(device);
}

/* A submission without commands: it waits, then signals. */
static void submit_points(sl_device *device, sl_queue queue, sl_semaphore_point wait,
                          sl_semaphore_point signal)
{
    sl_diag diag;
    const sl_submission submission = {
        .waits = &wait,
        .wait_count = wait.semaphore ? 1 : 0,
        .signals = &signal,
        .signal_count = signal.semaphore ? 1 : 0,
    };
    EXPECT_OK(sl_queue_submit(device, queue, &submission, &diag));
}

/* The transfer queue waits for what the compute queue is given only later, which waits for the host. */
static void wait_before_signal(void **state)
{
    (void)state;
    sl_diag diag;
    uint64_t value;
    sl_device *device = sl_test_device_open_computing(NULL);
    const bool two_queues = sl_caps_have(&sl_device_get_info(device)->caps, SL_CAP_TRANSFER_QUEUE);
    sl_semaphore *host = sl_test_semaphore(device, 0), *a = sl_test_semaphore(device, 0);
    sl_semaphore *b = sl_test_semaphore(device, 10);
    /* Where both queues are one, a wait for later work of the same queue could never end. */
    if (two_queues)
        submit_points(device, SL_QUEUE_TRANSFER, (sl_semaphore_point){a, 3}, (sl_semaphore_point){b, 11});
    submit_points(device, SL_QUEUE_COMPUTE, (sl_semaphore_point){host, 1}, (sl_semaphore_point){a, 3});
    if (!two_queues)
        submit_points(device, SL_QUEUE_TRANSFER, (sl_semaphore_point){a, 3}, (sl_semaphore_point){b, 11});
    EXPECT_STATUS(SL_ERR_TIMEOUT, sl_semaphore_wait(b, 11, 20000000, &diag));
    EXPECT_OK(sl_semaphore_value(a, &value, &diag));
    assert_int_equal(value, 0);
    EXPECT_OK(sl_semaphore_signal(host, 1, &diag));
    EXPECT_OK(sl_semaphore_wait(b, 11, LONG_NS, &diag));
    EXPECT_OK(sl_semaphore_value(a, &value, &diag));
    assert_int_equal(value, 3);
    EXPECT_OK(sl_device_wait_idle(device, &diag));
    sl_semaphore_destroy(host);
    sl_semaphore_destroy(a);
    sl_semaphore_destroy(b);
    sl_device_destroy(device);
}

/* Every wait of a submission holds it back, and every signal is given. */
static void many_points(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device *device = sl_test_device_open_computing(NULL);
    sl_semaphore_point waits[SL_SUBMIT_POINTS_MAX], signals[SL_SUBMIT_POINTS_MAX];
    for (int i = 0; i < SL_SUBMIT_POINTS_MAX; i++) {
        waits[i] = (sl_semaphore_point){sl_test_semaphore(device, 0), (uint64_t)i + 1};
        signals[i] = (sl_semaphore_point){sl_test_semaphore(device, 0), 100 + (uint64_t)i};
    }
    sl_submission submission = {.waits = waits,
                                .wait_count = SL_SUBMIT_POINTS_MAX,
                                .signals = signals,
                                .signal_count = SL_SUBMIT_POINTS_MAX};
    EXPECT_OK(sl_queue_submit(device, SL_QUEUE_COMPUTE, &submission, &diag));
    for (int i = SL_SUBMIT_POINTS_MAX - 1; i >= 0; i--) {
        EXPECT_STATUS(SL_ERR_TIMEOUT, sl_semaphore_wait(signals[0].semaphore, 1, 2000000, &diag));
        EXPECT_OK(sl_semaphore_signal(waits[i].semaphore, waits[i].value, &diag));
    }
    for (int i = 0; i < SL_SUBMIT_POINTS_MAX; i++)
        EXPECT_OK(sl_semaphore_wait(signals[i].semaphore, signals[i].value, LONG_NS, &diag));
    submission.wait_count = SL_SUBMIT_POINTS_MAX + 1;
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_queue_submit(device, SL_QUEUE_COMPUTE, &submission, &diag));
    submission.wait_count = 0;
    submission.signal_count = SL_SUBMIT_POINTS_MAX + 1;
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_queue_submit(device, SL_QUEUE_COMPUTE, &submission, &diag));
    for (int i = 0; i < SL_SUBMIT_POINTS_MAX; i++) {
        sl_semaphore_destroy(waits[i].semaphore);
        sl_semaphore_destroy(signals[i].semaphore);
    }
    sl_device_destroy(device);
}

/* Upload on the transfer queue, compute, download on the transfer queue, several rounds in flight; the slot
 * is written again only when the kernel that reads it has ended. */
static void across_queues(void **state)
{
    (void)state;
    enum { COUNT = 20000, BYTES = COUNT * 4, ROUNDS = 6 };
    sl_diag diag;
    sl_device *device = sl_test_device_open_computing(NULL);
    sl_buffer *upload = sl_test_buffer(device, ROUNDS * BYTES, SL_MEMORY_UPLOAD);
    sl_buffer *slot = sl_test_buffer(device, BYTES, SL_MEMORY_DEVICE);
    sl_buffer *result = sl_test_buffer(device, BYTES, SL_MEMORY_DEVICE);
    sl_buffer *back = sl_test_buffer(device, ROUNDS * BYTES, SL_MEMORY_READBACK);
    sl_kernel *kernel = sl_test_kernel(device, &test_affine);
    sl_semaphore *filled = sl_test_semaphore(device, 0), *computed = sl_test_semaphore(device, 0);
    sl_semaphore *taken = sl_test_semaphore(device, 0);
    sl_commands *in[ROUNDS], *compute[ROUNDS], *out[ROUNDS];
    uint32_t *source = sl_buffer_map(upload);
    for (uint32_t i = 0; i < ROUNDS * COUNT; i++)
        source[i] = i * 7919u;
    for (uint32_t r = 0; r < ROUNDS; r++) {
        in[r] = sl_test_begin(device, SL_QUEUE_TRANSFER, 0, 0);
        sl_commands_copy(in[r], upload, r * BYTES, slot, 0, BYTES);
        sl_test_finish(in[r]);
        compute[r] = sl_test_begin(device, SL_QUEUE_COMPUTE, 0, 0);
        const test_affine_push push = {sl_buffer_address(slot), sl_buffer_address(result), COUNT, r};
        sl_commands_dispatch(compute[r], kernel, &push, test_affine_groups(COUNT), 1, 1);
        sl_test_finish(compute[r]);
        out[r] = sl_test_begin(device, SL_QUEUE_TRANSFER, 0, 0);
        sl_commands_copy(out[r], result, 0, back, r * BYTES, BYTES);
        sl_commands_barrier(out[r], SL_BARRIER_ALL);
        sl_test_finish(out[r]);
        const sl_semaphore_point fill_waits[] = {{computed, r}};
        const sl_semaphore_point compute_waits[] = {{filled, r + 1}, {taken, r}};
        const sl_semaphore_point out_waits[] = {{computed, r + 1}};
        EXPECT_OK(sl_queue_submit(
            device, SL_QUEUE_TRANSFER,
            &(sl_submission){fill_waits, 1, &in[r], 1, &(sl_semaphore_point){filled, r + 1}, 1}, &diag));
        EXPECT_OK(sl_queue_submit(
            device, SL_QUEUE_COMPUTE,
            &(sl_submission){compute_waits, 2, &compute[r], 1, &(sl_semaphore_point){computed, r + 1}, 1},
            &diag));
        EXPECT_OK(sl_queue_submit(
            device, SL_QUEUE_TRANSFER,
            &(sl_submission){out_waits, 1, &out[r], 1, &(sl_semaphore_point){taken, r + 1}, 1}, &diag));
    }
    EXPECT_OK(sl_semaphore_wait(taken, ROUNDS, LONG_NS, &diag));
    const uint32_t *words = sl_buffer_map(back);
    for (uint32_t i = 0; i < ROUNDS * COUNT; i++)
        assert_int_equal(words[i], i * 7919u + i / COUNT);
    EXPECT_OK(sl_device_wait_idle(device, &diag));
    for (uint32_t r = 0; r < ROUNDS; r++) {
        sl_commands_destroy(in[r]);
        sl_commands_destroy(compute[r]);
        sl_commands_destroy(out[r]);
    }
    sl_kernel_destroy(kernel);
    sl_semaphore_destroy(filled);
    sl_semaphore_destroy(computed);
    sl_semaphore_destroy(taken);
    sl_buffer_destroy(upload);
    sl_buffer_destroy(slot);
    sl_buffer_destroy(result);
    sl_buffer_destroy(back);
    sl_device_destroy(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_side),          cmocka_unit_test(host_wakes_host),
        cmocka_unit_test(wait_before_signal), cmocka_unit_test(many_points),
        cmocka_unit_test(across_queues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
