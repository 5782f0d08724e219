/* attention_host.h - the C side of attention: one page of keys at a time against up to SL_ATTENTION_ROWS
 * queries.
 *
 * Both kernels, attention_decode and attention_prefill, are this loop with other rows: the query heads of one
 * token that share a key head, or those of several tokens of one sequence. A row's result depends on its own
 * keys alone, in their order, whatever rows it is computed with. Threads: any; all state is on the stack. */
#ifndef SL_ATTENTION_HOST_H
#define SL_ATTENTION_HOST_H

#include "shaders/push.h"

#include <stdbool.h>
#include <stdint.h>

#define SL_ATTENTION_ROWS     16u
#define SL_ATTENTION_HEAD_MAX 256u

/* The loops over a page are worth compiling for wider vectors. Not under a sanitizer: its runtime is not
 * ready when the resolver of such a function runs. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define SL_HOST_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SL_HOST_CLONES
#endif

/* One query: it sees the keys begin <= j < end. */
typedef struct sl_attention_row {
    const float *q; /* [head_dim] */
    uint32_t begin, end;
    float maximum, sum;               /* of the scores; of exp(score - maximum) */
    float acc[SL_ATTENTION_HEAD_MAX]; /* sum of exp(score - maximum) * v */
} sl_attention_row;

/* Keys that a token at `position` sees: [*begin, position + 1); none for padding. */
static inline void sl_attention_visible(uint32_t position, uint32_t window, uint32_t *begin, uint32_t *end)
{
    *begin = window && position >= window ? position - window + 1 : 0;
    *end = position + 1; /* 0 for SL_NO_POSITION */
    if (position == SL_NO_POSITION) *begin = 0;
}

/* Runs `count` rows of one sequence and key head g over the pages that any of them sees, of a cache of type
 * kv_type. maximum, sum and acc need no initial values; a row without keys ends with maximum = -infinity, sum
 * = 0, acc = 0. */
void sl_attention_rows(const struct sl_push_attention *p, uint32_t kv_type, const uint32_t *pages, uint32_t g,
                       sl_attention_row *rows, uint32_t count);

/* y of token t and head h: the row's sum, normalised; zeros for a row without keys. */
void sl_attention_store(const struct sl_push_attention *p, uint32_t t, uint32_t h,
                        const sl_attention_row *row);

#endif
