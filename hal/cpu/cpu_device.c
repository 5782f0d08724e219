/* cpu_device.c - the host as a device: what it is, its memory, its kernels. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "hal/cpu/cpu.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define ADDRESS_ALIGNMENT_BYTES 256u
#define LARGE_BYTES             (1u << 20)
#define LARGE_ALIGNMENT_BYTES   (64u << 10)
#define IMPORT_ALIGNMENT_BYTES  4096u

/* ---- What the device is ---- */

static void read_cpu_name(char *out, size_t capacity)
{
    snprintf(out, capacity, "host processor");
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (!file) return;
    char line[512];
    while (fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, capacity, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    fclose(file);
}

static uint64_t read_memory_total(void)
{
    uint64_t kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    if (!file) return 0;
    char line[256];
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemTotal: %" SCNu64 " kB", &kib) == 1) break;
    }
    fclose(file);
    return kib * 1024;
}

static uint32_t usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    const int count = CPU_COUNT(&set);
    return count < 1 ? 1 : SL_MIN((uint32_t)count, (uint32_t)SL_CPU_THREADS_MAX);
}

static void fill_info(sl_device_info *info, uint32_t threads)
{
    *info = (sl_device_info){.driver = "cpu", .type = SL_DEVICE_CPU, .usable = true, .driver_version = 1};
    read_cpu_name(info->name, sizeof info->name);
    snprintf(info->version, sizeof info->version, "C kernels on %" PRIu32 " threads", threads);
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (const char *c = info->name; *c; c++)
        hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
    memcpy(info->uuid, "slucpu01", 8);
    memcpy(info->uuid + 8, &hash, 8);
    const uint64_t memory = read_memory_total();
    info->caps = (sl_device_caps){
        .features = SL_CAP_HOST_FN | SL_CAP_STORAGE_16 | SL_CAP_STORAGE_8 | SL_CAP_INT_8 | SL_CAP_INT_16 |
                    SL_CAP_INT_64 | SL_CAP_TRANSFER_QUEUE | SL_CAP_HOST_IMPORT | SL_CAP_CALIBRATED_TIME |
                    SL_CAP_UNIFIED_MEMORY | SL_CAP_DEVICE_MAPPED,
        .subgroup_size = 1,
        .subgroup_min = 1,
        .subgroup_max = 1,
        .max_workgroup_invocations = 1,
        .max_push_bytes = SL_PUSH_BYTES_MAX,
        .max_groups = {INT32_MAX, 65535, 65535},
        .compute_units = threads,
        .max_buffer_bytes = memory ? memory : INT64_MAX,
        .import_alignment_bytes = IMPORT_ALIGNMENT_BYTES,
        .device_bytes = memory,
        .timestamp_period_ns = 1.0,
    };
}

static sl_status enumerate(sl_device_info *infos, size_t capacity, size_t *out_count, sl_diag *diag)
{
    (void)diag;
    if (capacity) fill_info(&infos[0], usable_cores());
    *out_count = 1;
    return SL_OK;
}

/* ---- Memory ---- */

static sl_status buffer_create(sl_device *device, uint64_t size_bytes, sl_memory memory, const char *name,
                               sl_buffer **out, sl_diag *diag)
{
    (void)device;
    sl_buffer *b = sl_calloc(1, sizeof *b);
    if (!b) return sl_fail(diag, SL_ERR_NO_MEMORY, "buffer '%s'", name ? name : "");
    const size_t alignment = size_bytes >= LARGE_BYTES ? LARGE_ALIGNMENT_BYTES : ADDRESS_ALIGNMENT_BYTES;
    void *bytes = sl_aligned_alloc(alignment, size_bytes);
    if (!bytes) {
        sl_free(b);
        const bool device_kind = memory == SL_MEMORY_DEVICE || memory == SL_MEMORY_DEVICE_MAPPED;
        return sl_fail(diag, device_kind ? SL_ERR_DEVICE_MEMORY : SL_ERR_NO_MEMORY,
                       "buffer '%s': the host has no %" PRIu64 " bytes", name ? name : "", size_bytes);
    }
    b->address = (uintptr_t)bytes;
    /* Plain device memory stays unmapped, so that code which forgets to ask fails here as it would on a GPU.
     */
    b->mapped = memory == SL_MEMORY_DEVICE ? NULL : bytes;
    *out = b;
    return SL_OK;
}

static sl_status buffer_import(sl_device *device, void *pointer, uint64_t size_bytes, const char *name,
                               sl_buffer **out, sl_diag *diag)
{
    (void)device;
    (void)size_bytes;
    sl_buffer *b = sl_calloc(1, sizeof *b);
    if (!b) return sl_fail(diag, SL_ERR_NO_MEMORY, "import '%s'", name ? name : "");
    b->address = (uintptr_t)pointer;
    b->mapped = pointer;
    *out = b;
    return SL_OK;
}

static void buffer_destroy(sl_buffer *buffer)
{
    if (!buffer->imported) sl_free(sl_host(buffer->address));
    sl_free(buffer);
}

/* ---- Kernels ---- */

static sl_status kernel_create(sl_device *device, const sl_kernel_desc *desc, sl_kernel **out, sl_diag *diag)
{
    (void)device;
    sl_cpu_kernel *k = sl_calloc(1, sizeof *k);
    if (!k) return sl_fail(diag, SL_ERR_NO_MEMORY, "kernel '%s'", desc->name ? desc->name : "");
    k->fn = desc->host;
    if (desc->spec_count) memcpy(k->spec, desc->spec, desc->spec_count * sizeof *desc->spec);
    *out = &k->base;
    return SL_OK;
}

static void kernel_destroy(sl_kernel *kernel)
{
    sl_free(kernel);
}

/* ---- The device ---- */

static void device_memory(sl_device *device, sl_memory_report *report)
{
    (void)device; /* the host's free memory is not this driver's to budget */
    report->driver_budget_bytes = 0;
    report->driver_used_bytes = 0;
}

static sl_status device_calibrate(sl_device *device, uint64_t *out_device_ns, uint64_t *out_host_ns,
                                  sl_diag *diag)
{
    (void)device;
    (void)diag;
    *out_device_ns = *out_host_ns = sl_now_ns(); /* timestamps are taken from this clock */
    return SL_OK;
}

static void device_destroy(sl_device *device)
{
    sl_cpu_device *d = (sl_cpu_device *)device;
    sl_cpu_queues_stop(d);
    sl_cpu_pool_destroy(d->pool);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    sl_free(d);
}

static const sl_device_ops ops = {
    .device_destroy = device_destroy,
    .device_memory = device_memory,
    .device_wait_idle = sl_cpu_wait_idle,
    .device_calibrate = device_calibrate,
    .buffer_create = buffer_create,
    .buffer_import = buffer_import,
    .buffer_destroy = buffer_destroy,
    .semaphore_create = sl_cpu_semaphore_create,
    .semaphore_destroy = sl_cpu_semaphore_destroy,
    .semaphore_value = sl_cpu_semaphore_value,
    .semaphore_signal = sl_cpu_semaphore_signal,
    .semaphore_wait = sl_cpu_semaphore_wait,
    .kernel_create = kernel_create,
    .kernel_destroy = kernel_destroy,
    .commands_create = sl_cpu_commands_create,
    .commands_destroy = sl_cpu_commands_destroy,
    .commands_begin = sl_cpu_commands_begin,
    .commands_end = sl_cpu_commands_end,
    .commands_dispatch = sl_cpu_commands_dispatch,
    .commands_copy = sl_cpu_commands_copy,
    .commands_fill = sl_cpu_commands_fill,
    .commands_barrier = sl_cpu_commands_barrier,
    .commands_timestamp = sl_cpu_commands_timestamp,
    .commands_read_timestamps = sl_cpu_commands_read_timestamps,
    .commands_label = sl_cpu_commands_label,
    .queue_submit = sl_cpu_queue_submit,
};

static sl_status device_create(uint32_t index, const sl_device_options *options, sl_device **out,
                               sl_diag *diag)
{
    if (index != 0) return sl_fail(diag, SL_ERR_NOT_FOUND, "cpu:%" PRIu32 ": there is only cpu:0", index);
    if (options->threads > SL_CPU_THREADS_MAX)
        return sl_fail(diag, SL_ERR_ARGUMENT, "%" PRIu32 " threads: at most %d", options->threads,
                       SL_CPU_THREADS_MAX);
    const uint32_t threads = options->threads ? options->threads : usable_cores();
    sl_cpu_device *d = sl_calloc(1, sizeof *d);
    if (!d) return sl_fail(diag, SL_ERR_NO_MEMORY, "cpu device");
    d->base.ops = &ops;
    fill_info(&d->base.info, threads);
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* the clock of sl_now_ns */
    pthread_cond_init(&d->changed, &attr);
    pthread_condattr_destroy(&attr);
    sl_status st = sl_cpu_queues_start(d, diag);
    if (st == SL_OK) st = sl_cpu_pool_create(threads, &d->pool, diag);
    if (st != SL_OK) {
        device_destroy(&d->base);
        return st;
    }
    *out = &d->base;
    return SL_OK;
}

const sl_driver sl_driver_cpu = {"cpu", enumerate, device_create};
