/* vulkan.h - what the Vulkan driver offers beside hal.h: a count for tests. */
#ifndef SL_HAL_VULKAN_VULKAN_H
#define SL_HAL_VULKAN_VULKAN_H

#include <stdint.h>

/* How many messages (errors and warnings) the validation layers have sent since the process began, over all
 * devices. Each was also logged with SL_LOG_ERROR. The layers are on for a device that was created with
 * sl_device_options.validation or while the environment variable SLUICE_VALIDATION was "1".
 * Threads: any. */
uint64_t sl_vulkan_validation_messages(void);

#endif
