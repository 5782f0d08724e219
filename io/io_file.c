/* io_file.c - files opened for direct reads, and whether they are still what they were. */
#include "io/io_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/log.h"

static int64_t mtime_of(const struct stat *s)
{
    return (int64_t)s->st_mtim.tv_sec * 1000000000 + s->st_mtim.tv_nsec;
}

static sl_status fail_open(const char *path, int err, sl_diag *diag)
{
    const bool missing = err == ENOENT || err == ENOTDIR;
    return sl_fail_errno(diag, missing ? SL_ERR_NOT_FOUND : SL_ERR_IO, err, "%s: cannot open", path);
}

/* What direct reads of `fd` must be aligned to; 0: the file system cannot do them. */
static uint32_t direct_alignment(int fd)
{
    uint32_t alignment = 4096;
#ifdef STATX_DIOALIGN
    struct statx x;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) == 0 && (x.stx_mask & STATX_DIOALIGN)) {
        if (x.stx_dio_offset_align == 0) return 0;
        alignment = SL_MAX(x.stx_dio_offset_align, x.stx_dio_mem_align);
    }
#endif
    /* Arenas promise no more than their own alignment. */
    if ((alignment & (alignment - 1)) || alignment > SL_IO_ARENA_ALIGNMENT_BYTES) return 0;
    return alignment;
}

/* Some file systems accept the flag and refuse the read: try one. Only refusals count; whatever else is wrong
 * with the file shows in the reads that matter. */
static sl_status direct_try(sl_io_file *f, uint32_t alignment, sl_diag *diag)
{
    void *bounce = sl_aligned_alloc(alignment, alignment);
    if (!bounce) return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for a test read", f->path);
    ssize_t n;
    do
        n = pread(f->fd, bounce, alignment, 0);
    while (n < 0 && errno == EINTR);
    f->direct = n >= 0 || (errno != EINVAL && errno != EOPNOTSUPP);
    sl_free(bounce);
    return SL_OK;
}

/* Leaves f->fd at -1 where the file system refuses direct reads, and warns once. */
static sl_status open_direct(sl_io_engine *engine, sl_io_file *f, sl_diag *diag)
{
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (f->fd < 0 && errno != EINVAL) return fail_open(f->path, errno, diag);
    if (f->fd >= 0) {
        const uint32_t alignment = direct_alignment(f->fd);
        const sl_status st = alignment ? direct_try(f, alignment, diag) : SL_OK;
        if (st != SL_OK) return st;
        if (f->direct) {
            f->alignment = alignment;
            return SL_OK;
        }
        close(f->fd);
        f->fd = -1;
    }
    if (!engine->direct_warned)
        sl_log(SL_LOG_WARN, "io: %s: the file system refuses direct reads, reading through the page cache",
               f->path);
    engine->direct_warned = true;
    return SL_OK;
}

static sl_status open_fd(sl_io_engine *engine, sl_io_file *f, sl_diag *diag)
{
    struct stat s;
    /* Before open: opening a pipe would wait for a writer. */
    if (stat(f->path, &s) != 0) return fail_open(f->path, errno, diag);
    if (!S_ISREG(s.st_mode)) return sl_fail(diag, SL_ERR_FORMAT, "%s: not a regular file", f->path);
    f->alignment = 1;
    if (!engine->options.no_direct) {
        const sl_status st = open_direct(engine, f, diag);
        if (st != SL_OK) return st;
    }
    if (f->fd < 0) f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0) return fail_open(f->path, errno, diag);
    if (fstat(f->fd, &s) != 0) return sl_fail_errno(diag, SL_ERR_IO, errno, "%s: fstat", f->path);
    if (!S_ISREG(s.st_mode)) return sl_fail(diag, SL_ERR_FORMAT, "%s: not a regular file", f->path);
    f->size = (uint64_t)s.st_size;
    f->inode = s.st_ino;
    f->device = s.st_dev;
    f->mtime_ns = mtime_of(&s);
    return SL_OK;
}

static void file_free(sl_io_file *f)
{
    if (!f) return;
    if (f->fd >= 0) close(f->fd);
    sl_free(f->path);
    sl_free(f);
}

sl_status sl_io_file_open(sl_io_engine *engine, const char *path, sl_io_file **out, sl_diag *diag)
{
    sl_io_file *f = NULL;
    unsigned slot = 0;
    *out = NULL;
    sl_status st = sl_io_own(engine, false, diag);
    if (st != SL_OK) return st;
    if (!path) return sl_fail(diag, SL_ERR_ARGUMENT, "io: path is NULL");
    while (slot < SL_IO_MAX_FILES && engine->files[slot])
        slot++;
    if (slot == SL_IO_MAX_FILES)
        return sl_fail(diag, SL_ERR_BUSY, "%s: an engine opens %d files at most", path, SL_IO_MAX_FILES);
    f = sl_calloc(1, sizeof *f);
    if (!f) return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for a file", path);
    f->engine = engine;
    f->fd = -1;
    f->slot = slot;
    f->path = sl_strdup(path);
    if (!f->path) SL_TRY(sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for a file", path));
    SL_TRY(open_fd(engine, f, diag));
    engine->files[slot] = f;
    engine->carrier->add_file(engine, f);
    *out = f;
    f = NULL;
cleanup:
    file_free(f);
    return st;
}

void sl_io_file_close(sl_io_file *file)
{
    if (!file) return;
    sl_io_engine *engine = file->engine;
    sl_diag why;
    sl_io_queue_cancel(engine, file);
    if (sl_io_queue_settle(engine, file, NULL, 0, &why) != SL_OK)
        sl_log(SL_LOG_ERROR, "io: %s: closed while reads are in flight: %s", file->path, why.message);
    sl_io_queue_drop(engine, file);
    engine->carrier->remove_file(engine, file);
    engine->files[file->slot] = NULL;
    file_free(file);
}

void sl_io_file_get_info(const sl_io_file *file, sl_io_file_info *out)
{
    *out = (sl_io_file_info){
        .path = file->path,
        .size_bytes = file->size,
        .mtime_ns = file->mtime_ns,
        .inode = file->inode,
        .device = file->device,
        .alignment_bytes = file->alignment,
        .direct = file->direct,
        .registered = file->registered,
    };
}

sl_status sl_io_file_check(const sl_io_file *file, sl_diag *diag)
{
    struct stat s;
    if (fstat(file->fd, &s) != 0) return sl_fail_errno(diag, SL_ERR_IO, errno, "%s: fstat", file->path);
    if ((uint64_t)s.st_size < file->size)
        return sl_fail(diag, SL_ERR_TRUNCATED, "%s: size is %llu bytes now, was %llu when opened", file->path,
                       (unsigned long long)s.st_size, (unsigned long long)file->size);
    if ((uint64_t)s.st_size != file->size || mtime_of(&s) != file->mtime_ns)
        return sl_fail(diag, SL_ERR_TRUNCATED, "%s: was written to while in use", file->path);
    if (stat(file->path, &s) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return sl_fail_errno(diag, SL_ERR_NOT_FOUND, errno, "%s: was deleted while in use", file->path);
        return sl_fail_errno(diag, SL_ERR_IO, errno, "%s: stat", file->path);
    }
    if (s.st_ino != file->inode || s.st_dev != file->device)
        return sl_fail(diag, SL_ERR_TRUNCATED, "%s: was replaced by another file while in use", file->path);
    return SL_OK;
}
