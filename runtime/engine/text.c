#include "runtime/engine/engine.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <string.h>

struct sl_vocabulary {
    sl_gguf *gguf;
    sl_tokenizer *tokenizer;
};

/* A file may be without a vocabulary: then only token ids work. */
static bool has_vocabulary(const sl_gguf *gguf)
{
    const sl_gguf_kv *kv = sl_gguf_find(gguf, "tokenizer.ggml.model");
    return kv && !(kv->type == SL_GGUF_STRING && !strcmp(kv->value.string.data, "no_vocab"));
}

sl_status sl_tokenizer_open(const sl_gguf *gguf, sl_tokenizer **out, sl_diag *diag)
{
    *out = NULL;
    return has_vocabulary(gguf) ? sl_tokenizer_create(gguf, out, diag) : SL_OK;
}

static sl_status tokenize(const sl_tokenizer *tokenizer, const char *path, const char *text, size_t length,
                          unsigned flags, uint32_t *out, size_t capacity, size_t *out_count, sl_diag *diag)
{
    if (!tokenizer)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "%s: the file has no vocabulary (tokenizer.ggml.model)",
                       path);
    sl_token_list list = {0};
    const uint32_t own = (flags & SL_TOKENIZE_ADD_BOS ? SL_TOKENIZE_ADD_SPECIAL : 0u) |
                         (flags & SL_TOKENIZE_SPECIAL ? SL_TOKENIZE_PARSE_SPECIAL : 0u);
    sl_status st = sl_tokenizer_encode(tokenizer, text, length, own, &list, diag);
    if (st == SL_OK) {
        if (list.count && capacity) memcpy(out, list.ids, SL_MIN(list.count, capacity) * sizeof *out);
        *out_count = list.count;
    }
    sl_token_list_free(&list);
    return st;
}

static const char *piece_of(const sl_tokenizer *tokenizer, uint32_t token, bool special, size_t *out_length)
{
    const char *bytes = "";
    *out_length = 0;
    if (!tokenizer || sl_tokenizer_piece(tokenizer, token, &bytes, out_length, NULL) != SL_OK) return "";
    if (*out_length || !special) return bytes;
    const sl_gguf_string text = sl_tokenizer_text(tokenizer, token);
    *out_length = text.length;
    return text.data;
}

sl_status sl_engine_tokenize(sl_engine *engine, const char *text, size_t length, unsigned flags,
                             uint32_t *out, size_t capacity, size_t *out_count, sl_diag *diag)
{
    return tokenize(engine->tokenizer, engine->model_path, text, length, flags, out, capacity, out_count,
                    diag);
}

const char *sl_engine_piece(const sl_engine *engine, uint32_t token, bool special, size_t *out_length)
{
    return piece_of(engine->tokenizer, token, special, out_length);
}

bool sl_engine_is_end(const sl_engine *engine, uint32_t token)
{
    return engine->tokenizer && sl_tokenizer_ends_generation(engine->tokenizer, token);
}

sl_status sl_vocabulary_open(const char *model_path, sl_vocabulary **out, sl_diag *diag)
{
    sl_vocabulary *v = sl_calloc(1, sizeof *v);
    if (!v) return sl_fail(diag, SL_ERR_NO_MEMORY, "vocabulary");
    sl_status st = sl_gguf_open(model_path, &v->gguf, diag);
    if (st == SL_OK) st = sl_tokenizer_open(v->gguf, &v->tokenizer, diag);
    if (st != SL_OK) {
        sl_vocabulary_close(v);
        return st;
    }
    *out = v;
    return SL_OK;
}

void sl_vocabulary_close(sl_vocabulary *vocabulary)
{
    if (!vocabulary) return;
    sl_tokenizer_destroy(vocabulary->tokenizer);
    sl_gguf_close(vocabulary->gguf);
    sl_free(vocabulary);
}

sl_status sl_vocabulary_tokenize(sl_vocabulary *vocabulary, const char *text, size_t length, unsigned flags,
                                 uint32_t *out, size_t capacity, size_t *out_count, sl_diag *diag)
{
    return tokenize(vocabulary->tokenizer, sl_gguf_path(vocabulary->gguf), text, length, flags, out, capacity,
                    out_count, diag);
}

const char *sl_vocabulary_piece(const sl_vocabulary *vocabulary, uint32_t token, bool special,
                                size_t *out_length)
{
    return piece_of(vocabulary->tokenizer, token, special, out_length);
}
