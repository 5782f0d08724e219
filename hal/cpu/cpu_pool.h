/* cpu_pool.h - a few threads that run the parts of one kernel at a time with little overhead.
 *
 * Workers spin for some microseconds after a job before they sleep, because a decode step is hundreds of
 * short jobs in a row. Only hal/cpu includes this.
 * Threads: create, run and destroy belong to one thread at a time. */
#ifndef SL_HAL_CPU_POOL_H
#define SL_HAL_CPU_POOL_H

#include "hal/hal.h"

typedef struct sl_cpu_pool sl_cpu_pool;

#define SL_CPU_THREADS_MAX 1024
#define SL_CPU_PARTS_MAX   8192

/* `threads` counts the caller of sl_cpu_pool_run, who works too; 1 .. SL_CPU_THREADS_MAX. */
SL_NODISCARD sl_status sl_cpu_pool_create(uint32_t threads, sl_cpu_pool **out, sl_diag *diag);
void sl_cpu_pool_destroy(sl_cpu_pool *pool); /* NULL is fine; no run may be in progress */
uint32_t sl_cpu_pool_threads(const sl_cpu_pool *pool);

/* Runs `fn` for parts 0 .. count - 1 of `task` (index and count are filled in) and returns when all have
 * ended; their writes are then visible to the caller. count is 1 .. SL_CPU_PARTS_MAX. */
void sl_cpu_pool_run(sl_cpu_pool *pool, sl_kernel_host_fn fn, const sl_kernel_task *task, uint32_t count);

/* No job will follow soon: workers that spin go to sleep and leave the core to others. */
void sl_cpu_pool_rest(sl_cpu_pool *pool);

#endif
