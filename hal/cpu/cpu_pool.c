/* cpu_pool.c - parts are claimed by one atomic add on a ticket.
 *
 * The ticket is generation << 32 | count << 16 | next. Generation, count and next part travel in one word so
 * that a worker which comes late, when its job is over and the next one is being set up, either claims a part
 * of the new job (and then sees all of it: the claim acquires what the ticket's store released) or sees
 * next >= count and goes away without having read the job's fields. `next` cannot run into `count`: past the
 * end each thread adds at most 1 a generation, and parts + threads stay below 65536. */
#include "hal/cpu/cpu_pool.h"

#include "hal/base/alloc.h"
#include "hal/base/clock.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* A gap between two dispatches of one recording is far shorter, a gap between two tokens mostly longer. */
#define SPIN_NS 50000u

_Static_assert(SL_CPU_PARTS_MAX + SL_CPU_THREADS_MAX < 65536, "the ticket has 16 bits for next");

struct sl_cpu_pool {
    _Alignas(64) _Atomic uint64_t ticket;
    _Alignas(64) _Atomic uint32_t unfinished; /* parts of the job that have not ended */
    _Alignas(64) _Atomic uint32_t sleeping;   /* workers inside pthread_cond_wait */
    _Atomic bool waiting;                     /* the owner is inside pthread_cond_wait */
    _Atomic bool resting;                     /* spinning is of no use now; only a hint */
    _Atomic bool stop;
    sl_kernel_host_fn fn;
    sl_kernel_task task;
    uint32_t generation;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    uint32_t threads, started; /* with the owner; worker threads that exist */
    pthread_t workers[];
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

static uint32_t generation_of(uint64_t ticket)
{
    return (uint32_t)(ticket >> 32);
}

/* Runs parts until none is left to claim; returns the generation of the last look. */
static uint32_t work_on(sl_cpu_pool *pool)
{
    for (;;) {
        const uint64_t claim = atomic_fetch_add_explicit(&pool->ticket, 1, memory_order_acq_rel);
        const uint32_t count = (uint32_t)(claim >> 16) & 0xffffu, index = (uint32_t)claim & 0xffffu;
        if (index >= count) return generation_of(claim);
        sl_kernel_task task = pool->task;
        task.index = index;
        task.count = count;
        pool->fn(&task);
        if (atomic_fetch_sub(&pool->unfinished, 1) == 1 && atomic_load(&pool->waiting)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

/* True as soon as there is a job newer than `seen`, false when the time is up. */
static bool spin_for_job(sl_cpu_pool *pool, uint32_t seen)
{
    const uint64_t end = sl_now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < 32; i++) {
            if (generation_of(atomic_load_explicit(&pool->ticket, memory_order_acquire)) != seen) return true;
            relax();
        }
        if (atomic_load_explicit(&pool->resting, memory_order_relaxed)) return false;
    } while (sl_now_ns() < end);
    return false;
}

static void *worker(void *argument)
{
    sl_cpu_pool *pool = argument;
    uint32_t seen = 0;
    while (!atomic_load(&pool->stop)) {
        if (!spin_for_job(pool, seen)) {
            pthread_mutex_lock(&pool->lock);
            atomic_fetch_add(&pool->sleeping, 1); /* before the look at the ticket: see publish */
            while (generation_of(atomic_load(&pool->ticket)) == seen && !atomic_load(&pool->stop))
                pthread_cond_wait(&pool->work, &pool->lock);
            atomic_fetch_sub(&pool->sleeping, 1);
            pthread_mutex_unlock(&pool->lock);
            continue;
        }
        seen = work_on(pool);
    }
    return NULL;
}

/* Stores, then looks for sleepers; a worker counts itself asleep, then looks at the ticket. Both orders are
 * sequentially consistent, so one of the two sees the other. */
static void publish(sl_cpu_pool *pool, uint64_t ticket)
{
    atomic_store(&pool->ticket, ticket);
    if (atomic_load(&pool->sleeping)) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->work);
        pthread_mutex_unlock(&pool->lock);
    }
}

static void wait_for_parts(sl_cpu_pool *pool)
{
    const uint64_t end = sl_now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < 32; i++) {
            if (!atomic_load_explicit(&pool->unfinished, memory_order_acquire)) return;
            relax();
        }
    } while (sl_now_ns() < end);
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->waiting, true);
    while (atomic_load(&pool->unfinished))
        pthread_cond_wait(&pool->done, &pool->lock);
    atomic_store(&pool->waiting, false);
    pthread_mutex_unlock(&pool->lock);
}

void sl_cpu_pool_run(sl_cpu_pool *pool, sl_kernel_host_fn fn, const sl_kernel_task *task, uint32_t count)
{
    assert(count > 0 && count <= SL_CPU_PARTS_MAX);
    if (count == 1 || pool->threads == 1) {
        sl_kernel_task part = *task;
        part.count = count;
        for (part.index = 0; part.index < count; part.index++)
            fn(&part);
        return;
    }
    pool->fn = fn;
    pool->task = *task;
    atomic_store_explicit(&pool->unfinished, count, memory_order_relaxed);
    pool->generation++;
    atomic_store_explicit(&pool->resting, false, memory_order_relaxed);
    publish(pool, (uint64_t)pool->generation << 32 | (uint64_t)count << 16);
    work_on(pool);
    wait_for_parts(pool);
}

void sl_cpu_pool_rest(sl_cpu_pool *pool)
{
    atomic_store_explicit(&pool->resting, true, memory_order_relaxed);
}

uint32_t sl_cpu_pool_threads(const sl_cpu_pool *pool)
{
    return pool->threads;
}

void sl_cpu_pool_destroy(sl_cpu_pool *pool)
{
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    sl_free(pool);
}

sl_status sl_cpu_pool_create(uint32_t threads, sl_cpu_pool **out, sl_diag *diag)
{
    assert(threads > 0 && threads <= SL_CPU_THREADS_MAX);
    *out = NULL;
    const size_t bytes = sizeof(sl_cpu_pool) + threads * sizeof(pthread_t);
    sl_cpu_pool *pool = sl_aligned_alloc(64, bytes);
    if (!pool) return sl_fail(diag, SL_ERR_NO_MEMORY, "thread pool of %u threads", threads);
    memset(pool, 0, bytes);
    pool->threads = threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (; pool->started + 1 < threads; pool->started++) {
        const int err = pthread_create(&pool->workers[pool->started], NULL, worker, pool);
        if (err) {
            sl_status st = sl_fail_errno(diag, SL_ERR_NO_MEMORY, err, "cannot start a worker thread");
            sl_cpu_pool_destroy(pool);
            return st;
        }
    }
    *out = pool;
    return SL_OK;
}
