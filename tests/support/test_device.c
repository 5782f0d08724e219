#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_NS UINT64_C(300000000000) /* drivers of CPUs compile when they first run a kernel */

static const char *device_text(void)
{
    const char *text = getenv("SLUICE_TEST_DEVICE");
    return text && *text ? text : "cpu";
}

const char *sl_test_device_driver(void)
{
    static char name[32];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(device_text(), ":"), device_text());
    return name;
}

uint32_t sl_test_device_index(void)
{
    const char *colon = strchr(device_text(), ':');
    return colon ? (uint32_t)strtoul(colon + 1, NULL, 10) : 0;
}

sl_device *sl_test_device_open(const sl_device_options *options)
{
    sl_diag diag = {0};
    size_t count = 0;
    sl_device *device = NULL;
    sl_status st = sl_hal_enumerate(sl_test_device_driver(), NULL, 0, &count, &diag);
    if (st != SL_OK) fail_msg("enumerate %s: %s", sl_test_device_driver(), diag.message);
    if (sl_test_device_index() >= count) {
        print_message("skipped: %s is not there (%zu devices) %s\n", device_text(), count, diag.message);
        skip();
    }
    st = sl_device_create(sl_test_device_driver(), sl_test_device_index(), options, &device, &diag);
    if (st != SL_OK) fail_msg("device %s: %s: %s", device_text(), sl_status_name(st), diag.message);
    return device;
}

sl_device *sl_test_device_open_computing(const sl_device_options *options)
{
    if (strcmp(sl_test_device_driver(), "null") == 0) {
        print_message("skipped: the null driver computes nothing\n");
        skip();
    }
    return sl_test_device_open(options);
}

void sl_test_status(sl_status got, sl_status wanted, const sl_diag *diag, const char *what, const char *file,
                    int line)
{
    if (got == wanted && (got == SL_OK || (diag->code == got && diag->message[0] && diag->file))) return;
    print_error("%s:\n  gave '%s', wanted '%s'; diagnostic: '%s' '%s'\n", what, sl_status_name(got),
                sl_status_name(wanted), sl_status_name(diag->code), diag->message);
    _fail(file, line);
}

void sl_test_run(sl_device *device, sl_queue queue, sl_commands *commands)
{
    sl_diag diag;
    sl_semaphore *done = sl_test_semaphore(device, 0);
    const sl_submission submission = {
        .commands = &commands,
        .command_count = 1,
        .signals = &(sl_semaphore_point){done, 1},
        .signal_count = 1,
    };
    EXPECT_OK(sl_queue_submit(device, queue, &submission, &diag));
    EXPECT_OK(sl_semaphore_wait(done, 1, WAIT_NS, &diag));
    sl_semaphore_destroy(done);
}

sl_commands *sl_test_begin(sl_device *device, sl_queue queue, uint32_t flags, uint32_t timestamps)
{
    sl_diag diag;
    sl_commands *commands;
    EXPECT_OK(sl_commands_create(device, queue, flags, timestamps, "test", &commands, &diag));
    EXPECT_OK(sl_commands_begin(commands, &diag));
    return commands;
}

void sl_test_finish(sl_commands *commands)
{
    sl_diag diag;
    EXPECT_OK(sl_commands_end(commands, &diag));
}

sl_buffer *sl_test_buffer(sl_device *device, uint64_t size_bytes, sl_memory memory)
{
    sl_diag diag;
    sl_buffer *buffer;
    EXPECT_OK(sl_buffer_create(device, size_bytes, memory, "test", &buffer, &diag));
    return buffer;
}

sl_semaphore *sl_test_semaphore(sl_device *device, uint64_t initial)
{
    sl_diag diag;
    sl_semaphore *semaphore;
    EXPECT_OK(sl_semaphore_create(device, initial, &semaphore, &diag));
    return semaphore;
}

sl_kernel *sl_test_kernel(sl_device *device, const sl_kernel_desc *desc)
{
    sl_diag diag;
    sl_kernel *kernel;
    EXPECT_OK(sl_kernel_create(device, desc, &kernel, &diag));
    return kernel;
}
