#include "shaders/attention/attention_host.h"
#include "shaders/registry.h"

#include <string.h>

/* The keys of one split: an equal range of whole pages, cut by the token's own begin and end. */
static void cut_split(uint32_t *begin, uint32_t *end, uint32_t split, uint32_t n_splits)
{
    if (*begin >= *end) return;
    const uint32_t first = *begin / SL_KV_PAGE_TOKENS, last = (*end - 1) / SL_KV_PAGE_TOKENS;
    const uint32_t share = (last - first + n_splits) / n_splits; /* pages, rounded up */
    const uint64_t low = ((uint64_t)first + (uint64_t)split * share) * SL_KV_PAGE_TOKENS;
    const uint64_t high = low + (uint64_t)share * SL_KV_PAGE_TOKENS;
    if (low > *begin) *begin = low < *end ? (uint32_t)low : *end;
    if (high < *end) *end = (uint32_t)high;
}

static void store_partial(const struct sl_push_attention *p, uint32_t t, uint32_t h, uint32_t split,
                          const sl_attention_row *row)
{
    float *out = (float *)sl_host(p->partial) +
                 (((uint64_t)t * p->n_heads + h) * p->n_splits + split) * (p->head_dim + 2);
    memcpy(out, row->acc, p->head_dim * sizeof *out);
    out[p->head_dim] = row->maximum;
    out[p->head_dim + 1] = row->sum;
}

/* Items are (token, kv head, split), as the workgroups of the shader. */
void sl_host_attention_decode(const sl_kernel_task *task)
{
    const struct sl_push_attention *p = task->push;
    const uint32_t *positions = sl_host(p->positions), *sequences = sl_host(p->sequences);
    const uint32_t *table = sl_host(p->block_table), group = p->n_heads / p->n_kv_heads;
    uint64_t item, items_end;
    sl_attention_row rows[SL_ATTENTION_ROWS];

    sl_task_share(task, (uint64_t)p->n_tokens * p->n_kv_heads * p->n_splits, &item, &items_end);
    for (; item < items_end; item++) {
        const uint32_t split = (uint32_t)(item % p->n_splits);
        const uint32_t g = (uint32_t)(item / p->n_splits % p->n_kv_heads);
        const uint32_t t = (uint32_t)(item / p->n_splits / p->n_kv_heads);
        const bool padding = positions[t] == SL_NO_POSITION;
        const uint32_t *pages = padding ? NULL : table + (uint64_t)sequences[t] * p->table_stride;
        const float *q = (const float *)sl_host(p->q) + (uint64_t)t * p->q_stride;
        uint32_t begin, end;
        sl_attention_visible(positions[t], p->window, &begin, &end);
        cut_split(&begin, &end, split, p->n_splits);
        for (uint32_t done = 0, count; done < group; done += count) {
            const uint32_t h = g * group + done;
            count = group - done < SL_ATTENTION_ROWS ? group - done : SL_ATTENTION_ROWS;
            for (uint32_t r = 0; r < count; r++) {
                rows[r].q = q + (uint64_t)(h + r) * p->head_dim;
                rows[r].begin = begin;
                rows[r].end = end;
            }
            sl_attention_rows(p, task->spec[SL_ATTENTION_KV_TYPE], pages, g, rows, count);
            for (uint32_t r = 0; r < count; r++) {
                if (p->n_splits > 1)
                    store_partial(p, t, h + r, split, &rows[r]);
                else
                    sl_attention_store(p, t, h + r, &rows[r]);
            }
        }
    }
}

void sl_grid_attention_decode(const void *push, const sl_variant *variant, const uint32_t *spec,
                              uint32_t groups[3])
{
    const struct sl_push_attention *p = push;
    (void)variant, (void)spec;
    groups[0] = p->n_tokens;
    groups[1] = p->n_kv_heads;
    groups[2] = p->n_splits;
}
