/* files.h - small files that Sluice keeps for itself (caches).
 *
 * Errors: false, and errno says why. Threads: any. */
#ifndef SL_BASE_FILES_H
#define SL_BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>

/* Makes the folder and those above it; those that are there are fine. */
bool sl_make_directories(const char *path);

typedef struct sl_bytes {
    const void *data;
    size_t size;
} sl_bytes;

/* Writes the parts, one after another, beside `path` and renames: a reader sees the old file or the new one,
 * never half of one. */
bool sl_replace_file(const char *path, const sl_bytes *parts, size_t count);

#endif
