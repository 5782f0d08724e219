/* What both algorithms share: the vocabulary, special tokens inside the text, the way back. */
#include "runtime/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "runtime/tokenizer/tokenizer_internal.h"

#define VOCABULARY_MAX (1u << 24)
#define KEY_TOKENS     "tokenizer.ggml.tokens"
#define KEY_TYPES      "tokenizer.ggml.token_type"

/* Texts after which chat models stop, whether or not the file says so. Ends of a turn come first: `eot`,
 * where the file names none, is the first of these that the vocabulary has. */
static const char *const end_texts[] = {"<|eot_id|>",    "<|im_end|>",      "<end_of_turn>",
                                        "<|end|>",       "<EOT>",           "_<EOT>",
                                        "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>"};

void sl_token_list_free(sl_token_list *list)
{
    if (!list) return;
    sl_free(list->ids);
    memset(list, 0, sizeof *list);
}

sl_status sl_token_list_add(sl_token_list *list, uint32_t id, sl_diag *diag)
{
    if (list->count == list->capacity) {
        const size_t more = list->capacity ? list->capacity * 2 : 64;
        uint32_t *grown = sl_realloc(list->ids, more, sizeof *grown);
        if (!grown) return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for %zu token ids", more);
        list->ids = grown;
        list->capacity = more;
    }
    list->ids[list->count++] = id;
    return SL_OK;
}

sl_status sl_tokenizer_store(sl_tokenizer *t, const char *bytes, size_t length, sl_token_slice *out,
                             sl_diag *diag)
{
    if (length + 1 > t->bytes_capacity - t->bytes_size)
        return sl_fail(diag, SL_ERR_INTERNAL, "%s: the store of token texts is too small", t->label);
    *out = (sl_token_slice){(uint32_t)t->bytes_size, (uint32_t)length};
    if (length) memcpy(t->bytes + t->bytes_size, bytes, length);
    t->bytes_size += length;
    t->bytes[t->bytes_size++] = '\0';
    return SL_OK;
}

sl_status sl_tokenizer_add_piece(sl_tokenizer *t, sl_token_slice key, uint32_t id, sl_diag *diag)
{
    if (key.length == 0) return SL_OK;
    if (sl_string_map_add(&t->by_piece, t->bytes + key.offset, key.length, id) == SL_STRING_MAP_NO_MEMORY)
        return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for the vocabulary", t->label);
    t->longest = SL_MAX(t->longest, key.length);
    return SL_OK;
}

/* Room for all texts and all pieces (never longer than the texts), so that nothing that points there moves.
 */
static sl_status reserve_vocabulary(sl_tokenizer *t, const sl_gguf_array *tokens, sl_diag *diag)
{
    uint64_t bytes = 0;
    if (tokens->count == 0 || tokens->count > VOCABULARY_MAX)
        return sl_fail(diag, SL_ERR_FORMAT, "%s: key \"%s\" has %zu tokens, expected 1 to %u", t->label,
                       KEY_TOKENS, tokens->count, VOCABULARY_MAX);
    for (size_t i = 0; i < tokens->count; i++)
        bytes += sl_gguf_array_string(tokens, i).length + 1; /* bounded by the header that holds them */
    bytes *= 2;
    if (bytes > UINT32_MAX)
        return sl_fail(diag, SL_ERR_OVERFLOW, "%s: key \"%s\" has %" PRIu64 " bytes of text", t->label,
                       KEY_TOKENS, bytes);
    t->count = (uint32_t)tokens->count;
    t->bytes_capacity = (size_t)bytes;
    t->bytes = sl_malloc(t->bytes_capacity);
    t->texts = sl_calloc(t->count, sizeof *t->texts);
    t->pieces = sl_calloc(t->count, sizeof *t->pieces);
    t->kinds = sl_calloc(t->count, sizeof *t->kinds);
    t->ends_generation = sl_calloc(t->count, sizeof *t->ends_generation);
    const bool maps = sl_string_map_init(&t->by_text, t->count) && sl_string_map_init(&t->by_piece, t->count);
    if (!t->bytes || !t->texts || !t->pieces || !t->kinds || !t->ends_generation || !maps)
        return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for a vocabulary of %u", t->label, t->count);
    return SL_OK;
}

static sl_status read_kinds(sl_tokenizer *t, const sl_gguf *gguf, sl_diag *diag)
{
    sl_gguf_array types;
    const sl_status st = sl_gguf_get_array_or_empty(gguf, KEY_TYPES, SL_GGUF_I32, &types, diag);
    if (st != SL_OK) return st;
    const bool present = sl_gguf_find(gguf, KEY_TYPES) != NULL;
    if (present && types.count != t->count)
        return sl_fail(diag, SL_ERR_FORMAT, "%s: key \"%s\" has %zu elements, the vocabulary has %u tokens",
                       t->label, KEY_TYPES, types.count, t->count);
    for (uint32_t i = 0; i < t->count; i++) {
        int64_t kind = SL_TOKEN_NORMAL;
        if (present && !sl_gguf_array_i64(&types, i, &kind)) kind = -1;
        if (kind < 0 || kind > SL_TOKEN_BYTE)
            return sl_fail(diag, SL_ERR_FORMAT, "%s: key \"%s\" element %u is %" PRId64 ", expected 0 to %d",
                           t->label, KEY_TYPES, i, kind, SL_TOKEN_BYTE);
        t->kinds[i] = (uint8_t)(kind ? kind : SL_TOKEN_NORMAL);
    }
    return SL_OK;
}

static sl_status read_texts(sl_tokenizer *t, const sl_gguf_array *tokens, sl_diag *diag)
{
    for (uint32_t i = 0; i < t->count; i++) {
        const sl_gguf_string text = sl_gguf_array_string(tokens, i);
        sl_status st = sl_tokenizer_store(t, text.data, text.length, &t->texts[i], diag);
        if (st != SL_OK) return st;
        if (text.length == 0) continue;
        const char *stored = t->bytes + t->texts[i].offset;
        if (sl_string_map_add(&t->by_text, stored, text.length, i) == SL_STRING_MAP_NO_MEMORY)
            return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for the vocabulary", t->label);
        const uint8_t kind = t->kinds[i];
        if (kind != SL_TOKEN_CONTROL && kind != SL_TOKEN_USER_DEFINED && kind != SL_TOKEN_UNKNOWN) continue;
        if (text.length > SL_SPECIAL_MAX_BYTES)
            return sl_fail(diag, SL_ERR_FORMAT,
                           "%s: key \"%s\" element %u, a special token, has %zu bytes, at most %d", t->label,
                           KEY_TOKENS, i, text.length, SL_SPECIAL_MAX_BYTES);
        if (!sl_special_add(&t->special, stored, text.length, i, kind == SL_TOKEN_USER_DEFINED))
            return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for special tokens", t->label);
    }
    return SL_OK;
}

static sl_status read_id(const sl_tokenizer *t, const sl_gguf *gguf, const char *key, uint32_t fallback,
                         uint32_t *out, sl_diag *diag)
{
    const bool present = sl_gguf_find(gguf, key) != NULL;
    sl_status st = sl_gguf_get_u32_or(gguf, key, fallback, out, diag);
    if (st != SL_OK) return st;
    if (*out < t->count) return SL_OK;
    if (present)
        return sl_fail(diag, SL_ERR_FORMAT, "%s: key \"%s\" is %u, the vocabulary has %u tokens", t->label,
                       key, *out, t->count);
    *out = SL_TOKEN_NONE;
    return SL_OK;
}

/* SPM files may leave out the ids that sentencepiece gives by default. */
static sl_status read_ids(sl_tokenizer *t, const sl_gguf *gguf, sl_diag *diag)
{
    const bool spm = t->algorithm == SL_TOKENIZER_SPM;
    sl_tokenizer_ids *ids = &t->ids;
    sl_status st;
    SL_TRY(read_id(t, gguf, "tokenizer.ggml.bos_token_id", spm ? 1 : SL_TOKEN_NONE, &ids->bos, diag));
    SL_TRY(read_id(t, gguf, "tokenizer.ggml.eos_token_id", spm ? 2 : SL_TOKEN_NONE, &ids->eos, diag));
    SL_TRY(read_id(t, gguf, "tokenizer.ggml.unknown_token_id", spm ? 0 : SL_TOKEN_NONE, &ids->unknown, diag));
    SL_TRY(read_id(t, gguf, "tokenizer.ggml.padding_token_id", SL_TOKEN_NONE, &ids->padding, diag));
    SL_TRY(read_id(t, gguf, "tokenizer.ggml.eot_token_id", SL_TOKEN_NONE, &ids->eot, diag));
    SL_TRY(read_id(t, gguf, "tokenizer.ggml.eom_token_id", SL_TOKEN_NONE, &t->eom, diag));
    const bool bos = spm || (t->pretokenizer && sl_pretokenizer_adds_bos(t->pretokenizer));
    SL_TRY(sl_gguf_get_bool_or(gguf, "tokenizer.ggml.add_bos_token", bos, &t->add_bos, diag));
    SL_TRY(sl_gguf_get_bool_or(gguf, "tokenizer.ggml.add_eos_token", false, &t->add_eos, diag));
    SL_TRY(sl_gguf_get_bool_or(gguf, "tokenizer.ggml.add_space_prefix", spm, &t->add_space_prefix, diag));
    if (t->add_bos && ids->bos == SL_TOKEN_NONE)
        return sl_fail(diag, SL_ERR_FORMAT,
                       "%s: key \"tokenizer.ggml.bos_token_id\" is missing, but BOS is to be added",
                       t->label);
    if (t->add_eos && ids->eos == SL_TOKEN_NONE)
        return sl_fail(diag, SL_ERR_FORMAT,
                       "%s: key \"tokenizer.ggml.eos_token_id\" is missing, but EOS is to be added",
                       t->label);
cleanup:
    return st;
}

static void mark_ends(sl_tokenizer *t)
{
    for (size_t i = 0; i < SL_COUNTOF(end_texts); i++) {
        const uint32_t id = sl_tokenizer_find(t, end_texts[i]);
        if (id == SL_TOKEN_NONE ||
            (t->kinds[id] != SL_TOKEN_CONTROL && t->kinds[id] != SL_TOKEN_USER_DEFINED))
            continue;
        t->ends_generation[id] = 1;
        if (t->ids.eot == SL_TOKEN_NONE) t->ids.eot = id;
    }
    const uint32_t named[] = {t->ids.eos, t->ids.eot, t->eom};
    for (size_t i = 0; i < SL_COUNTOF(named); i++)
        if (named[i] != SL_TOKEN_NONE) t->ends_generation[named[i]] = 1;
}

static sl_status read_model(sl_tokenizer *t, const sl_gguf *gguf, sl_diag *diag)
{
    sl_gguf_string model;
    const sl_status st = sl_gguf_get_string(gguf, "tokenizer.ggml.model", &model, diag);
    if (st != SL_OK) return st;
    if (model.length == 4 && memcmp(model.data, "gpt2", 4) == 0) {
        t->algorithm = SL_TOKENIZER_BPE;
    } else if (model.length == 5 && memcmp(model.data, "llama", 5) == 0) {
        t->algorithm = SL_TOKENIZER_SPM;
    } else {
        char text[80];
        return sl_fail(diag, SL_ERR_UNSUPPORTED,
                       "%s: key \"tokenizer.ggml.model\" is %s; there are gpt2, llama", t->label,
                       sl_gguf_value_text(sl_gguf_find(gguf, "tokenizer.ggml.model"), text, sizeof text));
    }
    return SL_OK;
}

sl_status sl_tokenizer_create(const sl_gguf *gguf, sl_tokenizer **out, sl_diag *diag)
{
    return sl_tokenizer_create_with(gguf, NULL, out, diag);
}

sl_status sl_tokenizer_create_with(const sl_gguf *gguf, const char *pre, sl_tokenizer **out, sl_diag *diag)
{
    sl_gguf_array tokens;
    sl_status st;
    *out = NULL;
    sl_tokenizer *t = sl_calloc(1, sizeof *t);
    if (!t) return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a tokenizer");
    t->label = sl_gguf_path(gguf);
    SL_TRY(read_model(t, gguf, diag));
    SL_TRY(sl_gguf_get_array(gguf, KEY_TOKENS, SL_GGUF_STRING, &tokens, diag));
    SL_TRY(reserve_vocabulary(t, &tokens, diag));
    SL_TRY(read_kinds(t, gguf, diag));
    SL_TRY(read_texts(t, &tokens, diag));
    SL_TRY(t->algorithm == SL_TOKENIZER_BPE ? sl_bpe_prepare(t, gguf, pre, diag)
                                            : sl_spm_prepare(t, gguf, diag));
    SL_TRY(read_ids(t, gguf, diag));
    mark_ends(t);
    t->label = NULL; /* belongs to the file */
    *out = t;
    t = NULL;
cleanup:
    sl_tokenizer_destroy(t);
    return st;
}

void sl_tokenizer_destroy(sl_tokenizer *t)
{
    if (!t) return;
    sl_string_map_free(&t->by_text);
    sl_string_map_free(&t->by_piece);
    sl_string_map_free(&t->ranks);
    sl_special_free(&t->special);
    sl_pretokenizer_destroy(t->pretokenizer);
    sl_free(t->bytes);
    sl_free(t->texts);
    sl_free(t->pieces);
    sl_free(t->kinds);
    sl_free(t->ends_generation);
    sl_free(t->pairs);
    sl_free(t->merged);
    sl_free(t->scores);
    sl_free(t);
}

static sl_status encode_text(const sl_tokenizer *t, const char *text, size_t length, sl_merge_work *work,
                             sl_token_list *out, sl_diag *diag)
{
    if (length == 0) return SL_OK;
    if (t->algorithm == SL_TOKENIZER_BPE) return sl_bpe_encode(t, text, length, work, out, diag);
    return sl_spm_encode(t, text, length, work, out, diag);
}

sl_status sl_tokenizer_encode(const sl_tokenizer *t, const char *text, size_t length, uint32_t flags,
                              sl_token_list *out, sl_diag *diag)
{
    const size_t count_before = out->count;
    const bool all = (flags & SL_TOKENIZE_PARSE_SPECIAL) != 0, add = (flags & SL_TOKENIZE_ADD_SPECIAL) != 0;
    sl_merge_work work = {0};
    sl_status st = SL_OK;
    if (length > SL_TOKENIZER_TEXT_MAX_BYTES)
        return sl_fail(diag, SL_ERR_ARGUMENT, "text of %zu bytes, at most %zu can be tokenized", length,
                       SL_TOKENIZER_TEXT_MAX_BYTES);
    if (add && t->add_bos) SL_TRY(sl_token_list_add(out, t->ids.bos, diag));
    size_t begin = 0, at = 0;
    while (at < length) {
        uint32_t id;
        const size_t n = sl_special_match(&t->special, text + at, length - at, all, &id);
        if (n == 0) {
            at++;
            continue;
        }
        SL_TRY(encode_text(t, text + begin, at - begin, &work, out, diag));
        SL_TRY(sl_token_list_add(out, id, diag));
        begin = at = at + n;
    }
    SL_TRY(encode_text(t, text + begin, length - begin, &work, out, diag));
    if (add && t->add_eos) SL_TRY(sl_token_list_add(out, t->ids.eos, diag));
cleanup:
    if (st != SL_OK) out->count = count_before;
    sl_merge_free(&work);
    return st;
}

sl_status sl_tokenizer_piece(const sl_tokenizer *t, uint32_t id, const char **out_bytes, size_t *out_length,
                             sl_diag *diag)
{
    if (id >= t->count)
        return sl_fail(diag, SL_ERR_ARGUMENT, "token id %u, the vocabulary has %u tokens", id, t->count);
    const bool silent = t->kinds[id] == SL_TOKEN_CONTROL || t->kinds[id] == SL_TOKEN_UNKNOWN;
    *out_bytes = t->bytes + t->pieces[id].offset;
    *out_length = silent ? 0 : t->pieces[id].length;
    return SL_OK;
}

sl_gguf_string sl_tokenizer_text(const sl_tokenizer *t, uint32_t id)
{
    if (id >= t->count) return (sl_gguf_string){"", 0};
    return (sl_gguf_string){t->bytes + t->texts[id].offset, t->texts[id].length};
}

sl_token_kind sl_tokenizer_kind(const sl_tokenizer *t, uint32_t id)
{
    return id < t->count ? (sl_token_kind)t->kinds[id] : SL_TOKEN_UNKNOWN;
}

uint32_t sl_tokenizer_find(const sl_tokenizer *t, const char *text)
{
    uint32_t id = SL_TOKEN_NONE;
    sl_string_map_get(&t->by_text, text, strlen(text), &id);
    return id;
}

size_t sl_tokenizer_size(const sl_tokenizer *t)
{
    return t->count;
}

sl_tokenizer_ids sl_tokenizer_special_ids(const sl_tokenizer *t)
{
    return t->ids;
}

bool sl_tokenizer_adds_bos(const sl_tokenizer *t)
{
    return t->add_bos;
}

bool sl_tokenizer_adds_eos(const sl_tokenizer *t)
{
    return t->add_eos;
}

bool sl_tokenizer_adds_space_prefix(const sl_tokenizer *t)
{
    return t->algorithm == SL_TOKENIZER_SPM && t->add_space_prefix;
}

size_t sl_tokenizer_missing_bytes(const sl_tokenizer *t)
{
    size_t n = 0;
    for (size_t i = 0; i < 256; i++)
        n += t->byte_ids[i] == SL_TOKEN_NONE;
    return n;
}

const char *sl_tokenizer_model(const sl_tokenizer *t)
{
    return t->algorithm == SL_TOKENIZER_BPE ? "gpt2" : "llama";
}

const char *sl_tokenizer_pre(const sl_tokenizer *t)
{
    return t->pretokenizer ? sl_pretokenizer_name(t->pretokenizer) : "";
}

bool sl_tokenizer_ends_generation(const sl_tokenizer *t, uint32_t id)
{
    return id < t->count && t->ends_generation[id];
}
