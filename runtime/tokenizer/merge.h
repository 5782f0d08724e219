/* merge.h - the merging that BPE and SPM share: neighbours are joined, the best pair first, leftmost among
 * equals, until no pair can be. A heap of pairs and a doubly linked list of symbols: n log n for n symbols,
 * whatever they are.
 *
 * Owns: sl_merge_work holds the memory between calls; its owner frees it. Threads: a work area belongs to
 * one. */
#ifndef SL_RUNTIME_TOKENIZER_MERGE_H
#define SL_RUNTIME_TOKENIZER_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_MERGE_END UINT32_MAX

/* `length` bytes of the text from `start`; 0 when it was joined to its left neighbour. */
typedef struct sl_merge_symbol {
    uint32_t start, length, previous, next;
    uint32_t id; /* the token, or SL_TOKEN_NONE */
} sl_merge_symbol;

/* A symbol and its right neighbour. Sixteen bytes, so that the four children of a heap entry share a cache
 * line. */
typedef struct sl_merge_pair {
    uint64_t key;    /* priority << 32 | index of the left symbol: smaller first */
    uint32_t length; /* of both together: a pair whose symbols have changed since is known by it */
    uint32_t id;
} sl_merge_pair;

typedef struct sl_merge_work {
    sl_merge_symbol *symbols;
    size_t symbol_count, symbol_capacity;
    sl_merge_pair *heap;
    size_t heap_count, heap_capacity;
    char *text; /* scratch of the caller */
    size_t text_capacity;
} sl_merge_work;

/* May left and right be joined? Fills *priority (smaller first) and *id. */
typedef bool (*sl_merge_find)(const void *context, const char *text, const sl_merge_symbol *left,
                              const sl_merge_symbol *right, uint32_t *priority, uint32_t *id);

void sl_merge_clear(sl_merge_work *work); /* no symbols; memory is kept */
/* Appends a symbol right of the last. False: out of memory. */
bool sl_merge_add(sl_merge_work *work, uint32_t start, uint32_t length, uint32_t id);
/* Joins; what is left is the list from symbol 0 along `next`. False: out of memory. */
bool sl_merge_run(sl_merge_work *work, const char *text, sl_merge_find find, const void *context);
void sl_merge_free(sl_merge_work *work);

/* Scratch text of at least `n` bytes, or NULL. */
char *sl_merge_text(sl_merge_work *work, size_t n);

#endif
