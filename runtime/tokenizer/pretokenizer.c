/* PCRE2 with UTF and Unicode properties, compiled to machine code where that works. PCRE2 wants well-formed
 * UTF-8 and would split at broken bytes; here a broken byte is a unit like any other symbol, so each is
 * replaced by U+FFFD (a symbol: neither letter, number, space nor punctuation) in a copy, and the cuts are
 * brought back to the original. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/tokenizer/pretokenizer.h"

#include <pcre2.h>
#include <stdint.h>
#include <string.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/log.h"
#include "runtime/tokenizer/utf8.h"

#define EXPRESSIONS_MAX 4

/* White_Space of Unicode, spelled out: PCRE2's \s would add U+180E. */
#define WS                                                                                                   \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{" \
    "3000}"

#define GPT2                                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|[" WS "]+(?![^" WS "])|[" WS "]+"
#define LLAMA3(numbers)                                                                                      \
    "'(?i:s|t|re|ve|m|ll|d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers "| ?[^" WS                               \
    "\\p{L}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+"

typedef struct row {
    const char *name;
    bool ignore_merges, add_bos;
    const char *expressions[EXPRESSIONS_MAX];
} row;

static const row rows[] = {
    {"default", false, false, {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"gpt-2", false, false, {GPT2}},
    {"smollm", false, false, {"\\p{N}", GPT2}},
    {"llama-bpe", true, true, {LLAMA3("\\p{N}{1,3}")}},
    {"qwen2", false, false, {LLAMA3("\\p{N}")}},
};

struct sl_pretokenizer {
    const row *row;
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_code *codes[EXPRESSIONS_MAX];
};

static void *take_memory(size_t size, void *user)
{
    (void)user;
    return sl_malloc(size);
}

static void give_memory(void *pointer, void *user)
{
    (void)user;
    sl_free(pointer);
}

static const row *find_row(const char *name, size_t length)
{
    for (size_t i = 0; i < SL_COUNTOF(rows); i++)
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0) return &rows[i];
    return NULL;
}

static sl_status unknown_name(const char *name, size_t length, sl_diag *diag)
{
    char list[256] = "", shown[64];
    for (size_t i = 0; i < SL_COUNTOF(rows); i++) {
        strncat(list, i ? ", " : "", sizeof list - strlen(list) - 1);
        strncat(list, rows[i].name, sizeof list - strlen(list) - 1);
    }
    size_t n = 0;
    for (; n < length && n < sizeof shown - 1; n++)
        shown[n] = name[n] >= 0x20 && name[n] <= 0x7e ? name[n] : '?';
    shown[n] = '\0';
    return sl_fail(diag, SL_ERR_UNSUPPORTED,
                   "key \"tokenizer.ggml.pre\": pre-tokenizer \"%s\" is unknown; there are %s", shown, list);
}

sl_status sl_pretokenizer_create(const char *name, size_t length, sl_pretokenizer **out, sl_diag *diag)
{
    sl_status st = SL_OK;
    pcre2_compile_context *options = NULL;
    *out = NULL;
    const row *found = find_row(name, length);
    if (!found) return unknown_name(name, length, diag);
    sl_pretokenizer *p = sl_calloc(1, sizeof *p);
    if (!p) return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a pre-tokenizer");
    p->row = found;
    p->memory = pcre2_general_context_create(take_memory, give_memory, NULL);
    if (p->memory) p->limits = pcre2_match_context_create(p->memory);
    if (p->limits) options = pcre2_compile_context_create(p->memory);
    if (!options) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a pre-tokenizer");
        goto cleanup;
    }
    pcre2_set_match_limit(p->limits,
                          UINT32_MAX); /* a run of spaces may be long; the expressions nest no repeats */
    for (size_t i = 0; i < EXPRESSIONS_MAX && found->expressions[i]; i++) {
        int error;
        PCRE2_SIZE at;
        p->codes[i] = pcre2_compile((PCRE2_SPTR)found->expressions[i], PCRE2_ZERO_TERMINATED,
                                    PCRE2_UTF | PCRE2_UCP, &error, &at, options);
        if (!p->codes[i]) {
            char text[120];
            pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
            st = sl_fail(diag,
                         error == PCRE2_ERROR_NOMEMORY || error == PCRE2_ERROR_HEAP_FAILED ? SL_ERR_NO_MEMORY
                                                                                           : SL_ERR_INTERNAL,
                         "pre-tokenizer %s, expression %zu at %zu: %s", found->name, i, (size_t)at, text);
            goto cleanup;
        }
        if (pcre2_jit_compile(p->codes[i], PCRE2_JIT_COMPLETE) != 0)
            sl_log(SL_LOG_INFO,
                   "pre-tokenizer %s: no machine code here, expressions are interpreted (slower)",
                   found->name);
    }
    *out = p;
    p = NULL;
cleanup:
    if (options) pcre2_compile_context_free(options);
    sl_pretokenizer_destroy(p);
    return st;
}

void sl_pretokenizer_destroy(sl_pretokenizer *p)
{
    if (!p) return;
    for (size_t i = 0; i < EXPRESSIONS_MAX; i++)
        pcre2_code_free(p->codes[i]);
    pcre2_match_context_free(p->limits);
    pcre2_general_context_free(p->memory);
    sl_free(p);
}

const char *sl_pretokenizer_name(const sl_pretokenizer *p)
{
    return p->row->name;
}

bool sl_pretokenizer_ignores_merges(const sl_pretokenizer *p)
{
    return p->row->ignore_merges;
}

bool sl_pretokenizer_adds_bos(const sl_pretokenizer *p)
{
    return p->row->add_bos;
}

static bool add_end(sl_pieces *pieces, size_t end)
{
    if (pieces->count == pieces->capacity) {
        const size_t more = pieces->capacity ? pieces->capacity * 2 : 256;
        size_t *grown = sl_realloc(pieces->ends, more, sizeof *grown);
        if (!grown) return false;
        pieces->ends = grown;
        pieces->capacity = more;
    }
    pieces->ends[pieces->count++] = end;
    return true;
}

void sl_pieces_free(sl_pieces *pieces)
{
    if (!pieces) return;
    sl_free(pieces->ends);
    memset(pieces, 0, sizeof *pieces);
}

/* One expression over one piece, which begins at `base` of the whole text and is the whole subject: the
 * expression sees nothing outside it. */
static sl_status split_piece(const sl_pretokenizer *p, const pcre2_code *code, pcre2_match_data *match,
                             const char *text, size_t base, size_t end, sl_pieces *out, sl_diag *diag)
{
    const size_t length = end - base;
    size_t at = 0;
    bool ok = true;
    while (at < length && ok) {
        const int n = pcre2_match(code, (PCRE2_SPTR)(text + base), length, at,
                                  PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match, p->limits);
        if (n == PCRE2_ERROR_NOMATCH) break;
        if (n < 0) {
            char why[120];
            pcre2_get_error_message(n, (PCRE2_UCHAR *)why, sizeof why);
            return sl_fail(diag, n == PCRE2_ERROR_NOMEMORY ? SL_ERR_NO_MEMORY : SL_ERR_INTERNAL,
                           "pre-tokenizer %s at byte %zu: %s", p->row->name, base + at, why);
        }
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(match);
        if (range[0] > at) ok = add_end(out, base + range[0]);
        ok = ok && add_end(out, base + range[1]);
        at = range[1];
    }
    if (ok && at < length) ok = add_end(out, end);
    return ok ? SL_OK : sl_fail(diag, SL_ERR_NO_MEMORY, "no memory to cut %zu bytes of text", length);
}

/* The copy in which each broken byte is U+FFFD, and where in the copy these stand. */
typedef struct repaired {
    char *text; /* NULL: nothing was broken */
    size_t length;
    sl_pieces broken; /* offsets in the copy */
} repaired;

static sl_status repair(const char *text, size_t length, repaired *out, sl_diag *diag)
{
    size_t n_broken = 0, n;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < length; i += n ? n : 1)
        n_broken += (n = sl_utf8_length(text + i, length - i)) == 0;
    if (n_broken == 0) return SL_OK;
    out->length = length + 2 * n_broken; /* the text is at most 1 GiB */
    out->text = sl_malloc(out->length);
    if (!out->text) return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for %zu bytes of text", out->length);
    size_t at = 0;
    for (size_t i = 0; i < length; i += n ? n : 1) {
        n = sl_utf8_length(text + i, length - i);
        if (!n && !add_end(&out->broken, at))
            return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for %zu bytes of text", out->length);
        memcpy(out->text + at, n ? text + i : "\xef\xbf\xbd", n ? n : 3);
        at += n ? n : 3;
    }
    return SL_OK;
}

static void undo_repair(const repaired *r, sl_pieces *pieces)
{
    size_t before = 0;
    for (size_t i = 0; i < pieces->count; i++) {
        while (before < r->broken.count && r->broken.ends[before] < pieces->ends[i])
            before++;
        pieces->ends[i] -= 2 * before;
    }
}

sl_status sl_pretokenizer_split(const sl_pretokenizer *p, const char *text, size_t length, sl_pieces *out,
                                sl_diag *diag)
{
    sl_status st;
    sl_pieces from = {0}, swap;
    repaired r;
    pcre2_match_data *match = NULL;
    out->count = 0;
    SL_TRY(repair(text, length, &r, diag));
    const char *subject = r.text ? r.text : text;
    match = pcre2_match_data_create(1, p->memory);
    if (!match || !add_end(out, r.text ? r.length : length)) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "no memory to cut %zu bytes of text", length);
        goto cleanup;
    }
    for (size_t i = 0; i < EXPRESSIONS_MAX && p->codes[i]; i++) {
        swap = from;
        from = *out;
        *out = swap;
        out->count = 0;
        for (size_t j = 0, base = 0; j < from.count; base = from.ends[j++])
            SL_TRY(split_piece(p, p->codes[i], match, subject, base, from.ends[j], out, diag));
    }
    if (r.text) undo_repair(&r, out);
cleanup:
    pcre2_match_data_free(match);
    sl_pieces_free(&from);
    sl_pieces_free(&r.broken);
    sl_free(r.text);
    return st;
}
