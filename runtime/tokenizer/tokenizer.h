/* tokenizer.h - text to token ids and back, from the metadata of a GGUF file. Models "gpt2" (byte-level BPE
 * with a pre-tokenizer by name) and "llama" (SPM: merges by score, bytes as the last resort).
 *
 * Text is bytes. Where no well-formed UTF-8 sequence starts, one byte is a unit that is neither letter,
 * number, space nor punctuation; it becomes the token of its byte, so that nothing is lost. (A BPE vocabulary
 * may lack tokens of single bytes: see sl_tokenizer_encode.) Owns: the tokenizer copies what it needs; the
 * sl_gguf may be closed. Errors: malformed arrays end in SL_ERR_FORMAT naming file, key and value; an unknown
 * model or pre-tokenizer in SL_ERR_UNSUPPORTED naming what exists. Threads: immutable after create, any
 * number may encode. Source: sentencepiece (SPM); Sennrich et al. 2016 and GPT-2 (byte-level BPE). */
#ifndef SL_RUNTIME_TOKENIZER_TOKENIZER_H
#define SL_RUNTIME_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hal/base/diag.h"
#include "runtime/gguf/gguf.h"

#define SL_TOKEN_NONE               UINT32_MAX
#define SL_TOKENIZER_TEXT_MAX_BYTES ((size_t)1 << 30)

typedef struct sl_tokenizer sl_tokenizer;

/* What a token is: the numbers of the file (0 in a file counts as normal). */
typedef enum sl_token_kind {
    SL_TOKEN_NORMAL = 1,
    SL_TOKEN_UNKNOWN = 2,
    SL_TOKEN_CONTROL = 3,
    SL_TOKEN_USER_DEFINED = 4,
    SL_TOKEN_UNUSED = 5,
    SL_TOKEN_BYTE = 6
} sl_token_kind;

typedef enum sl_tokenize_flags {
    SL_TOKENIZE_ADD_SPECIAL = 1, /* BOS before and EOS after, where the file asks for them */
    SL_TOKENIZE_PARSE_SPECIAL =
        2 /* text of control tokens becomes those tokens; user-defined ones always do */
} sl_tokenize_flags;

/* A growing list. Zero it before the first use; the owner frees it. */
typedef struct sl_token_list {
    uint32_t *ids;
    size_t count, capacity;
} sl_token_list;

void sl_token_list_free(sl_token_list *list); /* NULL is fine; the list is empty afterwards */

sl_status sl_tokenizer_create(const sl_gguf *gguf, sl_tokenizer **out, sl_diag *diag) SL_NODISCARD;
/* The same with a pre-tokenizer that replaces the file's (tokenizer.ggml.pre); NULL takes the file's. SPM
 * ignores it. */
sl_status sl_tokenizer_create_with(const sl_gguf *gguf, const char *pre, sl_tokenizer **out,
                                   sl_diag *diag) SL_NODISCARD;
void sl_tokenizer_destroy(sl_tokenizer *tokenizer); /* NULL is fine */

/* Appends the ids of `length_bytes` bytes to `out` (which on failure is as it was, but for its capacity).
 * `flags`: bits of sl_tokenize_flags. Time grows with n log n at most, whatever the text. A byte whose token
 * the BPE vocabulary lacks (SmolLM2 has none for 0xFF and 20 others) is left out, as other
 * runtimes do, and keeps its neighbours apart; sl_tokenizer_missing_bytes tells whether there are such bytes.
 * Errors: SL_ERR_ARGUMENT above SL_TOKENIZER_TEXT_MAX_BYTES, SL_ERR_NO_MEMORY, SL_ERR_INTERNAL when the
 * regular expression library gives up. */
sl_status sl_tokenizer_encode(const sl_tokenizer *tokenizer, const char *text, size_t length_bytes,
                              uint32_t flags, sl_token_list *out, sl_diag *diag) SL_NODISCARD;

/* The bytes that a token stands for: a part of a character, perhaps (sl_utf8_stream joins them). Control and
 * unknown tokens give none. Not NUL-terminated; lives as long as the tokenizer. An id beyond the vocabulary:
 * SL_ERR_ARGUMENT. */
sl_status sl_tokenizer_piece(const sl_tokenizer *tokenizer, uint32_t id, const char **out_bytes,
                             size_t *out_length, sl_diag *diag) SL_NODISCARD;

/* The token's text as the file has it ("<|im_end|>", "Ġthe"); empty beyond the vocabulary. NUL-terminated. */
sl_gguf_string sl_tokenizer_text(const sl_tokenizer *tokenizer, uint32_t id);

/* SL_TOKEN_UNKNOWN beyond the vocabulary. */
sl_token_kind sl_tokenizer_kind(const sl_tokenizer *tokenizer, uint32_t id);

/* The id of a token by its text in the file, or SL_TOKEN_NONE. */
uint32_t sl_tokenizer_find(const sl_tokenizer *tokenizer, const char *text);

/* SL_TOKEN_NONE where the file names none. */
typedef struct sl_tokenizer_ids {
    uint32_t bos, eos, eot, unknown, padding;
} sl_tokenizer_ids;

size_t sl_tokenizer_size(const sl_tokenizer *tokenizer); /* tokens in the vocabulary */
sl_tokenizer_ids sl_tokenizer_special_ids(const sl_tokenizer *tokenizer);
bool sl_tokenizer_adds_bos(const sl_tokenizer *tokenizer);
bool sl_tokenizer_adds_eos(const sl_tokenizer *tokenizer);
/* SPM with add_space_prefix: encode puts a space before the text (decoding gives it back). */
bool sl_tokenizer_adds_space_prefix(const sl_tokenizer *tokenizer);
/* How many of the 256 bytes have no token. */
size_t sl_tokenizer_missing_bytes(const sl_tokenizer *tokenizer);
const char *sl_tokenizer_model(const sl_tokenizer *tokenizer); /* "gpt2" or "llama"; static storage */
const char *sl_tokenizer_pre(const sl_tokenizer *tokenizer);   /* "smollm", ...; "" for SPM; static storage */

/* True for the tokens after which generation ends: EOS, EOT, EOM, and control or user-defined tokens of known
 * names such as <|im_end|> and <end_of_turn>. */
bool sl_tokenizer_ends_generation(const sl_tokenizer *tokenizer, uint32_t id);

#endif
