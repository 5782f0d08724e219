/* io_arena.c - anonymous memory on huge pages, aligned for rings and for device import. */
#include "io/io_internal.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#define HUGE_BYTES (2u << 20)

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Reserved huge pages first: they cannot be split or swapped, and one is pinned in one step. */
static bool map_hugetlb(sl_io_arena *a)
{
    uint64_t size;
    if (!sl_checked_align(a->size, HUGE_BYTES, &size)) return false;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);
    if (p == MAP_FAILED) return false;
    a->map = p;
    a->map_size = size;
    a->base = p;
    a->pages = "hugetlb";
    return true;
}

/* Ordinary pages, aligned to a huge page so that the kernel can use transparent ones from the first byte on.
 */
static sl_status map_plain(sl_io_arena *a, bool huge, sl_diag *diag)
{
    const uint64_t alignment = huge ? HUGE_BYTES : SL_IO_ARENA_ALIGNMENT_BYTES;
    if (!sl_checked_add(a->size, alignment, &a->map_size) || a->map_size > SIZE_MAX)
        return sl_fail(diag, SL_ERR_OVERFLOW, "io: arena of %llu bytes", (unsigned long long)a->size);
    void *p = mmap(NULL, a->map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return sl_fail_errno(diag, SL_ERR_NO_MEMORY, errno, "io: arena of %llu bytes",
                             (unsigned long long)a->size);
    a->map = p;
    a->base = (char *)p + (sl_align_up((uintptr_t)p, alignment) - (uintptr_t)p);
    a->pages = huge && madvise(a->base, a->size, MADV_HUGEPAGE) == 0 ? "transparent huge" : "base";
    return SL_OK;
}

static sl_status populate(sl_io_arena *a, sl_diag *diag)
{
    if (madvise(a->base, a->size, MADV_POPULATE_WRITE) == 0) return SL_OK;
    if (errno != EINVAL)
        return sl_fail_errno(diag, SL_ERR_NO_MEMORY, errno, "io: backing an arena of %llu bytes with memory",
                             (unsigned long long)a->size);
    /* Linux before 5.14 */
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    for (uint64_t i = 0; i < a->size; i += page)
        *(volatile char *)(a->base + i) = 0;
    return SL_OK;
}

sl_status sl_io_arena_create(uint64_t size_bytes, unsigned flags, sl_io_arena **out, sl_diag *diag)
{
    sl_status st = SL_OK;
    sl_io_arena *a = NULL;
    *out = NULL;
    if (size_bytes == 0 || (flags & ~(unsigned)(SL_IO_ARENA_POPULATE | SL_IO_ARENA_NO_HUGE)))
        return sl_fail(diag, SL_ERR_ARGUMENT, "io: arena of %llu bytes with flags 0x%x",
                       (unsigned long long)size_bytes, flags);
    a = sl_calloc(1, sizeof *a);
    if (!a) return sl_fail(diag, SL_ERR_NO_MEMORY, "io: no memory for an arena");
    if (!sl_checked_align(size_bytes, SL_IO_ARENA_ALIGNMENT_BYTES, &a->size))
        SL_TRY(sl_fail(diag, SL_ERR_OVERFLOW, "io: arena of %llu bytes", (unsigned long long)size_bytes));
    const bool huge = !(flags & SL_IO_ARENA_NO_HUGE) && a->size >= HUGE_BYTES;
    if (!huge || !map_hugetlb(a)) SL_TRY(map_plain(a, huge, diag));
    if (flags & SL_IO_ARENA_POPULATE) SL_TRY(populate(a, diag));
    *out = a;
    a = NULL;
cleanup:
    sl_io_arena_destroy(a);
    return st;
}

void sl_io_arena_destroy(sl_io_arena *arena)
{
    if (!arena) return;
    if (arena->map) munmap(arena->map, arena->map_size);
    sl_free(arena);
}

void sl_io_arena_get_info(const sl_io_arena *arena, sl_io_arena_info *out)
{
    *out = (sl_io_arena_info){.base = arena->base, .size_bytes = arena->size, .pages = arena->pages};
}

static sl_io_arena_slot *slot_of(sl_io_engine *engine, const sl_io_arena *arena)
{
    for (unsigned i = 0; i < SL_IO_MAX_ARENAS; i++)
        if (engine->arenas[i].arena == arena) return &engine->arenas[i];
    return NULL;
}

sl_status sl_io_engine_add_arena(sl_io_engine *engine, sl_io_arena *arena, sl_diag *diag)
{
    sl_status st = sl_io_own(engine, false, diag);
    if (st != SL_OK) return st;
    if (!arena) return sl_fail(diag, SL_ERR_ARGUMENT, "io: arena is NULL");
    if (slot_of(engine, arena)) return sl_fail(diag, SL_ERR_ARGUMENT, "io: the arena was added before");
    sl_io_arena_slot *slot = slot_of(engine, NULL);
    if (!slot) return sl_fail(diag, SL_ERR_BUSY, "io: an engine takes %d arenas", SL_IO_MAX_ARENAS);
    *slot = (sl_io_arena_slot){.arena = arena};
    engine->carrier->add_arena(engine, slot);
    return SL_OK;
}

sl_status sl_io_engine_remove_arena(sl_io_engine *engine, sl_io_arena *arena, sl_diag *diag)
{
    sl_status st = sl_io_own(engine, false, diag);
    if (st != SL_OK) return st;
    sl_io_arena_slot *slot = arena ? slot_of(engine, arena) : NULL;
    if (!slot) return sl_fail(diag, SL_ERR_ARGUMENT, "io: the arena was not added to this engine");
    if ((st = sl_io_queue_settle(engine, NULL, arena->base, arena->size, diag)) != SL_OK) return st;
    engine->carrier->remove_arena(engine, slot);
    *slot = (sl_io_arena_slot){0};
    return SL_OK;
}
