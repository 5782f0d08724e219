/* test_device.h - the device under test, and checks that print the diagnostic of a failed call.
 *
 * SLUICE_TEST_DEVICE names it: "cpu" (default), "null", "vulkan:N". A device that is not there skips the test
 * with the reason; one that is there and cannot be opened fails it. Include after cmocka.h. */
#ifndef SL_TEST_DEVICE_H
#define SL_TEST_DEVICE_H

#include "hal/hal.h"

/* Opens the device under test; the caller destroys it. Ends the test (skip or fail) when it can't. `options`
 * may be NULL. */
sl_device *sl_test_device_open(const sl_device_options *options);

/* The same, for tests that look at what commands computed or moved: skips on the null driver. */
sl_device *sl_test_device_open_computing(const sl_device_options *options);

/* Driver name ("cpu") and index of the device under test. */
const char *sl_test_device_driver(void);
uint32_t sl_test_device_index(void);

/* Submits one recording to its queue and waits for it. */
void sl_test_run(sl_device *device, sl_queue queue, sl_commands *commands);

/* A command buffer that is being recorded; sl_test_finish ends it. */
sl_commands *sl_test_begin(sl_device *device, sl_queue queue, uint32_t flags, uint32_t timestamps);
void sl_test_finish(sl_commands *commands);

sl_buffer *sl_test_buffer(sl_device *device, uint64_t size_bytes, sl_memory memory);
sl_semaphore *sl_test_semaphore(sl_device *device, uint64_t initial);
sl_kernel *sl_test_kernel(sl_device *device, const sl_kernel_desc *desc);

void sl_test_status(sl_status got, sl_status wanted, const sl_diag *diag, const char *what, const char *file,
                    int line);

/* `call` gives `wanted`, and fills the diagnostic accordingly. Uses a variable `diag` of the caller, which it
 * resets before. */
#define EXPECT_STATUS(wanted, call)                                                                          \
    do {                                                                                                     \
        diag = (sl_diag){0};                                                                                 \
        sl_test_status((call), (wanted), &diag, #call, __FILE__, __LINE__);                                  \
    } while (0)
#define EXPECT_OK(call) EXPECT_STATUS(SL_OK, call)

#endif
