/* tokenizer_internal.h - shared by the files of this folder.
 *
 * Threads: see tokenizer.h. */
#ifndef SL_RUNTIME_TOKENIZER_TOKENIZER_INTERNAL_H
#define SL_RUNTIME_TOKENIZER_TOKENIZER_INTERNAL_H

#include "runtime/gguf/string_map.h"
#include "runtime/tokenizer/merge.h"
#include "runtime/tokenizer/pretokenizer.h"
#include "runtime/tokenizer/special.h"
#include "runtime/tokenizer/tokenizer.h"

typedef enum sl_tokenizer_algorithm { SL_TOKENIZER_BPE, SL_TOKENIZER_SPM } sl_tokenizer_algorithm;

/* A slice of sl_tokenizer.bytes. */
typedef struct sl_token_slice {
    uint32_t offset, length;
} sl_token_slice;

struct sl_tokenizer {
    sl_tokenizer_algorithm algorithm;
    const char *label; /* the file's path, for messages while it is made */
    uint32_t count;    /* tokens */
    char *bytes;       /* texts (each NUL-terminated) and pieces */
    size_t bytes_size, bytes_capacity;
    sl_token_slice *texts;  /* as the file has them */
    sl_token_slice *pieces; /* what they stand for */
    uint8_t *kinds;         /* sl_token_kind */
    uint8_t *ends_generation;
    sl_string_map by_text;  /* text -> id */
    sl_string_map by_piece; /* what merging may make: for BPE raw bytes, for SPM the text -> id */
    uint32_t byte_ids[256]; /* SL_TOKEN_NONE where there is none */
    uint32_t longest;       /* bytes of the longest key of by_piece */
    sl_special special;
    sl_tokenizer_ids ids;
    uint32_t eom;
    bool add_bos, add_eos, add_space_prefix;
    /* BPE */
    sl_pretokenizer *pretokenizer;
    bool ignore_merges;  /* a piece that is a token as a whole is that token, whatever the merges say */
    uint64_t *pairs;     /* left id << 32 | right id, by rank */
    uint32_t *merged;    /* id that the pair becomes, by rank */
    sl_string_map ranks; /* pair -> rank */
    /* SPM */
    float *scores;
};

/* Filling a tokenizer whose texts, kinds and ids are there. */
sl_status sl_bpe_prepare(sl_tokenizer *t, const sl_gguf *gguf, const char *pre, sl_diag *diag) SL_NODISCARD;
sl_status sl_spm_prepare(sl_tokenizer *t, const sl_gguf *gguf, sl_diag *diag) SL_NODISCARD;

/* Encoding text between special tokens; appends to `out`. `after_special`: the text is the first, or follows
 * one. */
sl_status sl_bpe_encode(const sl_tokenizer *t, const char *text, size_t length, sl_merge_work *work,
                        sl_token_list *out, sl_diag *diag) SL_NODISCARD;
sl_status sl_spm_encode(const sl_tokenizer *t, const char *text, size_t length, sl_merge_work *work,
                        sl_token_list *out, sl_diag *diag) SL_NODISCARD;

sl_status sl_token_list_add(sl_token_list *list, uint32_t id, sl_diag *diag) SL_NODISCARD;

/* Puts bytes into the tokenizer's store, a NUL after them. */
sl_status sl_tokenizer_store(sl_tokenizer *t, const char *bytes, size_t length, sl_token_slice *out,
                             sl_diag *diag) SL_NODISCARD;

/* Adds to by_piece (the first of equals stays); SL_ERR_NO_MEMORY. */
sl_status sl_tokenizer_add_piece(sl_tokenizer *t, sl_token_slice key, uint32_t id,
                                 sl_diag *diag) SL_NODISCARD;

#endif
