#include "runtime/stream/stream.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "hal/base/log.h"

#include <pthread.h>
#include <string.h>

/* How long the thread sleeps in one wait. Long enough to cost nothing, short enough to stop soon. */
#define WAIT_NS 2000000ull

struct sl_stream {
    sl_stream_options o;
    sl_io_engine *io;
    sl_io_file **files;
    sl_semaphore *copied, *computed;
    sl_commands **copies; /* one a stage: host ring -> device ring */
    uint8_t *arena;
    uint64_t first; /* number of the first stage since (re)start: base + 1 */

    pthread_t thread;
    bool running;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    uint64_t submitted; /* copies up to this number are in the queue */
    bool stop;
    sl_status failed;
    sl_diag failed_diag;
    uint64_t read_bytes;

    /* The thread's own. */
    uint64_t reading;      /* reads up to this number have been submitted */
    uint32_t next_piece;   /* and these many of the next one's */
    uint64_t read;         /* and up to this one have completed */
    uint32_t *outstanding; /* reads under way, by stage */
    uint64_t stall_ns;     /* the caller's own */
    uint64_t used_bytes;   /* the caller's own as well */

    sl_stream_trace *trace; /* the thread's while it runs; NULL: nothing is noted */
    bool copies_ready;      /* the copies are recorded as is wanted now */
    bool copies_timed;      /* with timestamps */
};

static const sl_stage *stage_of(const sl_stream *s, uint64_t number, uint32_t *out_index)
{
    const uint32_t index = (uint32_t)((number - s->first) % s->o.plan->stage_count);
    if (out_index) *out_index = index;
    return &s->o.plan->stages[index];
}

static uint64_t stage_read_bytes(const sl_plan *plan, const sl_stage *stage)
{
    uint64_t bytes = 0;
    for (uint32_t i = stage->piece; i < stage->piece + stage->piece_count; i++)
        bytes += plan->pieces[i].read_bytes;
    return bytes;
}

/* ---- what is noted for a profile ---- */

static void note_event(sl_stream_trace *t, sl_stream_event event)
{
    if (t->count == t->capacity) {
        const size_t capacity = SL_MAX(t->capacity * 2, (size_t)256);
        sl_stream_event *moved = sl_realloc(t->events, capacity, sizeof *moved);
        if (!moved) {
            t->incomplete = true;
            return;
        }
        t->events = moved;
        t->capacity = capacity;
    }
    t->events[t->count++] = event;
}

static void note_read(sl_stream *s, uint32_t index)
{
    sl_stream_trace *t = s->trace;
    if (!t) return;
    const sl_plan *plan = s->o.plan;
    note_event(t, (sl_stream_event){false, t->read_begin_ns[index], t->read_end_ns[index],
                                    stage_read_bytes(plan, &plan->stages[index])});
}

/* Times of the last copy of a stage, which has completed. */
static sl_status note_copy(sl_stream *s, uint32_t index, sl_diag *diag)
{
    sl_stream_trace *t = s->trace;
    uint64_t ns[2];
    if (!t || !s->copies_timed || !t->copying[index]) return SL_OK;
    sl_status st = sl_commands_read_timestamps(s->copies[index], 0, 2, ns, diag);
    if (st != SL_OK) return st;
    t->copying[index] = 0;
    const sl_plan *plan = s->o.plan;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->stages[index].piece_count; i++)
        bytes += plan->pieces[plan->stages[index].piece + i].size_bytes;
    note_event(t, (sl_stream_event){true, ns[0], ns[1], bytes});
    return SL_OK;
}

/* ---- the thread ---- */

/* Has stage `number` - `distance` reached the semaphore, or was there none yet? */
static sl_status passed(const sl_stream *s, sl_semaphore *semaphore, uint64_t number, uint32_t distance,
                        bool *out, sl_diag *diag)
{
    *out = true;
    if (number < s->first + distance) return SL_OK;
    uint64_t value;
    sl_status st = sl_semaphore_value(semaphore, &value, diag);
    if (st == SL_OK) *out = value >= number - distance;
    return st;
}

/* A file written to would give wrong text without any error. */
sl_status sl_stream_check(const sl_stream *s, sl_diag *diag)
{
    for (uint32_t i = 0; i < s->o.path_count; i++) {
        sl_status st = sl_io_file_check(s->files[i], diag);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

static sl_status submit_reads(sl_stream *s, uint64_t number, bool *out_progress, sl_diag *diag)
{
    uint32_t index;
    const sl_stage *stage = stage_of(s, number, &index);
    const sl_model *m = s->o.plan->model;
    for (; s->next_piece < stage->piece_count; s->next_piece++) {
        const sl_piece *p = &s->o.plan->pieces[stage->piece + s->next_piece];
        const sl_io_read read = {
            .file = s->files[m->tensors[p->tensor].file->file_index],
            .offset = p->read_offset,
            .length = p->read_bytes,
            .dest = s->arena + p->host_offset,
            .user = number,
        };
        sl_status st = sl_io_submit(s->io, &read, 1, diag);
        if (st == SL_ERR_BUSY) return SL_OK; /* come back after completions */
        if (st != SL_OK) return st;
        if (s->trace && s->next_piece == 0) s->trace->read_begin_ns[index] = sl_now_ns();
        s->outstanding[index]++;
        *out_progress = true;
    }
    s->reading = number;
    s->next_piece = 0;
    return SL_OK;
}

static sl_status start_reads(sl_stream *s, bool *out_progress, sl_diag *diag)
{
    /* A stage's count of outstanding reads is also how many of it were submitted, so only one pass of it at a
     * time. */
    while (s->reading < s->read + s->o.plan->stage_count) {
        const uint64_t number = s->reading + 1;
        bool free_now;
        uint32_t index;
        stage_of(s, number, &index);
        sl_status st = index == 0 && s->next_piece == 0 ? sl_stream_check(s, diag) : SL_OK;
        if (st == SL_OK)
            st = passed(s, s->copied, number, stage_of(s, number, NULL)->host_reuse, &free_now, diag);
        if (st != SL_OK || !free_now) return st;
        st = submit_reads(s, number, out_progress, diag);
        if (st != SL_OK || s->reading != number) return st;
    }
    return SL_OK;
}

static sl_status take_completions(sl_stream *s, bool wait, bool *out_progress, sl_diag *diag)
{
    sl_io_completion done[16];
    size_t n;
    sl_status st = sl_io_reap(s->io, done, SL_COUNTOF(done), wait ? WAIT_NS : 0, &n, diag);
    if (st == SL_ERR_TIMEOUT) return SL_OK;
    if (st != SL_OK) return st;
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (done[i].status != SL_OK) return sl_io_completion_fail(&done[i], diag);
        uint32_t index;
        stage_of(s, done[i].user, &index);
        s->outstanding[index]--;
        if (s->trace) s->trace->read_end_ns[index] = sl_now_ns();
        bytes += done[i].bytes;
        *out_progress = true;
    }
    pthread_mutex_lock(&s->mutex);
    s->read_bytes += bytes;
    pthread_mutex_unlock(&s->mutex);
    for (; s->read < s->reading; s->read++) {
        uint32_t index;
        stage_of(s, s->read + 1, &index);
        if (s->outstanding[index]) break;
        note_read(s, index);
    }
    return SL_OK;
}

/* Without an imported arena the bytes pass through mapped memory of the device. */
static void stage_copy_to_staging(sl_stream *s, const sl_stage *stage)
{
    if (s->o.arena_buffer) return;
    uint8_t *staging = sl_buffer_map(s->o.staging);
    for (uint32_t i = stage->piece; i < stage->piece + stage->piece_count; i++) {
        const sl_piece *p = &s->o.plan->pieces[i];
        memcpy(staging + p->host_offset, s->arena + p->host_offset, p->read_bytes);
    }
}

static sl_status start_copies(sl_stream *s, bool *out_progress, sl_diag *diag)
{
    while (s->submitted < s->read) { /* `submitted` is written by this thread only */
        const uint64_t number = s->submitted + 1;
        uint32_t index;
        const sl_stage *stage = stage_of(s, number, &index);
        bool free_now;
        sl_status st = passed(s, s->computed, number, stage->device_reuse, &free_now, diag);
        if (st != SL_OK || !free_now) return st;
        stage_copy_to_staging(s, stage);
        if ((st = note_copy(s, index, diag)) != SL_OK) return st;
        /* Raise the semaphore in order: a copy waits for the one before it. */
        const sl_semaphore_point before = {s->copied, number - 1}, after = {s->copied, number};
        const sl_submission submission = {
            .waits = &before,
            .wait_count = 1,
            .commands = &s->copies[index],
            .command_count = 1,
            .signals = &after,
            .signal_count = 1,
        };
        if ((st = sl_queue_submit(s->o.device, SL_QUEUE_TRANSFER, &submission, diag)) != SL_OK) return st;
        if (s->trace) s->trace->copying[index] = number;
        pthread_mutex_lock(&s->mutex);
        s->submitted = number;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
        *out_progress = true;
    }
    return SL_OK;
}

/* Nothing is being read and nothing could be started: the rings are full. Sleep until kernels or copies move
 * on. */
static sl_status wait_for_room(sl_stream *s, sl_diag *diag)
{
    uint64_t value;
    sl_semaphore *awaited = s->submitted < s->read ? s->computed : s->copied;
    sl_status st = sl_semaphore_value(awaited, &value, diag);
    if (st != SL_OK) return st;
    st = sl_semaphore_wait(awaited, value + 1, WAIT_NS, diag);
    return st == SL_ERR_TIMEOUT ? SL_OK : st;
}

static sl_status work(sl_stream *s, sl_diag *diag)
{
    bool progress = false;
    sl_status st = start_reads(s, &progress, diag);
    if (st == SL_OK) st = take_completions(s, false, &progress, diag);
    if (st == SL_OK) st = start_copies(s, &progress, diag);
    if (st != SL_OK || progress) return st;
    return sl_io_pending(s->io) ? take_completions(s, true, &progress, diag) : wait_for_room(s, diag);
}

static void *run(void *argument)
{
    sl_stream *s = argument;
    sl_diag diag = {0};
    sl_status st = SL_OK;
    bool stop = false;
    while (st == SL_OK && !stop) {
        st = work(s, &diag);
        pthread_mutex_lock(&s->mutex);
        stop = s->stop;
        pthread_mutex_unlock(&s->mutex);
    }
    sl_diag why;
    if (sl_io_drain(s->io, NULL, &why) != SL_OK)
        sl_log(SL_LOG_ERROR, "streaming: reads in flight cannot be waited for: %s", why.message);
    pthread_mutex_lock(&s->mutex);
    s->failed = st;
    s->failed_diag = diag;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

enum { SETTLE_ATTEMPTS = 100 };

void sl_settle(sl_device *device)
{
    sl_diag diag;
    for (int i = 0; i < SETTLE_ATTEMPTS; i++) {
        const sl_status st = sl_device_wait_idle(device, &diag);
        if (st == SL_OK || st == SL_ERR_DEVICE_LOST) return;
    }
    sl_log(SL_LOG_ERROR, "the device does not become idle: %s", diag.message);
}

/* ---- the caller's side ---- */

sl_status sl_file_is_models(const sl_io_file *file, const sl_gguf_file *header, sl_diag *diag)
{
    sl_io_file_info info;
    sl_io_file_get_info(file, &info);
    if (info.inode == header->inode && info.size_bytes == header->size_bytes &&
        info.mtime_ns == header->mtime_ns)
        return SL_OK;
    return sl_fail(diag, SL_ERR_TRUNCATED, "%s: changed since its header was read (%llu bytes, now %llu)",
                   info.path, (unsigned long long)header->size_bytes, (unsigned long long)info.size_bytes);
}

static sl_status open_io(sl_stream *s, sl_diag *diag)
{
    sl_status st = sl_io_engine_create(s->o.io_options, &s->io, diag);
    if (st == SL_OK) st = sl_io_engine_add_arena(s->io, s->o.arena, diag);
    for (uint32_t i = 0; i < s->o.path_count && st == SL_OK; i++) {
        st = sl_io_file_open(s->io, s->o.paths[i], &s->files[i], diag);
        if (st == SL_OK)
            st = sl_file_is_models(s->files[i], sl_gguf_file_at(s->o.plan->model->gguf, i), diag);
    }
    return st;
}

static sl_status start_thread(sl_stream *s, uint64_t number, sl_diag *diag)
{
    s->first = number;
    s->reading = s->read = s->submitted = number - 1;
    s->next_piece = 0;
    memset(s->outstanding, 0, s->o.plan->stage_count * sizeof *s->outstanding);
    s->failed = SL_OK;
    s->stop = false;
    int err = pthread_create(&s->thread, NULL, run, s);
    if (err) return sl_fail_errno(diag, SL_ERR_NO_MEMORY, err, "thread for streaming");
    s->running = true;
    return SL_OK;
}

static void stop_thread(sl_stream *s)
{
    if (!s->running) return;
    pthread_mutex_lock(&s->mutex);
    s->stop = true;
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
    s->running = false;
}

static sl_status record_copy(sl_stream *s, uint32_t index, bool timed, sl_diag *diag)
{
    const sl_plan *plan = s->o.plan;
    const sl_stage *stage = &plan->stages[index];
    sl_buffer *source = s->o.arena_buffer ? s->o.arena_buffer : s->o.staging;
    sl_commands *c;
    sl_status st = sl_commands_create(s->o.device, SL_QUEUE_TRANSFER, 0, timed ? 2 : 0, "stream", &c, diag);
    if (st != SL_OK) return st;
    s->copies[index] = c;
    if ((st = sl_commands_begin(c, diag)) != SL_OK) return st;
    if (timed) sl_commands_timestamp(c, 0);
    for (uint32_t k = 0; k < stage->piece_count; k++) {
        const sl_piece *p = &plan->pieces[stage->piece + k];
        sl_commands_copy(c, source, p->host_offset + (p->file_offset - p->read_offset), s->o.ring,
                         p->device_offset, p->size_bytes);
    }
    if (timed) sl_commands_timestamp(c, 1);
    return sl_commands_end(c, diag);
}

/* Nothing of the stream is running. With timestamps while it is traced, where the transfer queue has them. */
static sl_status record_copies(sl_stream *s, sl_diag *diag)
{
    s->copies_timed = s->trace != NULL;
    s->copies_ready = false;
    for (uint32_t i = 0; i < s->o.plan->stage_count; i++) {
        sl_commands_destroy(s->copies[i]);
        s->copies[i] = NULL;
        sl_status st = record_copy(s, i, s->copies_timed, diag);
        if (st == SL_ERR_UNSUPPORTED && s->copies_timed) {
            s->copies_timed = false; /* the first one shows it */
            st = record_copy(s, i, false, diag);
        }
        if (st != SL_OK) return st;
    }
    s->copies_ready = true;
    return SL_OK;
}

sl_status sl_stream_create(const sl_stream_options *options, sl_stream **out, sl_diag *diag)
{
    sl_stream *s = sl_calloc(1, sizeof *s);
    if (!s) return sl_fail(diag, SL_ERR_NO_MEMORY, "stream");
    s->o = *options;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    sl_io_arena_info arena;
    sl_io_arena_get_info(options->arena, &arena);
    s->arena = arena.base;
    sl_status st;
    s->files = sl_calloc(options->path_count, sizeof *s->files);
    s->copies = sl_calloc(options->plan->stage_count, sizeof(sl_commands *));
    s->outstanding = sl_calloc(options->plan->stage_count, sizeof *s->outstanding);
    if (!s->files || !s->copies || !s->outstanding) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "stream of %u stages", options->plan->stage_count);
        goto cleanup;
    }
    SL_TRY(sl_semaphore_create(options->device, 0, &s->copied, diag));
    SL_TRY(sl_semaphore_create(options->device, 0, &s->computed, diag));
    SL_TRY(record_copies(s, diag));
    SL_TRY(open_io(s, diag));
    SL_TRY(start_thread(s, 1, diag));
    *out = s;
    return SL_OK;
cleanup:
    sl_stream_destroy(s);
    return st;
}

void sl_stream_destroy(sl_stream *s)
{
    if (!s) return;
    stop_thread(s);
    sl_settle(s->o.device);
    for (uint32_t i = 0; s->copies && i < s->o.plan->stage_count; i++)
        sl_commands_destroy(s->copies[i]);
    sl_io_engine_destroy(s->io);
    sl_semaphore_destroy(s->copied);
    sl_semaphore_destroy(s->computed);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->mutex);
    sl_free(s->outstanding);
    sl_free(s->copies);
    sl_free(s->files);
    sl_free(s);
}

sl_semaphore *sl_stream_copied(sl_stream *stream)
{
    return stream->copied;
}

sl_semaphore *sl_stream_computed(sl_stream *stream)
{
    return stream->computed;
}

sl_status sl_stream_await(sl_stream *s, uint64_t number, sl_diag *diag)
{
    const uint64_t begin = sl_now_ns();
    pthread_mutex_lock(&s->mutex);
    while (s->submitted < number && s->failed == SL_OK)
        pthread_cond_wait(&s->changed, &s->mutex);
    sl_status st = s->submitted < number ? s->failed : SL_OK;
    if (st != SL_OK && diag) *diag = s->failed_diag;
    pthread_mutex_unlock(&s->mutex);
    s->stall_ns += sl_now_ns() - begin;
    if (st == SL_OK) s->used_bytes += stage_read_bytes(s->o.plan, stage_of(s, number, NULL));
    return st;
}

/* Copies that ran ahead of the failed pass have raised `copied` beyond it: the numbers go on after them. */
sl_status sl_stream_restart(sl_stream *s, uint64_t *out_first, sl_diag *diag)
{
    stop_thread(s);
    sl_status st;
    SL_TRY(sl_device_wait_idle(s->o.device, diag)); /* copies under way read the host ring */
    if (!s->copies_ready) SL_TRY(record_copies(s, diag));
    /* The ring was made for the thread that is gone: a fresh engine belongs to the next one. */
    sl_io_engine_destroy(s->io);
    s->io = NULL;
    SL_TRY(open_io(s, diag));
    uint64_t copied, computed;
    SL_TRY(sl_semaphore_value(s->copied, &copied, diag));
    SL_TRY(sl_semaphore_value(s->computed, &computed, diag));
    const uint64_t last = SL_MAX(copied, computed);
    if (copied < last) SL_TRY(sl_semaphore_signal(s->copied, last, diag));
    if (computed < last) SL_TRY(sl_semaphore_signal(s->computed, last, diag));
    SL_TRY(start_thread(s, last + 1, diag));
    *out_first = last + 1;
cleanup:
    return st;
}

sl_status sl_stream_trace_begin(sl_stream *s, sl_stream_trace *t, sl_diag *diag)
{
    const uint32_t n = s->o.plan->stage_count;
    t->read_begin_ns = sl_calloc(n, sizeof(uint64_t));
    t->read_end_ns = sl_calloc(n, sizeof(uint64_t));
    t->copying = sl_calloc(n, sizeof(uint64_t));
    if (!t->read_begin_ns || !t->read_end_ns || !t->copying)
        return sl_fail(diag, SL_ERR_NO_MEMORY, "profile of %u stages", n);
    stop_thread(s);
    s->trace = t;
    s->copies_ready = false;
    return SL_OK;
}

sl_status sl_stream_trace_end(sl_stream *s, sl_diag *diag)
{
    stop_thread(s);
    sl_status st = sl_device_wait_idle(s->o.device, diag);
    for (uint32_t i = 0; i < s->o.plan->stage_count && st == SL_OK; i++)
        st = note_copy(s, i, diag);
    s->trace = NULL;
    s->copies_ready = false;
    return st;
}

void sl_stream_trace_clear(sl_stream_trace *t)
{
    if (!t) return;
    sl_free(t->events);
    sl_free(t->read_begin_ns);
    sl_free(t->read_end_ns);
    sl_free(t->copying);
    *t = (sl_stream_trace){0};
}

void sl_stream_get_stats(sl_stream *s, sl_stream_stats *out)
{
    pthread_mutex_lock(&s->mutex);
    *out =
        (sl_stream_stats){.read_bytes = s->read_bytes, .used_bytes = s->used_bytes, .stall_ns = s->stall_ns};
    pthread_mutex_unlock(&s->mutex);
}
