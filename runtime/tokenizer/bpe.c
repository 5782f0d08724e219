/* Byte-level BPE. The file writes bytes as printable characters (GPT-2's alphabet); they are undone once,
 * when the vocabulary is read, so that text is merged as the bytes it is. */
#include <string.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/log.h"
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/utf8.h"

#define KEY_MERGES "tokenizer.ggml.merges"
#define KEY_PRE    "tokenizer.ggml.pre"

/* GPT-2's alphabet: printable bytes of Latin-1 are themselves, the 68 others are U+0100 and on, in order. */
static bool byte_is_itself(unsigned b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

#define ALPHABET_END 0x144

/* letters[code point] is the byte, or -1. */
static void fill_alphabet(int16_t letters[ALPHABET_END])
{
    unsigned next = 0x100;
    memset(letters, 0xff, ALPHABET_END * sizeof *letters);
    for (unsigned b = 0; b < 256; b++)
        letters[byte_is_itself(b) ? b : next++] = (int16_t)b;
}

/* Writes the bytes that `text` spells; false when it is not wholly in the alphabet. At most `length` bytes.
 */
static bool unspell(const int16_t letters[ALPHABET_END], const char *text, size_t length, char *out,
                    size_t *out_length)
{
    size_t n = 0;
    for (size_t i = 0; i < length;) {
        const unsigned char c = (unsigned char)text[i];
        const size_t size = sl_utf8_length(text + i, length - i);
        if (size != 1 && size != 2) return false;
        const unsigned point = size == 1 ? c : (c & 0x1fu) << 6 | ((unsigned char)text[i + 1] & 0x3fu);
        if (point >= ALPHABET_END || letters[point] < 0) return false;
        out[n++] = (char)letters[point];
        i += size;
    }
    *out_length = n;
    return true;
}

static sl_status read_pieces(sl_tokenizer *t, const int16_t letters[ALPHABET_END], char *scratch,
                             sl_diag *diag)
{
    sl_status st = SL_OK;
    for (uint32_t i = 0; i < t->count; i++) {
        const char *text = t->bytes + t->texts[i].offset;
        size_t length;
        const bool spelled = t->kinds[i] != SL_TOKEN_CONTROL && t->kinds[i] != SL_TOKEN_USER_DEFINED &&
                             unspell(letters, text, t->texts[i].length, scratch, &length);
        if (!spelled)
            t->pieces[i] = t->texts[i];
        else if ((st = sl_tokenizer_store(t, scratch, length, &t->pieces[i], diag)) != SL_OK)
            return st;
        if (t->kinds[i] == SL_TOKEN_NORMAL &&
            (st = sl_tokenizer_add_piece(t, t->pieces[i], i, diag)) != SL_OK)
            return st;
    }
    /* Merges may make added tokens too, but never instead of a normal one. */
    for (uint32_t i = 0; i < t->count; i++) {
        const uint8_t kind = t->kinds[i];
        if (kind == SL_TOKEN_NORMAL || kind == SL_TOKEN_CONTROL || kind == SL_TOKEN_UNKNOWN) continue;
        if ((st = sl_tokenizer_add_piece(t, t->pieces[i], i, diag)) != SL_OK) return st;
    }
    for (unsigned b = 0; b < 256; b++) {
        const char byte = (char)b;
        t->byte_ids[b] = SL_TOKEN_NONE;
        sl_string_map_get(&t->by_piece, &byte, 1, &t->byte_ids[b]);
    }
    return SL_OK;
}

/* "left right": the tokens of both halves and of the whole. */
static sl_status read_merge(sl_tokenizer *t, const int16_t letters[ALPHABET_END], sl_gguf_string merge,
                            size_t rank, char *scratch, sl_diag *diag)
{
    size_t left, right;
    uint32_t ids[3];
    const char *space = merge.length > 2 ? memchr(merge.data + 1, ' ', merge.length - 2) : NULL;
    if (!space)
        return sl_fail(diag, SL_ERR_FORMAT,
                       "%s: key \"%s\" element %zu, %zu bytes, is not two tokens with a space between",
                       t->label, KEY_MERGES, rank, merge.length);
    const size_t split = (size_t)(space - merge.data);
    if (!unspell(letters, merge.data, split, scratch, &left) ||
        !unspell(letters, space + 1, merge.length - split - 1, scratch + left, &right))
        return sl_fail(diag, SL_ERR_FORMAT, "%s: key \"%s\" element %zu has characters that spell no byte",
                       t->label, KEY_MERGES, rank);
    const struct {
        const char *name, *bytes;
        size_t length;
    } parts[3] = {{"left half", scratch, left},
                  {"right half", scratch + left, right},
                  {"result", scratch, left + right}};
    for (int i = 0; i < 3; i++)
        if (!sl_string_map_get(&t->by_piece, parts[i].bytes, parts[i].length, &ids[i]))
            return sl_fail(diag, SL_ERR_FORMAT,
                           "%s: key \"%s\" element %zu: its %s of %zu bytes is not in the vocabulary",
                           t->label, KEY_MERGES, rank, parts[i].name, parts[i].length);
    t->pairs[rank] = (uint64_t)ids[0] << 32 | ids[1];
    t->merged[rank] = ids[2];
    if (sl_string_map_add(&t->ranks, &t->pairs[rank], sizeof t->pairs[rank], (uint32_t)rank) ==
        SL_STRING_MAP_NO_MEMORY)
        return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for merges", t->label);
    return SL_OK;
}

static sl_status read_merges(sl_tokenizer *t, const sl_gguf *gguf, const int16_t letters[ALPHABET_END],
                             sl_diag *diag)
{
    sl_gguf_array merges;
    char *scratch = NULL;
    size_t longest = 64;
    sl_status st;
    SL_TRY(sl_gguf_get_array(gguf, KEY_MERGES, SL_GGUF_STRING, &merges, diag));
    for (size_t i = 0; i < merges.count; i++)
        longest = SL_MAX(longest, sl_gguf_array_string(&merges, i).length);
    scratch = sl_malloc(longest + 1);
    t->pairs = sl_calloc(merges.count, sizeof *t->pairs);
    t->merged = sl_calloc(merges.count, sizeof *t->merged);
    if (!scratch || !t->pairs || !t->merged || merges.count > UINT32_MAX ||
        !sl_string_map_init(&t->ranks, merges.count)) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for %zu merges", t->label, merges.count);
        goto cleanup;
    }
    for (size_t i = 0; i < merges.count; i++)
        SL_TRY(read_merge(t, letters, sl_gguf_array_string(&merges, i), i, scratch, diag));
cleanup:
    sl_free(scratch);
    return st;
}

static sl_status read_pretokenizer(sl_tokenizer *t, const sl_gguf *gguf, const char *name, sl_diag *diag)
{
    sl_gguf_string pre = {name, name ? strlen(name) : 0};
    sl_status st = name ? SL_OK : sl_gguf_get_string_or(gguf, KEY_PRE, "default", &pre, diag);
    if (st != SL_OK) return st;
    if (!name && !sl_gguf_find(gguf, KEY_PRE))
        sl_log(SL_LOG_WARN, "%s: key \"%s\" is missing: text is cut by the pre-tokenizer \"default\"",
               t->label, KEY_PRE);
    st = sl_pretokenizer_create(pre.data, pre.length, &t->pretokenizer, diag);
    if (st != SL_OK) {
        sl_diag_prefix(diag, "%s", t->label);
        return st;
    }
    t->ignore_merges = sl_pretokenizer_ignores_merges(t->pretokenizer);
    return SL_OK;
}

sl_status sl_bpe_prepare(sl_tokenizer *t, const sl_gguf *gguf, const char *pre, sl_diag *diag)
{
    int16_t letters[ALPHABET_END];
    char *scratch = NULL;
    uint32_t longest = 0;
    sl_status st;
    fill_alphabet(letters);
    for (uint32_t i = 0; i < t->count; i++)
        longest = SL_MAX(longest, t->texts[i].length);
    SL_TRY(read_pretokenizer(t, gguf, pre, diag));
    scratch = sl_malloc((size_t)longest + 1);
    if (!scratch) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "%s: no memory for the vocabulary", t->label);
        goto cleanup;
    }
    SL_TRY(read_pieces(t, letters, scratch, diag));
    SL_TRY(read_merges(t, gguf, letters, diag));
cleanup:
    sl_free(scratch);
    return st;
}

static bool find_merge(const void *context, const char *text, const sl_merge_symbol *left,
                       const sl_merge_symbol *right, uint32_t *priority, uint32_t *id)
{
    const sl_tokenizer *t = context;
    (void)text;
    const uint64_t pair = (uint64_t)left->id << 32 | right->id;
    if (!sl_string_map_get(&t->ranks, &pair, sizeof pair, priority)) return false;
    *id = t->merged[*priority];
    return true;
}

static sl_status encode_piece(const sl_tokenizer *t, const char *piece, size_t length, sl_merge_work *work,
                              sl_token_list *out, sl_diag *diag)
{
    uint32_t id;
    bool ok = true;
    if (t->ignore_merges && length <= t->longest && sl_string_map_get(&t->by_piece, piece, length, &id))
        return sl_token_list_add(out, id, diag);
    sl_merge_clear(work);
    for (size_t i = 0; i < length && ok; i++)
        ok = sl_merge_add(work, (uint32_t)i, 1, t->byte_ids[(unsigned char)piece[i]]);
    if (!ok || !sl_merge_run(work, piece, find_merge, t))
        return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory to tokenize %zu bytes", length);
    for (uint32_t i = 0; i != SL_MERGE_END; i = work->symbols[i].next) {
        if (work->symbols[i].id == SL_TOKEN_NONE)
            continue; /* a byte without a token: it kept its neighbours apart */
        const sl_status st = sl_token_list_add(out, work->symbols[i].id, diag);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

sl_status sl_bpe_encode(const sl_tokenizer *t, const char *text, size_t length, sl_merge_work *work,
                        sl_token_list *out, sl_diag *diag)
{
    sl_pieces pieces = {0};
    sl_status st;
    SL_TRY(sl_pretokenizer_split(t->pretokenizer, text, length, &pieces, diag));
    for (size_t i = 0, begin = 0; i < pieces.count; begin = pieces.ends[i++])
        SL_TRY(encode_piece(t, text + begin, pieces.ends[i] - begin, work, out, diag));
cleanup:
    sl_pieces_free(&pieces);
    return st;
}
