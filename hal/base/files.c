#include "hal/base/files.h"

#include "hal/base/alloc.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool sl_make_directories(const char *path)
{
    char *copy = sl_strdup(path);
    if (!copy) return false;
    bool ok = *copy != 0;
    for (char *c = copy + 1; ok; c++) {
        const char end = *c;
        if (end != '/' && end != 0) continue;
        *c = 0;
        ok = mkdir(copy, 0777) == 0 || errno == EEXIST;
        *c = end;
        if (end == 0) break;
    }
    sl_free(copy);
    return ok;
}

static bool write_all(int fd, const void *data, size_t size)
{
    const uint8_t *at = data;
    while (size) {
        const ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

bool sl_replace_file(const char *path, const sl_bytes *parts, size_t count)
{
    const size_t size = strlen(path) + 8;
    char *temporary = sl_malloc(size);
    if (!temporary) {
        errno = ENOMEM;
        return false;
    }
    snprintf(temporary, size, "%s.XXXXXX", path);
    const int fd = mkstemp(temporary);
    bool good = fd >= 0;
    for (size_t i = 0; good && i < count; i++)
        good = write_all(fd, parts[i].data, parts[i].size);
    if (fd >= 0) good = close(fd) == 0 && good;
    good = good && rename(temporary, path) == 0;
    if (!good && fd >= 0) {
        const int why = errno;
        (void)unlink(temporary);
        errno = why;
    }
    sl_free(temporary);
    return good;
}
