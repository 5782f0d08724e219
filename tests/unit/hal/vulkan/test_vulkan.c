/* What is particular to the Vulkan driver; what every driver must do is in tests/conformance. Each test runs
 * on every Vulkan device that is present and usable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "build/gen/test_shaders.h"
#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "hal/base/log.h"
#include "hal/hal.h"
#include "hal/vulkan/vulkan.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICES_MAX 16
#define WORDS       1000u
#define WAIT_NS     UINT64_C(60000000000)

typedef struct affine_push {
    uint64_t source, target;
    uint32_t count, add;
} affine_push;

static const uint32_t affine_spec[2] = {7, 3};

static sl_kernel_desc affine_desc(void)
{
    return (sl_kernel_desc){
        .name = "affine",
        .spirv = sl_test_spirv_affine,
        .spirv_words = SL_COUNTOF(sl_test_spirv_affine),
        .push_bytes = sizeof(affine_push),
        .spec = affine_spec,
        .spec_count = 2,
    };
}

static _Atomic int warnings;

static void count_warnings(void *user, sl_log_level level, const char *line)
{
    (void)user;
    if (level == SL_LOG_WARN) warnings++;
    print_message("log: %s\n", line);
}

#define OK(call)                                                                                             \
    do {                                                                                                     \
        sl_diag diag = {0};                                                                                  \
        const sl_status got = (call);                                                                        \
        if (got != SL_OK) fail_msg("%s: %s: %s", #call, sl_status_name(got), diag.message);                  \
    } while (0)

static sl_device *open_device(uint32_t index, const sl_device_options *options)
{
    sl_device *device = NULL;
    OK(sl_device_create("vulkan", index, options, &device, &diag));
    return device;
}

/* Indices of the usable devices. Skips the test when there is none. */
static size_t usable_devices(uint32_t indices[DEVICES_MAX])
{
    static sl_device_info infos[DEVICES_MAX];
    size_t count = 0, usable = 0;
    OK(sl_hal_enumerate("vulkan", infos, DEVICES_MAX, &count, &diag));
    for (size_t i = 0; i < SL_MIN(count, DEVICES_MAX); i++)
        if (infos[i].usable) indices[usable++] = infos[i].index;
    if (usable == 0) {
        print_message("skipped: no usable Vulkan device\n");
        skip();
    }
    return usable;
}

static void run(sl_device *device, sl_queue queue, sl_commands *commands)
{
    sl_semaphore *done = NULL;
    OK(sl_semaphore_create(device, 0, &done, &diag));
    const sl_submission submission = {
        .commands = &commands,
        .command_count = 1,
        .signals = &(sl_semaphore_point){done, 1},
        .signal_count = 1,
    };
    OK(sl_queue_submit(device, queue, &submission, &diag));
    OK(sl_semaphore_wait(done, 1, WAIT_NS, &diag));
    sl_semaphore_destroy(done);
}

/* Runs kernel `affine` twice over WORDS words through device memory, with copies on both sides, and checks
 * all of them: ((i * 3 + 5) * 3 + 5). */
static void check_pipeline(sl_device *device, uint32_t subgroup_size)
{
    const uint64_t size = WORDS * sizeof(uint32_t);
    sl_buffer *up = NULL, *a = NULL, *b = NULL, *down = NULL;
    sl_kernel *kernel = NULL;
    sl_commands *commands = NULL;
    sl_kernel_desc desc = affine_desc();
    desc.subgroup_size = subgroup_size;
    OK(sl_buffer_create(device, size, SL_MEMORY_UPLOAD, "up", &up, &diag));
    OK(sl_buffer_create(device, size, SL_MEMORY_DEVICE, "a", &a, &diag));
    OK(sl_buffer_create(device, size, SL_MEMORY_DEVICE, "b", &b, &diag));
    OK(sl_buffer_create(device, size, SL_MEMORY_READBACK, "down", &down, &diag));
    OK(sl_kernel_create(device, &desc, &kernel, &diag));
    OK(sl_commands_create(device, SL_QUEUE_COMPUTE, 0, 0, "affine twice", &commands, &diag));
    uint32_t *in = sl_buffer_map(up);
    for (uint32_t i = 0; i < WORDS; i++)
        in[i] = i;
    affine_push there = {sl_buffer_address(a), sl_buffer_address(b), WORDS, 5},
                back = {sl_buffer_address(b), sl_buffer_address(a), WORDS, 5};
    OK(sl_commands_begin(commands, &diag));
    sl_commands_label(commands, "copy in");
    sl_commands_copy(commands, up, 0, a, 0, size);
    sl_commands_label(commands, NULL);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_commands_label(commands, "left open on purpose");
    sl_commands_dispatch(commands, kernel, &there, (WORDS + 63) / 64, 1, 1);
    sl_commands_barrier(commands, SL_BARRIER_COMPUTE);
    sl_commands_dispatch(commands, kernel, &back, (WORDS + 63) / 64, 1, 1);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    sl_commands_copy(commands, a, 0, down, 0, size);
    OK(sl_commands_end(commands, &diag));
    run(device, SL_QUEUE_COMPUTE, commands);
    const uint32_t *out = sl_buffer_map(down);
    for (uint32_t i = 0; i < WORDS; i++)
        assert_int_equal(out[i], (i * 3 + 5) * 3 + 5);
    sl_commands_destroy(commands);
    sl_kernel_destroy(kernel);
    sl_buffer_destroy(down);
    sl_buffer_destroy(b);
    sl_buffer_destroy(a);
    sl_buffer_destroy(up);
}

static void test_enumerate(void **state)
{
    (void)state;
    static sl_device_info infos[DEVICES_MAX];
    size_t count = 0, again = 0;
    OK(sl_hal_enumerate("vulkan", infos, DEVICES_MAX, &count, &diag));
    OK(sl_hal_enumerate("vulkan", NULL, 0, &again, &diag));
    assert_int_equal(count, again);
    for (size_t i = 0; i < SL_MIN(count, DEVICES_MAX); i++) {
        const sl_device_info *info = &infos[i];
        print_message("vulkan:%zu %s, %s: features 0x%llx, %u matrix shapes, %u units%s%s\n", i, info->name,
                      info->version, (unsigned long long)info->caps.features, info->caps.matrix_shape_count,
                      info->caps.compute_units, info->usable ? "" : ", refused: ", info->refused);
        assert_int_equal(info->index, i);
        assert_string_equal(info->driver, "vulkan");
        assert_true(info->name[0] != 0 && info->version[0] != 0);
        assert_int_equal(info->usable, info->refused[0] == 0);
        if (!info->usable) continue;
        assert_true(sl_caps_have(&info->caps, SL_CAP_SPIRV));
        assert_false(sl_caps_have(&info->caps, SL_CAP_HOST_FN));
        assert_true(info->caps.max_push_bytes >= SL_PUSH_BYTES_MAX);
        assert_true(info->caps.subgroup_min <= info->caps.subgroup_size);
        assert_true(info->caps.subgroup_size <= info->caps.subgroup_max);
        assert_true(info->caps.max_buffer_bytes > 0 && info->caps.device_bytes > 0);
    }
}

/* No driver at all: not an error, and the reason is told. */
static void test_no_driver(void **state)
{
    (void)state;
    const char *names[] = {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"};
    char *saved[2];
    size_t count = 99;
    sl_diag diag = {0};
    sl_device *device = NULL;
    for (int i = 0; i < 2; i++) {
        const char *value = getenv(names[i]);
        saved[i] = value ? sl_strdup(value) : NULL;
        setenv(names[i], "/nonexistent.json", 1);
    }
    assert_int_equal(sl_hal_enumerate("vulkan", NULL, 0, &count, &diag), SL_OK);
    assert_int_equal(count, 0);
    assert_true(diag.message[0] != 0);
    assert_int_equal(sl_device_create("vulkan", 0, NULL, &device, &diag), SL_ERR_NOT_FOUND);
    assert_null(device);
    for (int i = 0; i < 2; i++) {
        if (saved[i])
            setenv(names[i], saved[i], 1);
        else
            unsetenv(names[i]);
        sl_free(saved[i]);
    }
}

static void test_no_such_device(void **state)
{
    (void)state;
    sl_device *device = NULL;
    sl_diag diag = {0};
    assert_int_equal(sl_device_create("vulkan", 1000, NULL, &device, &diag), SL_ERR_NOT_FOUND);
    assert_true(diag.message[0] != 0);
}

static void test_subgroup_sizes(void **state)
{
    (void)state;
    uint32_t indices[DEVICES_MAX];
    const size_t count = usable_devices(indices);
    for (size_t i = 0; i < count; i++) {
        sl_device *device = open_device(indices[i], NULL);
        const sl_device_caps *caps = &sl_device_get_info(device)->caps;
        check_pipeline(device, 0);
        if (sl_caps_have(caps, SL_CAP_SUBGROUP_SIZE))
            for (uint32_t size = caps->subgroup_min; size <= caps->subgroup_max; size *= 2)
                check_pipeline(device, size);
        sl_device_destroy(device);
    }
}

/* ---- The pipeline cache file ---- */

/* The one file of `dir`; false when there is none. */
static bool only_file(const char *dir, char *path, size_t size)
{
    DIR *d = opendir(dir);
    bool found = false;
    if (!d) return false;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        assert_false(found); /* no second file: nothing temporary is left */
        snprintf(path, size, "%s/%s", dir, e->d_name);
        found = true;
    }
    closedir(d);
    return found;
}

static size_t read_file(const char *path, uint8_t *data, size_t capacity)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t n = fread(data, 1, capacity, f);
    fclose(f);
    return n;
}

static void write_file(const char *path, const uint8_t *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    fclose(f);
}

/* Opens with the cache, computes, closes; returns how many warnings that gave. */
static int cached_run(uint32_t index, const char *dir)
{
    const int before = warnings;
    sl_device *device = open_device(index, &(sl_device_options){.cache_dir = dir});
    check_pipeline(device, 0);
    sl_device_destroy(device);
    return warnings - before;
}

static void damage_and_run(uint32_t index, const char *dir, const char *path, const uint8_t *good,
                           size_t bytes)
{
    static uint8_t bad[8 << 20], after[8 << 20];
    const size_t flips[] = {0, 4, 8, 16, 24, 24 + 8, bytes - 1};
    const size_t lengths[] = {0, 1, 23, 24, bytes - 1};
    for (size_t i = 0; i < SL_COUNTOF(flips); i++) {
        memcpy(bad, good, bytes);
        bad[flips[i]] ^= 0x41;
        write_file(path, bad, bytes);
        assert_int_equal(cached_run(index, dir), 1);
        assert_int_equal(cached_run(index, dir), 0); /* a good one took its place */
    }
    for (size_t i = 0; i < SL_COUNTOF(lengths); i++) {
        write_file(path, good, lengths[i]);
        assert_int_equal(cached_run(index, dir), 1);
        assert_true(read_file(path, after, sizeof after) > 24);
    }
    memcpy(bad, good, bytes);
    memset(bad + bytes, 0, 64); /* longer than it says */
    write_file(path, bad, bytes + 64);
    assert_int_equal(cached_run(index, dir), 1);
    assert_int_equal(cached_run(index, dir), 0);
}

static void test_cache_file(void **state)
{
    (void)state;
    static uint8_t good[8 << 20];
    uint32_t indices[DEVICES_MAX];
    const size_t count = usable_devices(indices);
    sl_log_set(SL_LOG_WARN, count_warnings, NULL);
    for (size_t i = 0; i < count; i++) {
        char root[] = "/tmp/sluice-cache-XXXXXX", dir[64], nested[64], path[512];
        assert_non_null(mkdtemp(root));
        snprintf(nested, sizeof nested, "%s/a", root);
        snprintf(dir, sizeof dir, "%s/a/b", root); /* made when missing */
        assert_int_equal(cached_run(indices[i], dir), 0);
        assert_true(only_file(dir, path, sizeof path));
        const size_t bytes = read_file(path, good, sizeof good);
        assert_true(bytes > 24 && bytes < sizeof good - 64);
        assert_int_equal(cached_run(indices[i], dir), 0);
        damage_and_run(indices[i], dir, path, good, bytes);
        assert_true(only_file(dir, path, sizeof path));
        unlink(path);
        assert_int_equal(mkdir(path, 0777), 0); /* a folder in its place */
        assert_true(cached_run(indices[i], dir) >= 1);
        rmdir(path);
        assert_true(cached_run(indices[i], "/proc/no-such-folder/cache") >= 1);
        assert_false(only_file(dir, path, sizeof path));
        rmdir(dir);
        rmdir(nested);
        rmdir(root);
    }
    sl_log_set(SL_LOG_WARN, NULL, NULL);
}

/* ---- Threads ---- */

typedef struct maker {
    sl_device *device;
    pthread_t thread;
    int made;
} maker;

static void *make_kernels(void *argument)
{
    maker *m = argument;
    for (uint32_t i = 0; i < 8; i++) {
        sl_kernel_desc desc = affine_desc();
        const uint32_t spec[2] = {7, i + 1};
        sl_kernel *kernel = NULL;
        desc.spec = spec;
        if (sl_kernel_create(m->device, &desc, &kernel, NULL) == SL_OK) m->made++;
        sl_kernel_destroy(kernel);
    }
    return NULL;
}

static void test_kernels_from_threads(void **state)
{
    (void)state;
    uint32_t indices[DEVICES_MAX];
    const size_t count = usable_devices(indices);
    for (size_t i = 0; i < count; i++) {
        maker makers[4] = {{0}};
        sl_device *device = open_device(indices[i], NULL);
        for (size_t t = 0; t < SL_COUNTOF(makers); t++) {
            makers[t].device = device;
            assert_int_equal(pthread_create(&makers[t].thread, NULL, make_kernels, &makers[t]), 0);
        }
        for (size_t t = 0; t < SL_COUNTOF(makers); t++) {
            pthread_join(makers[t].thread, NULL);
            assert_int_equal(makers[t].made, 8);
        }
        sl_device_destroy(device);
    }
}

typedef struct late {
    sl_semaphore *gate;
    uint32_t *words;
} late;

static void *open_gate(void *argument)
{
    const late *l = argument;
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    l->words[0] = 0x5a5a5a5au;
    return sl_semaphore_signal(l->gate, 1, NULL) == SL_OK ? argument : NULL;
}

/* A copy that waits for the host sees what the host wrote after the submission, and wait_idle does not keep
 * the host from opening the gate. */
static void test_host_opens_gate(void **state)
{
    (void)state;
    uint32_t indices[DEVICES_MAX];
    const size_t count = usable_devices(indices);
    for (size_t i = 0; i < count; i++) {
        sl_device *device = open_device(indices[i], NULL);
        sl_buffer *up = NULL, *down = NULL;
        sl_commands *commands = NULL;
        late l = {0};
        pthread_t thread;
        void *result = NULL;
        OK(sl_buffer_create(device, 4, SL_MEMORY_UPLOAD, NULL, &up, &diag));
        OK(sl_buffer_create(device, 4, SL_MEMORY_READBACK, NULL, &down, &diag));
        OK(sl_semaphore_create(device, 0, &l.gate, &diag));
        OK(sl_commands_create(device, SL_QUEUE_TRANSFER, 0, 0, NULL, &commands, &diag));
        OK(sl_commands_begin(commands, &diag));
        sl_commands_copy(commands, up, 0, down, 0, 4);
        OK(sl_commands_end(commands, &diag));
        l.words = sl_buffer_map(up);
        l.words[0] = 1;
        const sl_submission submission = {
            .waits = &(sl_semaphore_point){l.gate, 1},
            .wait_count = 1,
            .commands = &commands,
            .command_count = 1,
        };
        OK(sl_queue_submit(device, SL_QUEUE_TRANSFER, &submission, &diag));
        assert_int_equal(pthread_create(&thread, NULL, open_gate, &l), 0);
        OK(sl_device_wait_idle(device, &diag));
        assert_int_equal(*(uint32_t *)sl_buffer_map(down), 0x5a5a5a5au);
        pthread_join(thread, &result);
        assert_non_null(result);
        sl_commands_destroy(commands);
        sl_semaphore_destroy(l.gate);
        sl_buffer_destroy(down);
        sl_buffer_destroy(up);
        sl_device_destroy(device);
    }
}

/* ---- Memory ---- */

static void test_addresses_and_report(void **state)
{
    (void)state;
    uint32_t indices[DEVICES_MAX];
    const size_t count = usable_devices(indices);
    for (size_t i = 0; i < count; i++) {
        sl_device *device = open_device(indices[i], NULL);
        sl_buffer *buffers[12] = {NULL};
        sl_memory_report report;
        for (size_t b = 0; b < SL_COUNTOF(buffers); b++) {
            const sl_memory memory = b % 3 == 0   ? SL_MEMORY_DEVICE
                                     : b % 3 == 1 ? SL_MEMORY_UPLOAD
                                                  : SL_MEMORY_READBACK;
            OK(sl_buffer_create(device, 1 + 4099 * b, memory, "address", &buffers[b], &diag));
            assert_int_equal(sl_buffer_address(buffers[b]) % 256, 0);
            assert_int_equal(sl_buffer_map(buffers[b]) == NULL, memory == SL_MEMORY_DEVICE);
        }
        sl_device_memory(device, &report);
        if (sl_caps_have(&sl_device_get_info(device)->caps, SL_CAP_MEMORY_BUDGET))
            assert_true(report.driver_budget_bytes > 0);
        for (size_t b = 0; b < SL_COUNTOF(buffers); b++)
            sl_buffer_destroy(buffers[b]);
        sl_device_destroy(device);
    }
}

static void test_device_time(void **state)
{
    (void)state;
    uint32_t indices[DEVICES_MAX], tested = 0;
    const size_t count = usable_devices(indices);
    for (size_t i = 0; i < count; i++) {
        sl_device *device = open_device(indices[i], NULL);
        const sl_device_caps *caps = &sl_device_get_info(device)->caps;
        if (sl_caps_have(caps, SL_CAP_CALIBRATED_TIME)) {
            uint64_t device_ns[2], host_ns[2];
            const uint64_t before = sl_now_ns();
            OK(sl_device_calibrate(device, &device_ns[0], &host_ns[0], &diag));
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
            OK(sl_device_calibrate(device, &device_ns[1], &host_ns[1], &diag));
            assert_true(host_ns[0] >= before && host_ns[1] <= sl_now_ns());
            const double ratio = (double)(device_ns[1] - device_ns[0]) / (double)(host_ns[1] - host_ns[0]);
            if (ratio < 0.9 || ratio > 1.1) fail_msg("the clocks run at a ratio of %g", ratio);
            tested++;
        }
        sl_device_destroy(device);
    }
    if (!tested) {
        print_message("skipped: no device has calibrated timestamps\n");
        skip();
    }
}

/* ---- Validation ---- */

/* A correct program gives no message; a missing barrier gives one, which is counted. */
static void test_validation_counts(void **state)
{
    (void)state;
    uint32_t indices[DEVICES_MAX];
    const size_t count = usable_devices(indices);
    const sl_device_options options = {.validation = true};
    sl_diag diag = {0};
    sl_device *device = NULL;
    const sl_status st = sl_device_create("vulkan", indices[0], &options, &device, &diag);
    if (st != SL_OK) { /* asked for and absent is an error, never ignored */
        assert_int_equal(st, SL_ERR_UNSUPPORTED);
        assert_non_null(strstr(diag.message, "VK_LAYER_KHRONOS_validation"));
        print_message("skipped: %s\n", diag.message);
        skip();
    }
    sl_device_destroy(device);
    for (size_t i = 0; i < count; i++) {
        sl_buffer *buffer = NULL;
        sl_commands *commands = NULL;
        const uint64_t before = sl_vulkan_validation_messages();
        device = open_device(indices[i], &options);
        check_pipeline(device, 0);
        assert_int_equal(sl_vulkan_validation_messages(), before);
        sl_log_set(SL_LOG_WARN, count_warnings, NULL);
        OK(sl_buffer_create(device, 64, SL_MEMORY_DEVICE, "hazard", &buffer, &diag));
        OK(sl_commands_create(device, SL_QUEUE_COMPUTE, 0, 0, "hazard", &commands, &diag));
        OK(sl_commands_begin(commands, &diag));
        sl_commands_fill(commands, buffer, 0, 64, 1);
        sl_commands_fill(commands, buffer, 0, 64, 2);
        OK(sl_commands_end(commands, &diag));
        assert_true(sl_vulkan_validation_messages() > before);
        sl_log_set(SL_LOG_WARN, NULL, NULL);
        sl_commands_destroy(commands);
        sl_buffer_destroy(buffer);
        sl_device_destroy(device);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* first: drivers that were found once stay loaded */
        cmocka_unit_test(test_no_driver),       cmocka_unit_test(test_enumerate),
        cmocka_unit_test(test_no_such_device),  cmocka_unit_test(test_subgroup_sizes),
        cmocka_unit_test(test_cache_file),      cmocka_unit_test(test_kernels_from_threads),
        cmocka_unit_test(test_host_opens_gate), cmocka_unit_test(test_addresses_and_report),
        cmocka_unit_test(test_device_time),     cmocka_unit_test(test_validation_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
