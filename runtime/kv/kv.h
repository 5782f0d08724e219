/* kv.h - the paged KV cache: which pages of which session hold the keys and values of its tokens.
 *
 * One buffer a layer: first K, then V, each [page][kv head] groups of SL_KV_PAGE_TOKENS rows of the head's
 * size, of a type for the whole cache (SL_KV_*, shaders/push.h). A page number means the same page in every
 * layer. Pages are taken when a session grows into them and returned when it shrinks or ends; a session's
 * pages need not be neighbours.
 *
 * Threads: one at a time.
 */
#ifndef SL_RUNTIME_KV_KV_H
#define SL_RUNTIME_KV_KV_H

#include "hal/hal.h"
#include "runtime/model/model.h"
#include "runtime/step/phase.h"

typedef struct sl_kv {
    uint32_t type; /* SL_KV_* */
    uint32_t n_layers, n_pages, pages_per_session, free_count;
    sl_buffer **buffers;  /* one a layer */
    sl_range *k, *v;      /* device addresses, one a layer */
    uint32_t *free_pages; /* stack */
} sl_kv;

typedef struct sl_kv_table {
    uint32_t *pages; /* pages_per_session of them, the first `count` valid */
    uint32_t count;
} sl_kv_table;

/* "f16", "q8_0", "q4_0". */
const char *sl_kv_type_name(uint32_t type);
/* false: there is no type of that name. */
bool sl_kv_type_find(const char *name, uint32_t *out_type);

/* Bytes that one token takes, K and V of all layers. Its share of a page, of which memory is taken whole. */
uint64_t sl_kv_token_bytes(const sl_hparams *h, uint32_t type);
/* Bytes on the device for `sessions` of `context_tokens` each, in whole pages. UINT64_MAX when that is more
 * than 64 bits hold. */
uint64_t sl_kv_bytes(const sl_hparams *h, uint32_t type, uint32_t sessions, uint32_t context_tokens);

SL_NODISCARD sl_status sl_kv_create(sl_device *device, const sl_hparams *h, uint32_t type, uint32_t sessions,
                                    uint32_t context_tokens, sl_kv *out, sl_diag *diag);
void sl_kv_clear(sl_kv *kv);

SL_NODISCARD sl_status sl_kv_table_create(const sl_kv *kv, sl_kv_table *out, sl_diag *diag);
/* Makes room for exactly `tokens` tokens: takes or returns pages. SL_ERR_CONTEXT_FULL: more than a session
 * may have, or no page is free; the table is then as before. */
SL_NODISCARD sl_status sl_kv_table_resize(sl_kv *kv, sl_kv_table *table, uint64_t tokens, sl_diag *diag);
void sl_kv_table_clear(sl_kv *kv, sl_kv_table *table);

#endif
