/* vk_kernel.c - SPIR-V to a compute pipeline. There are no descriptors: a layout is one push constant range.
 */
#include "hal/vulkan/vk_internal.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <stdio.h>

static VkResult make_layout(sl_vk_kernel *k, uint32_t push_bytes)
{
    const VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = push_bytes};
    const VkPipelineLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .pushConstantRangeCount = push_bytes ? 1 : 0,
        .pPushConstantRanges = &range,
    };
    const VkResult r = k->dev->fn.CreatePipelineLayout(k->dev->handle, &info, NULL, &k->layout);
    if (r != VK_SUCCESS) k->layout = VK_NULL_HANDLE;
    return r;
}

static VkResult make_pipeline(sl_vk_kernel *k, const sl_kernel_desc *desc, VkShaderModule module)
{
    VkSpecializationMapEntry entries[SL_SPEC_MAX];
    for (uint32_t i = 0; i < desc->spec_count; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = 4 * i, .size = 4};
    const VkSpecializationInfo constants = {
        .mapEntryCount = desc->spec_count,
        .pMapEntries = entries,
        .dataSize = 4 * (size_t)desc->spec_count,
        .pData = desc->spec,
    };
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = desc->subgroup_size,
    };
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = k->dev->kernel_statistics ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0,
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = desc->subgroup_size ? &subgroup : NULL,
                .flags = desc->subgroup_size ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main",
                .pSpecializationInfo = desc->spec_count ? &constants : NULL,
            },
        .layout = k->layout,
        .basePipelineIndex = -1,
    };
    const VkResult r =
        k->dev->fn.CreateComputePipelines(k->dev->handle, k->dev->cache, 1, &info, NULL, &k->pipeline);
    if (r != VK_SUCCESS) k->pipeline = VK_NULL_HANDLE;
    return r;
}

sl_status sl_vk_kernel_create(sl_device *device, const sl_kernel_desc *desc, sl_kernel **out, sl_diag *diag)
{
    sl_status st = SL_OK;
    sl_vk_device *dev = sl_vk_device_of(device);
    sl_vk_kernel *k = NULL;
    VkShaderModule module = VK_NULL_HANDLE;
    k = sl_calloc(1, sizeof *k);
    if (!k) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for kernel '%s'", desc->name ? desc->name : "");
        goto cleanup;
    }
    k->dev = dev;
    k->base.device = device;
    k->base.push_bytes = desc->push_bytes;
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = 4 * desc->spirv_words,
        .pCode = desc->spirv,
    };
    const char *what = "vkCreateShaderModule";
    VkResult r = dev->fn.CreateShaderModule(dev->handle, &info, NULL, &module);
    if (r != VK_SUCCESS) module = VK_NULL_HANDLE;
    if (r == VK_SUCCESS) {
        what = "vkCreatePipelineLayout";
        r = make_layout(k, desc->push_bytes);
    }
    if (r == VK_SUCCESS) {
        what = "vkCreateComputePipelines";
        r = make_pipeline(k, desc, module);
    }
    if (r != VK_SUCCESS) {
        st = sl_vk_fail(&dev->base.lost, r, diag, what);
        sl_diag_prefix(diag, "kernel '%s'", desc->name ? desc->name : "");
        goto cleanup;
    }
    sl_vk_name(dev, VK_OBJECT_TYPE_PIPELINE, (uint64_t)(uintptr_t)k->pipeline, desc->name);
    *out = &k->base;
    k = NULL;
cleanup:
    if (module) dev->fn.DestroyShaderModule(dev->handle, module, NULL);
    if (k) sl_vk_kernel_destroy(&k->base);
    return st;
}

void sl_vk_kernel_destroy(sl_kernel *kernel)
{
    sl_vk_kernel *k = (sl_vk_kernel *)kernel;
    if (!k) return;
    if (k->pipeline) k->dev->fn.DestroyPipeline(k->dev->handle, k->pipeline, NULL);
    if (k->layout) k->dev->fn.DestroyPipelineLayout(k->dev->handle, k->layout, NULL);
    sl_free(k);
}

/* ---- What the compiler tells ---- */

static double number_of(const VkPipelineExecutableStatisticKHR *statistic)
{
    switch (statistic->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        return statistic->value.b32 ? 1 : 0;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        return (double)statistic->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        return (double)statistic->value.u64;
    default:
        return statistic->value.f64;
    }
}

/* Appends the figures of one program of the pipeline to out, as far as there is room. */
static sl_status append_statistics(sl_vk_kernel *k, uint32_t program, sl_kernel_statistic *out,
                                   size_t capacity, size_t *count, sl_diag *diag)
{
    const VkPipelineExecutableInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
        .pipeline = k->pipeline,
        .executableIndex = program,
    };
    uint32_t n = 0;
    VkPipelineExecutableStatisticKHR *list = NULL;
    VkResult r = k->dev->fn.GetPipelineExecutableStatisticsKHR(k->dev->handle, &info, &n, NULL);
    if (r == VK_SUCCESS && n) {
        list = sl_calloc(n, sizeof *list);
        if (!list) return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for %u statistics", n);
        for (uint32_t i = 0; i < n; i++)
            list[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
        r = k->dev->fn.GetPipelineExecutableStatisticsKHR(k->dev->handle, &info, &n, list);
    }
    for (uint32_t i = 0; list && r >= VK_SUCCESS && i < n; i++, ++*count) {
        if (*count >= capacity) continue;
        snprintf(out[*count].name, sizeof out->name, "%.63s", list[i].name);
        out[*count].value = number_of(&list[i]);
    }
    sl_free(list);
    return r >= VK_SUCCESS ? SL_OK
                           : sl_vk_fail(&k->dev->base.lost, r, diag, "vkGetPipelineExecutableStatisticsKHR");
}

sl_status sl_vk_kernel_statistics(sl_kernel *kernel, sl_kernel_statistic *out, size_t capacity,
                                  size_t *out_count, sl_diag *diag)
{
    sl_vk_kernel *k = (sl_vk_kernel *)kernel;
    if (!k->dev->kernel_statistics)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "device '%s' was not opened for statistics of kernels",
                       k->dev->base.info.name);
    const VkPipelineInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = k->pipeline};
    uint32_t programs = 0;
    const VkResult r = k->dev->fn.GetPipelineExecutablePropertiesKHR(k->dev->handle, &info, &programs, NULL);
    if (r < VK_SUCCESS)
        return sl_vk_fail(&k->dev->base.lost, r, diag, "vkGetPipelineExecutablePropertiesKHR");
    sl_status st = SL_OK;
    for (uint32_t i = 0; i < programs && st == SL_OK; i++)
        st = append_statistics(k, i, out, capacity, out_count, diag);
    return st;
}
