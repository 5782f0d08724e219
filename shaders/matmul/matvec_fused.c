/* Plain and exact, for tests: the cpu driver runs a step unfused. */
#include "shaders/registry.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "shaders/activation.h"
#include "shaders/matmul/fused_host.h"
#include "shaders/rows_out.h"

#include <math.h>
#include <string.h>

uint32_t sl_fused_format(uint32_t input, uint32_t weight_type, uint32_t blocks)
{
    return input == SL_INPUT_ROWS && !sl_weight_is_float(weight_type) ? blocks : SL_ROWS_F32;
}

void sl_fused_input(const sl_fused_input_desc *in, float *out)
{
    const bool rows = in->input == SL_INPUT_ROWS, floats = sl_weight_is_float(in->weight_type);
    if (rows && !floats) {
        for (uint32_t i = 0; i < in->n; i++)
            out[i] = sl_rows_get(in->blocks, in->x, in->n, i);
        return;
    }
    memcpy(out, in->x, in->n * sizeof *out);
    if (in->input == SL_INPUT_NORM) {
        double squares = 0;
        for (uint32_t i = 0; i < in->n; i++)
            squares += (double)out[i] * (double)out[i];
        const float scale = (float)(1 / sqrt(squares / in->n + (double)in->eps));
        for (uint32_t i = 0; i < in->n; i++)
            out[i] *= scale * in->norm[i];
    }
    if (floats) return;
    _Alignas(16) uint8_t block[72];
    for (uint32_t i = 0; i < in->n; i += 32) { /* what rounding leaves of it */
        sl_rows_put(in->blocks, block, 32, 0, 32, out + i);
        for (uint32_t k = 0; k < 32; k++)
            out[i + k] = sl_rows_get(in->blocks, block, 32, k);
    }
}

float sl_fused_activation(uint32_t act, float gate, float up)
{
    return (act == SL_ACT_GELU ? sl_gelu(gate) : sl_silu(gate)) * up;
}

double sl_fused_dot(uint32_t type, const void *row, const float *x, uint32_t n)
{
    uint32_t weights = 1, bytes = 1;
    float w[256];
    double sum = 0;
    sl_weight_block(type, &weights, &bytes);
    for (uint32_t i = 0; i < n; i += 32 < weights ? weights : 32) {
        const uint32_t count = SL_MIN(n - i, weights > 32 ? weights : 32u);
        sl_weights_to_f32(type, (const uint8_t *)row + (uint64_t)i / weights * bytes, w, count);
        for (uint32_t k = 0; k < count; k++)
            sum += (double)w[k] * (double)x[i + k];
    }
    return sum;
}

/* Rows begin .. end - 1 of column t. */
static void make_rows(const struct sl_push_matvec_fused *p, const uint32_t *own, bool gated, uint32_t blocks,
                      uint32_t t, uint32_t begin, uint32_t end, float *x)
{
    const uint32_t n_k = own[SL_FUSED_N_K];
    const uint32_t format = sl_fused_format(own[SL_FUSED_INPUT], p->weight_type, blocks);
    const sl_fused_input_desc in = {
        .x = (const uint8_t *)sl_host(p->x) + t * sl_rows_bytes(format, p->x_stride),
        .norm = sl_host(p->norm),
        .n = n_k,
        .input = own[SL_FUSED_INPUT],
        .weight_type = p->weight_type,
        .blocks = blocks,
        .eps = p->eps,
    };
    float strip[32];
    sl_fused_input(&in, x);
    uint8_t *y = (uint8_t *)sl_host(p->y) + t * sl_rows_bytes(own[SL_FUSED_OUTPUT], p->y_stride);
    for (uint32_t r = begin; r < end; r++) {
        const uint64_t at = (uint64_t)r * p->row_bytes;
        float v = (float)sl_fused_dot(p->weight_type, (const uint8_t *)sl_host(p->w) + at, x, n_k);
        if (gated)
            v = sl_fused_activation(
                own[SL_FUSED_ACT], v,
                (float)sl_fused_dot(p->weight_type, (const uint8_t *)sl_host(p->w2) + at, x, n_k));
        if (p->add) v += ((const float *)sl_host(p->add))[(uint64_t)t * p->y_stride + r];
        strip[(r - begin) % 32] = v;
        if ((r - begin) % 32 == 31 || r + 1 == end)
            sl_rows_put(own[SL_FUSED_OUTPUT], y, p->n_out, r - (r - begin) % 32, (r - begin) % 32 + 1, strip);
    }
}

static void run(const sl_kernel_task *task, bool gated, uint32_t blocks)
{
    const struct sl_push_matvec_fused *p = task->push;
    const uint32_t *own = task->spec + SL_SPEC_FIRST;
    const uint64_t strips = sl_div_up(p->n_out, 32);
    uint64_t begin, end;
    sl_task_share(task, strips * own[SL_FUSED_COLUMNS], &begin, &end);
    float *x = sl_calloc(own[SL_FUSED_N_K], sizeof *x);
    for (; x && begin < end; begin++) {
        const uint32_t first = (uint32_t)(begin % strips) * 32;
        make_rows(p, own, gated, blocks, (uint32_t)(begin / strips), first, SL_MIN(first + 32, p->n_out), x);
    }
    sl_free(x);
}

void sl_host_matvec_fused(const sl_kernel_task *task)
{
    run(task, false, SL_ROWS_Q8);
}

void sl_host_matvec_gated(const sl_kernel_task *task)
{
    run(task, true, SL_ROWS_Q8);
}

void sl_host_matvec_fused_f16(const sl_kernel_task *task)
{
    run(task, false, SL_ROWS_F16_SCALED);
}

void sl_host_matvec_gated_f16(const sl_kernel_task *task)
{
    run(task, true, SL_ROWS_F16_SCALED);
}

void sl_grid_matvec_fused(const void *push, const sl_variant *variant, const uint32_t *spec,
                          uint32_t groups[3])
{
    (void)variant;
    const struct sl_push_matvec_fused *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n_out, spec[SL_SPEC_FIRST + SL_FUSED_ROWS_GROUP]);
}

SL_GRID_LIKE(matvec_gated, matvec_fused)
SL_GRID_LIKE(matvec_fused_f16, matvec_fused)
SL_GRID_LIKE(matvec_gated_f16, matvec_fused)
