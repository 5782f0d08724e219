/* C side and grid of embed: the share of a thread is a range of tokens. */
#include "hal/base/checked.h"
#include "shaders/registry.h"

#include <string.h>

/* Weights decoded at once: a multiple of every block. */
#define PIECE 256u

static void embed_row(const struct sl_push_embed *p, uint32_t token, float *y)
{
    uint32_t block_weights = 1, block_bytes = 1;
    if (token >= p->n_vocab || !sl_weight_block(p->weight_type, &block_weights, &block_bytes)) {
        memset(y, 0, p->n_embd * sizeof *y);
        return;
    }
    const uint8_t *row = (const uint8_t *)sl_host(p->table) + (uint64_t)token * p->row_bytes;
    for (uint32_t k = 0; k < p->n_embd; k += PIECE) {
        const uint32_t n = p->n_embd - k < PIECE ? p->n_embd - k : PIECE;
        sl_weights_to_f32(p->weight_type, row + (uint64_t)(k / block_weights) * block_bytes, y + k, n);
        for (uint32_t i = k; i < k + n; i++)
            y[i] *= p->scale;
    }
}

void sl_host_embed(const sl_kernel_task *task)
{
    const struct sl_push_embed *p = task->push;
    const uint32_t *tokens = sl_host(p->tokens);
    uint64_t begin, end;
    sl_task_share(task, p->n_tokens, &begin, &end);
    for (uint64_t t = begin; t < end; t++)
        embed_row(p, tokens[t], (float *)sl_host(p->y) + t * p->y_stride);
}

void sl_grid_embed(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    (void)spec;
    const struct sl_push_embed *p = push;
    groups[0] = (uint32_t)sl_div_up(p->n_embd, variant->tile_x);
    groups[1] = sl_grid_clamp(p->n_tokens);
}
