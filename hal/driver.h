/* driver.h - the other side of hal.h: what a driver implements. Only hal/ includes it.
 *
 * Every object of a driver begins with the matching sl_<object> struct, whose `device` hal.c uses to find the
 * operations. A wrapping driver (hal/fault) lets the inner driver make the object and then sets `device` to
 * itself, so a driver must reach its own device through a field of its own, never through `device`.
 *
 * hal.c checks arguments that need no driver (NULL, zero sizes, limits of hal.h, push block size, missing
 * capabilities of kernels, ranges of copies, recording states, the memory budget) before it calls an
 * operation, so drivers do not repeat it. After a create hal.c fills the fields of the sl_<object> struct
 * except buffer.address and buffer.mapped; a device_create fills info and ops. What only the driver can see
 * it must refuse itself: a host signal that does not raise its semaphore is SL_ERR_ARGUMENT. A driver reports
 * an error of appending in commands->failed and failed_diag (when failed is still SL_OK). hal.c calls
 * commands_end for recordings with such errors as well; commands_begin may come twice without an end between.
 * An operation that returns SL_ERR_DEVICE_LOST makes hal.c set `lost`.
 */
#ifndef SL_HAL_DRIVER_H
#define SL_HAL_DRIVER_H

#include "hal/hal.h"

#include <stdatomic.h>

typedef struct sl_device_ops {
    void (*device_destroy)(sl_device *device);
    void (*device_memory)(sl_device *device, sl_memory_report *report); /* fills the driver_* fields only */
    sl_status (*device_wait_idle)(sl_device *device, sl_diag *diag);
    sl_status (*device_calibrate)(sl_device *device, uint64_t *out_device_ns, uint64_t *out_host_ns,
                                  sl_diag *diag);

    sl_status (*buffer_create)(sl_device *device, uint64_t size_bytes, sl_memory memory, const char *name,
                               sl_buffer **out, sl_diag *diag);
    sl_status (*buffer_import)(sl_device *device, void *pointer, uint64_t size_bytes, const char *name,
                               sl_buffer **out, sl_diag *diag);
    void (*buffer_destroy)(sl_buffer *buffer);

    sl_status (*semaphore_create)(sl_device *device, uint64_t initial, sl_semaphore **out, sl_diag *diag);
    void (*semaphore_destroy)(sl_semaphore *semaphore);
    sl_status (*semaphore_value)(sl_semaphore *semaphore, uint64_t *out, sl_diag *diag);
    sl_status (*semaphore_signal)(sl_semaphore *semaphore, uint64_t value, sl_diag *diag);
    sl_status (*semaphore_wait)(sl_semaphore *semaphore, uint64_t value, uint64_t timeout_ns, sl_diag *diag);

    sl_status (*kernel_create)(sl_device *device, const sl_kernel_desc *desc, sl_kernel **out, sl_diag *diag);
    void (*kernel_destroy)(sl_kernel *kernel);
    sl_status (*kernel_statistics)(sl_kernel *kernel, sl_kernel_statistic *out, size_t capacity,
                                   size_t *out_count, sl_diag *diag); /* NULL: has none */

    sl_status (*commands_create)(sl_device *device, sl_queue queue, uint32_t flags, uint32_t timestamps,
                                 const char *name, sl_commands **out, sl_diag *diag);
    void (*commands_destroy)(sl_commands *commands);
    sl_status (*commands_begin)(sl_commands *commands, sl_diag *diag);
    sl_status (*commands_end)(sl_commands *commands, sl_diag *diag);
    void (*commands_dispatch)(sl_commands *commands, sl_kernel *kernel, const void *push,
                              const uint32_t groups[3]);
    void (*commands_copy)(sl_commands *commands, sl_buffer *source, uint64_t source_offset, sl_buffer *target,
                          uint64_t target_offset, uint64_t size_bytes);
    void (*commands_fill)(sl_commands *commands, sl_buffer *target, uint64_t offset, uint64_t size_bytes,
                          uint32_t value);
    void (*commands_barrier)(sl_commands *commands, sl_barrier barrier);
    void (*commands_timestamp)(sl_commands *commands, uint32_t slot);
    sl_status (*commands_read_timestamps)(sl_commands *commands, uint32_t first, uint32_t count,
                                          uint64_t *out_ns, sl_diag *diag);
    void (*commands_label)(sl_commands *commands, const char *name);
    sl_status (*queue_submit)(sl_device *device, sl_queue queue, const sl_submission *submission,
                              sl_diag *diag);
} sl_device_ops;

struct sl_device {
    const sl_device_ops *ops;
    sl_device_info info;
    uint64_t memory_limit_bytes;
    _Atomic uint64_t device_used_bytes, device_peak_bytes, host_used_bytes; /* kept by hal.c */
    _Atomic bool lost; /* set by the driver; hal.c then answers SL_ERR_DEVICE_LOST by itself */
};

struct sl_buffer {
    sl_device *device;
    uint64_t size_bytes, address;
    void *mapped;
    sl_memory memory;
    bool imported;
};

struct sl_semaphore {
    sl_device *device;
};

struct sl_kernel {
    sl_device *device;
    uint32_t push_bytes;
};

struct sl_commands {
    sl_device *device;
    sl_queue queue;
    uint32_t timestamps;
    bool recording, ready; /* between begin and end; ended without an error, so that it may be submitted */
    sl_status failed;      /* first error of appending; reported by end */
    sl_diag failed_diag;
};

typedef struct sl_driver {
    const char *name;
    sl_status (*enumerate)(sl_device_info *infos, size_t capacity, size_t *out_count, sl_diag *diag);
    sl_status (*device_create)(uint32_t index, const sl_device_options *options, sl_device **out,
                               sl_diag *diag);
} sl_driver;

extern const sl_driver sl_driver_vulkan, sl_driver_cpu, sl_driver_null;

#endif
