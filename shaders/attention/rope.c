#include "shaders/attention/rope_host.h"

#include "shaders/registry.h"

#include <math.h>

#define PAIRS 64u /* frequencies kept at a time */

double sl_rope_frequency(const struct sl_push_rope *p, uint32_t i)
{
    const float *factors = sl_host(p->factors);
    double theta = pow((double)p->freq_base, -2.0 * i / p->rot_dim);
    if (factors) theta /= (double)factors[i];
    const double span = fmax(0.001, (double)p->corr_high - (double)p->corr_low);
    const double y = ((double)i - (double)p->corr_low) / span;
    const double ramp = 1.0 - fmin(1.0, fmax(0.0, y));
    const double mix = ramp * (double)p->ext_factor;
    return theta * ((double)p->freq_scale * (1.0 - mix) + mix);
}

void sl_rope_turn(const struct sl_push_rope *p, double angle, float *out_cos, float *out_sin)
{
    *out_cos = (float)(cos(angle) * (double)p->attn_factor);
    *out_sin = (float)(sin(angle) * (double)p->attn_factor);
}

static void rotate_token(const struct sl_push_rope *p, uint64_t t, uint32_t position, uint32_t first,
                         uint32_t count, const double *frequencies)
{
    const uint32_t step = p->mode ? p->rot_dim / 2 : 1;
    for (uint32_t i = first; i < first + count; i++) {
        float c, s;
        sl_rope_turn(p, position * frequencies[i - first], &c, &s);
        float *at = (float *)sl_host(p->x) + t * p->token_stride + (p->mode ? i : 2 * i);
        for (uint32_t h = 0; h < p->n_heads; h++, at += p->head_dim) {
            const float a = at[0], b = at[step];
            at[0] = a * c - b * s;
            at[step] = a * s + b * c;
        }
    }
}

/* Items are tokens. Frequencies are computed once for all of them, sine and cosine once for all heads. */
void sl_host_rope(const sl_kernel_task *task)
{
    const struct sl_push_rope *p = task->push;
    const uint32_t *positions = sl_host(p->positions), pairs = p->rot_dim / 2;
    double frequencies[PAIRS];
    uint64_t begin, end;
    sl_task_share(task, p->n_tokens, &begin, &end);
    if (begin == end) return;
    for (uint32_t first = 0, count; first < pairs; first += count) {
        count = pairs - first < PAIRS ? pairs - first : PAIRS;
        for (uint32_t i = 0; i < count; i++)
            frequencies[i] = sl_rope_frequency(p, first + i);
        for (uint64_t t = begin; t < end; t++)
            if (positions[t] != SL_NO_POSITION) rotate_token(p, t, positions[t], first, count, frequencies);
    }
}

/* Invocations are (pair, block of tile_x heads) in x, tokens in y. */
void sl_grid_rope(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    const struct sl_push_rope *p = push;
    const uint32_t blocks = (p->n_heads + variant->tile_x - 1) / variant->tile_x;
    const uint32_t items = blocks * (p->rot_dim / 2);
    groups[0] = (items + spec[SL_SPEC_WORKGROUP] - 1) / spec[SL_SPEC_WORKGROUP];
    groups[1] = p->n_tokens;
}
