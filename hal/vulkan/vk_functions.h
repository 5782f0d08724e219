/* vk_functions.h - the Vulkan functions that the driver calls, as X-macro lists, and the tables made of them.
 * libvulkan is opened at run time, so nothing links against it. A function of a list SL_VK_*_OPTIONAL may be
 * NULL: its extension decides. */
#ifndef SL_HAL_VULKAN_VK_FUNCTIONS_H
#define SL_HAL_VULKAN_VK_FUNCTIONS_H

#include <vulkan/vulkan_core.h>

#define SL_VK_GLOBAL_FUNCTIONS(X)                                                                            \
    X(EnumerateInstanceVersion)                                                                              \
    X(EnumerateInstanceExtensionProperties)                                                                  \
    X(EnumerateInstanceLayerProperties)                                                                      \
    X(CreateInstance)

#define SL_VK_INSTANCE_FUNCTIONS(X)                                                                          \
    X(DestroyInstance)                                                                                       \
    X(EnumeratePhysicalDevices)                                                                              \
    X(GetPhysicalDeviceProperties)                                                                           \
    X(GetPhysicalDeviceProperties2)                                                                          \
    X(GetPhysicalDeviceFeatures2)                                                                            \
    X(GetPhysicalDeviceMemoryProperties2)                                                                    \
    X(GetPhysicalDeviceQueueFamilyProperties)                                                                \
    X(GetPhysicalDeviceExternalBufferProperties)                                                             \
    X(EnumerateDeviceExtensionProperties)                                                                    \
    X(CreateDevice)                                                                                          \
    X(GetDeviceProcAddr)

#ifdef VK_KHR_cooperative_matrix
#define SL_VK_MATRIX_FUNCTIONS(X) X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR)
#else
#define SL_VK_MATRIX_FUNCTIONS(X)
#endif

/* The time domain query is one function under two names (KHR, EXT); the loader of the table asks for both. */
#define SL_VK_INSTANCE_OPTIONAL(X)                                                                           \
    X(CreateDebugUtilsMessengerEXT)                                                                          \
    X(DestroyDebugUtilsMessengerEXT)                                                                         \
    X(GetPhysicalDeviceCalibrateableTimeDomainsEXT)                                                          \
    SL_VK_MATRIX_FUNCTIONS(X)

#define SL_VK_DEVICE_FUNCTIONS(X)                                                                            \
    X(DestroyDevice)                                                                                         \
    X(DeviceWaitIdle)                                                                                        \
    X(GetDeviceQueue)                                                                                        \
    X(QueueSubmit)                                                                                           \
    X(AllocateMemory)                                                                                        \
    X(FreeMemory)                                                                                            \
    X(MapMemory)                                                                                             \
    X(CreateBuffer)                                                                                          \
    X(DestroyBuffer)                                                                                         \
    X(GetBufferMemoryRequirements2)                                                                          \
    X(BindBufferMemory)                                                                                      \
    X(GetBufferDeviceAddress)                                                                                \
    X(CreateSemaphore)                                                                                       \
    X(DestroySemaphore)                                                                                      \
    X(GetSemaphoreCounterValue)                                                                              \
    X(SignalSemaphore)                                                                                       \
    X(WaitSemaphores)                                                                                        \
    X(CreateShaderModule)                                                                                    \
    X(DestroyShaderModule)                                                                                   \
    X(CreatePipelineLayout)                                                                                  \
    X(DestroyPipelineLayout)                                                                                 \
    X(CreateComputePipelines)                                                                                \
    X(DestroyPipeline)                                                                                       \
    X(CreatePipelineCache)                                                                                   \
    X(GetPipelineCacheData)                                                                                  \
    X(DestroyPipelineCache)                                                                                  \
    X(CreateCommandPool)                                                                                     \
    X(DestroyCommandPool)                                                                                    \
    X(ResetCommandPool)                                                                                      \
    X(AllocateCommandBuffers)                                                                                \
    X(BeginCommandBuffer)                                                                                    \
    X(EndCommandBuffer)                                                                                      \
    X(CmdBindPipeline)                                                                                       \
    X(CmdPushConstants)                                                                                      \
    X(CmdDispatch)                                                                                           \
    X(CmdCopyBuffer)                                                                                         \
    X(CmdFillBuffer)                                                                                         \
    X(CmdPipelineBarrier)                                                                                    \
    X(CmdResetQueryPool)                                                                                     \
    X(CmdWriteTimestamp)                                                                                     \
    X(CreateQueryPool)                                                                                       \
    X(DestroyQueryPool)                                                                                      \
    X(ResetQueryPool)                                                                                        \
    X(GetQueryPoolResults)

#define SL_VK_DEVICE_OPTIONAL(X)                                                                             \
    X(GetMemoryHostPointerPropertiesEXT)                                                                     \
    X(GetCalibratedTimestampsEXT)                                                                            \
    X(SetDebugUtilsObjectNameEXT)                                                                            \
    X(CmdBeginDebugUtilsLabelEXT)                                                                            \
    X(CmdEndDebugUtilsLabelEXT)                                                                              \
    X(GetPipelineExecutablePropertiesKHR)                                                                    \
    X(GetPipelineExecutableStatisticsKHR)

#define SL_VK_FIELD(name) PFN_vk##name name;

typedef struct sl_vk_global_fn {
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
    SL_VK_GLOBAL_FUNCTIONS(SL_VK_FIELD)
} sl_vk_global_fn;

typedef struct sl_vk_instance_fn {
    SL_VK_INSTANCE_FUNCTIONS(SL_VK_FIELD)
    SL_VK_INSTANCE_OPTIONAL(SL_VK_FIELD)
} sl_vk_instance_fn;

typedef struct sl_vk_device_fn {
    SL_VK_DEVICE_FUNCTIONS(SL_VK_FIELD)
    SL_VK_DEVICE_OPTIONAL(SL_VK_FIELD)
} sl_vk_device_fn;

#endif
