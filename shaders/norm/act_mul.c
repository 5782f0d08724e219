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
    for (uint64_t k = begin; k < end; k++) {
        const uint64_t r = k / p->n, i = k % p->n;
        const float g = ((const float *)sl_host(p->gate))[r * p->gate_stride + i];
        const float u = ((const float *)sl_host(p->up))[r * p->up_stride + i];
        ((float *)sl_host(p->y))[r * p->y_stride + i] = (p->act == SL_ACT_GELU ? gelu(g) : silu(g)) * u;
    }
}

void sl_grid_act_mul(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_act_mul *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n, variant->tile_x);
    groups[1] = p->rows;
}
