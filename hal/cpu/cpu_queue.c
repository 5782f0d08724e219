/* cpu_queue.c - one thread a queue, which takes submissions in order; semaphores. */
#include "hal/cpu/cpu.h"

#include "hal/base/alloc.h"
#include "hal/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---- Semaphores. The functions named raise and reached hold the lock. ---- */

static void raise_semaphore(sl_cpu_semaphore *semaphore, uint64_t value)
{
    sl_cpu_device *d = semaphore->device;
    if (value > semaphore->value) semaphore->value = value;
    for (int i = 0; i < 2; i++) {
        if (d->queues[i].blocked) pthread_cond_signal(&d->queues[i].wake);
    }
    pthread_cond_broadcast(&d->changed);
}

static bool reached(const sl_cpu_submission *submission)
{
    for (uint32_t i = 0; i < submission->wait_count; i++) {
        if (((sl_cpu_semaphore *)submission->waits[i].semaphore)->value < submission->waits[i].value)
            return false;
    }
    return true;
}

sl_status sl_cpu_semaphore_create(sl_device *device, uint64_t initial, sl_semaphore **out, sl_diag *diag)
{
    sl_cpu_semaphore *s = sl_calloc(1, sizeof *s);
    if (!s) return sl_fail(diag, SL_ERR_NO_MEMORY, "semaphore");
    s->device = (sl_cpu_device *)device;
    s->value = initial;
    *out = &s->base;
    return SL_OK;
}

void sl_cpu_semaphore_destroy(sl_semaphore *semaphore)
{
    sl_free(semaphore);
}

sl_status sl_cpu_semaphore_value(sl_semaphore *semaphore, uint64_t *out, sl_diag *diag)
{
    (void)diag;
    sl_cpu_semaphore *s = (sl_cpu_semaphore *)semaphore;
    pthread_mutex_lock(&s->device->lock);
    *out = s->value;
    pthread_mutex_unlock(&s->device->lock);
    return SL_OK;
}

sl_status sl_cpu_semaphore_signal(sl_semaphore *semaphore, uint64_t value, sl_diag *diag)
{
    sl_cpu_semaphore *s = (sl_cpu_semaphore *)semaphore;
    pthread_mutex_lock(&s->device->lock);
    const uint64_t before = s->value;
    if (value > before) raise_semaphore(s, value);
    pthread_mutex_unlock(&s->device->lock);
    if (value <= before)
        return sl_fail(diag, SL_ERR_ARGUMENT,
                       "signal of %" PRIu64 ": the semaphore is at %" PRIu64 " already", value, before);
    return SL_OK;
}

sl_status sl_cpu_semaphore_wait(sl_semaphore *semaphore, uint64_t value, uint64_t timeout_ns, sl_diag *diag)
{
    sl_cpu_semaphore *s = (sl_cpu_semaphore *)semaphore;
    sl_cpu_device *d = s->device;
    const uint64_t now = sl_now_ns();
    const bool forever = timeout_ns > (uint64_t)INT64_MAX - now;
    struct timespec until = {0};
    if (!forever) {
        until.tv_sec = (time_t)((now + timeout_ns) / 1000000000u);
        until.tv_nsec = (long)((now + timeout_ns) % 1000000000u);
    }
    pthread_mutex_lock(&d->lock);
    int err = 0;
    while (s->value < value && err != ETIMEDOUT)
        err = forever ? pthread_cond_wait(&d->changed, &d->lock)
                      : pthread_cond_timedwait(&d->changed, &d->lock, &until);
    const uint64_t at = s->value;
    pthread_mutex_unlock(&d->lock);
    if (at >= value) return SL_OK;
    return sl_fail(diag, SL_ERR_TIMEOUT,
                   "wait for %" PRIu64 ": the semaphore is at %" PRIu64 " after %" PRIu64 " ns", value, at,
                   timeout_ns);
}

/* ---- Queues ---- */

static void finish(sl_cpu_queue *q, sl_cpu_submission *s)
{
    for (uint32_t i = 0; i < s->command_count; i++)
        s->commands[i]->pending--;
    s->next = q->device->spare;
    q->device->spare = s;
    q->completed++;
}

/* Whether no queue can go on by itself: each is empty, or waits for a semaphore that is not there yet. */
static bool stuck(const sl_cpu_device *d)
{
    for (int i = 0; i < 2; i++) {
        const sl_cpu_queue *q = &d->queues[i];
        if (q->running || (q->first && reached(q->first))) return false;
    }
    return true;
}

static sl_cpu_submission *take(sl_cpu_queue *q)
{
    sl_cpu_submission *s = q->first;
    q->first = s->next;
    if (!q->first) q->last = &q->first;
    return s;
}

static void drop_all(sl_cpu_queue *q)
{
    while (q->first) {
        sl_cpu_submission *s = take(q);
        s->command_count = 0; /* their recordings may be gone: nobody waits for them any more */
        finish(q, s);
    }
}

static void execute(sl_cpu_queue *q, sl_cpu_submission *s)
{
    sl_cpu_device *d = q->device;
    q->running = true;
    pthread_mutex_unlock(&d->lock);
    sl_cpu_pool *pool = q == &d->queues[SL_QUEUE_COMPUTE] ? d->pool : NULL;
    for (uint32_t i = 0; i < s->command_count; i++)
        sl_cpu_commands_run(s->commands[i], pool);
    pthread_mutex_lock(&d->lock);
    if (pool && !q->first) sl_cpu_pool_rest(pool);
    q->running = false;
    for (uint32_t i = 0; i < s->signal_count; i++)
        raise_semaphore((sl_cpu_semaphore *)s->signals[i].semaphore, s->signals[i].value);
    finish(q, s);
    pthread_cond_broadcast(&d->changed);
}

static void *queue_thread(void *argument)
{
    sl_cpu_queue *q = argument;
    sl_cpu_device *d = q->device;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        if (q->first && reached(q->first)) {
            execute(q, take(q));
            continue;
        }
        if (d->stopping && stuck(d)) {
            drop_all(q);
            for (int i = 0; i < 2; i++)
                pthread_cond_signal(&d->queues[i].wake);
            break;
        }
        q->blocked = true;
        pthread_cond_wait(&q->wake, &d->lock);
        q->blocked = false;
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

sl_status sl_cpu_queues_start(sl_cpu_device *d, sl_diag *diag)
{
    for (int i = 0; i < 2; i++) {
        sl_cpu_queue *q = &d->queues[i];
        q->device = d;
        q->last = &q->first;
        pthread_cond_init(&q->wake, NULL);
    }
    for (int i = 0; i < 2; i++) {
        sl_cpu_queue *q = &d->queues[i];
        const int err = pthread_create(&q->thread, NULL, queue_thread, q);
        if (err) return sl_fail_errno(diag, SL_ERR_NO_MEMORY, err, "cannot start a queue thread");
        q->started = true;
    }
    return SL_OK;
}

void sl_cpu_queues_stop(sl_cpu_device *d)
{
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    for (int i = 0; i < 2; i++)
        pthread_cond_signal(&d->queues[i].wake);
    pthread_mutex_unlock(&d->lock);
    for (int i = 0; i < 2; i++) {
        if (d->queues[i].started) pthread_join(d->queues[i].thread, NULL);
    }
    for (int i = 0; i < 2; i++)
        pthread_cond_destroy(&d->queues[i].wake);
    while (d->spare) {
        sl_cpu_submission *s = d->spare;
        d->spare = s->next;
        sl_free(s);
    }
}

/* Holds the lock. A recording that may not be pending twice is refused here, because a GPU would go wrong
 * silently. */
static sl_status claim_commands(const sl_submission *submission, sl_diag *diag)
{
    for (uint32_t i = 0; i < submission->command_count; i++) {
        sl_cpu_commands *c = (sl_cpu_commands *)submission->commands[i];
        if (c->pending && !(c->flags & SL_COMMANDS_CONCURRENT)) {
            while (i-- > 0)
                ((sl_cpu_commands *)submission->commands[i])->pending--;
            return sl_fail(
                diag, SL_ERR_ARGUMENT,
                "submit: a recording is pending already and was not made with SL_COMMANDS_CONCURRENT");
        }
        c->pending++;
    }
    return SL_OK;
}

sl_status sl_cpu_queue_submit(sl_device *device, sl_queue queue, const sl_submission *submission,
                              sl_diag *diag)
{
    sl_cpu_device *d = (sl_cpu_device *)device;
    sl_cpu_queue *q = &d->queues[queue];
    sl_cpu_submission *s = NULL;
    pthread_mutex_lock(&d->lock);
    if (d->spare) {
        s = d->spare;
        d->spare = s->next;
    } else {
        s = sl_malloc(sizeof *s);
    }
    if (!s) {
        pthread_mutex_unlock(&d->lock);
        return sl_fail(diag, SL_ERR_NO_MEMORY, "submission");
    }
    sl_status st = claim_commands(submission, diag);
    if (st != SL_OK) {
        s->next = d->spare;
        d->spare = s;
        pthread_mutex_unlock(&d->lock);
        return st;
    }
    s->next = NULL;
    s->wait_count = submission->wait_count;
    s->command_count = submission->command_count;
    s->signal_count = submission->signal_count;
    for (uint32_t i = 0; i < s->wait_count; i++)
        s->waits[i] = submission->waits[i];
    for (uint32_t i = 0; i < s->signal_count; i++)
        s->signals[i] = submission->signals[i];
    for (uint32_t i = 0; i < s->command_count; i++)
        s->commands[i] = (sl_cpu_commands *)submission->commands[i];
    *q->last = s;
    q->last = &s->next;
    q->submitted++;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&d->lock);
    return SL_OK;
}

sl_status sl_cpu_wait_idle(sl_device *device, sl_diag *diag)
{
    (void)diag;
    sl_cpu_device *d = (sl_cpu_device *)device;
    pthread_mutex_lock(&d->lock);
    const uint64_t goal[2] = {d->queues[0].submitted, d->queues[1].submitted};
    while (d->queues[0].completed < goal[0] || d->queues[1].completed < goal[1])
        pthread_cond_wait(&d->changed, &d->lock);
    pthread_mutex_unlock(&d->lock);
    return SL_OK;
}
