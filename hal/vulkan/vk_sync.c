/* vk_sync.c - timeline semaphores, submission, waiting, and the two clocks. */
#include "hal/vulkan/vk_internal.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

VkResult sl_vk_timeline(sl_vk_device *dev, uint64_t initial, VkSemaphore *out)
{
    const VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
        .initialValue = initial,
    };
    const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    const VkResult r = dev->fn.CreateSemaphore(dev->handle, &info, NULL, out);
    if (r != VK_SUCCESS) *out = VK_NULL_HANDLE;
    return r;
}

sl_status sl_vk_semaphore_create(sl_device *device, uint64_t initial, sl_semaphore **out, sl_diag *diag)
{
    sl_vk_device *dev = sl_vk_device_of(device);
    sl_vk_semaphore *s = sl_calloc(1, sizeof *s);
    if (!s) return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a semaphore object");
    const VkResult r = sl_vk_timeline(dev, initial, &s->handle);
    if (r != VK_SUCCESS) {
        sl_free(s);
        return sl_vk_fail(&dev->base.lost, r, diag, "vkCreateSemaphore");
    }
    s->dev = dev;
    s->base.device = device;
    *out = &s->base;
    return SL_OK;
}

/* Lavapipe's queue thread (seen in Mesa 22.3.6) lets go of the points of a timeline semaphore a moment after
 * the submission has signalled, and so after the host may have destroyed it: the thread then waits for ever
 * for a lock in freed memory. There, a semaphore is kept until SL_VK_RETIRED_SEMAPHORES more were destroyed.
 */
void sl_vk_semaphore_destroy(sl_semaphore *semaphore)
{
    sl_vk_semaphore *s = (sl_vk_semaphore *)semaphore;
    if (!s) return;
    sl_vk_device *dev = s->dev;
    VkSemaphore handle = s->handle;
    if (dev->probe.retires_semaphores) {
        pthread_mutex_lock(&dev->retired_lock);
        VkSemaphore *slot = &dev->retired[dev->retired_next++ % SL_VK_RETIRED_SEMAPHORES];
        const VkSemaphore oldest = *slot;
        *slot = handle;
        handle = oldest;
        pthread_mutex_unlock(&dev->retired_lock);
    }
    if (handle) dev->fn.DestroySemaphore(dev->handle, handle, NULL);
    sl_free(s);
}

sl_status sl_vk_semaphore_value(sl_semaphore *semaphore, uint64_t *out, sl_diag *diag)
{
    sl_vk_semaphore *s = (sl_vk_semaphore *)semaphore;
    const VkResult r = s->dev->fn.GetSemaphoreCounterValue(s->dev->handle, s->handle, out);
    if (r != VK_SUCCESS) return sl_vk_fail(&s->dev->base.lost, r, diag, "vkGetSemaphoreCounterValue");
    return SL_OK;
}

sl_status sl_vk_semaphore_signal(sl_semaphore *semaphore, uint64_t value, sl_diag *diag)
{
    sl_vk_semaphore *s = (sl_vk_semaphore *)semaphore;
    uint64_t now = 0;
    VkResult r = s->dev->fn.GetSemaphoreCounterValue(s->dev->handle, s->handle, &now);
    if (r != VK_SUCCESS) return sl_vk_fail(&s->dev->base.lost, r, diag, "vkGetSemaphoreCounterValue");
    if (value <= now)
        return sl_fail(diag, SL_ERR_ARGUMENT, "a semaphore at %llu cannot be signalled to %llu",
                       (unsigned long long)now, (unsigned long long)value);
    const VkSemaphoreSignalInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO, .semaphore = s->handle, .value = value};
    r = s->dev->fn.SignalSemaphore(s->dev->handle, &info);
    if (r != VK_SUCCESS) return sl_vk_fail(&s->dev->base.lost, r, diag, "vkSignalSemaphore");
    return SL_OK;
}

static VkResult wait_for(sl_vk_device *dev, VkSemaphore semaphore, uint64_t value, uint64_t timeout_ns)
{
    const VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &semaphore,
        .pValues = &value,
    };
    return dev->fn.WaitSemaphores(dev->handle, &info, timeout_ns);
}

sl_status sl_vk_semaphore_wait(sl_semaphore *semaphore, uint64_t value, uint64_t timeout_ns, sl_diag *diag)
{
    sl_vk_semaphore *s = (sl_vk_semaphore *)semaphore;
    const VkResult r = wait_for(s->dev, s->handle, value, timeout_ns);
    if (r == VK_TIMEOUT)
        return sl_fail(diag, SL_ERR_TIMEOUT, "a semaphore did not reach %llu within %llu ns",
                       (unsigned long long)value, (unsigned long long)timeout_ns);
    if (r != VK_SUCCESS) return sl_vk_fail(&s->dev->base.lost, r, diag, "vkWaitSemaphores");
    return SL_OK;
}

/* Resets the queries of command buffers whose queue family cannot do it itself. */
static void reset_queries(sl_vk_device *dev, const sl_submission *submission)
{
    for (uint32_t i = 0; i < submission->command_count; i++) {
        const sl_vk_commands *c = (const sl_vk_commands *)submission->commands[i];
        if (c->host_reset) dev->fn.ResetQueryPool(dev->handle, c->queries, 0, c->base.timestamps);
    }
}

sl_status sl_vk_queue_submit(sl_device *device, sl_queue queue, const sl_submission *submission,
                             sl_diag *diag)
{
    sl_vk_device *dev = sl_vk_device_of(device);
    sl_vk_queue *q = dev->queue_of[queue];
    VkSemaphore waits[SL_SUBMIT_POINTS_MAX], signals[SL_SUBMIT_POINTS_MAX];
    uint64_t wait_values[SL_SUBMIT_POINTS_MAX], signal_values[SL_SUBMIT_POINTS_MAX];
    VkPipelineStageFlags stages[SL_SUBMIT_POINTS_MAX];
    VkCommandBuffer buffers[SL_SUBMIT_COMMANDS_MAX];
    for (uint32_t i = 0; i < submission->wait_count; i++) {
        waits[i] = ((const sl_vk_semaphore *)submission->waits[i].semaphore)->handle;
        wait_values[i] = submission->waits[i].value;
        stages[i] = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    }
    for (uint32_t i = 0; i < submission->signal_count; i++) {
        signals[i] = ((const sl_vk_semaphore *)submission->signals[i].semaphore)->handle;
        signal_values[i] = submission->signals[i].value;
    }
    for (uint32_t i = 0; i < submission->command_count; i++) {
        const sl_vk_commands *c = (const sl_vk_commands *)submission->commands[i];
        buffers[i] = c->handle;
    }
    const VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = submission->wait_count,
        .pWaitSemaphoreValues = wait_values,
        .signalSemaphoreValueCount = submission->signal_count,
        .pSignalSemaphoreValues = signal_values,
    };
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .waitSemaphoreCount = submission->wait_count,
        .pWaitSemaphores = waits,
        .pWaitDstStageMask = stages,
        .commandBufferCount = submission->command_count,
        .pCommandBuffers = buffers,
        .signalSemaphoreCount = submission->signal_count,
        .pSignalSemaphores = signals,
    };
    reset_queries(dev, submission);
    pthread_mutex_lock(&q->lock);
    const VkResult r = dev->fn.QueueSubmit(q->handle, 1, &info, VK_NULL_HANDLE);
    pthread_mutex_unlock(&q->lock);
    if (r != VK_SUCCESS) return sl_vk_fail(&dev->base.lost, r, diag, "vkQueueSubmit");
    return SL_OK;
}

/* Signals the queue's own semaphore behind everything that it has. */
static VkResult mark_end(sl_vk_device *dev, sl_vk_queue *q, uint64_t *out_value)
{
    pthread_mutex_lock(&q->lock);
    const uint64_t value = q->idle_value + 1;
    const VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &value,
    };
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &q->idle,
    };
    const VkResult r = dev->fn.QueueSubmit(q->handle, 1, &info, VK_NULL_HANDLE);
    if (r == VK_SUCCESS) *out_value = q->idle_value = value;
    pthread_mutex_unlock(&q->lock);
    return r;
}

/* vkDeviceWaitIdle would need both queues locked while it waits, and then nobody could submit what pending
 * work waits for. Semaphores of the queues' own keep the locks short. */
sl_status sl_vk_device_wait_idle(sl_device *device, sl_diag *diag)
{
    sl_vk_device *dev = sl_vk_device_of(device);
    const uint32_t count = dev->queue_of[SL_QUEUE_COMPUTE] == dev->queue_of[SL_QUEUE_TRANSFER] ? 1 : 2;
    uint64_t value[2] = {0, 0};
    for (uint32_t i = 0; i < count; i++) {
        const VkResult r = mark_end(dev, &dev->queues[i], &value[i]);
        if (r != VK_SUCCESS) return sl_vk_fail(&dev->base.lost, r, diag, "vkQueueSubmit");
    }
    for (uint32_t i = 0; i < count; i++) {
        const VkResult r = wait_for(dev, dev->queues[i].idle, value[i], UINT64_MAX);
        if (r != VK_SUCCESS) return sl_vk_fail(&dev->base.lost, r, diag, "vkWaitSemaphores");
    }
    return SL_OK;
}

uint64_t sl_vk_ticks_to_ns(const sl_vk_device *dev, uint64_t ticks)
{
    const double period = dev->probe.info.caps.timestamp_period_ns;
    if (period == 1.0) return ticks;
    return (uint64_t)((long double)ticks * (long double)period);
}

sl_status sl_vk_device_calibrate(sl_device *device, uint64_t *out_device_ns, uint64_t *out_host_ns,
                                 sl_diag *diag)
{
    sl_vk_device *dev = sl_vk_device_of(device);
    if (!sl_caps_have(&dev->probe.info.caps, SL_CAP_CALIBRATED_TIME) || !dev->fn.GetCalibratedTimestampsEXT)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "this device does not relate its clock to the host's");
    const VkCalibratedTimestampInfoEXT infos[2] = {
        {.sType = VK_STRUCTURE_TYPE_CALIBRATED_TIMESTAMP_INFO_EXT, .timeDomain = VK_TIME_DOMAIN_DEVICE_EXT},
        {.sType = VK_STRUCTURE_TYPE_CALIBRATED_TIMESTAMP_INFO_EXT,
         .timeDomain = VK_TIME_DOMAIN_CLOCK_MONOTONIC_EXT},
    };
    uint64_t values[2] = {0, 0}, deviation = 0;
    const VkResult r = dev->fn.GetCalibratedTimestampsEXT(dev->handle, 2, infos, values, &deviation);
    if (r != VK_SUCCESS) return sl_vk_fail(&dev->base.lost, r, diag, "vkGetCalibratedTimestamps");
    *out_device_ns = sl_vk_ticks_to_ns(dev, values[0]);
    *out_host_ns = values[1];
    return SL_OK;
}
