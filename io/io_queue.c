/* io_queue.c - requests and blocks: what is read, in which order, how often, and how it ends.
 *
 * A request waits in `issue` until it is cut into blocks; blocks go to the carrier while depth and
 * max_in_flight_bytes allow; a block that comes back may be altered by the fault hook, held (to be late or
 * out of order), tried again (short, EINTR, EAGAIN) or is done; the request is finished when its last block
 * is. All of it runs inside the owner's calls. Tables are of fixed size, so nothing is allocated after
 * sl_io_engine_create. */
#include "io/io_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"

/* ---- tables and lists ---- */

sl_status sl_io_queue_create(sl_io_engine *e, sl_diag *diag)
{
    const size_t n = e->options.max_requests;
    e->requests = sl_calloc(n + 1, sizeof *e->requests);
    e->blocks = sl_calloc(e->options.depth, sizeof *e->blocks);
    if (!e->requests || !e->blocks)
        return sl_fail(diag, SL_ERR_NO_MEMORY, "io: no memory for %zu requests and %u blocks", n,
                       e->options.depth);
    for (size_t i = n; i-- > 0;) {
        e->requests[i].next = e->free_requests;
        e->free_requests = &e->requests[i];
    }
    e->sync_request = &e->requests[n];
    e->free_count = n;
    for (uint32_t i = e->options.depth; i-- > 0;) {
        e->blocks[i].next = e->free_blocks;
        e->free_blocks = &e->blocks[i];
    }
    return SL_OK;
}

void sl_io_queue_destroy(sl_io_engine *e)
{
    sl_free(e->requests);
    sl_free(e->blocks);
    sl_free(e->bounce);
    e->requests = NULL;
    e->blocks = NULL;
}

static void list_push(sl_io_request_list *list, sl_io_request *r)
{
    r->next = NULL;
    if (list->tail)
        list->tail->next = r;
    else
        list->head = r;
    list->tail = r;
}

static sl_io_request *list_pop(sl_io_request_list *list)
{
    sl_io_request *r = list->head;
    if (!r) return NULL;
    list->head = r->next;
    if (!list->head) list->tail = NULL;
    r->next = NULL;
    return r;
}

static void request_free(sl_io_engine *e, sl_io_request *r)
{
    r->live = false;
    if (r->sync) return;
    r->next = e->free_requests;
    e->free_requests = r;
    e->free_count++;
    e->live_count--;
}

static void block_free(sl_io_engine *e, sl_io_block *b)
{
    e->out_blocks--;
    e->out_bytes -= b->length;
    b->request = NULL;
    b->next = e->free_blocks;
    e->free_blocks = b;
}

/* ---- ends of blocks and requests ---- */

static void request_finish(sl_io_engine *e, sl_io_request *r)
{
    assert(!r->queued && r->blocks_out == 0 && !r->done);
    r->done = true;
    e->counters.requests++;
    if (r->status != SL_OK) e->counters.failed++;
    if (!r->sync) list_push(&e->finished, r);
}

static void request_finish_if_over(sl_io_engine *e, sl_io_request *r)
{
    if (r->blocks_out == 0 && !r->queued && !r->done) request_finish(e, r);
}

/* Of several failures the lowest place in the file counts, so that everything before it is known good. */
static void request_fail(sl_io_engine *e, sl_io_request *r, sl_status status, int sys_errno, uint64_t offset)
{
    if (r->status == SL_OK || offset < r->error_offset) {
        /* A real failure is not hidden by the cancelling that it may have caused. */
        if (r->status == SL_OK || r->status == SL_ERR_CANCELLED || status != SL_ERR_CANCELLED) {
            r->status = status;
            r->sys_errno = sys_errno;
        }
        r->error_offset = offset;
    }
    if (r->queued) {
        /* Only the first request of the queue can have blocks that fail. */
        assert(e->issue.head == r);
        list_pop(&e->issue);
        r->queued = false;
    }
}

static void block_end(sl_io_engine *e, sl_io_block *b)
{
    sl_io_request *r = b->request;
    block_free(e, b);
    r->blocks_out--;
    request_finish_if_over(e, r);
}

static void block_fail(sl_io_engine *e, sl_io_block *b, sl_status status, int sys_errno, uint64_t offset)
{
    request_fail(e, b->request, status, sys_errno, offset);
    block_end(e, b);
}

static void block_retry(sl_io_engine *e, sl_io_block *b, int err)
{
    if (b->request->status != SL_OK) {
        block_fail(e, b, SL_ERR_CANCELLED, 0, sl_io_block_at(b));
        return;
    }
    if (++b->stalls > SL_IO_MAX_STALLS) {
        block_fail(e, b, SL_ERR_IO, err ? err : EIO, sl_io_block_at(b));
        return;
    }
    /* At once for the first ones, then 1 ms apart: a queue that is full empties in the time of a read. */
    b->wake_ns = b->stalls <= 4 ? 0 : sl_now_ns() + 1000000;
    b->next = e->retry;
    e->retry = b;
    e->counters.retries++;
}

/* The carrier gave fewer bytes than the file had when it was opened. */
static void block_short(sl_io_engine *e, sl_io_block *b, uint64_t got, uint64_t wanted)
{
    const sl_io_file *f = b->request->read.file;
    const uint64_t reached = b->done + got;
    struct stat s;
    if (fstat(f->fd, &s) != 0) {
        block_fail(e, b, SL_ERR_IO, errno, b->offset + reached);
        return;
    }
    if ((uint64_t)s.st_size < b->offset + wanted) {
        block_fail(e, b, SL_ERR_TRUNCATED, 0, b->offset + reached);
        return;
    }
    const uint64_t resume = sl_align_down(reached, f->alignment);
    if (resume > b->done) b->stalls = 0;
    b->done = resume;
    block_retry(e, b, 0);
}

static void block_settle(sl_io_engine *e, sl_io_block *b)
{
    const sl_io_request *r = b->request;
    const int64_t result = b->result;
    if (result == -EINTR || result == -EAGAIN) {
        block_retry(e, b, (int)-result);
        return;
    }
    if (result < 0) {
        block_fail(e, b, SL_ERR_IO, (int)-result, sl_io_block_at(b));
        return;
    }
    const uint64_t into = b->offset - r->read.offset;
    const uint64_t wanted = SL_MIN(b->length, r->expected - into);
    const uint64_t got = SL_MIN((uint64_t)result, sl_io_block_left(b));
    if (b->done + got >= wanted)
        block_end(e, b);
    else
        block_short(e, b, got, wanted);
}

/* Lets held blocks go whose time has come: overtaken often enough (or nothing left to overtake them) and late
 * enough. Returns whether one went. *wake_ns: the earliest time that something waits for. */
static bool held_release(sl_io_engine *e, uint64_t *wake_ns)
{
    bool any = false;
    const bool alone = e->in_carrier == 0 && !e->retry;
    const uint64_t now = e->held ? sl_now_ns() : 0;
    for (sl_io_block **at = &e->held; *at;) {
        sl_io_block *b = *at;
        if (b->wake_ns > now) {
            *wake_ns = SL_MIN(*wake_ns, b->wake_ns);
        } else if (b->hold == 0 || alone) {
            *at = b->next;
            block_settle(e, b);
            any = true;
            continue;
        }
        at = &b->next;
    }
    return any;
}

void sl_io_block_arrived(sl_io_engine *e, sl_io_block *b, int64_t result)
{
    if (--e->in_carrier == 0) {
        e->counters.busy_ns += sl_now_ns() - e->busy_since_ns;
        e->busy_since_ns = 0;
    }
    e->sequence++;
    if (result > 0) e->counters.read_bytes += (uint64_t)result;
    sl_io_fault fault = {.result = result};
    if (e->options.fault) {
        const sl_io_fault_event event = {
            .sequence = e->sequence,
            .file = b->request->read.file,
            .offset = sl_io_block_at(b),
            .length = sl_io_block_left(b),
            .dest = b->dest + b->done,
        };
        e->options.fault(e->options.fault_user, &event, &fault);
    }
    for (sl_io_block *h = e->held; h; h = h->next)
        if (h->hold) h->hold--;
    b->result = fault.result;
    if (fault.hold || fault.delay_ns) {
        b->hold = fault.hold;
        b->wake_ns = fault.delay_ns ? sl_now_ns() + fault.delay_ns : 0;
        b->next = e->held;
        e->held = b;
        return;
    }
    block_settle(e, b);
}

/* ---- issuing ---- */

static void block_start(sl_io_engine *e, sl_io_block *b)
{
    if (e->in_carrier++ == 0) e->busy_since_ns = sl_now_ns();
    e->counters.blocks++;
    e->counters.in_flight_peak_blocks = SL_MAX(e->counters.in_flight_peak_blocks, (uint64_t)e->out_blocks);
    e->counters.in_flight_peak_bytes = SL_MAX(e->counters.in_flight_peak_bytes, e->out_bytes);
    e->carrier->start(e, b);
}

/* Cuts the next block off a request. */
static void request_cut(sl_io_engine *e, sl_io_request *r, uint64_t length)
{
    sl_io_block *b = e->free_blocks;
    e->free_blocks = b->next;
    *b = (sl_io_block){
        .request = r,
        .offset = r->read.offset + r->issued,
        .length = length,
        .dest = (char *)r->read.dest + r->issued,
    };
    r->issued += length;
    r->blocks_out++;
    e->out_blocks++;
    e->out_bytes += length;
    block_start(e, b);
}

static void issue(sl_io_engine *e, uint64_t *wake_ns)
{
    const uint64_t now = e->retry ? sl_now_ns() : 0;
    for (sl_io_block **at = &e->retry; *at;) {
        sl_io_block *b = *at;
        if (b->request->status != SL_OK) {
            *at = b->next;
            block_fail(e, b, SL_ERR_CANCELLED, 0, sl_io_block_at(b));
        } else if (b->wake_ns <= now) {
            *at = b->next;
            block_start(e, b);
        } else {
            *wake_ns = SL_MIN(*wake_ns, b->wake_ns);
            at = &b->next;
        }
    }
    while (e->issue.head && e->free_blocks) {
        sl_io_request *r = e->issue.head;
        const uint64_t unit = SL_MAX(e->options.block_bytes, r->read.file->alignment);
        const uint64_t length = SL_MIN(unit, r->issue_length - r->issued);
        if (e->out_bytes && e->out_bytes + length > e->options.max_in_flight_bytes) break;
        if (r->issued + length == r->issue_length) {
            list_pop(&e->issue);
            r->queued = false;
        }
        request_cut(e, r, length);
    }
}

static void sleep_until(uint64_t when_ns)
{
    const struct timespec t = {.tv_sec = (time_t)(when_ns / 1000000000u),
                               .tv_nsec = (long)(when_ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* One turn of the wheel: issue, take what is ready (waiting for the first until `deadline_ns`, 0 for not at
 * all, unless something finished meanwhile), issue again into the room that made. */
static sl_status turn(sl_io_engine *e, uint64_t deadline_ns, sl_diag *diag)
{
    uint64_t wake = UINT64_MAX;
    issue(e, &wake);
    bool moved = held_release(e, &wake);
    if (e->in_carrier) {
        uint64_t timeout = 0;
        const uint64_t until = SL_MIN(deadline_ns, wake);
        if (!moved && deadline_ns) {
            const uint64_t now = sl_now_ns();
            timeout = until == UINT64_MAX ? SL_IO_WAIT_FOREVER : until > now ? until - now : 0;
        }
        sl_status st = e->carrier->turn(e, timeout, diag);
        if (st != SL_OK) return st;
    } else if (!moved && deadline_ns && wake != UINT64_MAX) {
        sleep_until(SL_MIN(deadline_ns, wake));
    }
    wake = UINT64_MAX;
    held_release(e, &wake);
    issue(e, &wake);
    return e->carrier->flush(e, diag);
}

/* ---- calls ---- */

sl_status sl_io_superset(uint64_t offset, uint64_t length, uint64_t alignment, sl_io_range *out,
                         sl_diag *diag)
{
    uint64_t end;
    if (alignment == 0 || (alignment & (alignment - 1)))
        return sl_fail(diag, SL_ERR_ARGUMENT, "io: alignment %llu is no power of two",
                       (unsigned long long)alignment);
    if (!sl_checked_add(offset, length, &end) || !sl_checked_align(end, alignment, &end))
        return sl_fail(diag, SL_ERR_OVERFLOW, "io: range of %llu bytes at offset %llu",
                       (unsigned long long)length, (unsigned long long)offset);
    const uint64_t begin = sl_align_down(offset, alignment);
    *out = (sl_io_range){.offset = begin, .length = length ? end - begin : 0, .lead = offset - begin};
    return SL_OK;
}

static sl_status read_check(const sl_io_engine *e, const sl_io_read *r, sl_diag *diag)
{
    uint64_t end;
    if (!r->file || !r->dest || r->length == 0)
        return sl_fail(diag, SL_ERR_ARGUMENT, "io: a read without %s",
                       !r->file  ? "a file"
                       : r->dest ? "a length"
                                 : "a destination");
    if (r->file->engine != e)
        return sl_fail(diag, SL_ERR_ARGUMENT, "%s: was opened by another engine", r->file->path);
    if (!sl_checked_add(r->offset, r->length, &end) || end > INT64_MAX)
        return sl_fail(diag, SL_ERR_OVERFLOW, "%s: read of %llu bytes at offset %llu", r->file->path,
                       (unsigned long long)r->length, (unsigned long long)r->offset);
    if ((r->offset | r->length | (uintptr_t)r->dest) & (r->file->alignment - 1))
        return sl_fail(diag, SL_ERR_ARGUMENT,
                       "%s: read of %llu bytes at offset %llu to %p is not aligned to %u", r->file->path,
                       (unsigned long long)r->length, (unsigned long long)r->offset, r->dest,
                       r->file->alignment);
    return SL_OK;
}

static void request_submit(sl_io_engine *e, sl_io_request *r, const sl_io_read *read, bool sync)
{
    const sl_io_file *f = read->file;
    const uint64_t slack = SL_MAX(f->alignment, (uint32_t)SL_IO_EOF_SLACK_BYTES);
    const uint64_t rest = read->offset < f->size ? f->size - read->offset : 0;
    *r = (sl_io_request){.read = *read, .live = true, .sync = sync, .expected = SL_MIN(rest, read->length)};
    if (rest == 0 || read->offset + read->length > sl_align_up(f->size, slack)) {
        r->expected = 0;
        request_fail(e, r, SL_ERR_TRUNCATED, 0, SL_MAX(f->size, read->offset));
        request_finish(e, r);
        return;
    }
    r->issue_length = SL_MIN(read->length, sl_align_up(r->expected, f->alignment));
    r->queued = true;
    list_push(&e->issue, r);
}

sl_status sl_io_submit(sl_io_engine *engine, const sl_io_read *reads, size_t count, sl_diag *diag)
{
    sl_status st = sl_io_own(engine, true, diag);
    if (st != SL_OK) return st;
    if (count && !reads) return sl_fail(diag, SL_ERR_ARGUMENT, "io: reads is NULL");
    if (count > engine->options.max_requests)
        return sl_fail(diag, SL_ERR_ARGUMENT, "io: %zu reads at once, max_requests is %u", count,
                       engine->options.max_requests);
    for (size_t i = 0; i < count; i++)
        if ((st = read_check(engine, &reads[i], diag)) != SL_OK) return st;
    if (count > engine->free_count)
        return sl_fail(diag, SL_ERR_BUSY, "io: %zu reads, room for %zu: take completions first", count,
                       engine->free_count);
    for (size_t i = 0; i < count; i++) {
        sl_io_request *r = engine->free_requests;
        engine->free_requests = r->next;
        engine->free_count--;
        engine->live_count++;
        request_submit(engine, r, &reads[i], false);
    }
    uint64_t wake = UINT64_MAX;
    issue(engine, &wake);
    return engine->carrier->flush(engine, diag);
}

static size_t take(sl_io_engine *e, sl_io_completion *out, size_t max)
{
    size_t n = 0;
    sl_io_request *r;
    while (n < max && (r = list_pop(&e->finished))) {
        out[n++] = (sl_io_completion){
            .user = r->read.user,
            .status = r->status,
            .sys_errno = r->sys_errno,
            .bytes = r->status == SL_OK ? r->expected : SL_MIN(r->error_offset - r->read.offset, r->expected),
            .file = r->read.file,
            .offset = r->read.offset,
            .error_offset = r->error_offset,
        };
        request_free(e, r);
    }
    return n;
}

static uint64_t deadline_of(uint64_t timeout_ns)
{
    uint64_t deadline;
    if (timeout_ns == 0) return 0;
    return sl_checked_add(sl_now_ns(), timeout_ns, &deadline) ? deadline : UINT64_MAX;
}

sl_status sl_io_reap(sl_io_engine *engine, sl_io_completion *out, size_t max, uint64_t timeout_ns,
                     size_t *out_count, sl_diag *diag)
{
    *out_count = 0;
    sl_status st = sl_io_own(engine, true, diag);
    if (st != SL_OK) return st;
    if (max == 0 || !out) return sl_fail(diag, SL_ERR_ARGUMENT, "io: no room for completions");
    const uint64_t deadline = deadline_of(timeout_ns);
    for (;;) {
        /* Even with completions at hand one turn that does not wait: it keeps the drive busy. */
        if (engine->live_count && (st = turn(engine, engine->finished.head ? 0 : deadline, diag)) != SL_OK)
            return st;
        *out_count = take(engine, out, max);
        if (*out_count || !engine->live_count || timeout_ns == 0) return SL_OK;
        if (deadline != UINT64_MAX && sl_now_ns() >= deadline)
            return sl_fail(diag, SL_ERR_TIMEOUT, "io: no read finished within %llu ns",
                           (unsigned long long)timeout_ns);
    }
}

size_t sl_io_pending(const sl_io_engine *engine)
{
    return engine->live_count;
}

void sl_io_queue_cancel(sl_io_engine *e, const sl_io_file *file)
{
    sl_io_request_list keep = {0};
    sl_io_request *r;
    while ((r = list_pop(&e->issue))) {
        if (file && r->read.file != file) {
            list_push(&keep, r);
            continue;
        }
        r->queued = false;
        request_fail(e, r, SL_ERR_CANCELLED, 0, r->read.offset + r->issued);
        request_finish_if_over(e, r);
    }
    e->issue = keep;
}

static bool matches(const sl_io_request *r, const sl_io_file *file, const char *base, uint64_t size)
{
    const char *d = r->read.dest;
    if (file && r->read.file != file) return false;
    return !base || (d < base + size && d + r->read.length > base);
}

sl_status sl_io_queue_settle(sl_io_engine *e, const sl_io_file *file, const char *base, uint64_t size,
                             sl_diag *diag)
{
    for (;;) {
        bool any = false;
        for (size_t i = 0; e->live_count && i < e->options.max_requests && !any; i++) {
            const sl_io_request *r = &e->requests[i];
            any = r->live && !r->done && matches(r, file, base, size);
        }
        if (!any) return SL_OK;
        sl_status st = sl_io_own(e, true, diag);
        if (st == SL_OK) st = turn(e, UINT64_MAX, diag);
        if (st != SL_OK) return st;
    }
}

size_t sl_io_queue_drop(sl_io_engine *e, const sl_io_file *file)
{
    sl_io_request_list keep = {0};
    sl_io_request *r;
    size_t n = 0;
    while ((r = list_pop(&e->finished))) {
        if (file && r->read.file != file) {
            list_push(&keep, r);
            continue;
        }
        request_free(e, r);
        n++;
    }
    e->finished = keep;
    return n;
}

sl_status sl_io_cancel_all(sl_io_engine *engine, sl_diag *diag)
{
    sl_status st = sl_io_own(engine, true, diag);
    if (st == SL_OK) sl_io_queue_cancel(engine, NULL);
    return st;
}

sl_status sl_io_drain(sl_io_engine *engine, size_t *out_dropped, sl_diag *diag)
{
    if (out_dropped) *out_dropped = 0;
    sl_status st = sl_io_cancel_all(engine, diag);
    if (st == SL_OK) st = sl_io_queue_settle(engine, NULL, NULL, 0, diag);
    if (st != SL_OK) return st;
    const size_t n = sl_io_queue_drop(engine, NULL);
    if (out_dropped) *out_dropped = n;
    return SL_OK;
}

sl_status sl_io_completion_fail(const sl_io_completion *c, sl_diag *diag)
{
    if (c->status == SL_OK) return SL_OK;
    const char *path = c->file->path;
    const unsigned long long at = c->error_offset, from = c->offset;
    switch (c->status) {
    case SL_ERR_TRUNCATED:
        return sl_fail(diag, c->status, "%s: file ends %s offset %llu, inside the read at offset %llu", path,
                       at == from ? "at or before" : "at", at, from);
    case SL_ERR_CANCELLED:
        return sl_fail(diag, c->status, "%s: read at offset %llu was cancelled", path, from);
    default:
        return sl_fail_errno(diag, c->status, c->sys_errno, "%s: read at offset %llu failed at offset %llu",
                             path, from, at);
    }
}

/* ---- one read, waited for ---- */

static sl_status sync_wait(sl_io_engine *e, const sl_io_read *read, uint64_t *out_bytes, sl_diag *diag)
{
    sl_io_request *r = e->sync_request;
    sl_status st = read_check(e, read, diag);
    if (st != SL_OK) return st;
    if (r->live) return sl_fail(diag, SL_ERR_IO, "%s: an earlier read never came back", read->file->path);
    request_submit(e, r, read, true);
    while (!r->done)
        if ((st = turn(e, UINT64_MAX, diag)) != SL_OK) return st;
    r->live = false;
    *out_bytes = r->expected;
    const sl_io_completion c = {.status = r->status,
                                .sys_errno = r->sys_errno,
                                .file = read->file,
                                .offset = read->offset,
                                .error_offset = r->error_offset};
    return sl_io_completion_fail(&c, diag);
}

/* The buffer is the engine's and only grows, so that small reads repeated (rows of a table) do not allocate.
 */
static sl_status bounce_reserve(sl_io_engine *e, uint64_t size, sl_diag *diag)
{
    if (e->bounce_size >= size) return SL_OK;
    size = SL_MAX(size, SL_IO_ARENA_ALIGNMENT_BYTES);
    if (e->sync_request->live) return sl_fail(diag, SL_ERR_IO, "io: an earlier read never came back");
    sl_free(e->bounce);
    e->bounce_size = 0;
    e->bounce = sl_aligned_alloc(SL_IO_ARENA_ALIGNMENT_BYTES, size);
    if (!e->bounce)
        return sl_fail(diag, SL_ERR_NO_MEMORY, "io: no memory for a bounce buffer of %llu bytes",
                       (unsigned long long)size);
    e->bounce_size = size;
    return SL_OK;
}

sl_status sl_io_read_sync(sl_io_file *file, uint64_t offset, uint64_t length, void *dest, sl_diag *diag)
{
    sl_status st = SL_OK;
    uint64_t bytes = 0, end;
    sl_io_range range;
    if (!file) return sl_fail(diag, SL_ERR_ARGUMENT, "io: file is NULL");
    sl_io_engine *e = file->engine;
    SL_TRY(sl_io_own(e, true, diag));
    if (length == 0) return SL_OK;
    if (!dest) return sl_fail(diag, SL_ERR_ARGUMENT, "%s: destination is NULL", file->path);
    if (!sl_checked_add(offset, length, &end))
        return sl_fail(diag, SL_ERR_OVERFLOW, "%s: read of %llu bytes at offset %llu", file->path,
                       (unsigned long long)length, (unsigned long long)offset);
    if (end > file->size)
        return sl_fail(diag, SL_ERR_TRUNCATED,
                       "%s: file ends at offset %llu, inside the read of %llu bytes at offset %llu",
                       file->path, (unsigned long long)file->size, (unsigned long long)length,
                       (unsigned long long)offset);
    const uint64_t a = file->alignment;
    if (((offset | length | (uintptr_t)dest) & (a - 1)) == 0) {
        const sl_io_read whole = {.file = file, .offset = offset, .length = length, .dest = dest};
        return sync_wait(e, &whole, &bytes, diag);
    }
    /* Through a bounce buffer, piece by piece, so that its size has a bound. */
    const uint64_t piece_max = 4u << 20;
    SL_TRY(sl_io_superset(offset, length, a, &range, diag));
    const uint64_t room = SL_MIN(range.length, piece_max);
    SL_TRY(bounce_reserve(e, room, diag));
    char *const bounce = e->bounce;
    for (uint64_t at = range.offset; at < end;) {
        const uint64_t n = SL_MIN(range.offset + range.length - at, room);
        const sl_io_read piece = {.file = file, .offset = at, .length = n, .dest = bounce};
        SL_TRY(sync_wait(e, &piece, &bytes, diag));
        const uint64_t from = SL_MAX(at, offset), to = SL_MIN(at + bytes, end);
        memcpy((char *)dest + (from - offset), bounce + (from - at), to - from);
        at += n;
    }
cleanup:
    return st;
}
