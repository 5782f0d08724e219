/* vk_device.c - the driver's table, enumeration, and the life of a device. */
#include "hal/vulkan/vk_internal.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <string.h>

void sl_vk_name(sl_vk_device *dev, VkObjectType type, uint64_t handle, const char *name)
{
    if (!name || !dev->fn.SetDebugUtilsObjectNameEXT) return;
    const VkDebugUtilsObjectNameInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
        .objectType = type,
        .objectHandle = handle,
        .pObjectName = name,
    };
    (void)dev->fn.SetDebugUtilsObjectNameEXT(dev->handle, &info); /* a name that is lost harms nobody */
}

static sl_status vulkan_enumerate(sl_device_info *infos, size_t capacity, size_t *out_count, sl_diag *diag)
{
    sl_status st = SL_OK;
    sl_vk_instance instance = {0};
    VkPhysicalDevice *devices = NULL;
    sl_vk_probe *probe = NULL;
    uint32_t count = 0;
    bool absent = false;
    *out_count = 0;
    st = sl_vk_instance_acquire(false, &instance, &absent, diag);
    if (absent) st = SL_OK; /* the reason stays in diag->message */
    if (st != SL_OK || absent) goto cleanup;
    SL_TRY(sl_vk_physical_devices(&instance, &devices, &count, diag));
    probe = sl_malloc(sizeof *probe);
    if (!probe) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "no memory to describe a Vulkan device");
        goto cleanup;
    }
    for (uint32_t i = 0; i < count && i < capacity; i++) {
        SL_TRY(sl_vk_probe_device(&instance, devices[i], i, probe, diag));
        infos[i] = probe->info;
    }
    *out_count = count;
cleanup:
    sl_free(probe);
    sl_free(devices);
    sl_vk_instance_release(&instance);
    return st;
}

/* Finds physical device `index` and keeps what it is in dev->probe. */
static sl_status find_physical(sl_vk_device *dev, uint32_t index, sl_diag *diag)
{
    sl_status st = SL_OK;
    VkPhysicalDevice *devices = NULL;
    uint32_t count = 0;
    SL_TRY(sl_vk_physical_devices(&dev->instance, &devices, &count, diag));
    if (index >= count) {
        st = sl_fail(diag, SL_ERR_NOT_FOUND, "there is no device vulkan:%u; Vulkan lists %u", index, count);
        goto cleanup;
    }
    SL_TRY(sl_vk_probe_device(&dev->instance, devices[index], index, &dev->probe, diag));
    if (!dev->probe.info.usable)
        st = sl_fail(diag, SL_ERR_UNSUPPORTED, "vulkan:%u (%s) cannot be used: %s", index,
                     dev->probe.info.name, dev->probe.info.refused);
cleanup:
    sl_free(devices);
    return st;
}

static sl_status create_handle(sl_vk_device *dev, sl_diag *diag)
{
    const sl_vk_probe *probe = &dev->probe;
    const char *names[SL_VK_EXTENSION_COUNT];
    uint32_t name_count = 0;
#define SL_VK_ENABLE(field, name, core, enable)                                                              \
    if ((enable) && probe->ext.field && probe->api_version < (core)) names[name_count++] = name;
    SL_VK_EXTENSIONS(SL_VK_ENABLE)
#undef SL_VK_ENABLE
    const float priorities[2] = {1.0f, 1.0f};
    const bool two_families = probe->transfer_family != probe->compute_family;
    const VkDeviceQueueCreateInfo queues[2] = {
        {
            .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
            .queueFamilyIndex = probe->compute_family,
            .queueCount = two_families ? 1 : probe->transfer_index + 1,
            .pQueuePriorities = priorities,
        },
        {
            .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
            .queueFamilyIndex = probe->transfer_family,
            .queueCount = 1,
            .pQueuePriorities = priorities,
        },
    };
    sl_vk_features features = probe->wanted;
    if (!dev->kernel_statistics) features.executable.pipelineExecutableInfo = VK_FALSE;
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = sl_vk_features_link(&features, &probe->ext),
        .queueCreateInfoCount = two_families ? 2 : 1,
        .pQueueCreateInfos = queues,
        .enabledExtensionCount = name_count,
        .ppEnabledExtensionNames = names,
    };
    const VkResult r = dev->instance.fn.CreateDevice(probe->handle, &info, NULL, &dev->handle);
    if (r != VK_SUCCESS) {
        dev->handle = VK_NULL_HANDLE;
        return sl_vk_fail(NULL, r, diag, "vkCreateDevice");
    }
    return SL_OK;
}

static sl_status load_functions(sl_vk_device *dev, sl_diag *diag)
{
    const char *missing = NULL;
#define SL_VK_LOAD(name)                                                                                     \
    dev->fn.name = (PFN_vk##name)dev->instance.fn.GetDeviceProcAddr(dev->handle, "vk" #name);
#define SL_VK_NEED(name)                                                                                     \
    SL_VK_LOAD(name)                                                                                         \
    if (!dev->fn.name) missing = "vk" #name;
    SL_VK_DEVICE_FUNCTIONS(SL_VK_NEED)
    SL_VK_DEVICE_OPTIONAL(SL_VK_LOAD)
#undef SL_VK_NEED
#undef SL_VK_LOAD
    if (dev->probe.ext.calibrated_khr)
        dev->fn.GetCalibratedTimestampsEXT =
            (PFN_vkGetCalibratedTimestampsEXT)dev->instance.fn.GetDeviceProcAddr(
                dev->handle, "vkGetCalibratedTimestampsKHR");
    if (!dev->instance.debug_utils) {
        dev->fn.SetDebugUtilsObjectNameEXT = NULL;
        dev->fn.CmdBeginDebugUtilsLabelEXT = NULL;
    }
    if (missing) return sl_fail(diag, SL_ERR_UNSUPPORTED, "the Vulkan driver has no %s", missing);
    return SL_OK;
}

static sl_status open_queue(sl_vk_device *dev, sl_vk_queue *queue, uint32_t family, uint32_t index,
                            bool computes, const char *name, sl_diag *diag)
{
    queue->family = family;
    queue->stages = VK_PIPELINE_STAGE_TRANSFER_BIT;
    queue->reads = VK_ACCESS_TRANSFER_READ_BIT;
    queue->writes = VK_ACCESS_TRANSFER_WRITE_BIT;
    if (computes) {
        queue->stages |= VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
        queue->reads |= VK_ACCESS_SHADER_READ_BIT;
        queue->writes |= VK_ACCESS_SHADER_WRITE_BIT;
    }
    const VkResult r = sl_vk_timeline(dev, 0, &queue->idle);
    if (r != VK_SUCCESS) return sl_vk_fail(&dev->base.lost, r, diag, "vkCreateSemaphore of a queue");
    if (pthread_mutex_init(&queue->lock, NULL) != 0)
        return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for the lock of a queue");
    dev->fn.GetDeviceQueue(dev->handle, family, index, &queue->handle);
    sl_vk_name(dev, VK_OBJECT_TYPE_QUEUE, (uint64_t)(uintptr_t)queue->handle, name);
    return SL_OK;
}

static void close_queue(sl_vk_device *dev, sl_vk_queue *queue)
{
    if (queue->handle) pthread_mutex_destroy(&queue->lock); /* open_queue gets the handle last */
    if (queue->idle) dev->fn.DestroySemaphore(dev->handle, queue->idle, NULL);
}

static void vulkan_device_destroy(sl_device *device)
{
    sl_vk_device *dev = sl_vk_device_of(device);
    if (!dev) return;
    if (dev->handle) {
        if (dev->fn.DeviceWaitIdle) (void)dev->fn.DeviceWaitIdle(dev->handle); /* lost or idle: both fine */
        sl_vk_cache_close(dev);
        close_queue(dev, &dev->queues[0]);
        close_queue(dev, &dev->queues[1]);
        for (uint32_t i = 0; i < SL_VK_RETIRED_SEMAPHORES; i++)
            if (dev->retired[i]) dev->fn.DestroySemaphore(dev->handle, dev->retired[i], NULL);
        if (dev->fn.DestroyDevice) dev->fn.DestroyDevice(dev->handle, NULL);
    }
    sl_vk_instance_release(&dev->instance);
    pthread_mutex_destroy(&dev->retired_lock);
    sl_free(dev);
}

static const sl_device_ops vulkan_ops = {
    .device_destroy = vulkan_device_destroy,
    .device_memory = sl_vk_device_memory,
    .device_wait_idle = sl_vk_device_wait_idle,
    .device_calibrate = sl_vk_device_calibrate,
    .buffer_create = sl_vk_buffer_create,
    .buffer_import = sl_vk_buffer_import,
    .buffer_destroy = sl_vk_buffer_destroy,
    .semaphore_create = sl_vk_semaphore_create,
    .semaphore_destroy = sl_vk_semaphore_destroy,
    .semaphore_value = sl_vk_semaphore_value,
    .semaphore_signal = sl_vk_semaphore_signal,
    .semaphore_wait = sl_vk_semaphore_wait,
    .kernel_create = sl_vk_kernel_create,
    .kernel_destroy = sl_vk_kernel_destroy,
    .kernel_statistics = sl_vk_kernel_statistics,
    .commands_create = sl_vk_commands_create,
    .commands_destroy = sl_vk_commands_destroy,
    .commands_begin = sl_vk_commands_begin,
    .commands_end = sl_vk_commands_end,
    .commands_dispatch = sl_vk_commands_dispatch,
    .commands_copy = sl_vk_commands_copy,
    .commands_fill = sl_vk_commands_fill,
    .commands_barrier = sl_vk_commands_barrier,
    .commands_timestamp = sl_vk_commands_timestamp,
    .commands_read_timestamps = sl_vk_commands_read_timestamps,
    .commands_label = sl_vk_commands_label,
    .queue_submit = sl_vk_queue_submit,
};

static sl_status vulkan_device_create(uint32_t index, const sl_device_options *options, sl_device **out,
                                      sl_diag *diag)
{
    sl_status st = SL_OK;
    bool absent = false;
    sl_vk_device *dev = sl_calloc(1, sizeof *dev);
    if (!dev) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a Vulkan device");
        goto cleanup;
    }
    (void)pthread_mutex_init(&dev->retired_lock, NULL); /* default attributes: cannot fail on Linux */
    const bool validation = (options && options->validation) || sl_vk_validation_wanted();
    SL_TRY(sl_vk_instance_acquire(validation, &dev->instance, &absent, diag));
    SL_TRY(find_physical(dev, index, diag));
    dev->base.ops = &vulkan_ops;
    dev->base.info = dev->probe.info;
    dev->base.memory_limit_bytes = options ? options->device_memory_limit_bytes : 0;
    dev->kernel_statistics =
        options && options->kernel_statistics && sl_caps_have(&dev->probe.info.caps, SL_CAP_STATISTICS);
    SL_TRY(create_handle(dev, diag));
    SL_TRY(load_functions(dev, diag));
    const sl_vk_probe *probe = &dev->probe;
    SL_TRY(open_queue(dev, &dev->queues[0], probe->compute_family, 0, true, "compute", diag));
    dev->queue_of[SL_QUEUE_COMPUTE] = dev->queue_of[SL_QUEUE_TRANSFER] = &dev->queues[0];
    if (sl_caps_have(&probe->info.caps, SL_CAP_TRANSFER_QUEUE)) {
        SL_TRY(open_queue(dev, &dev->queues[1], probe->transfer_family, probe->transfer_index,
                          probe->transfer_has_compute, "transfer", diag));
        dev->queue_of[SL_QUEUE_TRANSFER] = &dev->queues[1];
    }
    if (options && options->cache_dir) sl_vk_cache_open(dev, options->cache_dir);
    *out = &dev->base;
    dev = NULL;
cleanup:
    if (dev) vulkan_device_destroy(&dev->base);
    return st;
}

const sl_driver sl_driver_vulkan = {
    .name = "vulkan",
    .enumerate = vulkan_enumerate,
    .device_create = vulkan_device_create,
};
