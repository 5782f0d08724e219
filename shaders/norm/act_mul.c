#include "shaders/registry.h"

#include "hal/base/checked.h"

#include <math.h>

static float silu(float x)
{
    return x / (1 + expf(-x));
}

static float gelu(float x)
{
    return 0.5f * x * (1 + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

void sl_host_act_mul(const sl_kernel_task *task)
{
    const struct sl_push_act_mul *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, (uint64_t)p->rows * p->n, &begin, &end);
    while (begin < end) { /* a row, or the part of one that is in the share */
        const uint64_t r = begin / p->n, first = begin % p->n, count = SL_MIN(p->n - first, end - begin);
        const float *gate = (const float *)sl_host(p->gate) + r * p->gate_stride + first;
        const float *up = (const float *)sl_host(p->up) + r * p->up_stride + first;
        float *y = (float *)sl_host(p->y) + r * p->y_stride + first;
        if (p->act == SL_ACT_GELU)
            for (uint64_t i = 0; i < count; i++)
                y[i] = gelu(gate[i]) * up[i];
        else
            for (uint64_t i = 0; i < count; i++)
                y[i] = silu(gate[i]) * up[i];
        begin += count;
    }
}

void sl_grid_act_mul(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_act_mul *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n, variant->tile_x);
    groups[1] = sl_grid_clamp(p->rows);
}
