/* vk_commands.c - recording. A command buffer has a pool of its own, so recording needs no lock. */
#include "hal/vulkan/vk_internal.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

static sl_vk_commands *commands_of(sl_commands *commands)
{
    return (sl_vk_commands *)commands;
}

static sl_status check_timestamps(sl_vk_device *dev, sl_queue queue, uint32_t flags, bool host_reset,
                                  sl_diag *diag)
{
    if (dev->probe.timestamp_bits[queue] == 0)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "the %s queue of this device has no timestamps",
                       queue == SL_QUEUE_COMPUTE ? "compute" : "transfer");
    if (!host_reset) return SL_OK;
    if (!dev->probe.wanted.v12.hostQueryReset)
        return sl_fail(diag, SL_ERR_UNSUPPORTED,
                       "timestamps on the transfer queue need the feature hostQueryReset");
    if (flags & SL_COMMANDS_CONCURRENT)
        return sl_fail(diag, SL_ERR_UNSUPPORTED,
                       "timestamps on the transfer queue cannot be pending more than once at a time");
    return SL_OK;
}

static VkResult make_objects(sl_vk_commands *c, uint32_t timestamps)
{
    sl_vk_device *dev = c->dev;
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .queueFamilyIndex = c->queue->family};
    VkResult r = dev->fn.CreateCommandPool(dev->handle, &pool, NULL, &c->pool);
    if (r != VK_SUCCESS) {
        c->pool = VK_NULL_HANDLE;
        return r;
    }
    const VkCommandBufferAllocateInfo buffer = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = c->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    r = dev->fn.AllocateCommandBuffers(dev->handle, &buffer, &c->handle);
    if (r != VK_SUCCESS || timestamps == 0) return r;
    const VkQueryPoolCreateInfo queries = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = timestamps,
    };
    r = dev->fn.CreateQueryPool(dev->handle, &queries, NULL, &c->queries);
    if (r != VK_SUCCESS) c->queries = VK_NULL_HANDLE;
    return r;
}

sl_status sl_vk_commands_create(sl_device *device, sl_queue queue, uint32_t flags, uint32_t timestamps,
                                const char *name, sl_commands **out, sl_diag *diag)
{
    sl_status st = SL_OK;
    sl_vk_device *dev = sl_vk_device_of(device);
    sl_vk_commands *c = sl_calloc(1, sizeof *c);
    if (!c) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a command buffer object");
        goto cleanup;
    }
    c->dev = dev;
    c->queue = dev->queue_of[queue];
    c->concurrent = (flags & SL_COMMANDS_CONCURRENT) != 0;
    c->base.device = device;
    c->base.queue = queue;
    c->base.timestamps = timestamps;
    if (timestamps) {
        /* Resetting queries is a command of compute queues only. */
        c->host_reset = !(c->queue->stages & VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT);
        SL_TRY(check_timestamps(dev, queue, flags, c->host_reset, diag));
    }
    const VkResult r = make_objects(c, timestamps);
    if (r != VK_SUCCESS) {
        st = sl_vk_fail(&dev->base.lost, r, diag, "making a command buffer");
        goto cleanup;
    }
    sl_vk_name(dev, VK_OBJECT_TYPE_COMMAND_BUFFER, (uint64_t)(uintptr_t)c->handle, name);
    *out = &c->base;
    c = NULL;
cleanup:
    if (c) sl_vk_commands_destroy(&c->base);
    return st;
}

void sl_vk_commands_destroy(sl_commands *commands)
{
    sl_vk_commands *c = commands_of(commands);
    if (!c) return;
    if (c->queries) c->dev->fn.DestroyQueryPool(c->dev->handle, c->queries, NULL);
    if (c->pool) c->dev->fn.DestroyCommandPool(c->dev->handle, c->pool, NULL); /* frees its buffer */
    sl_free(c);
}

static void global_barrier(sl_vk_commands *c, VkPipelineStageFlags from, VkAccessFlags written,
                           VkPipelineStageFlags to, VkAccessFlags accessed)
{
    const VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = written, .dstAccessMask = accessed};
    c->dev->fn.CmdPipelineBarrier(c->handle, from, to, 0, 1, &memory, 0, NULL, 0, NULL);
}

sl_status sl_vk_commands_begin(sl_commands *commands, sl_diag *diag)
{
    sl_vk_commands *c = commands_of(commands);
    sl_vk_device *dev = c->dev;
    c->dirty = false;
    c->open_labels = 0;
    c->bound = VK_NULL_HANDLE;
    VkResult r = dev->fn.ResetCommandPool(dev->handle, c->pool, 0);
    if (r != VK_SUCCESS) return sl_vk_fail(&dev->base.lost, r, diag, "vkResetCommandPool");
    const VkCommandBufferBeginInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = c->concurrent ? VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT : 0,
    };
    r = dev->fn.BeginCommandBuffer(c->handle, &info);
    if (r != VK_SUCCESS) return sl_vk_fail(&dev->base.lost, r, diag, "vkBeginCommandBuffer");
    if (c->queries && !c->host_reset)
        dev->fn.CmdResetQueryPool(c->handle, c->queries, 0, commands->timestamps);
    /* A submission makes visible only what the host wrote before it. A submission that waits for a semaphore
     * which the host raises later (a read that has arrived) needs this for what was written in between. */
    global_barrier(c, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_WRITE_BIT, c->queue->stages,
                   c->queue->reads | c->queue->writes);
    return SL_OK;
}

sl_status sl_vk_commands_end(sl_commands *commands, sl_diag *diag)
{
    sl_vk_commands *c = commands_of(commands);
    while (c->open_labels)
        sl_vk_commands_label(commands, NULL);
    if (c->dirty)
        global_barrier(c, c->queue->stages, c->queue->writes, VK_PIPELINE_STAGE_HOST_BIT,
                       VK_ACCESS_HOST_READ_BIT);
    const VkResult r = c->dev->fn.EndCommandBuffer(c->handle);
    if (r != VK_SUCCESS) return sl_vk_fail(&c->dev->base.lost, r, diag, "vkEndCommandBuffer");
    return SL_OK;
}

void sl_vk_commands_dispatch(sl_commands *commands, sl_kernel *kernel, const void *push,
                             const uint32_t groups[3])
{
    sl_vk_commands *c = commands_of(commands);
    const sl_vk_kernel *k = (const sl_vk_kernel *)kernel;
    if (c->bound != k->pipeline) {
        c->dev->fn.CmdBindPipeline(c->handle, VK_PIPELINE_BIND_POINT_COMPUTE, k->pipeline);
        c->bound = k->pipeline;
    }
    if (k->base.push_bytes)
        c->dev->fn.CmdPushConstants(c->handle, k->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, k->base.push_bytes,
                                    push);
    c->dev->fn.CmdDispatch(c->handle, groups[0], groups[1], groups[2]);
    c->dirty = true;
}

void sl_vk_commands_copy(sl_commands *commands, sl_buffer *source, uint64_t source_offset, sl_buffer *target,
                         uint64_t target_offset, uint64_t size_bytes)
{
    sl_vk_commands *c = commands_of(commands);
    const sl_vk_buffer *from = (const sl_vk_buffer *)source, *to = (const sl_vk_buffer *)target;
    const VkBufferCopy region = {
        .srcOffset = from->bias + source_offset,
        .dstOffset = to->bias + target_offset,
        .size = size_bytes,
    };
    c->dev->fn.CmdCopyBuffer(c->handle, from->handle, to->handle, 1, &region);
    c->dirty = true;
}

void sl_vk_commands_fill(sl_commands *commands, sl_buffer *target, uint64_t offset, uint64_t size_bytes,
                         uint32_t value)
{
    sl_vk_commands *c = commands_of(commands);
    const sl_vk_buffer *to = (const sl_vk_buffer *)target;
    c->dev->fn.CmdFillBuffer(c->handle, to->handle, to->bias + offset, size_bytes, value);
    c->dirty = true;
}

void sl_vk_commands_barrier(sl_commands *commands, sl_barrier barrier)
{
    sl_vk_commands *c = commands_of(commands);
    const sl_vk_queue *q = c->queue;
    if (barrier == SL_BARRIER_COMPUTE && (q->stages & VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT)) {
        global_barrier(c, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                       VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                       VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
        return;
    }
    global_barrier(c, q->stages, q->writes, q->stages | VK_PIPELINE_STAGE_HOST_BIT,
                   q->reads | q->writes | VK_ACCESS_HOST_READ_BIT);
    c->dirty = false;
}

void sl_vk_commands_timestamp(sl_commands *commands, uint32_t slot)
{
    sl_vk_commands *c = commands_of(commands);
    c->dev->fn.CmdWriteTimestamp(c->handle, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, c->queries, slot);
}

sl_status sl_vk_commands_read_timestamps(sl_commands *commands, uint32_t first, uint32_t count,
                                         uint64_t *out_ns, sl_diag *diag)
{
    sl_vk_commands *c = commands_of(commands);
    const VkResult r =
        c->dev->fn.GetQueryPoolResults(c->dev->handle, c->queries, first, count, count * sizeof *out_ns,
                                       out_ns, sizeof *out_ns, VK_QUERY_RESULT_64_BIT);
    if (r == VK_NOT_READY)
        return sl_fail(diag, SL_ERR_BUSY, "timestamps %u to %u are not all written: not recorded, or running",
                       first, first + count - 1);
    if (r != VK_SUCCESS) return sl_vk_fail(&c->dev->base.lost, r, diag, "vkGetQueryPoolResults");
    const uint32_t bits = c->dev->probe.timestamp_bits[commands->queue];
    const uint64_t mask = bits >= 64 ? UINT64_MAX : (1ull << bits) - 1;
    for (uint32_t i = 0; i < count; i++)
        out_ns[i] = sl_vk_ticks_to_ns(c->dev, out_ns[i] & mask);
    return SL_OK;
}

void sl_vk_commands_label(sl_commands *commands, const char *name)
{
    sl_vk_commands *c = commands_of(commands);
    if (!c->dev->fn.CmdBeginDebugUtilsLabelEXT || !c->dev->fn.CmdEndDebugUtilsLabelEXT) return;
    if (name) {
        const VkDebugUtilsLabelEXT label = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT,
                                            .pLabelName = name};
        c->dev->fn.CmdBeginDebugUtilsLabelEXT(c->handle, &label);
        c->open_labels++;
    } else if (c->open_labels) {
        c->dev->fn.CmdEndDebugUtilsLabelEXT(c->handle);
        c->open_labels--;
    }
}
