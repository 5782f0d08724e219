/* special.h - finds the texts of special tokens inside a text: leftmost, longest. A trie, walked from every
 * position.
 *
 * Owns: its nodes. Threads: immutable once filled. */
#ifndef SL_RUNTIME_TOKENIZER_SPECIAL_H
#define SL_RUNTIME_TOKENIZER_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_SPECIAL_MAX_BYTES 1024 /* longest text of a special token: bounds the walk */

typedef struct sl_special_node {
    uint32_t child, sibling; /* 0: none (node 0 is the root) */
    uint32_t id;             /* token that ends here, or SL_TOKEN_NONE */
    uint8_t byte;
    bool always; /* found even when special tokens are not asked for: a user-defined token */
} sl_special_node;

typedef struct sl_special {
    sl_special_node *nodes;
    size_t count, capacity;
    uint32_t first[256]; /* children of the root by byte */
} sl_special;

/* Adds a token's text, 1 to SL_SPECIAL_MAX_BYTES bytes (the first of equals stays). False: out of memory. */
bool sl_special_add(sl_special *special, const char *text, size_t length, uint32_t id, bool always);

/* Length of the longest token text that starts at `text`, or 0; `all`: not only those of `always`. */
size_t sl_special_match(const sl_special *special, const char *text, size_t left, bool all, uint32_t *out_id);

void sl_special_free(sl_special *special);

#endif
