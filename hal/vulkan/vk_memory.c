/* vk_memory.c - buffers: one VkBuffer with an allocation of its own each (the engine makes few, large ones).
 */
#include "hal/vulkan/vk_internal.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <string.h>

#define ADDRESS_ALIGNMENT 256u /* promised by sl_buffer_create */
#define SIZE_GRANULARITY  16u  /* so that a shader's widest load may touch the last bytes */

#define USAGE                                                                                                \
    (VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |                                 \
     VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT)

/* Only types with no flag beside these are taken: protected, lazily allocated and uncached device memory
 * have rules of their own. */
#define PLAIN_FLAGS                                                                                          \
    (VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |                             \
     VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT)

typedef struct memory_wish {
    VkMemoryPropertyFlags must, like, dislike;
} memory_wish;

static memory_wish wish_of(sl_memory memory)
{
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                visible = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                          VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                                cached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    switch (memory) {
    case SL_MEMORY_DEVICE:
        return (memory_wish){.must = local, .dislike = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT};
    case SL_MEMORY_DEVICE_MAPPED:
        return (memory_wish){.must = local | visible};
    case SL_MEMORY_UPLOAD:
        return (memory_wish){.must = visible, .dislike = local};
    case SL_MEMORY_READBACK:
    default:
        return (memory_wish){.must = visible, .like = cached, .dislike = local};
    }
}

/* The first type of `allowed` with all flags of `must`, with most of `like` and least of `dislike`: a liked
 * flag weighs more than a disliked one. Equal ones: the larger heap, then the driver's order. UINT32_MAX:
 * none.
 */
static uint32_t choose_type(const VkPhysicalDeviceMemoryProperties *memory, uint32_t allowed,
                            memory_wish wish)
{
    uint32_t best = UINT32_MAX;
    int best_score = 0;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
        const VkMemoryPropertyFlags flags = memory->memoryTypes[i].propertyFlags;
        if (!(allowed & (1u << i)) || (flags & wish.must) != wish.must || (flags & ~PLAIN_FLAGS)) continue;
        const int score =
            2 * __builtin_popcount(flags & wish.like) - __builtin_popcount(flags & wish.dislike);
        const bool larger =
            best != UINT32_MAX && memory->memoryHeaps[memory->memoryTypes[i].heapIndex].size >
                                      memory->memoryHeaps[memory->memoryTypes[best].heapIndex].size;
        if (best == UINT32_MAX || score > best_score || (score == best_score && larger)) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

void sl_vk_device_memory(sl_device *device, sl_memory_report *report)
{
    sl_vk_device *dev = sl_vk_device_of(device);
    if (!dev->probe.ext.memory_budget) return;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
    dev->instance.fn.GetPhysicalDeviceMemoryProperties2(dev->probe.handle, &memory);
    report->driver_budget_bytes = budget.heapBudget[dev->probe.device_heap];
    report->driver_used_bytes = budget.heapUsage[dev->probe.device_heap];
}

static VkResult make_handle(sl_vk_buffer *b, uint64_t size_bytes, const void *chain)
{
    sl_vk_device *dev = b->dev;
    const uint32_t families[2] = {dev->probe.compute_family, dev->probe.transfer_family};
    const bool shared = families[0] != families[1];
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .pNext = chain,
        .size = size_bytes,
        .usage = USAGE,
        .sharingMode = shared ? VK_SHARING_MODE_CONCURRENT : VK_SHARING_MODE_EXCLUSIVE,
        .queueFamilyIndexCount = shared ? 2 : 0,
        .pQueueFamilyIndices = families,
    };
    const VkResult r = dev->fn.CreateBuffer(dev->handle, &info, NULL, &b->handle);
    if (r != VK_SUCCESS) b->handle = VK_NULL_HANDLE;
    return r;
}

static void requirements_of(const sl_vk_buffer *b, VkMemoryRequirements *out, bool *out_dedicated)
{
    const VkBufferMemoryRequirementsInfo2 info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_MEMORY_REQUIREMENTS_INFO_2, .buffer = b->handle};
    VkMemoryDedicatedRequirements dedicated = {.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_REQUIREMENTS};
    VkMemoryRequirements2 have = {.sType = VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2, .pNext = &dedicated};
    b->dev->fn.GetBufferMemoryRequirements2(b->dev->handle, &info, &have);
    *out = have.memoryRequirements;
    *out_dedicated = dedicated.prefersDedicatedAllocation || dedicated.requiresDedicatedAllocation;
}

/* Allocates memory of `type` for b->handle and binds it. `import` may be NULL. */
static sl_status back(sl_vk_buffer *b, uint64_t allocation_bytes, uint32_t type, bool dedicated,
                      VkImportMemoryHostPointerInfoEXT *import, sl_diag *diag)
{
    sl_vk_device *dev = b->dev;
    VkMemoryAllocateFlagsInfo flags = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .pNext = import,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    const VkMemoryDedicatedAllocateInfo own = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO, .pNext = &flags, .buffer = b->handle};
    const VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = dedicated ? (const void *)&own : (const void *)&flags,
        .allocationSize = allocation_bytes,
        .memoryTypeIndex = type,
    };
    VkResult r = dev->fn.AllocateMemory(dev->handle, &info, NULL, &b->memory);
    if (r != VK_SUCCESS) {
        b->memory = VK_NULL_HANDLE;
        (void)sl_vk_fail(&dev->base.lost, r, diag, "vkAllocateMemory");
        if (diag)
            sl_diag_prefix(diag, "%llu bytes of memory type %u", (unsigned long long)allocation_bytes, type);
        return sl_vk_fail(NULL, r, NULL, "");
    }
    r = dev->fn.BindBufferMemory(dev->handle, b->handle, b->memory, 0);
    if (r != VK_SUCCESS) return sl_vk_fail(&dev->base.lost, r, diag, "vkBindBufferMemory");
    return SL_OK;
}

static uint64_t address_of(const sl_vk_buffer *b)
{
    const VkBufferDeviceAddressInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                            .buffer = b->handle};
    return b->dev->fn.GetBufferDeviceAddress(b->dev->handle, &info);
}

static void release(sl_vk_buffer *b)
{
    sl_vk_device *dev = b->dev;
    if (b->handle) dev->fn.DestroyBuffer(dev->handle, b->handle, NULL);
    if (b->memory) dev->fn.FreeMemory(dev->handle, b->memory, NULL); /* unmaps */
    b->handle = VK_NULL_HANDLE;
    b->memory = VK_NULL_HANDLE;
}

/* Makes handle and memory with `slack` bytes in front of the buffer, for the address. */
static sl_status make(sl_vk_buffer *b, uint64_t size_bytes, sl_memory memory, uint64_t slack, sl_diag *diag)
{
    sl_vk_device *dev = b->dev;
    VkMemoryRequirements need;
    bool dedicated;
    uint64_t whole;
    if (!sl_checked_add(size_bytes, slack, &whole) || !sl_checked_align(whole, SIZE_GRANULARITY, &whole))
        return sl_fail(diag, SL_ERR_OVERFLOW, "a buffer of %llu bytes", (unsigned long long)size_bytes);
    whole = SL_MIN(whole, SL_MAX(dev->probe.info.caps.max_buffer_bytes, size_bytes));
    const VkResult r = make_handle(b, whole, NULL);
    if (r != VK_SUCCESS) return sl_vk_fail(&dev->base.lost, r, diag, "vkCreateBuffer");
    requirements_of(b, &need, &dedicated);
    const uint32_t type = choose_type(&dev->probe.memory, need.memoryTypeBits, wish_of(memory));
    if (type == UINT32_MAX)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "this device has no memory type for sl_memory %d",
                       (int)memory);
    return back(b, need.size, type, dedicated, NULL, diag);
}

sl_status sl_vk_buffer_create(sl_device *device, uint64_t size_bytes, sl_memory memory, const char *name,
                              sl_buffer **out, sl_diag *diag)
{
    sl_status st = SL_OK;
    sl_vk_device *dev = sl_vk_device_of(device);
    sl_vk_buffer *b = NULL;
    b = sl_calloc(1, sizeof *b);
    if (!b) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a buffer object");
        goto cleanup;
    }
    b->dev = dev;
    SL_TRY(make(b, size_bytes, memory, 0, diag));
    uint64_t address = address_of(b);
    if (address % ADDRESS_ALIGNMENT) { /* drivers that align less: once more, with room to move */
        release(b);
        SL_TRY(make(b, size_bytes, memory, ADDRESS_ALIGNMENT, diag));
        address = address_of(b);
        b->bias = sl_align_up(address, ADDRESS_ALIGNMENT) - address;
        address += b->bias;
    }
    b->base.device = device;
    b->base.size_bytes = size_bytes;
    b->base.address = address;
    b->base.memory = memory;
    if (memory != SL_MEMORY_DEVICE) {
        void *mapped = NULL;
        const VkResult r = dev->fn.MapMemory(dev->handle, b->memory, 0, VK_WHOLE_SIZE, 0, &mapped);
        if (r != VK_SUCCESS) {
            st = sl_vk_fail(&dev->base.lost, r, diag, "vkMapMemory");
            goto cleanup;
        }
        b->base.mapped = (char *)mapped + b->bias;
    }
    sl_vk_name(dev, VK_OBJECT_TYPE_BUFFER, (uint64_t)(uintptr_t)b->handle, name);
    sl_vk_name(dev, VK_OBJECT_TYPE_DEVICE_MEMORY, (uint64_t)(uintptr_t)b->memory, name);
    *out = &b->base;
    b = NULL;
cleanup:
    if (b) sl_vk_buffer_destroy(&b->base);
    return st;
}

/* The memory type through which the device sees `pointer`: coherent, or the promise of sl_buffer_import
 * (no copy, no flush) cannot be kept. */
static sl_status import_type(sl_vk_device *dev, const void *pointer, uint32_t allowed, uint32_t *out,
                             sl_diag *diag)
{
    VkMemoryHostPointerPropertiesEXT have = {.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
    const VkResult r = dev->fn.GetMemoryHostPointerPropertiesEXT(
        dev->handle, VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT, pointer, &have);
    if (r != VK_SUCCESS) return sl_vk_fail(&dev->base.lost, r, diag, "vkGetMemoryHostPointerPropertiesEXT");
    const memory_wish wish = {
        .must = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
        .like = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
    };
    *out = choose_type(&dev->probe.memory, have.memoryTypeBits & allowed, wish);
    if (*out == UINT32_MAX)
        return sl_fail(diag, SL_ERR_UNSUPPORTED,
                       "the driver imports this memory through no coherent memory type (types 0x%x of 0x%x)",
                       have.memoryTypeBits, allowed);
    return SL_OK;
}

sl_status sl_vk_buffer_import(sl_device *device, void *pointer, uint64_t size_bytes, const char *name,
                              sl_buffer **out, sl_diag *diag)
{
    sl_status st = SL_OK;
    sl_vk_device *dev = sl_vk_device_of(device);
    sl_vk_buffer *b = NULL;
    VkMemoryRequirements need;
    bool dedicated;
    uint32_t type = UINT32_MAX;
    const VkExternalMemoryBufferCreateInfo external = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
        .handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
    };
    VkImportMemoryHostPointerInfoEXT import = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
        .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
        .pHostPointer = pointer,
    };
    if (size_bytes > dev->probe.info.caps.max_buffer_bytes) {
        st = sl_fail(diag, SL_ERR_UNSUPPORTED, "import of %llu bytes: this device takes at most %llu at once",
                     (unsigned long long)size_bytes,
                     (unsigned long long)dev->probe.info.caps.max_buffer_bytes);
        goto cleanup;
    }
    b = sl_calloc(1, sizeof *b);
    if (!b) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a buffer object");
        goto cleanup;
    }
    b->dev = dev;
    const VkResult r = make_handle(b, size_bytes, &external);
    if (r != VK_SUCCESS) {
        st = sl_vk_fail(&dev->base.lost, r, diag, "vkCreateBuffer for an import");
        goto cleanup;
    }
    requirements_of(b, &need, &dedicated);
    if (need.size > size_bytes) {
        st = sl_fail(diag, SL_ERR_UNSUPPORTED, "the driver wants %llu bytes for an import of %llu",
                     (unsigned long long)need.size, (unsigned long long)size_bytes);
        goto cleanup;
    }
    SL_TRY(import_type(dev, pointer, need.memoryTypeBits, &type, diag));
    SL_TRY(back(b, size_bytes, type, dedicated, &import, diag));
    b->base.device = device;
    b->base.size_bytes = size_bytes;
    b->base.address = address_of(b);
    b->base.mapped = pointer;
    b->base.memory = SL_MEMORY_UPLOAD;
    b->base.imported = true;
    sl_vk_name(dev, VK_OBJECT_TYPE_BUFFER, (uint64_t)(uintptr_t)b->handle, name);
    *out = &b->base;
    b = NULL;
cleanup:
    if (b) sl_vk_buffer_destroy(&b->base);
    return st;
}

void sl_vk_buffer_destroy(sl_buffer *buffer)
{
    sl_vk_buffer *b = (sl_vk_buffer *)buffer;
    if (!b) return;
    release(b);
    sl_free(b);
}
