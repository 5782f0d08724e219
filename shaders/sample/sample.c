#include "shaders/registry.h"

#include "hal/base/checked.h"

#include <math.h>

/* As in sample.comp, with sums of 64 bits: here k may be a whole vocabulary. */
#define SCALE 1048576.0f

static uint64_t weight(float value, float first, float temperature)
{
    if (value == first) return (uint64_t)SCALE; /* infinite ones too */
    if (isnan(value)) return 0;
    return (uint64_t)(expf((value - first) / temperature) * SCALE + 0.5f);
}

static uint32_t pcg(uint32_t v)
{
    v = v * 747796405u + 2891336453u;
    const uint32_t word = ((v >> ((v >> 28) + 4u)) ^ v) * 277803737u;
    return (word >> 22) ^ word;
}

static uint64_t sum_of(const float *v, uint32_t n, float temperature)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += weight(v[i], v[0], temperature);
    return total;
}

/* How many of the first n remain: the fewest whose probabilities reach top_p of theirs, none below min_p. */
static uint32_t narrow(const float *v, uint32_t n, const struct sl_sample_params *s)
{
    if (s->top_p < 1) {
        const uint64_t enough = (uint64_t)(fmaxf(s->top_p, 0) * (float)sum_of(v, n, 1));
        uint64_t sum = 0;
        uint32_t kept = 0;
        while (kept < n && (kept == 0 || sum < enough))
            sum += weight(v[kept++], v[0], 1);
        n = kept;
    }
    if (s->min_p > 0) {
        const uint64_t least = (uint64_t)(fminf(s->min_p, 1) * SCALE);
        uint32_t kept = 1;
        while (kept < n && weight(v[kept], v[0], 1) >= least)
            kept++;
        n = kept;
    }
    return n;
}

static uint32_t draw(const float *v, uint32_t k, const struct sl_sample_params *s)
{
    if (!(s->temperature > 0)) return 0;
    const uint32_t n = narrow(v, s->top_k == 0 ? k : SL_MIN(s->top_k, k), s);
    const uint64_t total = sum_of(v, n, s->temperature);
    const uint32_t random = pcg(pcg(pcg(s->seed_low) ^ s->seed_high) ^ s->counter);
    /* random * total / 2^32 without a 128-bit product: total is below 2^40 */
    const uint64_t target = (random * (total >> 32)) + ((random * (total & 0xffffffffu)) >> 32);
    uint32_t chosen = 0;
    uint64_t sum = weight(v[0], v[0], s->temperature);
    while (chosen + 1 < n && sum <= target)
        sum += weight(v[++chosen], v[0], s->temperature);
    return chosen;
}

void sl_host_sample(const sl_kernel_task *task)
{
    const struct sl_push_sample *p = task->push;
    const struct sl_sample_params *params = sl_host(p->params);
    uint64_t begin, end;
    sl_task_share(task, p->rows, &begin, &end);
    for (uint64_t r = begin; r < end; r++) {
        const uint32_t chosen = draw((const float *)sl_host(p->values) + r * p->k, p->k, &params[r]);
        ((uint32_t *)sl_host(p->token))[r] = ((const uint32_t *)sl_host(p->ids))[r * p->k + chosen];
    }
}

void sl_grid_sample(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)variant, (void)spec;
    groups[0] = ((const struct sl_push_sample *)push)->rows;
}
