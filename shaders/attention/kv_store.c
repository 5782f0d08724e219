#include "hal/base/half.h"
#include "shaders/attention/attention_host.h"
#include "shaders/registry.h"

SL_HOST_CLONES
static void floats_to_halves(const float *in, uint16_t *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = sl_float_to_half(in[i]);
}

/* Items are (token, kv head). */
void sl_host_kv_store(const sl_kernel_task *task)
{
    const struct sl_push_kv_store *p = task->push;
    const float *k = sl_host(p->k), *v = sl_host(p->v);
    uint16_t *k_cache = sl_host(p->k_cache), *v_cache = sl_host(p->v_cache);
    const uint32_t *table = sl_host(p->block_table), *positions = sl_host(p->positions);
    const uint32_t *sequences = sl_host(p->sequences);
    uint64_t item, end;
    sl_task_share(task, (uint64_t)p->n_tokens * p->n_kv_heads, &item, &end);
    for (; item < end; item++) {
        const uint64_t t = item / p->n_kv_heads, g = item % p->n_kv_heads;
        const uint32_t position = positions[t];
        if (position == SL_NO_POSITION) continue;
        const uint64_t page = table[(uint64_t)sequences[t] * p->table_stride + position / SL_KV_PAGE_TOKENS];
        const uint64_t at =
            ((page * p->n_kv_heads + g) * SL_KV_PAGE_TOKENS + position % SL_KV_PAGE_TOKENS) * p->head_dim;
        floats_to_halves(k + t * p->k_stride + g * p->head_dim, k_cache + at, p->head_dim);
        floats_to_halves(v + t * p->v_stride + g * p->head_dim, v_cache + at, p->head_dim);
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
