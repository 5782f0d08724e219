/* vk_internal.h - the types of the Vulkan driver, shared by its files. Nothing outside hal/vulkan/ includes
 * it.
 */
#ifndef SL_HAL_VULKAN_VK_INTERNAL_H
#define SL_HAL_VULKAN_VK_INTERNAL_H

#include "hal/driver.h"
#include "hal/vulkan/vk_functions.h"

#include <pthread.h>

/* ---- Results ---- */

/* Converts a VkResult that is not VK_SUCCESS, fills *diag with "what: VK_ERROR_...", and marks `lost` (may be
 * NULL) when the device is lost. */
sl_status sl_vk_fail_at(_Atomic bool *lost, VkResult result, sl_diag *diag, const char *file, int line,
                        const char *what);
#define sl_vk_fail(lost, result, diag, what)                                                                 \
    sl_vk_fail_at((lost), (result), (diag), __FILE__, __LINE__, (what))

/* ---- Instance (vk_instance.c) ---- */

typedef struct sl_vk_instance {
    VkInstance handle;
    sl_vk_instance_fn fn;
    bool debug_utils;
    bool shared;                        /* the process's one; release leaves it alone */
    VkDebugUtilsMessengerEXT messenger; /* with validation only */
} sl_vk_instance;

/* The instance without layers that the process shares, or, with validation, one of the caller's own. When
 * there is no Vulkan here (no loader, no driver, older than 1.2) *out_absent is true, the reason is in *diag
 * and the status is SL_ERR_NOT_FOUND. */
SL_NODISCARD sl_status sl_vk_instance_acquire(bool validation, sl_vk_instance *out, bool *out_absent,
                                              sl_diag *diag);
void sl_vk_instance_release(sl_vk_instance *instance);

/* The physical devices, in the loader's order. The caller frees *out_devices with sl_free. */
SL_NODISCARD sl_status sl_vk_physical_devices(const sl_vk_instance *instance, VkPhysicalDevice **out_devices,
                                              uint32_t *out_count, sl_diag *diag);

/* Whether the environment asks for validation (SLUICE_VALIDATION=1). */
bool sl_vk_validation_wanted(void);

/* ---- What a physical device has (vk_probe.c) ---- */

#define SL_VK_NOT_CORE UINT32_MAX

/* Device extensions that the driver looks for: field, name, Vulkan version that made it core,
 * whether it is enabled on the device (the others are only queried). */
#define SL_VK_EXTENSIONS(X)                                                                                  \
    X(memory_budget, "VK_EXT_memory_budget", SL_VK_NOT_CORE, true)                                           \
    X(host_memory, "VK_EXT_external_memory_host", SL_VK_NOT_CORE, true)                                      \
    X(calibrated_khr, "VK_KHR_calibrated_timestamps", SL_VK_NOT_CORE, true)                                  \
    X(calibrated_ext, "VK_EXT_calibrated_timestamps", SL_VK_NOT_CORE, true)                                  \
    X(subgroup_size, "VK_EXT_subgroup_size_control", VK_API_VERSION_1_3, true)                               \
    X(dot_product, "VK_KHR_shader_integer_dot_product", VK_API_VERSION_1_3, true)                            \
    X(maintenance4, "VK_KHR_maintenance4", VK_API_VERSION_1_3, true)                                         \
    X(matrix, "VK_KHR_cooperative_matrix", SL_VK_NOT_CORE, true)                                             \
    X(matrix2, "VK_NV_cooperative_matrix2", SL_VK_NOT_CORE, true)                                            \
    X(portability, "VK_KHR_portability_subset", SL_VK_NOT_CORE, true)                                        \
    X(executable, "VK_KHR_pipeline_executable_properties", SL_VK_NOT_CORE, true)                             \
    X(sm_builtins, "VK_NV_shader_sm_builtins", SL_VK_NOT_CORE, false)                                        \
    X(core_amd, "VK_AMD_shader_core_properties", SL_VK_NOT_CORE, false)

#define SL_VK_EXTENSION_COUNT 13

/* true: usable, as an extension or as part of the device's version. */
typedef struct sl_vk_extensions {
#define SL_VK_EXTENSION_FIELD(field, name, core, enable) bool field;
    SL_VK_EXTENSIONS(SL_VK_EXTENSION_FIELD)
#undef SL_VK_EXTENSION_FIELD
} sl_vk_extensions;

/* Every feature structure the driver reads, and enables. Linked by sl_vk_features_link. */
typedef struct sl_vk_features {
    VkPhysicalDeviceFeatures2 base;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
    VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size;
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot_product;
    VkPhysicalDeviceMaintenance4Features maintenance4;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable;
#ifdef VK_KHR_cooperative_matrix
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
#endif
#ifdef VK_NV_cooperative_matrix2
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV matrix2;
#endif
} sl_vk_features;

typedef struct sl_vk_probe {
    VkPhysicalDevice handle;
    uint32_t api_version;
    uint8_t cache_uuid[VK_UUID_SIZE]; /* pipelineCacheUUID */
    sl_vk_extensions ext;
    sl_vk_features wanted; /* what to enable: asked for and there; link again after a copy */
    VkPhysicalDeviceMemoryProperties memory;
    uint32_t device_heap; /* the largest device-local heap */
    uint32_t compute_family, transfer_family;
    uint32_t transfer_index; /* queue of transfer_family */
    bool transfer_has_compute;
    bool retires_semaphores;    /* see sl_vk_semaphore_destroy */
    uint32_t timestamp_bits[2]; /* valid bits of timestamps, by sl_queue */
    sl_device_info info;
} sl_vk_probe;

/* Fills everything; a device that lacks a requirement gets info.usable == false and info.refused. */
SL_NODISCARD sl_status sl_vk_probe_device(const sl_vk_instance *instance, VkPhysicalDevice handle,
                                          uint32_t index, sl_vk_probe *out, sl_diag *diag);
/* Sets sType and pNext of all structures that `ext` allows, values untouched; returns the chain's head. */
VkPhysicalDeviceFeatures2 *sl_vk_features_link(sl_vk_features *features, const sl_vk_extensions *ext);

/* Cooperative matrix: fills caps' shapes and SL_CAP_MATRIX_* (vk_matrix.c). */
SL_NODISCARD sl_status sl_vk_probe_matrix(const sl_vk_instance *instance, sl_vk_probe *probe,
                                          const sl_vk_features *have, VkDriverId driver,
                                          bool dot_mixed_accelerated, sl_diag *diag);

/* ---- Device ---- */

typedef struct sl_vk_queue {
    VkQueue handle;
    uint32_t family;
    pthread_mutex_t lock;        /* around every use of handle */
    VkSemaphore idle;            /* timeline: wait_idle's own */
    uint64_t idle_value;         /* under lock */
    VkPipelineStageFlags stages; /* of COMPUTE_SHADER and TRANSFER, those that the family has */
    VkAccessFlags reads, writes; /* accesses that belong to `stages` */
} sl_vk_queue;

#define SL_VK_RETIRED_SEMAPHORES 64

typedef struct sl_vk_device {
    sl_device base;
    sl_vk_instance instance;
    sl_vk_probe probe;
    VkDevice handle;
    sl_vk_device_fn fn;
    sl_vk_queue queues[2];    /* [1] is in use only when the transfer queue is another VkQueue */
    sl_vk_queue *queue_of[2]; /* by sl_queue */
    pthread_mutex_t retired_lock;
    VkSemaphore retired[SL_VK_RETIRED_SEMAPHORES]; /* under retired_lock; a ring */
    uint32_t retired_next;
    bool kernel_statistics; /* asked for and there: pipelines keep their statistics */
    VkPipelineCache cache;  /* VK_NULL_HANDLE: none */
    char *cache_path;
    size_t cache_loaded_bytes; /* size of the driver's data when the device was created */
} sl_vk_device;

typedef struct sl_vk_buffer {
    sl_buffer base;
    sl_vk_device *dev;
    VkBuffer handle;
    VkDeviceMemory memory;
    uint64_t bias; /* bytes of `handle` before the first byte of the buffer: aligns the address */
} sl_vk_buffer;

typedef struct sl_vk_semaphore {
    sl_semaphore base;
    sl_vk_device *dev;
    VkSemaphore handle;
} sl_vk_semaphore;

typedef struct sl_vk_kernel {
    sl_kernel base;
    sl_vk_device *dev;
    VkPipelineLayout layout;
    VkPipeline pipeline;
} sl_vk_kernel;

typedef struct sl_vk_commands {
    sl_commands base;
    sl_vk_device *dev;
    sl_vk_queue *queue;
    VkCommandPool pool;
    VkCommandBuffer handle;
    VkQueryPool queries;
    bool concurrent;
    bool host_reset; /* queries are reset by the host at each submit: this family has no command for it */
    bool dirty;      /* writes recorded since the last barrier that reaches the host */
    uint32_t open_labels;
    VkPipeline bound;
} sl_vk_commands;

static inline sl_vk_device *sl_vk_device_of(sl_device *device)
{
    return (sl_vk_device *)device;
}

/* Gives an object its debugger name; does nothing without VK_EXT_debug_utils or name. */
void sl_vk_name(sl_vk_device *dev, VkObjectType type, uint64_t handle, const char *name);

/* Device ticks to nanoseconds. */
uint64_t sl_vk_ticks_to_ns(const sl_vk_device *dev, uint64_t ticks);

/* vk_cache.c: the pipeline cache on disk. Loading never fails the device: trouble is logged and the cache
 * starts empty. Saving writes when the data grew. */
void sl_vk_cache_open(sl_vk_device *dev, const char *dir);
void sl_vk_cache_close(sl_vk_device *dev);

/* The operations, by file. */
void sl_vk_device_memory(sl_device *device, sl_memory_report *report); /* vk_memory.c */
sl_status sl_vk_buffer_create(sl_device *device, uint64_t size_bytes, sl_memory memory, const char *name,
                              sl_buffer **out, sl_diag *diag);
sl_status sl_vk_buffer_import(sl_device *device, void *pointer, uint64_t size_bytes, const char *name,
                              sl_buffer **out, sl_diag *diag);
void sl_vk_buffer_destroy(sl_buffer *buffer);

sl_status sl_vk_semaphore_create(sl_device *device, uint64_t initial, sl_semaphore **out,
                                 sl_diag *diag); /* vk_sync.c */
void sl_vk_semaphore_destroy(sl_semaphore *semaphore);
sl_status sl_vk_semaphore_value(sl_semaphore *semaphore, uint64_t *out, sl_diag *diag);
sl_status sl_vk_semaphore_signal(sl_semaphore *semaphore, uint64_t value, sl_diag *diag);
sl_status sl_vk_semaphore_wait(sl_semaphore *semaphore, uint64_t value, uint64_t timeout_ns, sl_diag *diag);
sl_status sl_vk_queue_submit(sl_device *device, sl_queue queue, const sl_submission *submission,
                             sl_diag *diag);
sl_status sl_vk_device_wait_idle(sl_device *device, sl_diag *diag);
sl_status sl_vk_device_calibrate(sl_device *device, uint64_t *out_device_ns, uint64_t *out_host_ns,
                                 sl_diag *diag);
/* A timeline semaphore handle; used for semaphores and for the queues' own. */
VkResult sl_vk_timeline(sl_vk_device *dev, uint64_t initial, VkSemaphore *out);

sl_status sl_vk_kernel_create(sl_device *device, const sl_kernel_desc *desc, sl_kernel **out,
                              sl_diag *diag); /* vk_kernel.c */
void sl_vk_kernel_destroy(sl_kernel *kernel);
sl_status sl_vk_kernel_statistics(sl_kernel *kernel, sl_kernel_statistic *out, size_t capacity,
                                  size_t *out_count, sl_diag *diag);

sl_status sl_vk_commands_create(sl_device *device, sl_queue queue, uint32_t flags, uint32_t timestamps,
                                const char *name, sl_commands **out, sl_diag *diag); /* vk_commands.c */
void sl_vk_commands_destroy(sl_commands *commands);
sl_status sl_vk_commands_begin(sl_commands *commands, sl_diag *diag);
sl_status sl_vk_commands_end(sl_commands *commands, sl_diag *diag);
void sl_vk_commands_dispatch(sl_commands *commands, sl_kernel *kernel, const void *push,
                             const uint32_t groups[3]);
void sl_vk_commands_copy(sl_commands *commands, sl_buffer *source, uint64_t source_offset, sl_buffer *target,
                         uint64_t target_offset, uint64_t size_bytes);
void sl_vk_commands_fill(sl_commands *commands, sl_buffer *target, uint64_t offset, uint64_t size_bytes,
                         uint32_t value);
void sl_vk_commands_barrier(sl_commands *commands, sl_barrier barrier);
void sl_vk_commands_timestamp(sl_commands *commands, uint32_t slot);
sl_status sl_vk_commands_read_timestamps(sl_commands *commands, uint32_t first, uint32_t count,
                                         uint64_t *out_ns, sl_diag *diag);
void sl_vk_commands_label(sl_commands *commands, const char *name);

#endif
