/* vk_probe.c - what a physical device has, asked without creating a device of it. */
#include "hal/vulkan/vk_internal.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Every property structure that is read; those whose extension is absent stay zero. */
typedef struct properties {
    VkPhysicalDeviceProperties2 base;
    VkPhysicalDeviceVulkan11Properties v11;
    VkPhysicalDeviceVulkan12Properties v12;
    VkPhysicalDeviceSubgroupSizeControlProperties subgroup_size;
    VkPhysicalDeviceShaderIntegerDotProductProperties dot_product;
    VkPhysicalDeviceMaintenance4Properties maintenance4;
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT host_memory;
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV sm_builtins;
    VkPhysicalDeviceShaderCorePropertiesAMD core_amd;
} properties;

/* Appends a structure to a pNext chain: `tail` points at the last pNext. */
#define SL_VK_CHAIN(tail, member, type)                                                                      \
    do {                                                                                                     \
        (member).sType = (type);                                                                             \
        (member).pNext = NULL;                                                                               \
        *(tail) = &(member);                                                                                 \
        (tail) = (void **)&(member).pNext;                                                                   \
    } while (0)

VkPhysicalDeviceFeatures2 *sl_vk_features_link(sl_vk_features *features, const sl_vk_extensions *ext)
{
    features->base.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    features->base.pNext = NULL;
    void **tail = &features->base.pNext;
    SL_VK_CHAIN(tail, features->v11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES);
    SL_VK_CHAIN(tail, features->v12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
    if (ext->subgroup_size)
        SL_VK_CHAIN(tail, features->subgroup_size,
                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
    if (ext->dot_product)
        SL_VK_CHAIN(tail, features->dot_product,
                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
    if (ext->maintenance4)
        SL_VK_CHAIN(tail, features->maintenance4, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES);
    if (ext->executable)
        SL_VK_CHAIN(tail, features->executable,
                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR);
#ifdef VK_KHR_cooperative_matrix
    if (ext->matrix)
        SL_VK_CHAIN(tail, features->matrix,
                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
#endif
#ifdef VK_NV_cooperative_matrix2
    if (ext->matrix2)
        SL_VK_CHAIN(tail, features->matrix2,
                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV);
#endif
    return &features->base;
}

static void properties_query(const sl_vk_instance *instance, VkPhysicalDevice handle,
                             const sl_vk_extensions *ext, properties *p)
{
    *p = (properties){.base.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    void **tail = &p->base.pNext;
    SL_VK_CHAIN(tail, p->v11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES);
    SL_VK_CHAIN(tail, p->v12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES);
    if (ext->subgroup_size)
        SL_VK_CHAIN(tail, p->subgroup_size,
                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES);
    if (ext->dot_product)
        SL_VK_CHAIN(tail, p->dot_product,
                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES);
    if (ext->maintenance4)
        SL_VK_CHAIN(tail, p->maintenance4, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES);
    if (ext->host_memory)
        SL_VK_CHAIN(tail, p->host_memory,
                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT);
    if (ext->sm_builtins)
        SL_VK_CHAIN(tail, p->sm_builtins, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV);
    if (ext->core_amd)
        SL_VK_CHAIN(tail, p->core_amd, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD);
    instance->fn.GetPhysicalDeviceProperties2(handle, &p->base);
}

static sl_status extensions_query(const sl_vk_instance *instance, sl_vk_probe *probe, sl_diag *diag)
{
    sl_status st = SL_OK;
    uint32_t count = 0;
    VkExtensionProperties *list = NULL;
    VkResult r = instance->fn.EnumerateDeviceExtensionProperties(probe->handle, NULL, &count, NULL);
    if (r == VK_SUCCESS && count) {
        list = sl_calloc(count, sizeof *list);
        if (!list) {
            st = sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a list of %u extensions", count);
            goto cleanup;
        }
        r = instance->fn.EnumerateDeviceExtensionProperties(probe->handle, NULL, &count, list);
    }
    if (r < VK_SUCCESS) {
        st = sl_vk_fail(NULL, r, diag, "vkEnumerateDeviceExtensionProperties");
        goto cleanup;
    }
    for (uint32_t i = 0; list && i < count; i++) {
#define SL_VK_MATCH(field, name, core, enable)                                                               \
    if (strcmp(list[i].extensionName, name) == 0) probe->ext.field = true;
        SL_VK_EXTENSIONS(SL_VK_MATCH)
#undef SL_VK_MATCH
    }
#define SL_VK_CORE(field, name, core, enable)                                                                \
    if (probe->api_version >= (core)) probe->ext.field = true;
    SL_VK_EXTENSIONS(SL_VK_CORE)
#undef SL_VK_CORE
cleanup:
    sl_free(list);
    return st;
}

/* The compute queue comes from a family that does everything, where there is one: drivers run it at full
 * priority. The transfer queue: a family for copies alone (its own copy engine), else the compute family's
 * second queue, else another compute family, else the compute queue itself. Returns false when nothing
 * computes. */
static bool choose_queues(const sl_vk_instance *instance, sl_vk_probe *probe)
{
    VkQueueFamilyProperties family[16] = {{0}};
    uint32_t count = 0, compute = UINT32_MAX, copy = UINT32_MAX, other = UINT32_MAX;
    const VkQueueFlags both = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
    /* Asked twice: a driver has been seen that leaves a count which is too large alone. */
    instance->fn.GetPhysicalDeviceQueueFamilyProperties(probe->handle, &count, NULL);
    count = SL_MIN(count, SL_COUNTOF(family));
    instance->fn.GetPhysicalDeviceQueueFamilyProperties(probe->handle, &count, family);
    for (uint32_t i = 0; i < count; i++) {
        const VkQueueFlags flags = family[i].queueFlags;
        if (!(flags & VK_QUEUE_COMPUTE_BIT) || family[i].queueCount == 0) continue;
        if (compute == UINT32_MAX || ((flags & both) == both && (family[compute].queueFlags & both) != both))
            compute = i;
    }
    if (compute == UINT32_MAX) return false;
    const VkQueueFlags harmless =
        VK_QUEUE_TRANSFER_BIT | VK_QUEUE_SPARSE_BINDING_BIT | VK_QUEUE_PROTECTED_BIT;
    for (uint32_t i = 0; i < count; i++) {
        const VkQueueFlags flags = family[i].queueFlags;
        if (family[i].queueCount == 0 || i == compute) continue;
        if (copy == UINT32_MAX && (flags & VK_QUEUE_TRANSFER_BIT) && !(flags & ~harmless)) copy = i;
        if (other == UINT32_MAX && (flags & VK_QUEUE_COMPUTE_BIT)) other = i;
    }
    probe->compute_family = probe->transfer_family = compute;
    if (copy != UINT32_MAX)
        probe->transfer_family = copy;
    else if (family[compute].queueCount > 1)
        probe->transfer_index = 1;
    else if (other != UINT32_MAX)
        probe->transfer_family = other;
    probe->transfer_has_compute = (family[probe->transfer_family].queueFlags & VK_QUEUE_COMPUTE_BIT) != 0;
    probe->timestamp_bits[SL_QUEUE_COMPUTE] = family[compute].timestampValidBits;
    probe->timestamp_bits[SL_QUEUE_TRANSFER] = family[probe->transfer_family].timestampValidBits;
    if (probe->transfer_family != compute || probe->transfer_index != 0)
        probe->info.caps.features |= SL_CAP_TRANSFER_QUEUE;
    return true;
}

/* What is asked of the device: the features that a capability bit stands for, and those that cost nothing and
 * that shaders take for granted where they are there. */
static void choose_features(sl_vk_probe *probe, const sl_vk_features *have)
{
    sl_vk_features *want = &probe->wanted;
    *want = (sl_vk_features){0};
    want->base.features.shaderInt16 = have->base.features.shaderInt16;
    want->base.features.shaderInt64 = have->base.features.shaderInt64;
    want->v11.storageBuffer16BitAccess = have->v11.storageBuffer16BitAccess;
    want->v11.uniformAndStorageBuffer16BitAccess = have->v11.uniformAndStorageBuffer16BitAccess;
    want->v12.storageBuffer8BitAccess = have->v12.storageBuffer8BitAccess;
    want->v12.uniformAndStorageBuffer8BitAccess = have->v12.uniformAndStorageBuffer8BitAccess;
    want->v12.shaderFloat16 = have->v12.shaderFloat16;
    want->v12.shaderInt8 = have->v12.shaderInt8;
    want->v12.bufferDeviceAddress = have->v12.bufferDeviceAddress;
    want->v12.timelineSemaphore = have->v12.timelineSemaphore;
    want->v12.hostQueryReset = have->v12.hostQueryReset;
    want->v12.scalarBlockLayout = have->v12.scalarBlockLayout;
    want->v12.shaderSubgroupExtendedTypes = have->v12.shaderSubgroupExtendedTypes;
    want->v12.shaderBufferInt64Atomics = have->v12.shaderBufferInt64Atomics;
    want->v12.vulkanMemoryModel = have->v12.vulkanMemoryModel;
    want->v12.vulkanMemoryModelDeviceScope = have->v12.vulkanMemoryModelDeviceScope;
    want->subgroup_size.subgroupSizeControl = have->subgroup_size.subgroupSizeControl;
    want->subgroup_size.computeFullSubgroups = have->subgroup_size.computeFullSubgroups;
    want->dot_product.shaderIntegerDotProduct = have->dot_product.shaderIntegerDotProduct;
    want->maintenance4.maintenance4 = have->maintenance4.maintenance4;
    want->executable.pipelineExecutableInfo = have->executable.pipelineExecutableInfo;
}

static void set(sl_device_caps *caps, uint64_t feature, bool present)
{
    if (present) caps->features |= feature;
}

/* Shader capabilities from features and properties. */
static void shader_caps(sl_vk_probe *probe, const properties *p)
{
    sl_device_caps *caps = &probe->info.caps;
    const sl_vk_features *f = &probe->wanted;
    const VkSubgroupFeatureFlags subgroup = VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_VOTE_BIT |
                                            VK_SUBGROUP_FEATURE_ARITHMETIC_BIT |
                                            VK_SUBGROUP_FEATURE_BALLOT_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    set(caps, SL_CAP_SPIRV, true);
    set(caps, SL_CAP_STORAGE_16, f->v11.storageBuffer16BitAccess);
    set(caps, SL_CAP_STORAGE_8, f->v12.storageBuffer8BitAccess);
    set(caps, SL_CAP_FLOAT_16, f->v12.shaderFloat16);
    set(caps, SL_CAP_INT_8, f->v12.shaderInt8);
    set(caps, SL_CAP_INT_16, f->base.features.shaderInt16);
    set(caps, SL_CAP_INT_64, f->base.features.shaderInt64);
    set(caps, SL_CAP_SCALAR_LOADS, probe->info.type == SL_DEVICE_CPU);
    set(caps, SL_CAP_MEMORY_MODEL, f->v12.vulkanMemoryModel && f->v12.vulkanMemoryModelDeviceScope);
    set(caps, SL_CAP_STATISTICS, f->executable.pipelineExecutableInfo);
    set(caps, SL_CAP_DOT_8, f->dot_product.shaderIntegerDotProduct);
    set(caps, SL_CAP_DOT_8_FAST,
        f->dot_product.shaderIntegerDotProduct &&
            p->dot_product.integerDotProduct4x8BitPackedSignedAccelerated);
    set(caps, SL_CAP_SUBGROUP,
        (p->v11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
            (p->v11.subgroupSupportedOperations & subgroup) == subgroup);
    caps->subgroup_size = caps->subgroup_min = caps->subgroup_max = p->v11.subgroupSize;
    if (f->subgroup_size.subgroupSizeControl && f->subgroup_size.computeFullSubgroups &&
        (p->subgroup_size.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT)) {
        set(caps, SL_CAP_SUBGROUP_SIZE, true);
        caps->subgroup_min = p->subgroup_size.minSubgroupSize;
        caps->subgroup_max = p->subgroup_size.maxSubgroupSize;
    }
}

static void limit_caps(sl_vk_probe *probe, const properties *p)
{
    sl_device_caps *caps = &probe->info.caps;
    const VkPhysicalDeviceLimits *limits = &p->base.properties.limits;
    caps->max_workgroup_invocations = limits->maxComputeWorkGroupInvocations;
    caps->max_shared_bytes = limits->maxComputeSharedMemorySize;
    caps->max_push_bytes = limits->maxPushConstantsSize;
    memcpy(caps->max_groups, limits->maxComputeWorkGroupCount, sizeof caps->max_groups);
    caps->max_buffer_bytes = p->v11.maxMemoryAllocationSize;
    if (probe->ext.maintenance4)
        caps->max_buffer_bytes = SL_MIN(caps->max_buffer_bytes, p->maintenance4.maxBufferSize);
    caps->timestamp_period_ns = probe->timestamp_bits[SL_QUEUE_COMPUTE] ? (double)limits->timestampPeriod : 0;
    if (probe->ext.sm_builtins)
        caps->compute_units = p->sm_builtins.shaderSMCount;
    else if (probe->ext.core_amd)
        caps->compute_units = p->core_amd.shaderEngineCount * p->core_amd.shaderArraysPerEngineCount *
                              p->core_amd.computeUnitsPerShaderArray;
    else if (probe->info.type == SL_DEVICE_CPU) {
        const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        caps->compute_units = cpus > 0 ? (uint32_t)cpus : 0;
    }
}

/* Buffers with a device address can be had from host memory. */
static bool import_works(const sl_vk_instance *instance, const sl_vk_probe *probe)
{
    const VkPhysicalDeviceExternalBufferInfo info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
        .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
    };
    VkExternalBufferProperties have = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES};
    if (!probe->ext.host_memory) return false;
    instance->fn.GetPhysicalDeviceExternalBufferProperties(probe->handle, &info, &have);
    return (have.externalMemoryProperties.externalMemoryFeatures &
            VK_EXTERNAL_MEMORY_FEATURE_IMPORTABLE_BIT) != 0;
}

/* The device clock and CLOCK_MONOTONIC can be read at one moment. */
static bool calibration_works(const sl_vk_instance *instance, const sl_vk_probe *probe)
{
    VkTimeDomainEXT domains[16];
    uint32_t count = SL_COUNTOF(domains);
    bool device = false, monotonic = false;
    if ((!probe->ext.calibrated_khr && !probe->ext.calibrated_ext) ||
        !instance->fn.GetPhysicalDeviceCalibrateableTimeDomainsEXT)
        return false;
    if (instance->fn.GetPhysicalDeviceCalibrateableTimeDomainsEXT(probe->handle, &count, domains) <
        VK_SUCCESS)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        device |= domains[i] == VK_TIME_DOMAIN_DEVICE_EXT;
        monotonic |= domains[i] == VK_TIME_DOMAIN_CLOCK_MONOTONIC_EXT;
    }
    return device && monotonic;
}

/* A mapped device-local type counts when it reaches most of the device's memory: the window of 256 MB that
 * cards without resizable BAR have is of no use for weights. */
static void memory_caps(const sl_vk_instance *instance, sl_vk_probe *probe, const properties *p)
{
    sl_device_caps *caps = &probe->info.caps;
    VkPhysicalDeviceMemoryProperties2 memory = {.sType =
                                                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    instance->fn.GetPhysicalDeviceMemoryProperties2(probe->handle, &memory);
    probe->memory = memory.memoryProperties;
    bool all_local = true;
    for (uint32_t i = 0; i < probe->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &probe->memory.memoryHeaps[i];
        if (!(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)) {
            all_local = false;
        } else if (heap->size > caps->device_bytes) {
            caps->device_bytes = heap->size;
            probe->device_heap = i;
        }
    }
    const VkMemoryPropertyFlags mapped = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                                         VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                         VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    for (uint32_t i = 0; i < probe->memory.memoryTypeCount; i++) {
        const VkMemoryType *type = &probe->memory.memoryTypes[i];
        if ((type->propertyFlags & mapped) == mapped &&
            probe->memory.memoryHeaps[type->heapIndex].size >= caps->device_bytes / 2)
            set(caps, SL_CAP_DEVICE_MAPPED, true);
    }
    set(caps, SL_CAP_UNIFIED_MEMORY,
        all_local || probe->info.type == SL_DEVICE_INTEGRATED || probe->info.type == SL_DEVICE_CPU);
    set(caps, SL_CAP_MEMORY_BUDGET, probe->ext.memory_budget);
    if (import_works(instance, probe)) {
        set(caps, SL_CAP_HOST_IMPORT, true);
        caps->import_alignment_bytes = p->host_memory.minImportedHostPointerAlignment;
    }
    set(caps, SL_CAP_CALIBRATED_TIME, caps->timestamp_period_ns > 0 && calibration_works(instance, probe));
}

static sl_device_type type_of(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return SL_DEVICE_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return SL_DEVICE_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return SL_DEVICE_CPU;
    default:
        return SL_DEVICE_VIRTUAL;
    }
}

static void identify(sl_vk_probe *probe, const properties *p)
{
    sl_device_info *info = &probe->info;
    snprintf(info->version, sizeof info->version, "%.100s%s%.100s, Vulkan %u.%u.%u", p->v12.driverName,
             p->v12.driverInfo[0] ? " " : "", p->v12.driverInfo, VK_API_VERSION_MAJOR(probe->api_version),
             VK_API_VERSION_MINOR(probe->api_version), VK_API_VERSION_PATCH(probe->api_version));
    memcpy(info->uuid, p->v11.deviceUUID, sizeof info->uuid);
}

/* Why the device cannot be used, into info.refused; leaves it empty otherwise. */
static void judge(sl_vk_probe *probe, bool has_queue)
{
    sl_device_info *info = &probe->info;
    const char *lacks = NULL;
    if (!has_queue)
        lacks = "a compute queue";
    else if (!probe->wanted.v12.bufferDeviceAddress)
        lacks = "the feature bufferDeviceAddress";
    else if (!probe->wanted.v12.timelineSemaphore)
        lacks = "the feature timelineSemaphore";
    else if (info->caps.max_push_bytes < SL_PUSH_BYTES_MAX)
        lacks = "push constants of 128 bytes";
    if (lacks) snprintf(info->refused, sizeof info->refused, "it has not %s", lacks);
    info->usable = !lacks;
}

sl_status sl_vk_probe_device(const sl_vk_instance *instance, VkPhysicalDevice handle, uint32_t index,
                             sl_vk_probe *out, sl_diag *diag)
{
    sl_status st = SL_OK;
    VkPhysicalDeviceProperties basic;
    sl_vk_features have = {0};
    properties p;
    *out = (sl_vk_probe){.handle = handle};
    instance->fn.GetPhysicalDeviceProperties(handle, &basic);
    sl_device_info *info = &out->info;
    info->driver = "vulkan";
    info->index = index;
    info->type = type_of(basic.deviceType);
    info->vendor_id = basic.vendorID;
    info->device_id = basic.deviceID;
    info->driver_version = basic.driverVersion;
    snprintf(info->name, sizeof info->name, "%s", basic.deviceName);
    memcpy(out->cache_uuid, basic.pipelineCacheUUID, sizeof out->cache_uuid);
    out->api_version = basic.apiVersion;
    if (basic.apiVersion < VK_API_VERSION_1_2) {
        snprintf(info->version, sizeof info->version, "Vulkan %u.%u", VK_API_VERSION_MAJOR(basic.apiVersion),
                 VK_API_VERSION_MINOR(basic.apiVersion));
        snprintf(info->refused, sizeof info->refused, "it offers Vulkan %u.%u; 1.2 is needed",
                 VK_API_VERSION_MAJOR(basic.apiVersion), VK_API_VERSION_MINOR(basic.apiVersion));
        return SL_OK;
    }
    SL_TRY(extensions_query(instance, out, diag));
    properties_query(instance, handle, &out->ext, &p);
    instance->fn.GetPhysicalDeviceFeatures2(handle, sl_vk_features_link(&have, &out->ext));
    identify(out, &p);
    choose_features(out, &have);
    out->retires_semaphores = p.v12.driverID == VK_DRIVER_ID_MESA_LLVMPIPE;
    const bool has_queue = choose_queues(instance, out);
    shader_caps(out, &p);
    limit_caps(out, &p);
    memory_caps(instance, out, &p);
    SL_TRY(sl_vk_probe_matrix(instance, out, &have, p.v12.driverID,
                              p.dot_product.integerDotProduct4x8BitPackedMixedSignednessAccelerated, diag));
    judge(out, has_queue);
cleanup:
    return st;
}
