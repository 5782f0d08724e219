/* fault.c - objects are made by the inner driver and carry the wrapper as their device, so that hal.c comes
 * here first.
 *
 * After a lost device the inner one is alive and may still execute submissions whose objects the caller now
 * destroys, which hal.h allows. So the first destroy after the loss makes the inner device idle: waits that
 * only the host could satisfy are satisfied. */
#include "hal/fault/fault.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "hal/driver.h"

#include <pthread.h>
#include <string.h>

/* How long a wait sleeps before it looks whether the device was lost by another thread's call. */
#define WAIT_SLICE_NS 5000000u

typedef enum object_kind { OBJECT_BUFFER, OBJECT_SEMAPHORE, OBJECT_KERNEL, OBJECT_COMMANDS } object_kind;

/* One live object. Kept in a list: a fault device is for tests, with tens of objects. */
typedef struct fault_object {
    struct fault_object *next;
    object_kind kind;
    void *object;
    uint64_t wait_max;   /* of a semaphore: the highest value that a submission waits for */
    uint64_t signal_max; /* of a semaphore: the highest value that a submission signals */
} fault_object;

typedef struct fault_device {
    sl_device base;
    sl_device *inner;
    pthread_mutex_t lock;
    uint64_t calls, nth;
    sl_status status;
    bool fired, quiet; /* quiet: the inner device was made idle after the loss */
    const char *call;
    fault_object *objects;
} fault_device;

static fault_device *of(sl_device *device)
{
    return (fault_device *)device;
}

/* Counts a call; SL_OK: go on. */
static sl_status count(fault_device *d, const char *call, sl_diag *diag)
{
    pthread_mutex_lock(&d->lock);
    const bool fire = ++d->calls == d->nth;
    if (fire) {
        d->fired = true;
        d->call = call;
    }
    const sl_status status = fire ? d->status : SL_OK;
    const uint64_t nth = d->calls;
    pthread_mutex_unlock(&d->lock);
    if (!fire) return SL_OK;
    if (status == SL_ERR_DEVICE_LOST) atomic_store(&d->base.lost, true);
    return sl_fail(diag, status, "fault: call %llu, %s, fails as asked", (unsigned long long)nth, call);
}

/* ---- The list of objects ---- */

static fault_object *reserve_object(object_kind kind, sl_diag *diag)
{
    fault_object *o = sl_calloc(1, sizeof *o);
    if (!o)
        (void)sl_fail(diag, SL_ERR_NO_MEMORY, "fault: record of an object");
    else
        o->kind = kind;
    return o;
}

static void enlist(fault_device *d, fault_object *o, void *object)
{
    o->object = object;
    pthread_mutex_lock(&d->lock);
    o->next = d->objects;
    d->objects = o;
    pthread_mutex_unlock(&d->lock);
}

static void destroy_inner(fault_device *d, object_kind kind, void *object)
{
    const sl_device_ops *ops = d->inner->ops;
    switch (kind) {
    case OBJECT_BUFFER:
        ops->buffer_destroy(object);
        break;
    case OBJECT_SEMAPHORE:
        ops->semaphore_destroy(object);
        break;
    case OBJECT_KERNEL:
        ops->kernel_destroy(object);
        break;
    case OBJECT_COMMANDS:
        ops->commands_destroy(object);
        break;
    }
}

/* Holds the lock. A submission that waits for a value above all that submissions signal waits for the host.
 */
static void quiet(fault_device *d)
{
    if (d->quiet || !atomic_load(&d->base.lost)) return;
    d->quiet = true;
    const sl_device_ops *ops = d->inner->ops;
    for (fault_object *o = d->objects; o; o = o->next) {
        uint64_t value;
        if (o->kind != OBJECT_SEMAPHORE || o->wait_max <= o->signal_max) continue;
        if (ops->semaphore_value(o->object, &value, NULL) == SL_OK && value < o->wait_max)
            (void)!ops->semaphore_signal(o->object, o->wait_max, NULL);
    }
    (void)!ops->device_wait_idle(d->inner, NULL); /* if this fails, the inner device is lost, and idle */
}

static void destroy_object(fault_device *d, object_kind kind, void *object)
{
    pthread_mutex_lock(&d->lock);
    quiet(d);
    fault_object **at = &d->objects;
    while (*at && (*at)->object != object)
        at = &(*at)->next;
    fault_object *o = *at;
    if (o) *at = o->next;
    pthread_mutex_unlock(&d->lock);
    sl_free(o);
    destroy_inner(d, kind, object);
}

/* Holds the lock. */
static void note_points(fault_device *d, const sl_semaphore_point *points, uint32_t point_count, bool waits)
{
    for (uint32_t i = 0; i < point_count; i++) {
        for (fault_object *o = d->objects; o; o = o->next) {
            if (o->object != (void *)points[i].semaphore) continue;
            uint64_t *most = waits ? &o->wait_max : &o->signal_max;
            *most = SL_MAX(*most, points[i].value);
        }
    }
}

/* ---- Operations ---- */

static void device_destroy(sl_device *device)
{
    fault_device *d = of(device);
    pthread_mutex_lock(&d->lock);
    quiet(d);
    pthread_mutex_unlock(&d->lock);
    while (d->objects) { /* what the caller forgot is the caller's leak, the records are not */
        fault_object *o = d->objects;
        d->objects = o->next;
        sl_free(o);
    }
    d->inner->ops->device_destroy(d->inner);
    pthread_mutex_destroy(&d->lock);
    sl_free(d);
}

static void device_memory(sl_device *device, sl_memory_report *report)
{
    of(device)->inner->ops->device_memory(of(device)->inner, report);
}

static sl_status device_wait_idle(sl_device *device, sl_diag *diag)
{
    fault_device *d = of(device);
    sl_status st = count(d, "sl_device_wait_idle", diag);
    return st == SL_OK ? d->inner->ops->device_wait_idle(d->inner, diag) : st;
}

static sl_status device_calibrate(sl_device *device, uint64_t *out_device_ns, uint64_t *out_host_ns,
                                  sl_diag *diag)
{
    fault_device *d = of(device);
    sl_status st = count(d, "sl_device_calibrate", diag);
    return st == SL_OK ? d->inner->ops->device_calibrate(d->inner, out_device_ns, out_host_ns, diag) : st;
}

static sl_status buffer_create(sl_device *device, uint64_t size_bytes, sl_memory memory, const char *name,
                               sl_buffer **out, sl_diag *diag)
{
    fault_device *d = of(device);
    sl_status st = count(d, "sl_buffer_create", diag);
    if (st != SL_OK) return st;
    fault_object *o = reserve_object(OBJECT_BUFFER, diag);
    if (!o) return SL_ERR_NO_MEMORY;
    st = d->inner->ops->buffer_create(d->inner, size_bytes, memory, name, out, diag);
    if (st == SL_OK)
        enlist(d, o, *out);
    else
        sl_free(o);
    return st;
}

static sl_status buffer_import(sl_device *device, void *pointer, uint64_t size_bytes, const char *name,
                               sl_buffer **out, sl_diag *diag)
{
    fault_device *d = of(device);
    sl_status st = count(d, "sl_buffer_import", diag);
    if (st != SL_OK) return st;
    fault_object *o = reserve_object(OBJECT_BUFFER, diag);
    if (!o) return SL_ERR_NO_MEMORY;
    st = d->inner->ops->buffer_import(d->inner, pointer, size_bytes, name, out, diag);
    if (st == SL_OK)
        enlist(d, o, *out);
    else
        sl_free(o);
    return st;
}

static void buffer_destroy(sl_buffer *buffer)
{
    destroy_object(of(buffer->device), OBJECT_BUFFER, buffer);
}

static sl_status semaphore_create(sl_device *device, uint64_t initial, sl_semaphore **out, sl_diag *diag)
{
    fault_device *d = of(device);
    sl_status st = count(d, "sl_semaphore_create", diag);
    if (st != SL_OK) return st;
    fault_object *o = reserve_object(OBJECT_SEMAPHORE, diag);
    if (!o) return SL_ERR_NO_MEMORY;
    st = d->inner->ops->semaphore_create(d->inner, initial, out, diag);
    if (st == SL_OK)
        enlist(d, o, *out);
    else
        sl_free(o);
    return st;
}

static void semaphore_destroy(sl_semaphore *semaphore)
{
    destroy_object(of(semaphore->device), OBJECT_SEMAPHORE, semaphore);
}

static sl_status semaphore_value(sl_semaphore *semaphore, uint64_t *out, sl_diag *diag)
{
    fault_device *d = of(semaphore->device);
    sl_status st = count(d, "sl_semaphore_value", diag);
    return st == SL_OK ? d->inner->ops->semaphore_value(semaphore, out, diag) : st;
}

static sl_status semaphore_signal(sl_semaphore *semaphore, uint64_t value, sl_diag *diag)
{
    fault_device *d = of(semaphore->device);
    sl_status st = count(d, "sl_semaphore_signal", diag);
    return st == SL_OK ? d->inner->ops->semaphore_signal(semaphore, value, diag) : st;
}

/* In slices: a wait must end when another thread's call loses the device. */
static sl_status semaphore_wait(sl_semaphore *semaphore, uint64_t value, uint64_t timeout_ns, sl_diag *diag)
{
    fault_device *d = of(semaphore->device);
    sl_status st = count(d, "sl_semaphore_wait", diag);
    if (st != SL_OK) return st;
    const uint64_t start = sl_now_ns();
    for (;;) {
        const uint64_t past = sl_now_ns() - start, left = timeout_ns > past ? timeout_ns - past : 0;
        st = d->inner->ops->semaphore_wait(semaphore, value, SL_MIN(left, (uint64_t)WAIT_SLICE_NS), diag);
        if (st != SL_ERR_TIMEOUT) return st;
        if (atomic_load(&d->base.lost))
            return sl_fail(diag, SL_ERR_DEVICE_LOST, "fault: the device was lost during a wait");
        if (left <= WAIT_SLICE_NS) return st;
    }
}

static sl_status kernel_create(sl_device *device, const sl_kernel_desc *desc, sl_kernel **out, sl_diag *diag)
{
    fault_device *d = of(device);
    sl_status st = count(d, "sl_kernel_create", diag);
    if (st != SL_OK) return st;
    fault_object *o = reserve_object(OBJECT_KERNEL, diag);
    if (!o) return SL_ERR_NO_MEMORY;
    st = d->inner->ops->kernel_create(d->inner, desc, out, diag);
    if (st == SL_OK)
        enlist(d, o, *out);
    else
        sl_free(o);
    return st;
}

static void kernel_destroy(sl_kernel *kernel)
{
    destroy_object(of(kernel->device), OBJECT_KERNEL, kernel);
}

static sl_status kernel_statistics(sl_kernel *kernel, sl_kernel_statistic *out, size_t capacity,
                                   size_t *out_count, sl_diag *diag)
{
    fault_device *d = of(kernel->device);
    sl_status st = count(d, "sl_kernel_statistics", diag);
    if (st != SL_OK) return st;
    if (!d->inner->ops->kernel_statistics)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "fault: the inner device tells nothing of its kernels");
    return d->inner->ops->kernel_statistics(kernel, out, capacity, out_count, diag);
}

static sl_status commands_create(sl_device *device, sl_queue queue, uint32_t flags, uint32_t timestamps,
                                 const char *name, sl_commands **out, sl_diag *diag)
{
    fault_device *d = of(device);
    sl_status st = count(d, "sl_commands_create", diag);
    if (st != SL_OK) return st;
    fault_object *o = reserve_object(OBJECT_COMMANDS, diag);
    if (!o) return SL_ERR_NO_MEMORY;
    st = d->inner->ops->commands_create(d->inner, queue, flags, timestamps, name, out, diag);
    if (st == SL_OK)
        enlist(d, o, *out);
    else
        sl_free(o);
    return st;
}

static void commands_destroy(sl_commands *commands)
{
    destroy_object(of(commands->device), OBJECT_COMMANDS, commands);
}

static sl_status commands_begin(sl_commands *commands, sl_diag *diag)
{
    fault_device *d = of(commands->device);
    sl_status st = count(d, "sl_commands_begin", diag);
    return st == SL_OK ? d->inner->ops->commands_begin(commands, diag) : st;
}

static sl_status commands_end(sl_commands *commands, sl_diag *diag)
{
    fault_device *d = of(commands->device);
    sl_status st = count(d, "sl_commands_end", diag);
    return st == SL_OK ? d->inner->ops->commands_end(commands, diag) : st;
}

static void commands_dispatch(sl_commands *commands, sl_kernel *kernel, const void *push,
                              const uint32_t groups[3])
{
    of(commands->device)->inner->ops->commands_dispatch(commands, kernel, push, groups);
}

static void commands_copy(sl_commands *commands, sl_buffer *source, uint64_t source_offset, sl_buffer *target,
                          uint64_t target_offset, uint64_t size_bytes)
{
    of(commands->device)
        ->inner->ops->commands_copy(commands, source, source_offset, target, target_offset, size_bytes);
}

static void commands_fill(sl_commands *commands, sl_buffer *target, uint64_t offset, uint64_t size_bytes,
                          uint32_t value)
{
    of(commands->device)->inner->ops->commands_fill(commands, target, offset, size_bytes, value);
}

static void commands_barrier(sl_commands *commands, sl_barrier barrier)
{
    of(commands->device)->inner->ops->commands_barrier(commands, barrier);
}

static void commands_timestamp(sl_commands *commands, uint32_t slot)
{
    of(commands->device)->inner->ops->commands_timestamp(commands, slot);
}

static sl_status commands_read_timestamps(sl_commands *commands, uint32_t first, uint32_t slot_count,
                                          uint64_t *out_ns, sl_diag *diag)
{
    fault_device *d = of(commands->device);
    sl_status st = count(d, "sl_commands_read_timestamps", diag);
    return st == SL_OK ? d->inner->ops->commands_read_timestamps(commands, first, slot_count, out_ns, diag)
                       : st;
}

static void commands_label(sl_commands *commands, const char *name)
{
    of(commands->device)->inner->ops->commands_label(commands, name);
}

static sl_status queue_submit(sl_device *device, sl_queue queue, const sl_submission *submission,
                              sl_diag *diag)
{
    fault_device *d = of(device);
    sl_status st = count(d, "sl_queue_submit", diag);
    if (st != SL_OK) return st;
    st = d->inner->ops->queue_submit(d->inner, queue, submission, diag);
    if (st != SL_OK) return st;
    pthread_mutex_lock(&d->lock);
    note_points(d, submission->waits, submission->wait_count, true);
    note_points(d, submission->signals, submission->signal_count, false);
    pthread_mutex_unlock(&d->lock);
    return SL_OK;
}

static const sl_device_ops fault_ops = {
    .device_destroy = device_destroy,
    .device_memory = device_memory,
    .device_wait_idle = device_wait_idle,
    .device_calibrate = device_calibrate,
    .buffer_create = buffer_create,
    .buffer_import = buffer_import,
    .buffer_destroy = buffer_destroy,
    .semaphore_create = semaphore_create,
    .semaphore_destroy = semaphore_destroy,
    .semaphore_value = semaphore_value,
    .semaphore_signal = semaphore_signal,
    .semaphore_wait = semaphore_wait,
    .kernel_create = kernel_create,
    .kernel_destroy = kernel_destroy,
    .kernel_statistics = kernel_statistics,
    .commands_create = commands_create,
    .commands_destroy = commands_destroy,
    .commands_begin = commands_begin,
    .commands_end = commands_end,
    .commands_dispatch = commands_dispatch,
    .commands_copy = commands_copy,
    .commands_fill = commands_fill,
    .commands_barrier = commands_barrier,
    .commands_timestamp = commands_timestamp,
    .commands_read_timestamps = commands_read_timestamps,
    .commands_label = commands_label,
    .queue_submit = queue_submit,
};

sl_status sl_fault_wrap(sl_device *inner, sl_device **out, sl_diag *diag)
{
    if (!inner || !out) return sl_fail(diag, SL_ERR_ARGUMENT, "fault: NULL argument");
    *out = NULL;
    fault_device *d = sl_calloc(1, sizeof *d);
    if (!d) return sl_fail(diag, SL_ERR_NO_MEMORY, "fault device");
    d->base.ops = &fault_ops;
    d->base.info = inner->info;
    d->base.info.driver = "fault";
    d->base.memory_limit_bytes = inner->memory_limit_bytes;
    d->inner = inner;
    d->call = "";
    pthread_mutex_init(&d->lock, NULL);
    *out = &d->base;
    return SL_OK;
}

void sl_fault_arm(sl_device *fault, uint64_t nth, sl_status status)
{
    fault_device *d = of(fault);
    pthread_mutex_lock(&d->lock);
    d->calls = 0;
    d->nth = nth;
    d->status = status;
    d->fired = false;
    d->call = "";
    pthread_mutex_unlock(&d->lock);
}

uint64_t sl_fault_calls(const sl_device *fault)
{
    fault_device *d = of((sl_device *)fault);
    pthread_mutex_lock(&d->lock);
    const uint64_t calls = d->calls;
    pthread_mutex_unlock(&d->lock);
    return calls;
}

bool sl_fault_fired(const sl_device *fault)
{
    fault_device *d = of((sl_device *)fault);
    pthread_mutex_lock(&d->lock);
    const bool fired = d->fired;
    pthread_mutex_unlock(&d->lock);
    return fired;
}

const char *sl_fault_call_name(const sl_device *fault)
{
    fault_device *d = of((sl_device *)fault);
    pthread_mutex_lock(&d->lock);
    const char *call = d->call;
    pthread_mutex_unlock(&d->lock);
    return call;
}
