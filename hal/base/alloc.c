#include "hal/base/alloc.h"

#include "hal/base/checked.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t alloc_count;
static _Atomic uint64_t fail_at; /* value of alloc_count that fails; 0: none */

static bool refused(void)
{
    uint64_t n = atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed) + 1;
    return atomic_load_explicit(&fail_at, memory_order_relaxed) == n;
}

void sl_alloc_fail_at(uint64_t n)
{
    atomic_store(&fail_at, n ? atomic_load(&alloc_count) + n : 0);
}

uint64_t sl_alloc_count(void)
{
    return atomic_load(&alloc_count);
}

void *sl_malloc(size_t size)
{
    return refused() ? NULL : malloc(size ? size : 1);
}

void *sl_calloc(size_t count, size_t size)
{
    return refused() ? NULL : calloc(count ? count : 1, size ? size : 1);
}

void *sl_realloc(void *old, size_t count, size_t size)
{
    uint64_t bytes;
    if (!sl_checked_mul(count, size, &bytes) || bytes > SIZE_MAX || refused()) return NULL;
    return realloc(old, bytes ? (size_t)bytes : 1);
}

void *sl_aligned_alloc(size_t alignment, size_t size)
{
    uint64_t bytes;
    if (!sl_checked_align(size ? size : 1, alignment, &bytes) || bytes > SIZE_MAX || refused()) return NULL;
    return aligned_alloc(alignment, (size_t)bytes);
}

char *sl_strndup(const char *text, size_t length)
{
    char *copy = length < SIZE_MAX ? sl_malloc(length + 1) : NULL;
    if (!copy) return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *sl_strdup(const char *text)
{
    return sl_strndup(text, strlen(text));
}

void sl_free(void *pointer)
{
    free(pointer);
}
