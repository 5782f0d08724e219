/* vk_kernel.c - SPIR-V to a compute pipeline. There are no descriptors: a layout is one push constant range.
 */
#include "hal/vulkan/vk_internal.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

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
