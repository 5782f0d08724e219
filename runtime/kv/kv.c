#include "runtime/kv/kv.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "shaders/push.h"

#include <string.h>

static const char *const type_names[SL_KV_TYPE_COUNT] = {
    [SL_KV_F16] = "f16", [SL_KV_Q8_0] = "q8_0", [SL_KV_Q4_0] = "q4_0"};

const char *sl_kv_type_name(uint32_t type)
{
    return type_names[type];
}

bool sl_kv_type_find(const char *name, uint32_t *out_type)
{
    for (uint32_t i = 0; i < SL_KV_TYPE_COUNT; i++) {
        if (strcmp(name, type_names[i])) continue;
        *out_type = i;
        return true;
    }
    return false;
}

static uint32_t pages_for(uint64_t tokens)
{
    return (uint32_t)sl_div_up(tokens, SL_KV_PAGE_TOKENS);
}

/* K or V of one layer. */
static uint64_t page_bytes(const sl_hparams *h, uint32_t type)
{
    return (uint64_t)h->n_kv_heads * SL_KV_GROUP_BYTES(type, h->head_dim);
}

uint64_t sl_kv_token_bytes(const sl_hparams *h, uint32_t type)
{
    return 2ull * h->n_layers * page_bytes(h, type) / SL_KV_PAGE_TOKENS;
}

uint64_t sl_kv_bytes(const sl_hparams *h, uint32_t type, uint32_t sessions, uint32_t context_tokens)
{
    uint64_t bytes;
    const uint64_t pages = (uint64_t)sessions * pages_for(context_tokens);
    return sl_checked_mul(2ull * h->n_layers * page_bytes(h, type), pages, &bytes) ? bytes : UINT64_MAX;
}

sl_status sl_kv_create(sl_device *device, const sl_hparams *h, uint32_t type, uint32_t sessions,
                       uint32_t context_tokens, sl_kv *kv, sl_diag *diag)
{
    *kv = (sl_kv){.type = type, .n_layers = h->n_layers, .pages_per_session = pages_for(context_tokens)};
    kv->n_pages = kv->pages_per_session * sessions;
    sl_status st;
    kv->buffers = sl_calloc(h->n_layers, sizeof(sl_buffer *));
    kv->k = sl_calloc(h->n_layers, sizeof *kv->k);
    kv->v = sl_calloc(h->n_layers, sizeof *kv->v);
    kv->free_pages = sl_calloc(kv->n_pages, sizeof *kv->free_pages);
    if (!kv->buffers || !kv->k || !kv->v || !kv->free_pages) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "KV cache of %u pages", kv->n_pages);
        goto cleanup;
    }
    const uint64_t half = kv->n_pages * page_bytes(h, type);
    for (uint32_t i = 0; i < h->n_layers; i++) {
        SL_TRY(sl_buffer_create(device, 2 * half, SL_MEMORY_DEVICE, "kv", &kv->buffers[i], diag));
        const uint64_t address = sl_buffer_address(kv->buffers[i]);
        kv->k[i] = (sl_range){address, address + half};
        kv->v[i] = (sl_range){address + half, address + 2 * half};
    }
    for (uint32_t i = 0; i < kv->n_pages; i++)
        kv->free_pages[kv->free_count++] = kv->n_pages - 1 - i;
    return SL_OK;
cleanup:
    sl_kv_clear(kv);
    return st;
}

void sl_kv_clear(sl_kv *kv)
{
    for (uint32_t i = 0; kv->buffers && i < kv->n_layers; i++)
        sl_buffer_destroy(kv->buffers[i]);
    sl_free(kv->buffers);
    sl_free(kv->k);
    sl_free(kv->v);
    sl_free(kv->free_pages);
    *kv = (sl_kv){0};
}

sl_status sl_kv_table_create(const sl_kv *kv, sl_kv_table *out, sl_diag *diag)
{
    *out = (sl_kv_table){.pages = sl_calloc(kv->pages_per_session, sizeof *out->pages)};
    return out->pages ? SL_OK
                      : sl_fail(diag, SL_ERR_NO_MEMORY, "block table of %u pages", kv->pages_per_session);
}

sl_status sl_kv_table_resize(sl_kv *kv, sl_kv_table *table, uint64_t tokens, sl_diag *diag)
{
    const uint64_t need = sl_div_up(tokens, SL_KV_PAGE_TOKENS);
    if (need > kv->pages_per_session)
        return sl_fail(diag, SL_ERR_CONTEXT_FULL, "%llu tokens do not fit into the context of %u",
                       (unsigned long long)tokens, kv->pages_per_session * SL_KV_PAGE_TOKENS);
    if (need > table->count && need - table->count > kv->free_count)
        return sl_fail(diag, SL_ERR_CONTEXT_FULL, "the KV cache has %u free pages, %llu are needed",
                       kv->free_count, (unsigned long long)(need - table->count));
    while (table->count < need)
        table->pages[table->count++] = kv->free_pages[--kv->free_count];
    while (table->count > need)
        kv->free_pages[kv->free_count++] = table->pages[--table->count];
    return SL_OK;
}

void sl_kv_table_clear(sl_kv *kv, sl_kv_table *table)
{
    while (table->count)
        kv->free_pages[kv->free_count++] = table->pages[--table->count];
    sl_free(table->pages);
    *table = (sl_kv_table){0};
}
