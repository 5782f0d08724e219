/* SPM: characters are joined while the joined text is a token, the one of the highest score first; what is no
 * token in the end becomes the tokens of its bytes. Spaces are written as U+2581. */
#include <math.h>
#include <string.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/half.h"
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/utf8.h"

#define KEY_SCORES "tokenizer.ggml.scores"
#define SPACE      "\xe2\x96\x81"

static sl_status read_scores(sl_tokenizer *t, const sl_gguf *gguf, sl_diag *diag)
{
    sl_gguf_array scores;
    const sl_status st = sl_gguf_get_array(gguf, KEY_SCORES, SL_GGUF_F32, &scores, diag);
    if (st != SL_OK) return st;
    if (scores.count != t->count)
        return sl_fail(diag, SL_ERR_FORMAT, "%s: key \"%s\" has %zu elements, the vocabulary has %u tokens",
                       t->label, KEY_SCORES, scores.count, t->count);
    t->scores = sl_calloc(t->count, sizeof *t->scores);
    if (!t->scores) return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for the vocabulary", t->label);
    for (uint32_t i = 0; i < t->count; i++) {
        sl_gguf_array_f32(&scores, i, &t->scores[i]);
        if (isnan(t->scores[i]))
            return sl_fail(diag, SL_ERR_FORMAT, "%s: key \"%s\" element %u is not a number", t->label,
                           KEY_SCORES, i);
    }
    return SL_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

/* "<0x00>" to "<0xFF>". */
static bool parse_byte(const char *text, size_t length, unsigned *out)
{
    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return false;
    const int high = hex_digit(text[3]), low = hex_digit(text[4]);
    if (high < 0 || low < 0) return false;
    *out = (unsigned)(high * 16 + low);
    return true;
}

/* Text of a token with U+2581 undone; never longer. */
static size_t plain_spaces(const char *text, size_t length, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < length;) {
        const bool space = length - i >= 3 && memcmp(text + i, SPACE, 3) == 0;
        out[n++] = space ? ' ' : text[i];
        i += space ? 3 : 1;
    }
    return n;
}

static sl_status read_piece(sl_tokenizer *t, uint32_t id, char *scratch, sl_diag *diag)
{
    const char *text = t->bytes + t->texts[id].offset;
    const uint32_t length = t->texts[id].length;
    sl_status st = SL_OK;
    unsigned byte;
    switch (t->kinds[id]) {
    case SL_TOKEN_BYTE:
        if (!parse_byte(text, length, &byte))
            return sl_fail(diag, SL_ERR_FORMAT,
                           "%s: key \"tokenizer.ggml.tokens\" element %u, a byte token, is \"%.32s\", "
                           "expected <0x00> to <0xFF>",
                           t->label, id, text);
        scratch[0] = (char)byte;
        if (t->byte_ids[byte] == SL_TOKEN_NONE) t->byte_ids[byte] = id;
        return sl_tokenizer_store(t, scratch, 1, &t->pieces[id], diag);
    case SL_TOKEN_CONTROL:
    case SL_TOKEN_UNKNOWN:
    case SL_TOKEN_USER_DEFINED: /* matched in the text as it is, so it stands for itself */
        t->pieces[id] = t->texts[id];
        return SL_OK;
    default:
        st = sl_tokenizer_store(t, scratch, plain_spaces(text, length, scratch), &t->pieces[id], diag);
        if (st != SL_OK || t->kinds[id] != SL_TOKEN_NORMAL) return st;
        return sl_tokenizer_add_piece(t, t->texts[id], id, diag);
    }
}

sl_status sl_spm_prepare(sl_tokenizer *t, const sl_gguf *gguf, sl_diag *diag)
{
    char *scratch = NULL;
    uint32_t longest = 0;
    sl_status st;
    SL_TRY(read_scores(t, gguf, diag));
    for (unsigned b = 0; b < 256; b++)
        t->byte_ids[b] = SL_TOKEN_NONE;
    for (uint32_t i = 0; i < t->count; i++)
        longest = SL_MAX(longest, t->texts[i].length);
    scratch = sl_malloc((size_t)longest + 1);
    if (!scratch) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for the vocabulary", t->label);
        goto cleanup;
    }
    for (uint32_t i = 0; i < t->count; i++)
        SL_TRY(read_piece(t, i, scratch, diag));
    for (unsigned b = 0; b < 256; b++)
        if (t->byte_ids[b] == SL_TOKEN_NONE) {
            st = sl_fail(diag, SL_ERR_FORMAT, "%s: key \"tokenizer.ggml.tokens\" has no byte token <0x%02X>",
                         t->label, b);
            goto cleanup;
        }
cleanup:
    sl_free(scratch);
    return st;
}

/* Higher scores first: the bits of a float, made to order as unsigned numbers, upside down. */
static uint32_t priority_of(float score)
{
    const uint32_t bits = sl_float_to_bits(score + 0.0f); /* -0 becomes 0 */
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

static bool find_join(const void *context, const char *text, const sl_merge_symbol *left,
                      const sl_merge_symbol *right, uint32_t *priority, uint32_t *id)
{
    const sl_tokenizer *t = context;
    const size_t length = (size_t)left->length + right->length;
    if (length > t->longest || !sl_string_map_get(&t->by_piece, text + left->start, length, id)) return false;
    *priority = priority_of(t->scores[*id]);
    return true;
}

static sl_status emit(const sl_tokenizer *t, const sl_merge_symbol *symbol, const char *text,
                      sl_token_list *out, sl_diag *diag)
{
    uint32_t id = symbol->id;
    if (id == SL_TOKEN_NONE) sl_string_map_get(&t->by_piece, text + symbol->start, symbol->length, &id);
    if (id != SL_TOKEN_NONE) return sl_token_list_add(out, id, diag);
    for (uint32_t i = 0; i < symbol->length; i++) {
        const sl_status st =
            sl_token_list_add(out, t->byte_ids[(unsigned char)text[symbol->start + i]], diag);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

sl_status sl_spm_encode(const sl_tokenizer *t, const char *text, size_t length, sl_merge_work *work,
                        sl_token_list *out, sl_diag *diag)
{
    bool ok = true;
    uint32_t n = 0;
    char *spaced = sl_merge_text(work, 3 * (length + 1)); /* 32 bits suffice: length is at most 1 GiB */
    if (!spaced) return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory to tokenize %zu bytes", length);
    sl_merge_clear(work);
    if (t->add_space_prefix) {
        memcpy(spaced, SPACE, 3);
        ok = sl_merge_add(work, 0, 3, SL_TOKEN_NONE);
        n = 3;
    }
    for (size_t i = 0; i < length && ok;) {
        const size_t valid = sl_utf8_length(text + i, length - i), size = valid ? valid : 1;
        const bool space = text[i] == ' ';
        const uint32_t stored = space ? 3 : (uint32_t)size;
        memcpy(spaced + n, space ? SPACE : text + i, stored);
        ok = sl_merge_add(work, n, stored, SL_TOKEN_NONE);
        n += stored;
        i += size;
    }
    if (!ok || !sl_merge_run(work, spaced, find_join, t))
        return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory to tokenize %zu bytes", length);
    for (uint32_t i = 0; i != SL_MERGE_END; i = work->symbols[i].next) {
        const sl_status st = emit(t, &work->symbols[i], spaced, out, diag);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}
