#include "shaders/registry.h"

void sl_host_measure_read(const sl_kernel_task *task)
{
    const struct sl_push_measure_read *p = task->push;
    const uint64_t words = 4ull * p->chunk_vectors;
    const uint32_t *x = sl_host(p->x);
    uint32_t *y = sl_host(p->y);
    uint64_t begin, end;
    sl_task_share(task, p->n_chunks, &begin, &end);
    for (uint64_t c = begin; c < end; c++) {
        uint32_t all = 0;
        for (uint64_t i = 0; i < words; i++)
            all ^= x[c * words + i];
        y[c] = all;
    }
}

void sl_grid_measure_read(const void *push, const sl_variant *variant, const uint32_t *spec,
                          uint32_t groups[3])
{
    (void)variant;
    (void)spec;
    sl_grid_of_rows(((const struct sl_push_measure_read *)push)->n_chunks, groups);
}
