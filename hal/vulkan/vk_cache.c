/* vk_cache.c - the pipeline cache on disk: <dir>/<device uuid>-<driver version>.pipelines.
 *
 * The file is a header of our own and the driver's data. Drivers differ in how they take damaged data, so
 * nothing reaches them that the checksum does not vouch for and whose Vulkan header names another device.
 * Whatever goes wrong is a warning and an empty cache: pipelines are then compiled again. */
#include "hal/vulkan/vk_internal.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/files.h"
#include "hal/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE_MAGIC     0x43504c53u /* "SLPC" */
#define CACHE_VERSION   1u
#define CACHE_BYTES_MAX (256u << 20)

/* Little endian as the host is: the file never leaves its machine. */
typedef struct cache_header {
    uint32_t magic, version;
    uint64_t bytes, checksum; /* of the driver's data, which follows */
} cache_header;

static uint64_t checksum_of(const uint8_t *data, size_t bytes)
{
    uint64_t h = 0xcbf29ce484222325ull; /* FNV-1a */
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ data[i]) * 0x100000001b3ull;
    return h;
}

static char *path_of(const sl_vk_device *dev, const char *dir)
{
    const sl_device_info *info = &dev->probe.info;
    char hex[33];
    for (size_t i = 0; i < sizeof info->uuid; i++)
        snprintf(hex + 2 * i, 3, "%02x", info->uuid[i]);
    const size_t size = strlen(dir) + sizeof hex + 32;
    char *path = sl_malloc(size);
    if (path) snprintf(path, size, "%s/%s-%08x.pipelines", dir, hex, info->driver_version);
    return path;
}

/* Reads exactly `bytes`; false at an error or an early end. */
static bool read_all(int fd, void *data, size_t bytes)
{
    uint8_t *at = data;
    while (bytes) {
        const ssize_t n = read(fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

/* Whether the driver's data says that it was made by this device and driver. */
static bool fits_device(const sl_vk_device *dev, const uint8_t *data, size_t bytes)
{
    uint32_t head[4];
    if (bytes < sizeof head + VK_UUID_SIZE) return false;
    memcpy(head, data, sizeof head);
    return head[0] >= sizeof head + VK_UUID_SIZE && head[0] <= bytes &&
           head[1] == VK_PIPELINE_CACHE_HEADER_VERSION_ONE && head[2] == dev->probe.info.vendor_id &&
           head[3] == dev->probe.info.device_id &&
           memcmp(data + sizeof head, dev->probe.cache_uuid, VK_UUID_SIZE) == 0;
}

/* The driver's data of the file, to be freed with sl_free; NULL (and why in *out_why, NULL when there is
 * simply no file) otherwise. */
static uint8_t *load(const sl_vk_device *dev, size_t *out_bytes, const char **out_why)
{
    cache_header header;
    uint8_t *data = NULL;
    bool good = false;
    *out_why = NULL;
    const int fd = open(dev->cache_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno != ENOENT) *out_why = strerror(errno);
        return NULL;
    }
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        *out_why = "it is not a file";
    else if (!read_all(fd, &header, sizeof header) || header.magic != CACHE_MAGIC)
        *out_why = "it is not a pipeline cache";
    else if (header.version != CACHE_VERSION)
        *out_why = "it is of another version";
    else if (header.bytes > CACHE_BYTES_MAX || (uint64_t)status.st_size != sizeof header + header.bytes)
        *out_why = "its size is wrong";
    else if (!(data = sl_malloc(header.bytes ? header.bytes : 1)))
        *out_why = "there is no memory to read it";
    else if (!read_all(fd, data, header.bytes))
        *out_why = "it cannot be read";
    else if (checksum_of(data, header.bytes) != header.checksum)
        *out_why = "its checksum is wrong";
    else if (!fits_device(dev, data, header.bytes))
        *out_why = "it was made by another device or driver";
    else
        good = true;
    close(fd);
    if (!good) {
        sl_free(data);
        return NULL;
    }
    *out_bytes = header.bytes;
    return data;
}

void sl_vk_cache_open(sl_vk_device *dev, const char *dir)
{
    const char *why = NULL;
    size_t bytes = 0;
    if (!sl_make_directories(dir))
        sl_log(SL_LOG_WARN, "pipeline cache: cannot make %s: %s", dir, strerror(errno));
    dev->cache_path = path_of(dev, dir);
    if (!dev->cache_path) return;
    uint8_t *data = load(dev, &bytes, &why);
    if (why) sl_log(SL_LOG_WARN, "pipeline cache: %s is ignored: %s", dev->cache_path, why);
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = data ? bytes : 0,
        .pInitialData = data,
    };
    VkResult r = dev->fn.CreatePipelineCache(dev->handle, &info, NULL, &dev->cache);
    if (r != VK_SUCCESS && data) {
        sl_log(SL_LOG_WARN, "pipeline cache: the driver refuses %s (%d)", dev->cache_path, (int)r);
        info.initialDataSize = bytes = 0;
        r = dev->fn.CreatePipelineCache(dev->handle, &info, NULL, &dev->cache);
    }
    if (r != VK_SUCCESS) {
        dev->cache = VK_NULL_HANDLE;
        sl_log(SL_LOG_WARN, "pipeline cache: the driver makes none (%d)", (int)r);
    }
    dev->cache_loaded_bytes = bytes;
    sl_free(data);
}

static void store(const sl_vk_device *dev, const uint8_t *data, size_t bytes)
{
    const cache_header header = {CACHE_MAGIC, CACHE_VERSION, bytes, checksum_of(data, bytes)};
    const sl_bytes parts[] = {{&header, sizeof header}, {data, bytes}};
    if (!sl_replace_file(dev->cache_path, parts, SL_COUNTOF(parts)))
        sl_log(SL_LOG_WARN, "pipeline cache: cannot write %s: %s", dev->cache_path, strerror(errno));
}

void sl_vk_cache_close(sl_vk_device *dev)
{
    size_t bytes = 0;
    uint8_t *data = NULL;
    if (dev->cache) {
        VkResult r = dev->fn.GetPipelineCacheData(dev->handle, dev->cache, &bytes, NULL);
        if (r == VK_SUCCESS && bytes > dev->cache_loaded_bytes && bytes <= CACHE_BYTES_MAX &&
            (data = sl_malloc(bytes))) {
            r = dev->fn.GetPipelineCacheData(dev->handle, dev->cache, &bytes, data);
            if (r == VK_SUCCESS) store(dev, data, bytes);
        }
        dev->fn.DestroyPipelineCache(dev->handle, dev->cache, NULL);
        dev->cache = VK_NULL_HANDLE;
    }
    sl_free(data);
    sl_free(dev->cache_path);
    dev->cache_path = NULL;
}
