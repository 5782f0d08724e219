#include "shaders/attention/kv_rows.h"
#include "shaders/registry.h"

/* Items are (token, kv head). */
void sl_host_kv_store(const sl_kernel_task *task)
{
    const struct sl_push_kv_store *p = task->push;
    const uint32_t type = task->spec[SL_STORE_KV_TYPE], row = p->head_dim;
    const float *k = sl_host(p->k), *v = sl_host(p->v);
    uint8_t *k_cache = sl_host(p->k_cache), *v_cache = sl_host(p->v_cache);
    const uint32_t *table = sl_host(p->block_table), *positions = sl_host(p->positions);
    const uint32_t *sequences = sl_host(p->sequences);
    uint64_t item, end;
    sl_task_share(task, (uint64_t)p->n_tokens * p->n_kv_heads, &item, &end);
    for (; item < end; item++) {
        const uint64_t t = item / p->n_kv_heads, g = item % p->n_kv_heads;
        const uint32_t position = positions[t], slot = position % SL_KV_PAGE_TOKENS;
        if (position == SL_NO_POSITION) continue;
        const uint64_t page = table[(uint64_t)sequences[t] * p->table_stride + position / SL_KV_PAGE_TOKENS];
        const uint64_t at = (page * p->n_kv_heads + g) * SL_KV_GROUP_BYTES(type, p->head_dim);
        sl_kv_put(type, k_cache + at, p->head_dim, slot, k + t * p->k_stride + g * row);
        sl_kv_put(type, v_cache + at, p->head_dim, slot, v + t * p->v_stride + g * row);
    }
}

/* Invocations are (8 elements of a row, token, k or v). */
void sl_grid_kv_store(const void *push, const sl_variant *variant, const uint32_t *spec, uint32_t groups[3])
{
    const struct sl_push_kv_store *p = push;
    const uint32_t pieces = p->n_kv_heads * p->head_dim / 8;
    (void)variant;
    groups[0] = (pieces + spec[SL_SPEC_WORKGROUP] - 1) / spec[SL_SPEC_WORKGROUP];
    groups[1] = p->n_tokens;
    groups[2] = 2;
}
