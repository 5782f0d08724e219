/* io_threads.c - the carrier over threads that call pread: the same contract where io_uring cannot be had.
 *
 * Two lists under one lock: blocks to read, blocks read. The workers touch nothing of the engine; a block is
 * theirs from `todo` to `ready`. */
#include "io/io_internal.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "hal/base/alloc.h"
#include "hal/base/clock.h"

typedef struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work, arrived;
    sl_io_block *todo_head, *todo_tail; /* first in, first out */
    sl_io_block *ready_head, *ready_tail;
    bool stop;
    unsigned count;
    pthread_t threads[];
} pool;

static void append(sl_io_block **head, sl_io_block **tail, sl_io_block *b)
{
    b->next = NULL;
    if (*head)
        (*tail)->next = b;
    else
        *head = b;
    *tail = b;
}

static void *worker(void *arg)
{
    pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && !p->todo_head)
            pthread_cond_wait(&p->work, &p->lock);
        if (p->stop) break;
        sl_io_block *b = p->todo_head;
        p->todo_head = b->next;
        pthread_mutex_unlock(&p->lock);
        const ssize_t n = pread(b->request->read.file->fd, b->dest + b->done, sl_io_block_left(b),
                                (off_t)sl_io_block_at(b));
        b->result = n < 0 ? -errno : n;
        pthread_mutex_lock(&p->lock);
        append(&p->ready_head, &p->ready_tail, b);
        pthread_cond_signal(&p->arrived);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void threads_close(sl_io_engine *e)
{
    pool *p = e->carrier_state;
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->count; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->arrived);
    pthread_mutex_destroy(&p->lock);
    sl_free(p);
    e->carrier_state = NULL;
}

static sl_status threads_open(sl_io_engine *e, sl_diag *diag)
{
    pthread_condattr_t monotonic;
    sigset_t all, before;
    int err = 0;
    pool *p = sl_calloc(1, sizeof *p + e->options.threads * sizeof p->threads[0]);
    if (!p) return sl_fail(diag, SL_ERR_NO_MEMORY, "io: no memory for %u threads", e->options.threads);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->arrived, &monotonic);
    pthread_condattr_destroy(&monotonic);
    e->carrier_state = p;
    /* Signals are for the program's own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (!err && p->count < e->options.threads) {
        err = pthread_create(&p->threads[p->count], NULL, worker, p);
        if (!err) p->count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!err) return SL_OK;
    threads_close(e);
    return sl_fail_errno(diag, SL_ERR_NO_MEMORY, err, "io: starting %u reader threads", e->options.threads);
}

static sl_status threads_bind(sl_io_engine *e, sl_diag *diag)
{
    (void)e, (void)diag;
    return SL_OK;
}

static void threads_start(sl_io_engine *e, sl_io_block *b)
{
    pool *p = e->carrier_state;
    pthread_mutex_lock(&p->lock);
    append(&p->todo_head, &p->todo_tail, b);
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

static sl_status threads_turn(sl_io_engine *e, uint64_t timeout_ns, sl_diag *diag)
{
    (void)diag;
    pool *p = e->carrier_state;
    uint64_t until = 0;
    const bool forever = timeout_ns == SL_IO_WAIT_FOREVER;
    if (timeout_ns && !forever) until = sl_now_ns() + timeout_ns;
    const struct timespec t = {.tv_sec = (time_t)(until / 1000000000u),
                               .tv_nsec = (long)(until % 1000000000u)};
    pthread_mutex_lock(&p->lock);
    int err = 0;
    while (timeout_ns && !p->ready_head && !err)
        err = forever ? pthread_cond_wait(&p->arrived, &p->lock)
                      : pthread_cond_timedwait(&p->arrived, &p->lock, &t);
    sl_io_block *b = p->ready_head;
    p->ready_head = NULL;
    pthread_mutex_unlock(&p->lock);
    while (b) {
        sl_io_block *next = b->next;
        sl_io_block_arrived(e, b, b->result);
        b = next;
    }
    return SL_OK;
}

static sl_status threads_flush(sl_io_engine *e, sl_diag *diag)
{
    (void)e, (void)diag;
    return SL_OK;
}

/* pread knows no registration. */
static void threads_file(sl_io_engine *e, sl_io_file *f)
{
    (void)e;
    f->registered = false;
}

static void threads_arena(sl_io_engine *e, sl_io_arena_slot *slot)
{
    (void)e;
    slot->registered = false;
}

const sl_io_carrier sl_io_carrier_threads = {
    .name = "threads",
    .open = threads_open,
    .bind = threads_bind,
    .start = threads_start,
    .turn = threads_turn,
    .flush = threads_flush,
    .add_file = threads_file,
    .remove_file = threads_file,
    .add_arena = threads_arena,
    .remove_arena = threads_arena,
    .close = threads_close,
};
