/* hal.h - what an accelerator offers to Sluice: memory with addresses, ordered queues, recorded commands,
 * kernels.
 *
 * The model: a device has two queues (compute; transfer, which is the compute queue under another name where
 * the hardware has no second one). Work is recorded once into a command buffer and submitted any number of
 * times. All ordering between submissions, queues and the host is by timeline semaphores. Kernels take their
 * operands as addresses in a push block of at most 128 bytes: there are no descriptors, so an operand may be
 * of any size and a recording needs nothing but its push blocks. The HAL knows no kernel by name: it is
 * handed SPIR-V, a C function, a size of push block and what the kernel needs of the device.
 *
 * Owns: every create has one owner, who destroys. A submission retains nothing: command buffers, the buffers
 * whose addresses they use, kernels and semaphores must outlive the completion of the work (a signalled
 * semaphore value or sl_device_wait_idle). Destroy functions accept NULL. Errors: SL_ERR_DEVICE_LOST is final
 * for a device: from then on every call of it that can fail returns it, waits included; destroying stays
 * legal. Threads: creates, destroys and queries may be called from any thread; one command buffer is recorded
 * by one thread at a time; sl_queue_submit and semaphore calls may be called from any thread (the driver
 * locks a queue).
 */
#ifndef SL_HAL_H
#define SL_HAL_H

#include "hal/base/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sl_device sl_device;
typedef struct sl_buffer sl_buffer;
typedef struct sl_semaphore sl_semaphore;
typedef struct sl_kernel sl_kernel;
typedef struct sl_commands sl_commands;

/* ---- What a device is and can do ---- */

/* Capability bits (sl_device_caps.features). A kernel row lists those that it needs. */
#define SL_CAP_SPIRV           (1ull << 0)  /* runs SPIR-V */
#define SL_CAP_HOST_FN         (1ull << 1)  /* runs the C side of kernels */
#define SL_CAP_STORAGE_16      (1ull << 2)  /* 16-bit loads and stores */
#define SL_CAP_STORAGE_8       (1ull << 3)  /* 8-bit loads and stores */
#define SL_CAP_FLOAT_16        (1ull << 4)  /* f16 arithmetic */
#define SL_CAP_INT_8           (1ull << 5)  /* i8 arithmetic */
#define SL_CAP_INT_16          (1ull << 6)  /* i16 arithmetic */
#define SL_CAP_SUBGROUP        (1ull << 7)  /* subgroup basic, vote, arithmetic, ballot, shuffle in compute */
#define SL_CAP_SUBGROUP_SIZE   (1ull << 8)  /* a kernel may require a subgroup size; full subgroups */
#define SL_CAP_DOT_8           (1ull << 9)  /* integer dot product 4x8 packed exists */
#define SL_CAP_DOT_8_FAST      (1ull << 10) /* and the device accelerates it */
#define SL_CAP_MATRIX_F16      (1ull << 11) /* KHR cooperative matrix: f16 x f16 -> f32, subgroup scope */
#define SL_CAP_MATRIX_F16_F16  (1ull << 12) /* ... f16 x f16 -> f16 */
#define SL_CAP_MATRIX_I8       (1ull << 13) /* ... s8 x s8 -> s32 */
#define SL_CAP_MATRIX_2        (1ull << 14) /* NV cooperative matrix 2: workgroup scope and tensor addressing */
#define SL_CAP_MEMORY_MODEL    (1ull << 15) /* Vulkan memory model, device scope */
#define SL_CAP_TRANSFER_QUEUE  (1ull << 16) /* the transfer queue is a second hardware queue */
#define SL_CAP_HOST_IMPORT     (1ull << 17) /* sl_buffer_import works */
#define SL_CAP_MEMORY_BUDGET   (1ull << 18) /* sl_device_memory reports the driver's budget */
#define SL_CAP_CALIBRATED_TIME (1ull << 19) /* sl_device_calibrate relates device and host clocks */
#define SL_CAP_UNIFIED_MEMORY  (1ull << 20) /* device and host memory are the same chips */
#define SL_CAP_INT_64          (1ull << 21) /* 64-bit integers */
#define SL_CAP_DEVICE_MAPPED   (1ull << 22) /* SL_MEMORY_DEVICE_MAPPED exists */
#define SL_CAP_SCALAR_LOADS    (1ull << 23) /* lanes load and store one after another: a CPU */
#define SL_CAP_STATISTICS      (1ull << 24) /* sl_kernel_statistics, on a device opened for it */
#define SL_CAP_MATRIX_OPS                                                                                    \
    (1ull << 25) /* NV cooperative matrix 2, subgroup scope: reductions, conversions, ... */
/* Invocations of a subgroup of 32 hold the elements of a 16x16 f16 matrix A as PTX lays out mma.m16n8k16:
 * invocation i, with g = i / 4 and c = i % 4, in this order (g, 2c), (g, 2c + 1), (g, 2c + 8), (g, 2c + 9),
 * and the same of row g + 8. */
#define SL_CAP_MATRIX_FRAGMENTS (1ull << 26)

typedef enum sl_device_type {
    SL_DEVICE_DISCRETE,
    SL_DEVICE_INTEGRATED,
    SL_DEVICE_VIRTUAL,
    SL_DEVICE_CPU,  /* a CPU: a software Vulkan driver or the cpu driver */
    SL_DEVICE_NONE, /* plans only: the null driver */
} sl_device_type;

typedef enum sl_matrix_type {
    SL_MATRIX_F16,
    SL_MATRIX_F32,
    SL_MATRIX_S8,
    SL_MATRIX_U8,
    SL_MATRIX_S32,
    SL_MATRIX_BF16
} sl_matrix_type;

/* One shape of subgroup-scope cooperative matrix: (m x k) * (k x n) + (m x n). */
typedef struct sl_matrix_shape {
    uint32_t m, n, k;
    sl_matrix_type ab, c;
} sl_matrix_shape;

#define SL_MATRIX_SHAPES_MAX 32

typedef struct sl_device_caps {
    uint64_t features;                                  /* SL_CAP_* */
    uint32_t subgroup_size, subgroup_min, subgroup_max; /* default, and the range that may be required */
    uint32_t max_workgroup_invocations, max_shared_bytes;
    uint32_t max_push_bytes; /* at least 128 */
    uint32_t max_groups[3];
    uint32_t compute_units;          /* SMs, CUs, cores; 0: unknown */
    uint64_t max_buffer_bytes;       /* largest one allocation */
    uint64_t import_alignment_bytes; /* address and size granularity of imports; 0: none */
    uint64_t device_bytes;           /* size of device-local memory */
    double timestamp_period_ns;      /* 0: no timestamps */
    uint32_t matrix_shape_count;
    sl_matrix_shape matrix_shapes[SL_MATRIX_SHAPES_MAX];
} sl_device_caps;

typedef struct sl_device_info {
    const char *driver; /* "vulkan", "cpu", "null", "fault"; static storage */
    uint32_t index;     /* within its driver, in the driver's order: N of "vulkan:N" */
    char name[256];     /* "NVIDIA H100 80GB HBM3" */
    char version[256];  /* driver name and version, API version, for people */
    sl_device_type type;
    uint32_t vendor_id, device_id, driver_version;
    uint8_t uuid[16]; /* stable for device and driver: key of caches */
    bool usable;
    char refused[192]; /* why not usable: the feature that is missing; empty when usable */
    sl_device_caps caps;
} sl_device_info;

/* Lists the devices of one driver ("vulkan", "cpu", "null"), unusable ones included. Writes at most
 * `capacity` infos and the true count. A driver that is not there (no Vulkan loader) gives count 0, SL_OK,
 * and the reason in diag->message when diag is not NULL. */
SL_NODISCARD sl_status sl_hal_enumerate(const char *driver, sl_device_info *infos, size_t capacity,
                                        size_t *out_count, sl_diag *diag);

typedef struct sl_device_options {
    uint64_t device_memory_limit_bytes; /* hard budget of SL_MEMORY_DEVICE*; 0: none. Exceeding:
                                           SL_ERR_DEVICE_MEMORY */
    const char *cache_dir;       /* pipeline cache; NULL: none. Created when missing; failures only warn */
    uint32_t threads;            /* cpu driver: 0 = one a core */
    bool validation;             /* Vulkan: turn on the validation layer when present, else fail */
    bool kernel_statistics;      /* kernels keep what sl_kernel_statistics tells; compiling takes longer */
    const sl_device_info *table; /* null driver: the device to pretend to be; NULL: its own default */
} sl_device_options;

/* Opens device `index` of a driver. SL_ERR_NOT_FOUND: no such device; SL_ERR_UNSUPPORTED: refused (message
 * says why). `options` may be NULL. */
SL_NODISCARD sl_status sl_device_create(const char *driver, uint32_t index, const sl_device_options *options,
                                        sl_device **out, sl_diag *diag);
void sl_device_destroy(sl_device *device);

const sl_device_info *sl_device_get_info(const sl_device *device); /* lives as long as the device */

static inline bool sl_caps_have(const sl_device_caps *caps, uint64_t needs)
{
    return (caps->features & needs) == needs;
}

typedef struct sl_memory_report {
    /* SL_MEMORY_DEVICE and _DEVICE_MAPPED allocated through this device */
    uint64_t device_used_bytes, device_peak_bytes;
    uint64_t device_limit_bytes;  /* sl_device_options.device_memory_limit_bytes; 0: none */
    uint64_t host_used_bytes;     /* UPLOAD and READBACK allocations; imports are not counted */
    uint64_t driver_budget_bytes; /* what the driver says may still be used in all; 0: unknown */
    uint64_t driver_used_bytes;   /* what the driver says this process uses; 0: unknown */
} sl_memory_report;

void sl_device_memory(sl_device *device, sl_memory_report *out);

/* Blocks until every submission so far has completed. */
SL_NODISCARD sl_status sl_device_wait_idle(sl_device *device, sl_diag *diag);

/* One moment on both clocks: device timestamp (ns, epoch of the device) and sl_now_ns(). SL_ERR_UNSUPPORTED
 * without SL_CAP_CALIBRATED_TIME. */
SL_NODISCARD sl_status sl_device_calibrate(sl_device *device, uint64_t *out_device_ns, uint64_t *out_host_ns,
                                           sl_diag *diag);

/* ---- Buffers ---- */

typedef enum sl_memory {
    SL_MEMORY_DEVICE,        /* fast for the device; not mapped */
    SL_MEMORY_DEVICE_MAPPED, /* device-local and mapped (BAR, unified); SL_ERR_UNSUPPORTED without the
                                capability */
    SL_MEMORY_UPLOAD,        /* host memory, coherent: the host writes, the device reads */
    SL_MEMORY_READBACK,      /* host memory, coherent and cached: the device writes, the host reads */
} sl_memory;

/* Contents are undefined at first. Every buffer may be source or target of copies and be addressed by
 * kernels. The address is aligned to 256 bytes at least. `name` (may be NULL) is for debuggers. */
SL_NODISCARD sl_status sl_buffer_create(sl_device *device, uint64_t size_bytes, sl_memory memory,
                                        const char *name, sl_buffer **out, sl_diag *diag);
/* Makes `pointer` .. + size_bytes of the caller's memory visible to the device, without a copy. Both are
 * multiples of caps.import_alignment_bytes. The memory must stay mapped until the buffer is destroyed. */
SL_NODISCARD sl_status sl_buffer_import(sl_device *device, void *pointer, uint64_t size_bytes,
                                        const char *name, sl_buffer **out, sl_diag *diag);
void sl_buffer_destroy(sl_buffer *buffer);
uint64_t sl_buffer_size(const sl_buffer *buffer);
uint64_t sl_buffer_address(const sl_buffer *buffer); /* device address of its first byte */
void *sl_buffer_map(const sl_buffer *buffer);        /* host pointer, for its life; NULL: not mapped */

/* ---- Timeline semaphores ---- */

/* A 64-bit value that only grows. Signals must raise it. Waiting before the signal is submitted is legal. */
SL_NODISCARD sl_status sl_semaphore_create(sl_device *device, uint64_t initial, sl_semaphore **out,
                                           sl_diag *diag);
void sl_semaphore_destroy(sl_semaphore *semaphore);
SL_NODISCARD sl_status sl_semaphore_value(sl_semaphore *semaphore, uint64_t *out, sl_diag *diag);
/* From the host. */
SL_NODISCARD sl_status sl_semaphore_signal(sl_semaphore *semaphore, uint64_t value, sl_diag *diag);
/* Waits until the value is at least `value`. SL_ERR_TIMEOUT after timeout_ns (UINT64_MAX: for ever). */
SL_NODISCARD sl_status sl_semaphore_wait(sl_semaphore *semaphore, uint64_t value, uint64_t timeout_ns,
                                         sl_diag *diag);

/* ---- Kernels ---- */

#define SL_PUSH_BYTES_MAX 128
#define SL_SPEC_MAX       16

/* One dispatch as the C side of a kernel sees it: it computes part `index` of `count` of the whole dispatch,
 * cut as the kernel likes (rows, tokens, heads); parts run on different threads at once. Addresses in the
 * push block are host pointers (sl_host). `groups` is what was dispatched. */
typedef struct sl_kernel_task {
    const void *push;
    const uint32_t *spec;
    uint32_t groups[3];
    uint32_t index, count;
} sl_kernel_task;

typedef void (*sl_kernel_host_fn)(const sl_kernel_task *task);

static inline void *sl_host(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

typedef struct sl_kernel_desc {
    const char *name;      /* for debuggers, caches and messages */
    const uint32_t *spirv; /* entry point "main"; NULL: this kernel has only a C side */
    size_t spirv_words;
    sl_kernel_host_fn host; /* NULL: this kernel has only SPIR-V */
    uint32_t push_bytes;    /* size of the push block, a multiple of 4, at most SL_PUSH_BYTES_MAX */
    const uint32_t *spec;   /* specialization constants 0 .. spec_count - 1, 32 bits each */
    uint32_t spec_count;    /* at most SL_SPEC_MAX */
    uint32_t subgroup_size; /* required size; 0: the driver's choice. Needs SL_CAP_SUBGROUP_SIZE */
    uint64_t needs;         /* SL_CAP_*: SL_ERR_UNSUPPORTED when the device lacks one, the message names it */
} sl_kernel_desc;

SL_NODISCARD sl_status sl_kernel_create(sl_device *device, const sl_kernel_desc *desc, sl_kernel **out,
                                        sl_diag *diag);
void sl_kernel_destroy(sl_kernel *kernel);

/* One figure that the driver's compiler gives of a kernel: "Spilled VGPRs", "Occupancy". Names and meanings
 * are the driver's own; booleans are 0 or 1. */
typedef struct sl_kernel_statistic {
    char name[64];
    double value;
} sl_kernel_statistic;

/* What the driver tells of the compiled kernel: writes at most `capacity` figures and the true count. A
 * driver that made several programs of one kernel gives those of all, one program after another, and names
 * come again. SL_ERR_UNSUPPORTED without SL_CAP_STATISTICS, or when the device was opened without
 * sl_device_options.kernel_statistics. */
SL_NODISCARD sl_status sl_kernel_statistics(sl_kernel *kernel, sl_kernel_statistic *out, size_t capacity,
                                            size_t *out_count, sl_diag *diag);

/* Name of the lowest capability bit in `features` ("storage16"), for messages and `sluice devices`. */
const char *sl_cap_name(uint64_t features);

/* ---- Command buffers ---- */

typedef enum sl_queue { SL_QUEUE_COMPUTE, SL_QUEUE_TRANSFER } sl_queue;

/* Between begin and end, commands are appended; errors of appending are kept and returned by end. The first
 * command starts only after the submission's waits. Without a barrier, commands may overlap and their writes
 * are not visible to later ones. Submissions to one queue start in order but are ordered by semaphores only.
 * A recording may be submitted again once its earlier submission has completed; with SL_COMMANDS_CONCURRENT
 * also before. */
#define SL_COMMANDS_CONCURRENT 1u /* may be pending more than once at a time */

/* `timestamps` is how many slots sl_commands_timestamp may use. */
SL_NODISCARD sl_status sl_commands_create(sl_device *device, sl_queue queue, uint32_t flags,
                                          uint32_t timestamps, const char *name, sl_commands **out,
                                          sl_diag *diag);
void sl_commands_destroy(sl_commands *commands);
/* Drops what was recorded before. */
SL_NODISCARD sl_status sl_commands_begin(sl_commands *commands, sl_diag *diag);
SL_NODISCARD sl_status sl_commands_end(sl_commands *commands, sl_diag *diag);

void sl_commands_dispatch(sl_commands *commands, sl_kernel *kernel, const void *push, uint32_t groups_x,
                          uint32_t groups_y, uint32_t groups_z);
void sl_commands_copy(sl_commands *commands, sl_buffer *source, uint64_t source_offset, sl_buffer *target,
                      uint64_t target_offset, uint64_t size_bytes);
/* Offset and size are multiples of 4. */
void sl_commands_fill(sl_commands *commands, sl_buffer *target, uint64_t offset, uint64_t size_bytes,
                      uint32_t value);

typedef enum sl_barrier {
    SL_BARRIER_COMPUTE, /* kernels before -> kernels after */
    SL_BARRIER_ALL,     /* kernels, copies and fills before -> kernels, copies, fills and (once signalled) the
                           host */
} sl_barrier;

void sl_commands_barrier(sl_commands *commands, sl_barrier barrier);

/* Device time, in slot `slot`, when all commands before it have finished. Read after completion, in ns. */
void sl_commands_timestamp(sl_commands *commands, uint32_t slot);
SL_NODISCARD sl_status sl_commands_read_timestamps(sl_commands *commands, uint32_t first, uint32_t count,
                                                   uint64_t *out_ns, sl_diag *diag);
/* Opens a region for debuggers; NULL closes the last one. */
void sl_commands_label(sl_commands *commands, const char *name);

typedef struct sl_semaphore_point {
    sl_semaphore *semaphore;
    uint64_t value;
} sl_semaphore_point;

typedef struct sl_submission {
    const sl_semaphore_point *waits; /* all reached before the first command starts */
    uint32_t wait_count;
    sl_commands *const *commands; /* run as if recorded one after another */
    uint32_t command_count;
    const sl_semaphore_point *signals; /* raised when all has finished and its writes are visible */
    uint32_t signal_count;
} sl_submission;

#define SL_SUBMIT_POINTS_MAX   8
#define SL_SUBMIT_COMMANDS_MAX 64

SL_NODISCARD sl_status sl_queue_submit(sl_device *device, sl_queue queue, const sl_submission *submission,
                                       sl_diag *diag);

#endif
