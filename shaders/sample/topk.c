#include "shaders/registry.h"

#include <math.h>
#include <stdbool.h>

typedef struct entry {
    float value;
    uint32_t id;
} entry;

/* Is a before b in the result? NaN after all numbers. */
static bool before(entry a, entry b)
{
    const bool nan_a = isnan(a.value), nan_b = isnan(b.value);
    if (nan_a != nan_b) return nan_b;
    if (!nan_a && a.value != b.value) return a.value > b.value;
    return a.id < b.id;
}

/* A heap whose root is the last of the entries kept. */
static void sift_down(entry *heap, uint32_t n, uint32_t i)
{
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= n) return;
        if (child + 1 < n && before(heap[child], heap[child + 1])) child++;
        if (!before(heap[i], heap[child])) return;
        const entry swap = heap[i];
        heap[i] = heap[child];
        heap[child] = swap;
        i = child;
    }
}

static void topk_row(const struct sl_push_topk *p, uint64_t r)
{
    const float *x = (const float *)sl_host(p->x) + r * p->x_stride;
    entry heap[SL_TOPK_MAX] = {{0, 0}};
    for (uint32_t i = 0; i < p->k; i++)
        heap[i] = (entry){x[i], i};
    for (uint32_t i = p->k / 2; i-- > 0;)
        sift_down(heap, p->k, i);
    for (uint32_t i = p->k; i < p->n; i++) {
        const entry e = {x[i], i};
        if (!before(e, heap[0])) continue;
        heap[0] = e;
        sift_down(heap, p->k, 0);
    }
    for (uint32_t n = p->k; n > 1; n--) { /* the last one goes to the end */
        const entry last = heap[0];
        heap[0] = heap[n - 1];
        heap[n - 1] = last;
        sift_down(heap, n - 1, 0);
    }
    uint32_t *ids = (uint32_t *)sl_host(p->ids) + r * p->k;
    float *values = (float *)sl_host(p->values) + r * p->k;
    for (uint32_t i = 0; i < p->k; i++) {
        ids[i] = heap[i].id;
        values[i] = heap[i].value;
    }
    if (isinf(heap[0].value)) { /* inf - inf would be a NaN */
        ((float *)sl_host(p->lse))[r] = heap[0].value;
        return;
    }
    double sum = 0;
    for (uint32_t i = 0; i < p->n; i++)
        if (!isnan(x[i])) sum += (double)expf(x[i] - heap[0].value);
    ((float *)sl_host(p->lse))[r] = heap[0].value + (float)log(sum);
}

void sl_host_topk(const sl_kernel_task *task)
{
    const struct sl_push_topk *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, p->rows, &begin, &end);
    for (uint64_t r = begin; r < end; r++)
        topk_row(p, r);
}

void sl_grid_topk(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)variant, (void)spec;
    groups[0] = ((const struct sl_push_topk *)push)->rows;
}
