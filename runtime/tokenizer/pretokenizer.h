/* pretokenizer.h - cuts text into the pieces inside which BPE merges: a list of regular expressions by name,
 * each applied to the pieces that the one before made; what it matches and what lies between both become
 * pieces.
 *
 * Owns: compiled expressions. Threads: immutable after create; any number may split.
 * Source: the expressions are those of the models' own tokenizers (GPT-2, Llama 3, Qwen 2, SmolLM), as
 * llama.cpp names them in tokenizer.ggml.pre. */
#ifndef SL_RUNTIME_TOKENIZER_PRETOKENIZER_H
#define SL_RUNTIME_TOKENIZER_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "hal/base/diag.h"

typedef struct sl_pretokenizer sl_pretokenizer;

/* SL_ERR_UNSUPPORTED names the ones that exist. `name` need not be NUL-terminated. */
sl_status sl_pretokenizer_create(const char *name, size_t length, sl_pretokenizer **out,
                                 sl_diag *diag) SL_NODISCARD;
void sl_pretokenizer_destroy(sl_pretokenizer *pretokenizer); /* NULL is fine */

const char *sl_pretokenizer_name(const sl_pretokenizer *pretokenizer); /* static storage */
bool sl_pretokenizer_ignores_merges(
    const sl_pretokenizer *pretokenizer); /* Llama 3: whole pieces are looked up first */
bool sl_pretokenizer_adds_bos(const sl_pretokenizer *pretokenizer); /* default of add_bos_token */

/* Ends of the pieces, in bytes of the text given, ascending; the last is its length. Freed with
 * sl_pieces_free. */
typedef struct sl_pieces {
    size_t *ends;
    size_t count, capacity;
} sl_pieces;

sl_status sl_pretokenizer_split(const sl_pretokenizer *pretokenizer, const char *text, size_t length,
                                sl_pieces *out, sl_diag *diag) SL_NODISCARD;
void sl_pieces_free(sl_pieces *pieces);

#endif
