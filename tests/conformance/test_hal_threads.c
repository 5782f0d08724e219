/* Many threads create, record and submit at once on both queues. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/conformance/suite_kernels.h"
#include "tests/support/test_device.h"

#include <pthread.h>
#include <string.h>

#define LONG_NS UINT64_C(20000000000)

enum { THREADS = 6, ROUNDS = 25, COUNT = 3000, BYTES = COUNT * 4 };

typedef struct client {
    sl_device *device;
    pthread_t thread;
    uint32_t number;
    bool keeps;              /* one semaphore for all rounds; else a new one a round, destroyed at once */
    sl_semaphore *semaphore; /* with keeps */
    sl_status status;        /* first failure */
    sl_diag diag;
    uint32_t wrong; /* words that are not what they should be */
} client;

/* One round: upload on the transfer queue, compute, check. cmocka's assertions belong to the main thread, so
 * what happened is written down. */
static sl_status one_round(client *c, uint32_t round)
{
    sl_status st;
    sl_buffer *in = NULL, *work = NULL, *out = NULL;
    sl_kernel *kernel = NULL;
    sl_semaphore *semaphore = c->semaphore;
    const uint64_t base = c->keeps ? 2 * round : 0;
    sl_commands *move = NULL, *compute = NULL;
    const uint32_t key = c->number * 1000 + round;
    SL_TRY(sl_buffer_create(c->device, BYTES, SL_MEMORY_UPLOAD, NULL, &in, &c->diag));
    SL_TRY(sl_buffer_create(c->device, BYTES, SL_MEMORY_DEVICE, NULL, &work, &c->diag));
    SL_TRY(sl_buffer_create(c->device, BYTES, SL_MEMORY_READBACK, NULL, &out, &c->diag));
    SL_TRY(sl_kernel_create(c->device, &test_affine, &kernel, &c->diag));
    if (!semaphore) SL_TRY(sl_semaphore_create(c->device, 0, &semaphore, &c->diag));
    if (c->keeps) c->semaphore = semaphore;
    SL_TRY(sl_commands_create(c->device, SL_QUEUE_TRANSFER, 0, 0, NULL, &move, &c->diag));
    SL_TRY(sl_commands_create(c->device, SL_QUEUE_COMPUTE, 0, 0, NULL, &compute, &c->diag));
    uint32_t *words = sl_buffer_map(in);
    for (uint32_t i = 0; i < COUNT; i++)
        words[i] = key ^ i;
    SL_TRY(sl_commands_begin(move, &c->diag));
    sl_commands_copy(move, in, 0, work, 0, BYTES);
    SL_TRY(sl_commands_end(move, &c->diag));
    SL_TRY(sl_commands_begin(compute, &c->diag));
    const test_affine_push push = {sl_buffer_address(work), sl_buffer_address(out), COUNT, key};
    sl_commands_dispatch(compute, kernel, &push, test_affine_groups(COUNT), 1, 1);
    sl_commands_barrier(compute, SL_BARRIER_ALL);
    SL_TRY(sl_commands_end(compute, &c->diag));
    const sl_semaphore_point moved = {semaphore, base + 1}, computed = {semaphore, base + 2};
    const sl_submission first = {NULL, 0, &move, 1, &moved, 1},
                        second = {&moved, 1, &compute, 1, &computed, 1};
    SL_TRY(sl_queue_submit(c->device, SL_QUEUE_TRANSFER, &first, &c->diag));
    SL_TRY(sl_queue_submit(c->device, SL_QUEUE_COMPUTE, &second, &c->diag));
    SL_TRY(sl_semaphore_wait(semaphore, base + 2, LONG_NS, &c->diag));
    words = sl_buffer_map(out);
    for (uint32_t i = 0; i < COUNT; i++)
        c->wrong += words[i] != (key ^ i) + key;
cleanup:
    sl_commands_destroy(move);
    sl_commands_destroy(compute);
    if (!c->keeps) sl_semaphore_destroy(semaphore);
    sl_kernel_destroy(kernel);
    sl_buffer_destroy(in);
    sl_buffer_destroy(work);
    sl_buffer_destroy(out);
    return st;
}

static void *run_client(void *argument)
{
    client *c = argument;
    for (uint32_t round = 0; round < ROUNDS && c->status == SL_OK; round++)
        c->status = one_round(c, round);
    return NULL;
}

static void run_clients(bool keep)
{
    client clients[THREADS];
    memset(clients, 0, sizeof clients);
    sl_device *device = sl_test_device_open_computing(NULL);
    for (uint32_t i = 0; i < THREADS; i++) {
        clients[i].device = device;
        clients[i].number = i;
        clients[i].keeps = keep;
        assert_int_equal(pthread_create(&clients[i].thread, NULL, run_client, &clients[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(clients[i].thread, NULL);
    for (uint32_t i = 0; i < THREADS; i++)
        sl_semaphore_destroy(clients[i].semaphore);
    for (uint32_t i = 0; i < THREADS; i++) {
        if (clients[i].status != SL_OK) fail_msg("thread %u: %s", i, clients[i].diag.message);
        assert_int_equal(clients[i].wrong, 0);
    }
    sl_memory_report report;
    sl_device_memory(device, &report);
    assert_int_equal(report.device_used_bytes, 0);
    assert_int_equal(report.host_used_bytes, 0);
    sl_device_destroy(device);
}

static void threads_at_once(void **state)
{
    (void)state;
    run_clients(true);
}

/* A semaphore may go as soon as a wait for its last value has returned, even while other threads submit. */
static void semaphores_that_go_at_once(void **state)
{
    (void)state;
    run_clients(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_at_once),
        cmocka_unit_test(semaphores_that_go_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
