/* hal.c - the driver table, and every check that needs no driver: arguments, limits, states, the memory
 * budget, the lost device. */
#include "hal/driver.h"

#include "hal/base/checked.h"

#include <inttypes.h>
#include <string.h>

static const sl_driver *const drivers[] = {&sl_driver_vulkan, &sl_driver_cpu, &sl_driver_null};

static const sl_driver *find_driver(const char *name)
{
    for (size_t i = 0; i < SL_COUNTOF(drivers); i++) {
        if (strcmp(drivers[i]->name, name) == 0) return drivers[i];
    }
    return NULL;
}

static sl_status no_driver(const char *name, sl_diag *diag)
{
    return sl_fail(diag, SL_ERR_NOT_FOUND, "no driver is called '%.64s' (there are: vulkan, cpu, null)",
                   name);
}

static sl_status alive(sl_device *device, sl_diag *diag)
{
    if (!atomic_load_explicit(&device->lost, memory_order_acquire)) return SL_OK;
    return sl_fail(diag, SL_ERR_DEVICE_LOST, "device '%s' is lost", device->info.name);
}

/* Every status of an operation passes here: a lost device is remembered. */
static sl_status seen(sl_device *device, sl_status status)
{
    if (status == SL_ERR_DEVICE_LOST) atomic_store_explicit(&device->lost, true, memory_order_release);
    return status;
}

sl_status sl_hal_enumerate(const char *driver, sl_device_info *infos, size_t capacity, size_t *out_count,
                           sl_diag *diag)
{
    if (!driver || !out_count || (!infos && capacity))
        return sl_fail(diag, SL_ERR_ARGUMENT, "enumerate: NULL argument");
    *out_count = 0;
    const sl_driver *d = find_driver(driver);
    return d ? d->enumerate(infos, capacity, out_count, diag) : no_driver(driver, diag);
}

sl_status sl_device_create(const char *driver, uint32_t index, const sl_device_options *options,
                           sl_device **out, sl_diag *diag)
{
    static const sl_device_options defaults;
    if (!driver || !out) return sl_fail(diag, SL_ERR_ARGUMENT, "device: NULL argument");
    *out = NULL;
    if (!options) options = &defaults;
    const sl_driver *d = find_driver(driver);
    if (!d) return no_driver(driver, diag);
    sl_device *device = NULL;
    sl_status st = d->device_create(index, options, &device, diag);
    if (st != SL_OK) return st;
    device->memory_limit_bytes = options->device_memory_limit_bytes;
    *out = device;
    return SL_OK;
}

void sl_device_destroy(sl_device *device)
{
    if (device) device->ops->device_destroy(device);
}

const sl_device_info *sl_device_get_info(const sl_device *device)
{
    return &device->info;
}

void sl_device_memory(sl_device *device, sl_memory_report *out)
{
    *out = (sl_memory_report){
        .device_used_bytes = atomic_load(&device->device_used_bytes),
        .device_peak_bytes = atomic_load(&device->device_peak_bytes),
        .device_limit_bytes = device->memory_limit_bytes,
        .host_used_bytes = atomic_load(&device->host_used_bytes),
    };
    if (!atomic_load(&device->lost)) device->ops->device_memory(device, out);
}

sl_status sl_device_wait_idle(sl_device *device, sl_diag *diag)
{
    if (!device) return sl_fail(diag, SL_ERR_ARGUMENT, "wait_idle: no device");
    sl_status st = alive(device, diag);
    return st == SL_OK ? seen(device, device->ops->device_wait_idle(device, diag)) : st;
}

sl_status sl_device_calibrate(sl_device *device, uint64_t *out_device_ns, uint64_t *out_host_ns,
                              sl_diag *diag)
{
    if (!device || !out_device_ns || !out_host_ns)
        return sl_fail(diag, SL_ERR_ARGUMENT, "calibrate: NULL argument");
    sl_status st = alive(device, diag);
    if (st != SL_OK) return st;
    if (!sl_caps_have(&device->info.caps, SL_CAP_CALIBRATED_TIME))
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "device '%s' has no calibrated timestamps",
                       device->info.name);
    return seen(device, device->ops->device_calibrate(device, out_device_ns, out_host_ns, diag));
}

/* ---- Buffers ---- */

static bool on_device(sl_memory memory)
{
    return memory == SL_MEMORY_DEVICE || memory == SL_MEMORY_DEVICE_MAPPED;
}

/* Takes the bytes from the budget before the driver is asked, so that two threads cannot both pass the check
 * with room for one. */
static sl_status reserve(sl_device *device, sl_memory memory, uint64_t size, const char *name,
                         uint64_t *out_used, sl_diag *diag)
{
    const bool limited = on_device(memory) && device->memory_limit_bytes;
    _Atomic uint64_t *counter = on_device(memory) ? &device->device_used_bytes : &device->host_used_bytes;
    uint64_t used = atomic_load(counter), next;
    do {
        if (!sl_checked_add(used, size, &next))
            return sl_fail(diag, SL_ERR_OVERFLOW, "buffer '%s': %" PRIu64 " bytes overflow the account",
                           name ? name : "", size);
        if (limited && next > device->memory_limit_bytes)
            return sl_fail(diag, SL_ERR_DEVICE_MEMORY,
                           "buffer '%s': %" PRIu64 " bytes do not fit: %" PRIu64 " of %" PRIu64
                           " bytes of device memory are in use",
                           name ? name : "", size, used, device->memory_limit_bytes);
    } while (!atomic_compare_exchange_weak(counter, &used, next));
    *out_used = next;
    return SL_OK;
}

static void release(sl_device *device, sl_memory memory, uint64_t size)
{
    atomic_fetch_sub(on_device(memory) ? &device->device_used_bytes : &device->host_used_bytes, size);
}

static void raise_peak(sl_device *device, uint64_t used)
{
    uint64_t peak = atomic_load(&device->device_peak_bytes);
    while (used > peak && !atomic_compare_exchange_weak(&device->device_peak_bytes, &peak, used)) {
    }
}

sl_status sl_buffer_create(sl_device *device, uint64_t size_bytes, sl_memory memory, const char *name,
                           sl_buffer **out, sl_diag *diag)
{
    if (!device || !out) return sl_fail(diag, SL_ERR_ARGUMENT, "buffer: NULL argument");
    *out = NULL;
    if (!size_bytes) return sl_fail(diag, SL_ERR_ARGUMENT, "buffer '%s': size is 0", name ? name : "");
    if ((unsigned)memory > SL_MEMORY_READBACK)
        return sl_fail(diag, SL_ERR_ARGUMENT, "buffer '%s': no memory kind %d", name ? name : "",
                       (int)memory);
    sl_status st = alive(device, diag);
    if (st != SL_OK) return st;
    const sl_device_caps *caps = &device->info.caps;
    if (memory == SL_MEMORY_DEVICE_MAPPED && !sl_caps_have(caps, SL_CAP_DEVICE_MAPPED))
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "device '%s' has no mapped device memory",
                       device->info.name);
    if (size_bytes > caps->max_buffer_bytes)
        return sl_fail(diag, on_device(memory) ? SL_ERR_DEVICE_MEMORY : SL_ERR_NO_MEMORY,
                       "buffer '%s': %" PRIu64 " bytes are more than the %" PRIu64
                       " that device '%s' allocates at once",
                       name ? name : "", size_bytes, caps->max_buffer_bytes, device->info.name);
    uint64_t used = 0;
    st = reserve(device, memory, size_bytes, name, &used, diag);
    if (st != SL_OK) return st;
    sl_buffer *buffer = NULL;
    st = seen(device, device->ops->buffer_create(device, size_bytes, memory, name, &buffer, diag));
    if (st != SL_OK) {
        release(device, memory, size_bytes);
        return st;
    }
    if (on_device(memory)) raise_peak(device, used);
    buffer->device = device;
    buffer->size_bytes = size_bytes;
    buffer->memory = memory;
    buffer->imported = false;
    *out = buffer;
    return SL_OK;
}

sl_status sl_buffer_import(sl_device *device, void *pointer, uint64_t size_bytes, const char *name,
                           sl_buffer **out, sl_diag *diag)
{
    if (!device || !out) return sl_fail(diag, SL_ERR_ARGUMENT, "import: NULL argument");
    *out = NULL;
    sl_status st = alive(device, diag);
    if (st != SL_OK) return st;
    const sl_device_caps *caps = &device->info.caps;
    if (!sl_caps_have(caps, SL_CAP_HOST_IMPORT) || !caps->import_alignment_bytes)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "device '%s' cannot import host memory", device->info.name);
    const uint64_t alignment = caps->import_alignment_bytes;
    if (!pointer || !size_bytes || (uintptr_t)pointer % alignment || size_bytes % alignment)
        return sl_fail(diag, SL_ERR_ARGUMENT,
                       "import '%s': address %p and size %" PRIu64 " must be multiples of %" PRIu64
                       " and not 0",
                       name ? name : "", pointer, size_bytes, alignment);
    sl_buffer *buffer = NULL;
    st = seen(device, device->ops->buffer_import(device, pointer, size_bytes, name, &buffer, diag));
    if (st != SL_OK) return st;
    buffer->device = device;
    buffer->size_bytes = size_bytes;
    buffer->memory = SL_MEMORY_UPLOAD;
    buffer->imported = true;
    *out = buffer;
    return SL_OK;
}

void sl_buffer_destroy(sl_buffer *buffer)
{
    if (!buffer) return;
    sl_device *device = buffer->device;
    const sl_memory memory = buffer->memory;
    const uint64_t size = buffer->imported ? 0 : buffer->size_bytes;
    device->ops->buffer_destroy(buffer);
    release(device, memory, size);
}

uint64_t sl_buffer_size(const sl_buffer *buffer)
{
    return buffer->size_bytes;
}

uint64_t sl_buffer_address(const sl_buffer *buffer)
{
    return buffer->address;
}

void *sl_buffer_map(const sl_buffer *buffer)
{
    return buffer->mapped;
}

/* ---- Semaphores ---- */

sl_status sl_semaphore_create(sl_device *device, uint64_t initial, sl_semaphore **out, sl_diag *diag)
{
    if (!device || !out) return sl_fail(diag, SL_ERR_ARGUMENT, "semaphore: NULL argument");
    *out = NULL;
    sl_status st = alive(device, diag);
    if (st != SL_OK) return st;
    sl_semaphore *semaphore = NULL;
    st = seen(device, device->ops->semaphore_create(device, initial, &semaphore, diag));
    if (st != SL_OK) return st;
    semaphore->device = device;
    *out = semaphore;
    return SL_OK;
}

void sl_semaphore_destroy(sl_semaphore *semaphore)
{
    if (semaphore) semaphore->device->ops->semaphore_destroy(semaphore);
}

sl_status sl_semaphore_value(sl_semaphore *semaphore, uint64_t *out, sl_diag *diag)
{
    if (!semaphore || !out) return sl_fail(diag, SL_ERR_ARGUMENT, "semaphore value: NULL argument");
    sl_device *device = semaphore->device;
    sl_status st = alive(device, diag);
    return st == SL_OK ? seen(device, device->ops->semaphore_value(semaphore, out, diag)) : st;
}

sl_status sl_semaphore_signal(sl_semaphore *semaphore, uint64_t value, sl_diag *diag)
{
    if (!semaphore) return sl_fail(diag, SL_ERR_ARGUMENT, "signal: no semaphore");
    sl_device *device = semaphore->device;
    sl_status st = alive(device, diag);
    return st == SL_OK ? seen(device, device->ops->semaphore_signal(semaphore, value, diag)) : st;
}

sl_status sl_semaphore_wait(sl_semaphore *semaphore, uint64_t value, uint64_t timeout_ns, sl_diag *diag)
{
    if (!semaphore) return sl_fail(diag, SL_ERR_ARGUMENT, "wait: no semaphore");
    sl_device *device = semaphore->device;
    sl_status st = alive(device, diag);
    return st == SL_OK ? seen(device, device->ops->semaphore_wait(semaphore, value, timeout_ns, diag)) : st;
}

/* ---- Kernels ---- */

const char *sl_cap_name(uint64_t features)
{
    static const char *const names[] = {
        "spirv",          "host-fn",        "storage16",      "storage8",      "float16",
        "int8",           "int16",          "subgroup",       "subgroup-size", "dot8",
        "dot8-fast",      "matrix-f16",     "matrix-f16-f16", "matrix-i8",     "matrix2",
        "memory-model",   "transfer-queue", "host-import",    "memory-budget", "calibrated-time",
        "unified-memory", "int64",          "device-mapped",  "scalar-loads",  "kernel-statistics",
        "matrix-ops",     "fragments",
    };
    const unsigned bit = features ? (unsigned)__builtin_ctzll(features) : 64;
    if (bit < SL_COUNTOF(names)) return names[bit];
    return features ? "unknown" : "none";
}

static sl_status check_kernel(const sl_device *device, const sl_kernel_desc *desc, sl_diag *diag)
{
    const char *name = desc->name ? desc->name : "";
    const sl_device_caps *caps = &device->info.caps;
    if (desc->push_bytes > SL_PUSH_BYTES_MAX || desc->push_bytes % 4)
        return sl_fail(diag, SL_ERR_ARGUMENT,
                       "kernel '%s': push block of %" PRIu32 " bytes: must be a multiple of 4, at most %d",
                       name, desc->push_bytes, SL_PUSH_BYTES_MAX);
    if (desc->spec_count > SL_SPEC_MAX || (desc->spec_count && !desc->spec))
        return sl_fail(diag, SL_ERR_ARGUMENT, "kernel '%s': %" PRIu32 " specialization constants: at most %d",
                       name, desc->spec_count, SL_SPEC_MAX);
    if (desc->spirv && (desc->spirv_words < 5 || desc->spirv[0] != 0x07230203u))
        return sl_fail(diag, SL_ERR_ARGUMENT, "kernel '%s': not SPIR-V", name);
    const uint64_t lacks = desc->needs & ~caps->features;
    if (lacks)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "kernel '%s' needs %s, which device '%s' lacks", name,
                       sl_cap_name(lacks), device->info.name);
    const bool spirv = desc->spirv && sl_caps_have(caps, SL_CAP_SPIRV);
    const bool host = desc->host && sl_caps_have(caps, SL_CAP_HOST_FN);
    if (!spirv && !host)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "kernel '%s' has no form that device '%s' runs", name,
                       device->info.name);
    if (desc->subgroup_size && !sl_caps_have(caps, SL_CAP_SUBGROUP_SIZE))
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "kernel '%s' needs %s, which device '%s' lacks", name,
                       sl_cap_name(SL_CAP_SUBGROUP_SIZE), device->info.name);
    if (desc->subgroup_size &&
        (desc->subgroup_size < caps->subgroup_min || desc->subgroup_size > caps->subgroup_max ||
         (desc->subgroup_size & (desc->subgroup_size - 1))))
        return sl_fail(diag, SL_ERR_UNSUPPORTED,
                       "kernel '%s' needs subgroups of %" PRIu32 ", device '%s' has %" PRIu32 " to %" PRIu32,
                       name, desc->subgroup_size, device->info.name, caps->subgroup_min, caps->subgroup_max);
    return SL_OK;
}

sl_status sl_kernel_create(sl_device *device, const sl_kernel_desc *desc, sl_kernel **out, sl_diag *diag)
{
    if (!device || !desc || !out) return sl_fail(diag, SL_ERR_ARGUMENT, "kernel: NULL argument");
    *out = NULL;
    sl_status st = alive(device, diag);
    if (st == SL_OK) st = check_kernel(device, desc, diag);
    if (st != SL_OK) return st;
    sl_kernel *kernel = NULL;
    st = seen(device, device->ops->kernel_create(device, desc, &kernel, diag));
    if (st != SL_OK) return st;
    kernel->device = device;
    kernel->push_bytes = desc->push_bytes;
    *out = kernel;
    return SL_OK;
}

void sl_kernel_destroy(sl_kernel *kernel)
{
    if (kernel) kernel->device->ops->kernel_destroy(kernel);
}

sl_status sl_kernel_statistics(sl_kernel *kernel, sl_kernel_statistic *out, size_t capacity,
                               size_t *out_count, sl_diag *diag)
{
    if (!kernel || !out_count || (!out && capacity))
        return sl_fail(diag, SL_ERR_ARGUMENT, "kernel statistics: NULL argument");
    *out_count = 0;
    sl_device *device = kernel->device;
    sl_status st = alive(device, diag);
    if (st != SL_OK) return st;
    if (!sl_caps_have(&device->info.caps, SL_CAP_STATISTICS) || !device->ops->kernel_statistics)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "device '%s' tells nothing of its kernels",
                       device->info.name);
    return seen(device, device->ops->kernel_statistics(kernel, out, capacity, out_count, diag));
}

/* ---- Command buffers ---- */

sl_status sl_commands_create(sl_device *device, sl_queue queue, uint32_t flags, uint32_t timestamps,
                             const char *name, sl_commands **out, sl_diag *diag)
{
    if (!device || !out) return sl_fail(diag, SL_ERR_ARGUMENT, "commands: NULL argument");
    *out = NULL;
    if ((unsigned)queue > SL_QUEUE_TRANSFER || (flags & ~SL_COMMANDS_CONCURRENT))
        return sl_fail(diag, SL_ERR_ARGUMENT, "commands '%s': queue %d, flags 0x%" PRIx32 " do not exist",
                       name ? name : "", (int)queue, flags);
    sl_status st = alive(device, diag);
    if (st != SL_OK) return st;
    if (timestamps && !(device->info.caps.timestamp_period_ns > 0.0))
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "commands '%s': device '%s' has no timestamps",
                       name ? name : "", device->info.name);
    sl_commands *commands = NULL;
    st = seen(device, device->ops->commands_create(device, queue, flags, timestamps, name, &commands, diag));
    if (st != SL_OK) return st;
    commands->device = device;
    commands->queue = queue;
    commands->timestamps = timestamps;
    commands->recording = commands->ready = false;
    commands->failed = SL_OK;
    *out = commands;
    return SL_OK;
}

void sl_commands_destroy(sl_commands *commands)
{
    if (commands) commands->device->ops->commands_destroy(commands);
}

sl_status sl_commands_begin(sl_commands *commands, sl_diag *diag)
{
    if (!commands) return sl_fail(diag, SL_ERR_ARGUMENT, "begin: no command buffer");
    sl_device *device = commands->device;
    sl_status st = alive(device, diag);
    if (st != SL_OK) return st;
    st = seen(device, device->ops->commands_begin(commands, diag));
    if (st != SL_OK) return st;
    commands->recording = true;
    commands->ready = false;
    commands->failed = SL_OK;
    return SL_OK;
}

sl_status sl_commands_end(sl_commands *commands, sl_diag *diag)
{
    if (!commands) return sl_fail(diag, SL_ERR_ARGUMENT, "end: no command buffer");
    sl_device *device = commands->device;
    sl_status st = alive(device, diag);
    if (st != SL_OK) return st;
    if (!commands->recording) return sl_fail(diag, SL_ERR_ARGUMENT, "end of a recording that was not begun");
    st = seen(device, device->ops->commands_end(commands, diag));
    commands->recording = false;
    if (st == SL_OK && commands->failed != SL_OK) {
        st = commands->failed;
        if (diag) *diag = commands->failed_diag;
    }
    commands->ready = st == SL_OK;
    return st;
}

/* Keeps the first error of a recording. */
#define REFUSE(commands, code, ...)                                                                          \
    do {                                                                                                     \
        if ((commands)->failed == SL_OK)                                                                     \
            (commands)->failed = sl_fail(&(commands)->failed_diag, (code), __VA_ARGS__);                     \
        return;                                                                                              \
    } while (0)

static bool appending(const sl_commands *commands)
{
    return commands->recording && commands->failed == SL_OK;
}

void sl_commands_dispatch(sl_commands *commands, sl_kernel *kernel, const void *push, uint32_t groups_x,
                          uint32_t groups_y, uint32_t groups_z)
{
    if (!appending(commands)) return;
    if (!kernel) REFUSE(commands, SL_ERR_ARGUMENT, "dispatch: no kernel");
    if (kernel->device != commands->device)
        REFUSE(commands, SL_ERR_ARGUMENT, "dispatch: the kernel belongs to another device");
    if (commands->queue != SL_QUEUE_COMPUTE)
        REFUSE(commands, SL_ERR_ARGUMENT, "dispatch: the transfer queue runs no kernels");
    if (kernel->push_bytes && !push) REFUSE(commands, SL_ERR_ARGUMENT, "dispatch: no push block");
    const uint32_t groups[3] = {groups_x, groups_y, groups_z};
    for (int i = 0; i < 3; i++) {
        const uint32_t limit = commands->device->info.caps.max_groups[i];
        if (groups[i] == 0 || groups[i] > limit)
            REFUSE(commands, SL_ERR_ARGUMENT,
                   "dispatch: %" PRIu32 " groups in dimension %d: must be 1 to %" PRIu32, groups[i], i,
                   limit);
    }
    commands->device->ops->commands_dispatch(commands, kernel, push, groups);
}

static bool inside(const sl_buffer *buffer, uint64_t offset, uint64_t size)
{
    return size && offset <= buffer->size_bytes && size <= buffer->size_bytes - offset;
}

void sl_commands_copy(sl_commands *commands, sl_buffer *source, uint64_t source_offset, sl_buffer *target,
                      uint64_t target_offset, uint64_t size_bytes)
{
    if (!appending(commands)) return;
    if (!source || !target) REFUSE(commands, SL_ERR_ARGUMENT, "copy: no buffer");
    if (source->device != commands->device || target->device != commands->device)
        REFUSE(commands, SL_ERR_ARGUMENT, "copy: a buffer belongs to another device");
    if (!inside(source, source_offset, size_bytes) || !inside(target, target_offset, size_bytes))
        REFUSE(commands, SL_ERR_ARGUMENT,
               "copy of %" PRIu64 " bytes from %" PRIu64 " of %" PRIu64 " to %" PRIu64 " of %" PRIu64
               ": out of range",
               size_bytes, source_offset, source->size_bytes, target_offset, target->size_bytes);
    if (source == target && source_offset < target_offset + size_bytes &&
        target_offset < source_offset + size_bytes)
        REFUSE(commands, SL_ERR_ARGUMENT, "copy within a buffer: the ranges overlap");
    commands->device->ops->commands_copy(commands, source, source_offset, target, target_offset, size_bytes);
}

void sl_commands_fill(sl_commands *commands, sl_buffer *target, uint64_t offset, uint64_t size_bytes,
                      uint32_t value)
{
    if (!appending(commands)) return;
    if (!target) REFUSE(commands, SL_ERR_ARGUMENT, "fill: no buffer");
    if (target->device != commands->device)
        REFUSE(commands, SL_ERR_ARGUMENT, "fill: the buffer belongs to another device");
    if (!inside(target, offset, size_bytes) || offset % 4 || size_bytes % 4)
        REFUSE(commands, SL_ERR_ARGUMENT,
               "fill of %" PRIu64 " bytes at %" PRIu64 " of %" PRIu64
               ": out of range, or not a multiple of 4",
               size_bytes, offset, target->size_bytes);
    commands->device->ops->commands_fill(commands, target, offset, size_bytes, value);
}

void sl_commands_barrier(sl_commands *commands, sl_barrier barrier)
{
    if (!appending(commands)) return;
    if ((unsigned)barrier > SL_BARRIER_ALL) REFUSE(commands, SL_ERR_ARGUMENT, "no barrier %d", (int)barrier);
    commands->device->ops->commands_barrier(commands, barrier);
}

void sl_commands_timestamp(sl_commands *commands, uint32_t slot)
{
    if (!appending(commands)) return;
    if (slot >= commands->timestamps)
        REFUSE(commands, SL_ERR_ARGUMENT, "timestamp slot %" PRIu32 " of %" PRIu32, slot,
               commands->timestamps);
    commands->device->ops->commands_timestamp(commands, slot);
}

sl_status sl_commands_read_timestamps(sl_commands *commands, uint32_t first, uint32_t count, uint64_t *out_ns,
                                      sl_diag *diag)
{
    if (!commands || (count && !out_ns)) return sl_fail(diag, SL_ERR_ARGUMENT, "timestamps: NULL argument");
    sl_device *device = commands->device;
    sl_status st = alive(device, diag);
    if (st != SL_OK) return st;
    if (first > commands->timestamps || count > commands->timestamps - first)
        return sl_fail(diag, SL_ERR_ARGUMENT, "timestamps %" PRIu32 " + %" PRIu32 " of %" PRIu32, first,
                       count, commands->timestamps);
    if (!count) return SL_OK;
    return seen(device, device->ops->commands_read_timestamps(commands, first, count, out_ns, diag));
}

void sl_commands_label(sl_commands *commands, const char *name)
{
    if (appending(commands)) commands->device->ops->commands_label(commands, name);
}

/* ---- Submission ---- */

static sl_status check_points(const sl_device *device, const sl_semaphore_point *points, uint32_t count,
                              const char *what, sl_diag *diag)
{
    if (count > SL_SUBMIT_POINTS_MAX || (count && !points))
        return sl_fail(diag, SL_ERR_ARGUMENT, "submit: %" PRIu32 " %s: at most %d", count, what,
                       SL_SUBMIT_POINTS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        if (!points[i].semaphore || points[i].semaphore->device != device)
            return sl_fail(diag, SL_ERR_ARGUMENT,
                           "submit: semaphore %" PRIu32 " of the %s is not of this device", i, what);
    }
    return SL_OK;
}

sl_status sl_queue_submit(sl_device *device, sl_queue queue, const sl_submission *submission, sl_diag *diag)
{
    if (!device || !submission) return sl_fail(diag, SL_ERR_ARGUMENT, "submit: NULL argument");
    if ((unsigned)queue > SL_QUEUE_TRANSFER)
        return sl_fail(diag, SL_ERR_ARGUMENT, "submit: no queue %d", (int)queue);
    sl_status st = alive(device, diag);
    if (st == SL_OK) st = check_points(device, submission->waits, submission->wait_count, "waits", diag);
    if (st == SL_OK)
        st = check_points(device, submission->signals, submission->signal_count, "signals", diag);
    if (st != SL_OK) return st;
    if (submission->command_count > SL_SUBMIT_COMMANDS_MAX ||
        (submission->command_count && !submission->commands))
        return sl_fail(diag, SL_ERR_ARGUMENT, "submit: %" PRIu32 " command buffers: at most %d",
                       submission->command_count, SL_SUBMIT_COMMANDS_MAX);
    for (uint32_t i = 0; i < submission->command_count; i++) {
        const sl_commands *commands = submission->commands[i];
        if (!commands || commands->device != device || commands->queue != queue)
            return sl_fail(diag, SL_ERR_ARGUMENT,
                           "submit: command buffer %" PRIu32 " is not of this device and queue", i);
        if (!commands->ready)
            return sl_fail(diag, SL_ERR_ARGUMENT,
                           "submit: command buffer %" PRIu32 " has no recording that ended without error", i);
    }
    return seen(device, device->ops->queue_submit(device, queue, submission, diag));
}
