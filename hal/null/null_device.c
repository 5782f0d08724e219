/* null_device.c - accepts everything, does nothing, counts. */
#include "hal/null/null.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "hal/driver.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

/* Fake addresses start where no x86-64 or AArch64 process has memory by default, and keep a gap. */
#define FAKE_BASE        (UINT64_C(1) << 56)
#define FAKE_GRAIN_BYTES (UINT64_C(64) << 10)
#define MAPPED_ALIGNMENT 4096u
#define IMPORT_ALIGNMENT 4096u
#define DEFAULT_MEMORY   (UINT64_C(80) << 30)

typedef struct null_device {
    sl_device base;
    pthread_mutex_t lock; /* guards everything below and the values of semaphores */
    pthread_cond_t changed;
    uint64_t next_address, device_bytes_used, submissions;
    sl_null_counts counts;
} null_device;

typedef struct null_buffer {
    sl_buffer base;
    null_device *device;
    uint64_t device_bytes; /* what it takes of device_bytes_used */
    bool owns_memory;
} null_buffer;

typedef struct null_semaphore {
    sl_semaphore base;
    null_device *device;
    uint64_t value;
} null_semaphore;

typedef struct null_commands {
    sl_commands base;
    sl_null_counts counts;
} null_commands;

static void fill_default(sl_device_info *info)
{
    *info = (sl_device_info){
        .driver = "null",
        .name = "null device",
        .version = "plans only",
        .type = SL_DEVICE_NONE,
        .driver_version = 1,
        .uuid = "slnull01",
        .usable = true,
        .caps =
            {
                .features = SL_CAP_SPIRV | SL_CAP_HOST_FN | SL_CAP_STORAGE_16 | SL_CAP_STORAGE_8 |
                            SL_CAP_FLOAT_16 | SL_CAP_INT_8 | SL_CAP_INT_16 | SL_CAP_INT_64 | SL_CAP_SUBGROUP |
                            SL_CAP_SUBGROUP_SIZE | SL_CAP_DOT_8 | SL_CAP_TRANSFER_QUEUE | SL_CAP_HOST_IMPORT |
                            SL_CAP_DEVICE_MAPPED | SL_CAP_CALIBRATED_TIME,
                .subgroup_size = 32,
                .subgroup_min = 32,
                .subgroup_max = 32,
                .max_workgroup_invocations = 1024,
                .max_shared_bytes = 48u << 10,
                .max_push_bytes = SL_PUSH_BYTES_MAX,
                .max_groups = {INT32_MAX, 65535, 65535},
                .compute_units = 64,
                .max_buffer_bytes = DEFAULT_MEMORY,
                .import_alignment_bytes = IMPORT_ALIGNMENT,
                .device_bytes = DEFAULT_MEMORY,
                .timestamp_period_ns = 1.0,
            },
    };
}

static sl_status enumerate(sl_device_info *infos, size_t capacity, size_t *out_count, sl_diag *diag)
{
    (void)diag;
    if (capacity) fill_default(&infos[0]);
    *out_count = 1;
    return SL_OK;
}

static void add(sl_null_counts *to, const sl_null_counts *more)
{
    to->dispatches += more->dispatches;
    to->barriers += more->barriers;
    to->copies += more->copies;
    to->fills += more->fills;
    to->timestamps += more->timestamps;
    to->copied_bytes += more->copied_bytes;
    to->filled_bytes += more->filled_bytes;
}

/* ---- Memory ---- */

static sl_status buffer_create(sl_device *device, uint64_t size_bytes, sl_memory memory, const char *name,
                               sl_buffer **out, sl_diag *diag)
{
    null_device *d = (null_device *)device;
    const bool on_device = memory == SL_MEMORY_DEVICE || memory == SL_MEMORY_DEVICE_MAPPED;
    null_buffer *b = sl_calloc(1, sizeof *b);
    if (!b) return sl_fail(diag, SL_ERR_NO_MEMORY, "buffer '%s'", name ? name : "");
    sl_status st = SL_OK;
    void *bytes = NULL;
    uint64_t step = 0;
    if (memory != SL_MEMORY_DEVICE) {
        bytes = sl_aligned_alloc(MAPPED_ALIGNMENT, size_bytes);
        if (!bytes) {
            st = sl_fail(diag, on_device ? SL_ERR_DEVICE_MEMORY : SL_ERR_NO_MEMORY,
                         "buffer '%s': the host has no %" PRIu64 " bytes", name ? name : "", size_bytes);
            goto cleanup;
        }
        memset(bytes, 0, size_bytes);
    } else if (!sl_checked_add(size_bytes, FAKE_GRAIN_BYTES, &step) ||
               !sl_checked_align(step, FAKE_GRAIN_BYTES, &step)) {
        st = sl_fail(diag, SL_ERR_OVERFLOW, "buffer '%s': %" PRIu64 " bytes", name ? name : "", size_bytes);
        goto cleanup;
    }
    pthread_mutex_lock(&d->lock);
    const uint64_t left = d->base.info.caps.device_bytes - d->device_bytes_used;
    const bool fits = !on_device || (size_bytes <= left && step <= UINT64_MAX - d->next_address);
    if (fits) {
        b->base.address = bytes ? (uintptr_t)bytes : d->next_address;
        b->device_bytes = on_device ? size_bytes : 0;
        d->device_bytes_used += b->device_bytes;
        d->next_address += step;
    }
    pthread_mutex_unlock(&d->lock);
    if (!fits) {
        st = sl_fail(diag, SL_ERR_DEVICE_MEMORY,
                     "buffer '%s': %" PRIu64 " bytes, but the device has %" PRIu64 " left", name ? name : "",
                     size_bytes, left);
        goto cleanup;
    }
    b->device = d;
    b->base.mapped = bytes;
    b->owns_memory = bytes != NULL;
    *out = &b->base;
    return SL_OK;
cleanup:
    sl_free(bytes);
    sl_free(b);
    return st;
}

static sl_status buffer_import(sl_device *device, void *pointer, uint64_t size_bytes, const char *name,
                               sl_buffer **out, sl_diag *diag)
{
    (void)size_bytes;
    null_buffer *b = sl_calloc(1, sizeof *b);
    if (!b) return sl_fail(diag, SL_ERR_NO_MEMORY, "import '%s'", name ? name : "");
    b->device = (null_device *)device;
    b->base.address = (uintptr_t)pointer;
    b->base.mapped = pointer;
    *out = &b->base;
    return SL_OK;
}

static void buffer_destroy(sl_buffer *buffer)
{
    null_buffer *b = (null_buffer *)buffer;
    pthread_mutex_lock(&b->device->lock);
    b->device->device_bytes_used -= b->device_bytes;
    pthread_mutex_unlock(&b->device->lock);
    if (b->owns_memory) sl_free(b->base.mapped);
    sl_free(b);
}

/* ---- Semaphores ---- */

static sl_status semaphore_create(sl_device *device, uint64_t initial, sl_semaphore **out, sl_diag *diag)
{
    null_semaphore *s = sl_calloc(1, sizeof *s);
    if (!s) return sl_fail(diag, SL_ERR_NO_MEMORY, "semaphore");
    s->device = (null_device *)device;
    s->value = initial;
    *out = &s->base;
    return SL_OK;
}

static void semaphore_destroy(sl_semaphore *semaphore)
{
    sl_free(semaphore);
}

static sl_status semaphore_value(sl_semaphore *semaphore, uint64_t *out, sl_diag *diag)
{
    (void)diag;
    null_semaphore *s = (null_semaphore *)semaphore;
    pthread_mutex_lock(&s->device->lock);
    *out = s->value;
    pthread_mutex_unlock(&s->device->lock);
    return SL_OK;
}

static sl_status semaphore_signal(sl_semaphore *semaphore, uint64_t value, sl_diag *diag)
{
    null_semaphore *s = (null_semaphore *)semaphore;
    pthread_mutex_lock(&s->device->lock);
    const uint64_t before = s->value;
    if (value > before) {
        s->value = value;
        pthread_cond_broadcast(&s->device->changed);
    }
    pthread_mutex_unlock(&s->device->lock);
    if (value > before) return SL_OK;
    return sl_fail(diag, SL_ERR_ARGUMENT, "signal of %" PRIu64 ": the semaphore is at %" PRIu64 " already",
                   value, before);
}

static sl_status semaphore_wait(sl_semaphore *semaphore, uint64_t value, uint64_t timeout_ns, sl_diag *diag)
{
    null_semaphore *s = (null_semaphore *)semaphore;
    null_device *d = s->device;
    const uint64_t now = sl_now_ns();
    const uint64_t end = timeout_ns > (uint64_t)INT64_MAX - now ? (uint64_t)INT64_MAX : now + timeout_ns;
    const struct timespec until = {(time_t)(end / 1000000000u), (long)(end % 1000000000u)};
    pthread_mutex_lock(&d->lock);
    int err = 0;
    while (s->value < value && err != ETIMEDOUT)
        err = pthread_cond_timedwait(&d->changed, &d->lock, &until);
    const uint64_t at = s->value;
    pthread_mutex_unlock(&d->lock);
    if (at >= value) return SL_OK;
    return sl_fail(diag, SL_ERR_TIMEOUT, "wait for %" PRIu64 ": the semaphore is at %" PRIu64, value, at);
}

/* ---- Kernels and recordings ---- */

static sl_status kernel_create(sl_device *device, const sl_kernel_desc *desc, sl_kernel **out, sl_diag *diag)
{
    (void)device;
    *out = sl_calloc(1, sizeof **out);
    return *out ? SL_OK : sl_fail(diag, SL_ERR_NO_MEMORY, "kernel '%s'", desc->name ? desc->name : "");
}

static void kernel_destroy(sl_kernel *kernel)
{
    sl_free(kernel);
}

static sl_status commands_create(sl_device *device, sl_queue queue, uint32_t flags, uint32_t timestamps,
                                 const char *name, sl_commands **out, sl_diag *diag)
{
    (void)device;
    (void)queue;
    (void)flags;
    (void)timestamps;
    null_commands *c = sl_calloc(1, sizeof *c);
    if (!c) return sl_fail(diag, SL_ERR_NO_MEMORY, "commands '%s'", name ? name : "");
    *out = &c->base;
    return SL_OK;
}

static void commands_destroy(sl_commands *commands)
{
    sl_free(commands);
}

static sl_status commands_begin(sl_commands *commands, sl_diag *diag)
{
    (void)diag;
    ((null_commands *)commands)->counts = (sl_null_counts){0};
    return SL_OK;
}

static sl_status commands_end(sl_commands *commands, sl_diag *diag)
{
    (void)commands;
    (void)diag;
    return SL_OK;
}

static void commands_dispatch(sl_commands *commands, sl_kernel *kernel, const void *push,
                              const uint32_t groups[3])
{
    (void)kernel;
    (void)push;
    (void)groups;
    ((null_commands *)commands)->counts.dispatches++;
}

static void commands_copy(sl_commands *commands, sl_buffer *source, uint64_t source_offset, sl_buffer *target,
                          uint64_t target_offset, uint64_t size_bytes)
{
    (void)source;
    (void)source_offset;
    (void)target;
    (void)target_offset;
    sl_null_counts *counts = &((null_commands *)commands)->counts;
    counts->copies++;
    counts->copied_bytes += size_bytes;
}

static void commands_fill(sl_commands *commands, sl_buffer *target, uint64_t offset, uint64_t size_bytes,
                          uint32_t value)
{
    (void)target;
    (void)offset;
    (void)value;
    sl_null_counts *counts = &((null_commands *)commands)->counts;
    counts->fills++;
    counts->filled_bytes += size_bytes;
}

static void commands_barrier(sl_commands *commands, sl_barrier barrier)
{
    (void)barrier;
    ((null_commands *)commands)->counts.barriers++;
}

static void commands_timestamp(sl_commands *commands, uint32_t slot)
{
    (void)slot;
    ((null_commands *)commands)->counts.timestamps++;
}

static sl_status commands_read_timestamps(sl_commands *commands, uint32_t first, uint32_t count,
                                          uint64_t *out_ns, sl_diag *diag)
{
    (void)commands;
    (void)first;
    (void)diag;
    memset(out_ns, 0, count * sizeof *out_ns);
    return SL_OK;
}

static void commands_label(sl_commands *commands, const char *name)
{
    (void)commands;
    (void)name;
}

static sl_status queue_submit(sl_device *device, sl_queue queue, const sl_submission *submission,
                              sl_diag *diag)
{
    (void)queue;
    (void)diag;
    null_device *d = (null_device *)device;
    pthread_mutex_lock(&d->lock);
    d->submissions++;
    for (uint32_t i = 0; i < submission->command_count; i++)
        add(&d->counts, &((const null_commands *)submission->commands[i])->counts);
    for (uint32_t i = 0; i < submission->signal_count; i++) {
        null_semaphore *s = (null_semaphore *)submission->signals[i].semaphore;
        s->value = SL_MAX(s->value, submission->signals[i].value);
    }
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    return SL_OK;
}

/* ---- The device ---- */

static void device_destroy(sl_device *device)
{
    null_device *d = (null_device *)device;
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    sl_free(d);
}

static void device_memory(sl_device *device, sl_memory_report *report)
{
    (void)device;
    report->driver_budget_bytes = 0;
    report->driver_used_bytes = 0;
}

static sl_status device_wait_idle(sl_device *device, sl_diag *diag)
{
    (void)device;
    (void)diag;
    return SL_OK;
}

static sl_status device_calibrate(sl_device *device, uint64_t *out_device_ns, uint64_t *out_host_ns,
                                  sl_diag *diag)
{
    (void)device;
    (void)diag;
    *out_device_ns = 0; /* what every timestamp of this device is */
    *out_host_ns = sl_now_ns();
    return SL_OK;
}

static const sl_device_ops ops = {
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

static void take_table(sl_device_info *info, const sl_device_info *table)
{
    const sl_device_caps fallback = info->caps;
    *info = *table;
    info->driver = "null";
    info->index = 0;
    if (!info->caps.max_push_bytes) info->caps.max_push_bytes = fallback.max_push_bytes;
    if (!info->caps.max_buffer_bytes) info->caps.max_buffer_bytes = fallback.max_buffer_bytes;
    for (int i = 0; i < 3; i++) {
        if (!info->caps.max_groups[i]) info->caps.max_groups[i] = fallback.max_groups[i];
    }
}

static sl_status device_create(uint32_t index, const sl_device_options *options, sl_device **out,
                               sl_diag *diag)
{
    if (index != 0) return sl_fail(diag, SL_ERR_NOT_FOUND, "null:%" PRIu32 ": there is only null:0", index);
    null_device *d = sl_calloc(1, sizeof *d);
    if (!d) return sl_fail(diag, SL_ERR_NO_MEMORY, "null device");
    d->base.ops = &ops;
    fill_default(&d->base.info);
    if (options->table) take_table(&d->base.info, options->table);
    if (!d->base.info.usable) {
        sl_free(d);
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "device '%s': %s", options->table->name,
                       options->table->refused);
    }
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->changed, &attr);
    pthread_condattr_destroy(&attr);
    d->next_address = FAKE_BASE;
    *out = &d->base;
    return SL_OK;
}

const sl_driver sl_driver_null = {"null", enumerate, device_create};

void sl_null_recorded(const sl_commands *commands, sl_null_counts *out)
{
    *out = ((const null_commands *)commands)->counts;
}

void sl_null_submitted(sl_device *device, sl_null_counts *out, uint64_t *out_submissions)
{
    null_device *d = (null_device *)device;
    pthread_mutex_lock(&d->lock);
    *out = d->counts;
    *out_submissions = d->submissions;
    pthread_mutex_unlock(&d->lock);
}
