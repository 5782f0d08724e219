/* moe_gated and moe_down, plain and exact, for tests: the cpu driver runs a step unfused. */
#include "shaders/registry.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "shaders/matmul/fused_host.h"
#include "shaders/rows_out.h"

static const uint8_t *expert_row(uint64_t w, const struct sl_push_moe_fused *p, uint32_t expert, uint32_t r)
{
    return (const uint8_t *)sl_host(w) + ((uint64_t)expert * p->n_out + r) * p->row_bytes;
}

/* Rows begin .. end - 1 of one (token, slot). x: scratch of n_k. */
static void gated_rows(const struct sl_push_moe_fused *p, const uint32_t *own, uint32_t blocks, uint64_t item,
                       uint32_t begin, uint32_t end, float *x)
{
    const uint32_t expert = ((const uint32_t *)sl_host(p->ids))[item];
    const uint32_t format = sl_fused_format(own[SL_FUSED_INPUT], p->weight_type, blocks);
    const sl_fused_input_desc in = {
        .x = (const uint8_t *)sl_host(p->x) + item / p->n_used * sl_rows_bytes(format, p->x_stride),
        .norm = sl_host(p->norm),
        .n = p->n_k,
        .input = own[SL_FUSED_INPUT],
        .weight_type = p->weight_type,
        .blocks = blocks,
        .eps = p->eps,
    };
    float strip[32] = {0};
    sl_fused_input(&in, x);
    for (uint32_t r = begin; r < end && expert < p->n_experts; r++)
        strip[r - begin] = sl_fused_activation(
            own[SL_FUSED_ACT], (float)sl_fused_dot(p->weight_type, expert_row(p->w, p, expert, r), x, p->n_k),
            (float)sl_fused_dot(p->weight_type, expert_row(p->w2, p, expert, r), x, p->n_k));
    uint8_t *y = (uint8_t *)sl_host(p->y) + item * sl_rows_bytes(own[SL_FUSED_OUTPUT], p->n_out);
    sl_rows_put(own[SL_FUSED_OUTPUT], y, p->n_out, begin, end - begin, strip);
}

static void run_gated(const sl_kernel_task *task, uint32_t blocks)
{
    const struct sl_push_moe_fused *p = task->push;
    const uint64_t strips = sl_div_up(p->n_out, 32);
    uint64_t begin, end;
    sl_task_share(task, strips * p->n_tokens * p->n_used, &begin, &end);
    float *x = sl_calloc(p->n_k, sizeof *x);
    for (; x && begin < end; begin++) {
        const uint32_t first = (uint32_t)(begin % strips) * 32;
        gated_rows(p, task->spec + SL_SPEC_FIRST, blocks, begin / strips, first, SL_MIN(first + 32, p->n_out),
                   x);
    }
    sl_free(x);
}

void sl_host_moe_gated(const sl_kernel_task *task)
{
    run_gated(task, SL_ROWS_Q8);
}

void sl_host_moe_gated_f16(const sl_kernel_task *task)
{
    run_gated(task, SL_ROWS_F16_SCALED);
}

static float down_row(const struct sl_push_moe_fused *p, uint32_t blocks, uint32_t t, uint32_t r, float *x)
{
    const uint32_t format = sl_fused_format(SL_INPUT_ROWS, p->weight_type, blocks);
    double sum = p->add ? (double)((const float *)sl_host(p->add))[(uint64_t)t * p->y_stride + r] : 0;
    for (uint32_t s = 0; s < p->n_used; s++) {
        const uint64_t item = (uint64_t)t * p->n_used + s;
        const uint32_t expert = ((const uint32_t *)sl_host(p->ids))[item];
        if (expert >= p->n_experts) continue;
        const sl_fused_input_desc in = {
            .x = (const uint8_t *)sl_host(p->x) + item * sl_rows_bytes(format, p->n_k),
            .n = p->n_k,
            .input = SL_INPUT_ROWS,
            .weight_type = p->weight_type,
            .blocks = blocks,
        };
        sl_fused_input(&in, x);
        sum += (double)((const float *)sl_host(p->weights))[item] *
               sl_fused_dot(p->weight_type, expert_row(p->w, p, expert, r), x, p->n_k);
    }
    return (float)sum;
}

static void run_down(const sl_kernel_task *task, uint32_t blocks)
{
    const struct sl_push_moe_fused *p = task->push;
    uint64_t begin, end;
    sl_task_share(task, (uint64_t)p->n_out * p->n_tokens, &begin, &end);
    float *x = sl_calloc(p->n_k, sizeof *x);
    for (; x && begin < end; begin++) {
        const uint32_t t = (uint32_t)(begin / p->n_out), r = (uint32_t)(begin % p->n_out);
        ((float *)sl_host(p->y))[(uint64_t)t * p->y_stride + r] = down_row(p, blocks, t, r, x);
    }
    sl_free(x);
}

void sl_host_moe_down(const sl_kernel_task *task)
{
    run_down(task, SL_ROWS_Q8);
}

void sl_host_moe_down_f16(const sl_kernel_task *task)
{
    run_down(task, SL_ROWS_F16_SCALED);
}

void sl_grid_moe_gated(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)variant;
    const struct sl_push_moe_fused *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n_out, spec[SL_SPEC_FIRST + SL_FUSED_ROWS_GROUP]);
    groups[1] = p->n_tokens * p->n_used;
}

void sl_grid_moe_down(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)variant;
    const struct sl_push_moe_fused *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n_out, spec[SL_SPEC_FIRST + SL_FUSED_ROWS_GROUP]);
    groups[1] = p->n_tokens;
}

SL_GRID_LIKE(moe_gated_f16, moe_gated)
SL_GRID_LIKE(moe_down_f16, moe_down)
