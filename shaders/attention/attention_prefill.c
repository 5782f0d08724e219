#include "shaders/attention/attention_host.h"
#include "shaders/registry.h"

#define BLOCK_TOKENS 16u

/* Items are (block of tokens, head). A block is computed in runs of tokens of one sequence, so that a page of
 * keys is converted to f32 once for a whole run; padding tokens get zeros. */
void sl_host_attention_prefill(const sl_kernel_task *task)
{
    const struct sl_push_attention *p = task->push;
    const uint32_t *positions = sl_host(p->positions), *sequences = sl_host(p->sequences);
    const uint32_t *table = sl_host(p->block_table), group = p->n_heads / p->n_kv_heads;
    const uint32_t blocks = p->n_tokens / BLOCK_TOKENS + (p->n_tokens % BLOCK_TOKENS != 0);
    uint64_t item, items_end;
    sl_attention_row rows[SL_ATTENTION_ROWS];
    _Static_assert(BLOCK_TOKENS <= SL_ATTENTION_ROWS, "a run has one row a token");

    sl_task_share(task, (uint64_t)blocks * p->n_heads, &item, &items_end);
    for (; item < items_end; item++) {
        const uint32_t h = (uint32_t)(item % p->n_heads),
                       first = (uint32_t)(item / p->n_heads) * BLOCK_TOKENS;
        const uint32_t last = p->n_tokens - first < BLOCK_TOKENS ? p->n_tokens : first + BLOCK_TOKENS;
        for (uint32_t t = first, run; t < last; t = run) {
            const bool padding = positions[t] == SL_NO_POSITION;
            for (run = t; run < last && (positions[run] == SL_NO_POSITION) == padding &&
                          (padding || sequences[run] == sequences[t]);
                 run++) {
                sl_attention_row *row = &rows[run - t];
                row->q =
                    (const float *)sl_host(p->q) + (uint64_t)run * p->q_stride + (uint64_t)h * p->head_dim;
                sl_attention_visible(positions[run], p->window, &row->begin, &row->end);
            }
            const uint32_t *pages = padding ? NULL : table + (uint64_t)sequences[t] * p->table_stride;
            sl_attention_rows(p, task->spec[SL_ATTENTION_KV_TYPE], pages, h / group, rows, run - t);
            for (uint32_t r = 0; r < run - t; r++)
                sl_attention_store(p, t + r, h, &rows[r]);
        }
    }
}

void sl_grid_attention_prefill(const void *push, const sl_variant *variant, const uint32_t *spec,
                               uint32_t groups[3])
{
    const struct sl_push_attention *p = push;
    (void)spec;
    groups[0] = p->n_heads;
    groups[1] = (p->n_tokens + variant->tile_x - 1) / variant->tile_x;
}
