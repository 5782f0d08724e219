/* io_uring.c - the carrier over io_uring: one ring, one issuer, registered files and buffers where they can
 * be had.
 *
 * The ring is created disabled (IORING_SETUP_R_DISABLED) and enabled by the thread that first uses it: the
 * kernel then takes that thread for the single issuer. Liburing is included here only. */
#include "io/io_internal.h"

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/log.h"

#define CHUNK_BYTES (1ull << 30) /* the largest buffer that a ring takes */
#define MAX_BUFFERS 1024

typedef struct uring {
    struct io_uring ring;
    bool defer, file_table, buffer_table;
    bool buffer_used[MAX_BUFFERS];
    uint64_t registered_bytes;
} uring;

/* ---- does it work here ---- */

static sl_status probe_fail(int err, const char *what, sl_diag *diag)
{
    const char *why = "";
    if (err == EPERM || err == EACCES) why = " (blocked by seccomp or kernel.io_uring_disabled)";
    if (err == ENOSYS) why = " (not in this kernel, or blocked by seccomp)";
    if (err == ENOMEM) why = " (RLIMIT_MEMLOCK?)";
    return sl_fail(diag, SL_ERR_UNSUPPORTED, "io_uring does not work here: %s: %s%s", what, strerror(err),
                   why);
}

/* Newest set-up flags first; a kernel that does not know one says EINVAL. */
static int ring_open(unsigned entries, unsigned extra, struct io_uring *ring, unsigned *flags,
                     unsigned *features)
{
    static const unsigned sets[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN, /* Linux 6.1 */
        IORING_SETUP_COOP_TASKRUN,                                                           /* Linux 5.19 */
        0,
    };
    int ret = -EINVAL;
    for (size_t i = 0; i < SL_COUNTOF(sets) && ret == -EINVAL; i++) {
        struct io_uring_params p = {.flags = sets[i] | extra};
        ret = io_uring_queue_init_params(entries, ring, &p);
        *flags = sets[i];
        *features = p.features;
    }
    return ret;
}

static sl_status probe_read(struct io_uring *ring, int fd, sl_diag *diag)
{
    char byte = 0;
    struct io_uring_cqe *cqe = NULL;
    struct __kernel_timespec second = {.tv_sec = 1};
    io_uring_prep_read(io_uring_get_sqe(ring), fd, &byte, 1, 0);
    int ret = io_uring_submit(ring);
    if (ret < 0) return probe_fail(-ret, "io_uring_enter", diag);
    do
        ret = io_uring_wait_cqe_timeout(ring, &cqe, &second);
    while (ret == -EINTR);
    if (ret < 0) return probe_fail(-ret, "io_uring_enter", diag);
    ret = cqe->res;
    io_uring_cqe_seen(ring, cqe);
    if (ret < 0) return probe_fail(-ret, "a test read", diag);
    if (ret != 1 || byte != 'S') return probe_fail(EIO, "a test read gave something else", diag);
    return SL_OK;
}

sl_status sl_io_uring_probe(const sl_io_options *options, unsigned *out_flags, sl_diag *diag)
{
    sl_status st = SL_OK;
    struct io_uring ring;
    bool open = false;
    unsigned features = 0;
    int fd = -1;
    int ret = options->simulate_uring_errno ? -options->simulate_uring_errno
                                            : ring_open(4, 0, &ring, out_flags, &features);
    if (ret < 0) return probe_fail(-ret, "io_uring_setup", diag);
    open = true;
    if (!(features & IORING_FEAT_EXT_ARG))
        SL_TRY(sl_fail(diag, SL_ERR_UNSUPPORTED,
                       "io_uring does not work here: the kernel is older than Linux 5.11"));
    fd = memfd_create("sluice-probe", MFD_CLOEXEC);
    if (fd < 0 || write(fd, "S", 1) != 1) SL_TRY(probe_fail(errno, "memfd_create", diag));
    SL_TRY(probe_read(&ring, fd, diag));
cleanup:
    if (fd >= 0) close(fd);
    if (open) io_uring_queue_exit(&ring);
    return st;
}

/* ---- life ---- */

/* Empty tables that later files and buffers are put into one by one. Before Linux 5.13 there are none for
 * buffers and before 5.19 no sparse ones: then reads go without. */
static void tables_open(sl_io_engine *e, uring *u)
{
    int ret;
    if (e->options.no_registered_files) {
        snprintf(e->reason_files, sizeof e->reason_files, "registered files were switched off");
    } else if ((ret = io_uring_register_files_sparse(&u->ring, SL_IO_MAX_FILES)) < 0) {
        snprintf(e->reason_files, sizeof e->reason_files, "files cannot be registered: %s", strerror(-ret));
    } else {
        u->file_table = true;
    }
    if (e->options.no_registered_buffers) {
        snprintf(e->reason_buffers, sizeof e->reason_buffers, "registered buffers were switched off");
    } else if ((ret = io_uring_register_buffers_sparse(&u->ring, MAX_BUFFERS)) < 0) {
        snprintf(e->reason_buffers, sizeof e->reason_buffers, "buffers cannot be registered: %s",
                 strerror(-ret));
    } else {
        u->buffer_table = true;
    }
}

static sl_status uring_open(sl_io_engine *e, sl_diag *diag)
{
    unsigned flags = 0, features = 0;
    sl_status st = sl_io_uring_probe(&e->options, &flags, diag);
    if (st != SL_OK) return st;
    uring *u = sl_calloc(1, sizeof *u);
    if (!u) return sl_fail(diag, SL_ERR_NO_MEMORY, "io: no memory for a ring");
    const int ret = ring_open(e->options.depth, IORING_SETUP_R_DISABLED, &u->ring, &flags, &features);
    if (ret < 0) {
        sl_free(u);
        return probe_fail(-ret, "io_uring_setup", diag);
    }
    u->defer = flags & IORING_SETUP_DEFER_TASKRUN;
    e->reason_files[0] = e->reason_buffers[0] = '\0';
    e->carrier_state = u;
    tables_open(e, u);
    return SL_OK;
}

static sl_status uring_bind(sl_io_engine *e, sl_diag *diag)
{
    uring *u = e->carrier_state;
    /* By the system call: the shared liburing 2.3 declares io_uring_enable_rings and does not export it. */
    if (syscall(SYS_io_uring_register, u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
        return sl_fail_errno(diag, SL_ERR_IO, errno, "io: enabling the ring");
    return SL_OK;
}

static void uring_close(sl_io_engine *e)
{
    uring *u = e->carrier_state;
    if (!u) return;
    io_uring_queue_exit(&u->ring);
    sl_free(u);
    e->carrier_state = NULL;
}

/* ---- registration ---- */

static void uring_add_file(sl_io_engine *e, sl_io_file *f)
{
    uring *u = e->carrier_state;
    f->registered = false;
    if (!u->file_table) return;
    const int ret = io_uring_register_files_update(&u->ring, f->slot, &f->fd, 1);
    f->registered = ret == 1;
    if (!f->registered)
        snprintf(e->reason_files, sizeof e->reason_files, "a file cannot be registered: %s", strerror(-ret));
}

static void uring_remove_file(sl_io_engine *e, sl_io_file *f)
{
    uring *u = e->carrier_state;
    int none = -1;
    if (f->registered) io_uring_register_files_update(&u->ring, f->slot, &none, 1);
    f->registered = false;
}

/* `count` free neighbours in the table of buffers, or MAX_BUFFERS. */
static unsigned buffers_find(const uring *u, unsigned count)
{
    unsigned run = 0;
    for (unsigned i = 0; i < MAX_BUFFERS; i++) {
        run = u->buffer_used[i] ? 0 : run + 1;
        if (run == count) return i + 1 - count;
    }
    return MAX_BUFFERS;
}

static int buffer_set(uring *u, unsigned index, void *base, uint64_t size)
{
    const struct iovec v = {.iov_base = base, .iov_len = size};
    const __u64 tag = 0;
    const int ret = io_uring_register_buffers_update_tag(&u->ring, index, &v, &tag, 1);
    return ret < 0 ? ret : ret == 1 ? 0 : -EINVAL;
}

static void buffers_clear(uring *u, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        (void)buffer_set(u, i, NULL, 0);
        u->buffer_used[i] = false;
    }
}

/* All chunks of the arena or none. Returns 0 or -errno. */
static int arena_register(sl_io_engine *e, uring *u, sl_io_arena_slot *slot)
{
    const sl_io_arena *a = slot->arena;
    const uint64_t limit = e->options.simulate_memlock_bytes, chunks = sl_div_up(a->size, CHUNK_BYTES);
    if (limit && u->registered_bytes + a->size > limit) return -ENOMEM;
    if (chunks > MAX_BUFFERS) return -ENOBUFS;
    const unsigned first = buffers_find(u, (unsigned)chunks);
    if (first == MAX_BUFFERS) return -ENOBUFS;
    for (unsigned i = 0; i < chunks; i++) {
        const uint64_t at = i * CHUNK_BYTES;
        const int ret = buffer_set(u, first + i, a->base + at, SL_MIN(CHUNK_BYTES, a->size - at));
        if (ret < 0) {
            buffers_clear(u, first, i);
            return ret;
        }
        u->buffer_used[first + i] = true;
    }
    slot->first_buffer = first;
    slot->buffer_count = (unsigned)chunks;
    u->registered_bytes += a->size;
    return 0;
}

static void say_unregistered(sl_io_engine *e, const sl_io_arena *a, const uring *u, int err)
{
    struct rlimit r = {0};
    uint64_t limit = e->options.simulate_memlock_bytes;
    if (!limit) {
        getrlimit(RLIMIT_MEMLOCK, &r);
        limit = r.rlim_cur;
    }
    const double mib = 1.0 / (1 << 20);
    if (err == ENOMEM)
        snprintf(e->reason_buffers, sizeof e->reason_buffers,
                 "buffers of %.0f MiB exceed RLIMIT_MEMLOCK (%.0f MiB): `ulimit -l %llu` lets the ring keep "
                 "them pinned",
                 (double)(a->size + u->registered_bytes) * mib, (double)limit * mib,
                 (unsigned long long)((a->size + u->registered_bytes) / 1024));
    else
        snprintf(e->reason_buffers, sizeof e->reason_buffers, "buffers cannot be registered: %s",
                 strerror(err));
    sl_log(SL_LOG_INFO, "io: reading into unregistered memory (more CPU time a read): %s", e->reason_buffers);
}

static void uring_add_arena(sl_io_engine *e, sl_io_arena_slot *slot)
{
    uring *u = e->carrier_state;
    slot->registered = false;
    if (!u->buffer_table) return;
    const int ret = arena_register(e, u, slot);
    slot->registered = ret == 0;
    if (ret < 0) say_unregistered(e, slot->arena, u, -ret);
}

static void uring_remove_arena(sl_io_engine *e, sl_io_arena_slot *slot)
{
    uring *u = e->carrier_state;
    if (!slot->registered) return;
    buffers_clear(u, slot->first_buffer, slot->buffer_count);
    u->registered_bytes -= slot->arena->size;
    slot->registered = false;
}

/* Index of the registered buffer that holds all of [p, p + size), or -1. */
static int buffer_of(const sl_io_engine *e, const char *p, uint64_t size)
{
    for (unsigned i = 0; i < SL_IO_MAX_ARENAS; i++) {
        const sl_io_arena_slot *s = &e->arenas[i];
        if (!s->registered || p < s->arena->base || p >= s->arena->base + s->arena->size) continue;
        const uint64_t at = (uint64_t)(p - s->arena->base);
        if (size > s->arena->size - at || at / CHUNK_BYTES != (at + size - 1) / CHUNK_BYTES) return -1;
        return (int)(s->first_buffer + at / CHUNK_BYTES);
    }
    return -1;
}

/* ---- blocks ---- */

static void uring_start(sl_io_engine *e, sl_io_block *b)
{
    uring *u = e->carrier_state;
    /* Never NULL: the ring has at least depth entries, and no more blocks are out. */
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    const sl_io_file *f = b->request->read.file;
    const unsigned size = (unsigned)sl_io_block_left(b);
    char *dest = b->dest + b->done;
    const int fd = f->registered ? (int)f->slot : f->fd, buffer = buffer_of(e, dest, size);
    if (buffer >= 0)
        io_uring_prep_read_fixed(sqe, fd, dest, size, sl_io_block_at(b), buffer);
    else
        io_uring_prep_read(sqe, fd, dest, size, sl_io_block_at(b));
    if (f->registered) sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data(sqe, b);
}

/* What the kernel says when it could not take all: the entries stay queued, the next turn sends them. */
static bool is_transient(int err)
{
    return err == EINTR || err == ETIME || err == EAGAIN || err == EBUSY;
}

static sl_status ring_fail(int err, sl_diag *diag)
{
    return sl_fail_errno(diag, SL_ERR_IO, err, "io: io_uring_enter");
}

static sl_status uring_flush(sl_io_engine *e, sl_diag *diag)
{
    uring *u = e->carrier_state;
    if (!io_uring_sq_ready(&u->ring)) return SL_OK;
    const int ret = io_uring_submit(&u->ring);
    return ret < 0 && !is_transient(-ret) ? ring_fail(-ret, diag) : SL_OK;
}

static sl_status uring_turn(sl_io_engine *e, uint64_t timeout_ns, sl_diag *diag)
{
    uring *u = e->carrier_state;
    int ret = 0;
    if (timeout_ns) {
        struct io_uring_cqe *first;
        struct __kernel_timespec t = {.tv_sec = (long long)(timeout_ns / 1000000000u),
                                      .tv_nsec = (long long)(timeout_ns % 1000000000u)};
        ret = io_uring_submit_and_wait_timeout(&u->ring, &first, 1,
                                               timeout_ns == SL_IO_WAIT_FOREVER ? NULL : &t, NULL);
        if (ret == -EAGAIN || ret == -EBUSY) /* the kernel is out of memory for requests: give it time */
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    } else if (u->defer) {
        ret = io_uring_submit_and_get_events(&u->ring);
    } else {
        ret = io_uring_submit(&u->ring);
    }
    if (ret < 0 && !is_transient(-ret)) return ring_fail(-ret, diag);
    unsigned head, n = 0;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        sl_io_block_arrived(e, io_uring_cqe_get_data(cqe), cqe->res);
        n++;
    }
    io_uring_cq_advance(&u->ring, n);
    return SL_OK;
}

const sl_io_carrier sl_io_carrier_uring = {
    .name = "io_uring",
    .open = uring_open,
    .bind = uring_bind,
    .start = uring_start,
    .turn = uring_turn,
    .flush = uring_flush,
    .add_file = uring_add_file,
    .remove_file = uring_remove_file,
    .add_arena = uring_add_arena,
    .remove_arena = uring_remove_arena,
    .close = uring_close,
};
