/* cpu.h - the inside of the cpu driver. Only hal/cpu includes it.
 *
 * One lock guards queues, semaphore values and the pending counts of recordings: it is held for moments, and
 * one lock makes "nothing can go on any more" (see cpu_queue.c) a question that has an answer. */
#ifndef SL_HAL_CPU_H
#define SL_HAL_CPU_H

#include "hal/cpu/cpu_pool.h"
#include "hal/driver.h"

#include <pthread.h>

typedef struct sl_cpu_device sl_cpu_device;

typedef struct sl_cpu_kernel {
    sl_kernel base;
    sl_kernel_host_fn fn;
    uint32_t spec[SL_SPEC_MAX];
} sl_cpu_kernel;

typedef enum sl_cpu_op_kind { SL_CPU_DISPATCH, SL_CPU_COPY, SL_CPU_FILL, SL_CPU_TIMESTAMP } sl_cpu_op_kind;

/* One recorded command. Barriers leave none: every command ends before the next starts. */
typedef struct sl_cpu_op {
    sl_cpu_op_kind kind;
    union {
        struct {
            const sl_cpu_kernel *kernel;
            uint32_t groups[3], push; /* push: byte offset into sl_cpu_commands.push */
        } dispatch;
        struct {
            const uint8_t *source;
            uint8_t *target;
            uint64_t size_bytes;
        } copy;
        struct {
            uint32_t *target;
            uint64_t words;
            uint32_t value;
        } fill;
        uint32_t slot;
    };
} sl_cpu_op;

typedef struct sl_cpu_commands {
    sl_commands base;
    sl_cpu_device *device;
    uint32_t flags;
    uint32_t pending; /* submissions that have not completed; guarded by the device's lock */
    sl_cpu_op *ops;
    size_t op_count, op_capacity;
    uint8_t *push; /* push blocks, each at a multiple of 16 */
    size_t push_bytes, push_capacity;
    uint64_t times_ns[];
} sl_cpu_commands;

typedef struct sl_cpu_semaphore {
    sl_semaphore base;
    sl_cpu_device *device;
    uint64_t value; /* guarded by the device's lock */
} sl_cpu_semaphore;

/* Copied from the caller's sl_submission. Records are kept for later submissions: steady state allocates
 * none. */
typedef struct sl_cpu_submission {
    struct sl_cpu_submission *next;
    uint32_t wait_count, command_count, signal_count;
    sl_semaphore_point waits[SL_SUBMIT_POINTS_MAX], signals[SL_SUBMIT_POINTS_MAX];
    sl_cpu_commands *commands[SL_SUBMIT_COMMANDS_MAX];
} sl_cpu_submission;

typedef struct sl_cpu_queue {
    sl_cpu_device *device;
    sl_cpu_submission *first, **last; /* submitted and not started */
    uint64_t submitted, completed;
    bool running, blocked; /* executes; its thread sleeps because of a semaphore */
    bool started;          /* the thread exists */
    pthread_cond_t wake;
    pthread_t thread;
} sl_cpu_queue;

struct sl_cpu_device {
    sl_device base;
    sl_cpu_pool *pool; /* belongs to the compute queue's thread */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a semaphore was raised or a submission completed; the host waits here */
    sl_cpu_submission *spare;
    sl_cpu_queue queues[2];
    bool stopping;
};

/* cpu_queue.c */
sl_status sl_cpu_queues_start(sl_cpu_device *device, sl_diag *diag);
/* Runs what can still run, drops submissions whose waits nobody is left to satisfy, ends the threads. */
void sl_cpu_queues_stop(sl_cpu_device *device);
sl_status sl_cpu_queue_submit(sl_device *device, sl_queue queue, const sl_submission *submission,
                              sl_diag *diag);
sl_status sl_cpu_wait_idle(sl_device *device, sl_diag *diag);
sl_status sl_cpu_semaphore_create(sl_device *device, uint64_t initial, sl_semaphore **out, sl_diag *diag);
void sl_cpu_semaphore_destroy(sl_semaphore *semaphore);
sl_status sl_cpu_semaphore_value(sl_semaphore *semaphore, uint64_t *out, sl_diag *diag);
sl_status sl_cpu_semaphore_signal(sl_semaphore *semaphore, uint64_t value, sl_diag *diag);
sl_status sl_cpu_semaphore_wait(sl_semaphore *semaphore, uint64_t value, uint64_t timeout_ns, sl_diag *diag);

/* cpu_commands.c */
sl_status sl_cpu_commands_create(sl_device *device, sl_queue queue, uint32_t flags, uint32_t timestamps,
                                 const char *name, sl_commands **out, sl_diag *diag);
void sl_cpu_commands_destroy(sl_commands *commands);
sl_status sl_cpu_commands_begin(sl_commands *commands, sl_diag *diag);
sl_status sl_cpu_commands_end(sl_commands *commands, sl_diag *diag);
void sl_cpu_commands_dispatch(sl_commands *commands, sl_kernel *kernel, const void *push,
                              const uint32_t groups[3]);
void sl_cpu_commands_copy(sl_commands *commands, sl_buffer *source, uint64_t source_offset, sl_buffer *target,
                          uint64_t target_offset, uint64_t size_bytes);
void sl_cpu_commands_fill(sl_commands *commands, sl_buffer *target, uint64_t offset, uint64_t size_bytes,
                          uint32_t value);
void sl_cpu_commands_barrier(sl_commands *commands, sl_barrier barrier);
void sl_cpu_commands_timestamp(sl_commands *commands, uint32_t slot);
sl_status sl_cpu_commands_read_timestamps(sl_commands *commands, uint32_t first, uint32_t count,
                                          uint64_t *out_ns, sl_diag *diag);
void sl_cpu_commands_label(sl_commands *commands, const char *name);
/* Executes a recording; `pool` is NULL on the transfer queue. */
void sl_cpu_commands_run(sl_cpu_commands *commands, sl_cpu_pool *pool);

#endif
