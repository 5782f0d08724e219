#include "shaders/registry.h"

#include "hal/base/half.h"

/* Element `at` of the sum of `tiles` matrices of `size` elements. Integers small enough for a double are
 * exact. */
static double element(const struct sl_push_measure_matrix *p, sl_addr matrices, uint32_t at, uint32_t size)
{
    double sum = 0;
    for (uint32_t t = 0; t < p->tiles; t++)
        sum += p->type == SL_MEASURE_I8
                   ? ((const int8_t *)sl_host(matrices))[t * size + at]
                   : (double)sl_half_to_float(((const uint16_t *)sl_host(matrices))[t * size + at]);
    return sum;
}

void sl_host_measure_matrix(const sl_kernel_task *task)
{
    const struct sl_push_measure_matrix *p = task->push;
    const uint32_t size = p->m * p->n;
    uint64_t begin, end;
    sl_task_share(task, size, &begin, &end);
    for (uint64_t i = begin; i < end; i++) {
        const uint32_t row = (uint32_t)i / p->n, column = (uint32_t)i % p->n;
        double sum = 0;
        for (uint32_t k = 0; k < p->k; k++)
            sum += element(p, p->a, row * p->k + k, p->m * p->k) *
                   element(p, p->b, k * p->n + column, p->k * p->n);
        sum *= p->rounds;
        for (uint32_t s = 0; s < p->groups * p->subgroups; s++) {
            if (p->type == SL_MEASURE_I8)
                ((int32_t *)sl_host(p->y))[s * size + i] = (int32_t)sum;
            else
                ((float *)sl_host(p->y))[s * size + i] = (float)sum;
        }
    }
}

void sl_grid_measure_matrix(const void *push, const sl_variant *variant, const uint32_t *spec,
                            uint32_t groups[3])
{
    (void)variant;
    (void)spec;
    groups[0] = ((const struct sl_push_measure_matrix *)push)->groups;
}
