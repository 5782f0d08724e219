/* Every call of a small workload fails once, in turn, with several errors: the error comes back, nothing
 * leaks (the address sanitizer looks), and the same device then does the workload right unless it is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/alloc.h"
#include "hal/fault/fault.h"
#include "tests/conformance/suite_kernels.h"
#include "tests/support/test_device.h"

#include <string.h>

#define LONG_NS UINT64_C(60000000000)

enum { COUNT = 2000, BYTES = COUNT * 4 };

typedef struct workload {
    sl_buffer *in, *work, *out;
    sl_kernel *kernel;
    sl_semaphore *go, *step;
    sl_commands *move, *compute;
    bool submitted;
} workload;

static sl_status make(sl_device *device, workload *w, sl_diag *diag)
{
    sl_status st;
    SL_TRY(sl_buffer_create(device, BYTES, SL_MEMORY_UPLOAD, "in", &w->in, diag));
    SL_TRY(sl_buffer_create(device, BYTES, SL_MEMORY_DEVICE, "work", &w->work, diag));
    SL_TRY(sl_buffer_create(device, BYTES, SL_MEMORY_READBACK, "out", &w->out, diag));
    SL_TRY(sl_kernel_create(device, &test_affine, &w->kernel, diag));
    SL_TRY(sl_semaphore_create(device, 0, &w->go, diag));
    SL_TRY(sl_semaphore_create(device, 0, &w->step, diag));
    SL_TRY(sl_commands_create(device, SL_QUEUE_TRANSFER, 0, 0, "move", &w->move, diag));
    SL_TRY(sl_commands_create(device, SL_QUEUE_COMPUTE, 0, 0, "compute", &w->compute, diag));
    SL_TRY(sl_commands_begin(w->move, diag));
    sl_commands_copy(w->move, w->in, 0, w->work, 0, BYTES);
    SL_TRY(sl_commands_end(w->move, diag));
    SL_TRY(sl_commands_begin(w->compute, diag));
    const test_affine_push push = {sl_buffer_address(w->work), sl_buffer_address(w->out), COUNT, 3};
    sl_commands_dispatch(w->compute, w->kernel, &push, test_affine_groups(COUNT), 1, 1);
    sl_commands_barrier(w->compute, SL_BARRIER_ALL);
    SL_TRY(sl_commands_end(w->compute, diag));
cleanup:
    return st;
}

/* The work waits for the host (go), so that a failing signal leaves work behind that can't end by itself. */
static sl_status run(sl_device *device, workload *w, sl_diag *diag)
{
    sl_status st;
    uint64_t value;
    const sl_semaphore_point go = {w->go, 1}, moved = {w->step, 1}, computed = {w->step, 2};
    const sl_submission first = {&go, 1, &w->move, 1, &moved, 1},
                        second = {&moved, 1, &w->compute, 1, &computed, 1};
    SL_TRY(sl_queue_submit(device, SL_QUEUE_TRANSFER, &first, diag));
    w->submitted = true;
    SL_TRY(sl_queue_submit(device, SL_QUEUE_COMPUTE, &second, diag));
    SL_TRY(sl_semaphore_signal(w->go, 1, diag));
    SL_TRY(sl_semaphore_wait(w->step, 2, LONG_NS, diag));
    SL_TRY(sl_semaphore_value(w->step, &value, diag));
    assert_int_equal(value, 2);
cleanup:
    return st;
}

/* After an error the caller must bring submitted work to its end before it destroys what the work uses. On a
 * lost device these calls fail, and destroying is legal at once. */
static void settle(sl_device *device, workload *w)
{
    uint64_t value;
    if (!w->submitted) return;
    if (sl_semaphore_value(w->go, &value, NULL) == SL_OK && value == 0)
        (void)!sl_semaphore_signal(w->go, 1, NULL);
    (void)!sl_device_wait_idle(device, NULL);
}

static sl_status whole(sl_device *device, sl_diag *diag)
{
    sl_status st;
    workload w = {0};
    SL_TRY(make(device, &w, diag));
    uint32_t *in = sl_buffer_map(w.in);
    for (uint32_t i = 0; i < COUNT; i++)
        in[i] = i * 31;
    memset(sl_buffer_map(w.out), 0, BYTES);
    SL_TRY(run(device, &w, diag));
    SL_TRY(sl_device_wait_idle(device, diag));
    const uint32_t *out = sl_buffer_map(w.out);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(out[i], i * 31 + 3);
cleanup:
    if (st != SL_OK) settle(device, &w);
    sl_commands_destroy(w.move);
    sl_commands_destroy(w.compute);
    sl_semaphore_destroy(w.go);
    sl_semaphore_destroy(w.step);
    sl_kernel_destroy(w.kernel);
    sl_buffer_destroy(w.in);
    sl_buffer_destroy(w.work);
    sl_buffer_destroy(w.out);
    sl_memory_report report;
    sl_device_memory(device, &report);
    assert_int_equal(report.device_used_bytes, 0);
    assert_int_equal(report.host_used_bytes, 0);
    return st;
}

static sl_device *open_wrapped(void)
{
    sl_diag diag;
    sl_device *fault;
    EXPECT_OK(sl_fault_wrap(sl_test_device_open_computing(NULL), &fault, &diag));
    return fault;
}

static void loop(sl_status status)
{
    sl_diag diag;
    uint64_t failures = 0;
    sl_device *device = open_wrapped();
    for (uint64_t nth = 1;; nth++) {
        sl_fault_arm(device, nth, status);
        diag = (sl_diag){0};
        const sl_status st = whole(device, &diag);
        if (!sl_fault_fired(device)) {
            assert_int_equal(st, SL_OK);
            assert_int_equal(sl_fault_calls(device), nth - 1);
            break;
        }
        failures++;
        sl_test_status(st, status, &diag, sl_fault_call_name(device), __FILE__, __LINE__);
        assert_non_null(strstr(diag.message, sl_fault_call_name(device)));
        if (status == SL_ERR_DEVICE_LOST) {
            sl_device_destroy(device);
            device = open_wrapped();
        } else {
            sl_fault_arm(device, 0, SL_OK);
            EXPECT_OK(whole(device, &diag));
        }
    }
    assert_true(failures >= 18); /* the calls of make and run */
    sl_device_destroy(device);
}

static void each_call_fails(void **state)
{
    (void)state;
    loop(SL_ERR_INTERNAL);
    loop(SL_ERR_DEVICE_MEMORY);
}

static void each_call_loses_the_device(void **state)
{
    (void)state;
    loop(SL_ERR_DEVICE_LOST);
}

/* The same for host allocations of the drivers, opening of the device included. */
static void each_allocation_fails(void **state)
{
    (void)state;
    sl_diag diag;
    sl_device_destroy(sl_test_device_open_computing(NULL)); /* skips where there is no device */
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        sl_device *device = NULL;
        diag = (sl_diag){0};
        const uint64_t before = sl_alloc_count();
        sl_alloc_fail_at(nth);
        sl_status st =
            sl_device_create(sl_test_device_driver(), sl_test_device_index(), NULL, &device, &diag);
        if (st == SL_OK) st = whole(device, &diag);
        done = sl_alloc_count() - before < nth;
        sl_alloc_fail_at(0);
        if (done)
            assert_int_equal(st, SL_OK);
        else if (st != SL_OK && st != SL_ERR_DEVICE_MEMORY) /* SL_OK: what failed could be done without */
            sl_test_status(st, SL_ERR_NO_MEMORY, &diag, "allocation", __FILE__, __LINE__);
        sl_device_destroy(device);
        assert_true(nth < 10000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_fails),
        cmocka_unit_test(each_call_loses_the_device),
        cmocka_unit_test(each_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
