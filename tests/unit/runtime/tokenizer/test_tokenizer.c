/* Tokenizers over tiny vocabularies: merging, cutting, special tokens, broken UTF-8, the way back, bad
 * arrays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/support/gguf_builder.h"

/* What a vocabulary is made of; each field may be made wrong. Tokens: 256 of bytes, then words (normal,
 * scores falling from -1), then specials. */
typedef struct recipe {
    const char *model, *pre;
    const char *words[16], *controls[4], *user[4], *merges[16];
    int n_bytes;              /* 0: all 256 */
    bool u8_types, u8_scores; /* the wrong element type */
    uint32_t odd_kind;        /* instead of the first word's, when not 0 */
    int types_missing;        /* elements left out at the end */
    int scores_missing;
    const char *first_byte; /* text of the token of byte 0 */
    float odd_score;
    bool prefix, bos, eos;
    uint32_t eos_id; /* 0: none */
} recipe;

static size_t count_of(const char *const *list, size_t max)
{
    size_t n = 0;
    while (n < max && list[n])
        n++;
    return n;
}

static void byte_text(bool spm, unsigned b, char *text)
{
    unsigned point = b, next = 0x100;
    if (spm) {
        snprintf(text, 16, "<0x%02X>", b);
        return;
    }
    for (unsigned i = 0; i <= b; i++) {
        const bool plain = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i != 0xad);
        point = plain ? i : next++;
    }
    if (point < 0x80)
        snprintf(text, 16, "%c", (char)point);
    else
        snprintf(text, 16, "%c%c", (char)(0xc0 | point >> 6), (char)(0x80 | (point & 0x3f)));
}

static void add_kinds(sl_gguf_build *b, const recipe *r, bool spm, size_t n_words, size_t n_controls,
                      size_t n_user, uint32_t n)
{
    const uint32_t type = r->u8_types ? SL_GGUF_U8 : SL_GGUF_I32;
    const uint32_t n_bytes = n - (uint32_t)(n_words + n_controls + n_user);
    sl_gguf_build_array(b, "tokenizer.ggml.token_type", type, n - (uint32_t)r->types_missing);
    for (uint32_t i = 0; i < n - (uint32_t)r->types_missing; i++) {
        uint32_t kind = spm && i < n_bytes ? SL_TOKEN_BYTE : SL_TOKEN_NORMAL;
        if (i >= n_bytes + n_words) kind = i < n - n_user ? SL_TOKEN_CONTROL : SL_TOKEN_USER_DEFINED;
        if (i == n_bytes && r->odd_kind) kind = r->odd_kind;
        sl_gguf_build_number(b, kind, type == SL_GGUF_U8 ? 1 : 4);
    }
}

static void add_scores(sl_gguf_build *b, const recipe *r, uint32_t n_bytes, uint32_t n)
{
    const uint32_t type = r->u8_scores ? SL_GGUF_U8 : SL_GGUF_F32;
    sl_gguf_build_array(b, "tokenizer.ggml.scores", type, n - (uint32_t)r->scores_missing);
    for (uint32_t i = 0; i < n - (uint32_t)r->scores_missing; i++) {
        float score = i < n_bytes ? 0 : -1.0f - (float)(i - n_bytes);
        uint32_t bits;
        if (i == n_bytes && r->odd_score != 0) score = r->odd_score;
        memcpy(&bits, &score, 4);
        sl_gguf_build_number(b, bits, type == SL_GGUF_U8 ? 1 : 4);
    }
}

static sl_gguf *open_recipe(const recipe *r)
{
    const bool spm = strcmp(r->model, "llama") == 0;
    const size_t n_words = count_of(r->words, 16), n_controls = count_of(r->controls, 4),
                 n_user = count_of(r->user, 4);
    const unsigned n_bytes = r->n_bytes ? (unsigned)r->n_bytes : 256;
    const uint32_t n = n_bytes + (uint32_t)(n_words + n_controls + n_user);
    sl_gguf_build b;
    sl_gguf_build_begin(&b, 3);
    sl_gguf_build_string(&b, "tokenizer.ggml.model", r->model);
    if (r->pre) sl_gguf_build_string(&b, "tokenizer.ggml.pre", r->pre);
    sl_gguf_build_array(&b, "tokenizer.ggml.tokens", SL_GGUF_STRING, n);
    for (unsigned i = 0; i < n_bytes; i++) {
        char text[16];
        byte_text(spm, i, text);
        if (i == 0 && r->first_byte) snprintf(text, sizeof text, "%s", r->first_byte);
        sl_gguf_build_text(&b, text, strlen(text));
    }
    for (size_t i = 0; i < n_words; i++)
        sl_gguf_build_text(&b, r->words[i], strlen(r->words[i]));
    for (size_t i = 0; i < n_controls; i++)
        sl_gguf_build_text(&b, r->controls[i], strlen(r->controls[i]));
    for (size_t i = 0; i < n_user; i++)
        sl_gguf_build_text(&b, r->user[i], strlen(r->user[i]));
    add_kinds(&b, r, spm, n_words, n_controls, n_user, n);
    if (spm) add_scores(&b, r, n_bytes, n);
    if (!spm) sl_gguf_build_strings(&b, "tokenizer.ggml.merges", r->merges, count_of(r->merges, 16));
    sl_gguf_build_bool(&b, "tokenizer.ggml.add_space_prefix", r->prefix);
    sl_gguf_build_bool(&b, "tokenizer.ggml.add_bos_token", r->bos);
    sl_gguf_build_bool(&b, "tokenizer.ggml.add_eos_token", r->eos);
    if (r->bos) sl_gguf_build_u32(&b, "tokenizer.ggml.bos_token_id", 256 + (uint32_t)n_words);
    if (r->eos_id) sl_gguf_build_u32(&b, "tokenizer.ggml.eos_token_id", r->eos_id);
    sl_gguf_build_end(&b);
    sl_gguf *g;
    sl_diag diag = {0};
    const sl_status st = sl_gguf_open_memory(b.bytes, b.size, "tiny.gguf", &g, &diag);
    sl_gguf_build_free(&b);
    if (st != SL_OK) fail_msg("%s", diag.message);
    return g;
}

static sl_status make(const recipe *r, sl_tokenizer **out, sl_diag *diag)
{
    sl_gguf *g = open_recipe(r);
    const sl_status st = sl_tokenizer_create(g, out, diag);
    sl_gguf_close(g); /* the tokenizer needs it no more */
    return st;
}

static sl_tokenizer *must_make(const recipe *r)
{
    sl_tokenizer *t;
    sl_diag diag = {0};
    if (make(r, &t, &diag) != SL_OK) fail_msg("%s", diag.message);
    return t;
}

/* Ids as text: "a+b": pieces of normal tokens joined by '|', which no test text contains; <N> for others. */
static const char *split(const sl_tokenizer *t, const char *text, size_t length, uint32_t flags, char *out)
{
    sl_token_list list = {0};
    sl_diag diag = {0};
    size_t at = 0;
    out[0] = '\0';
    if (sl_tokenizer_encode(t, text, length, flags, &list, &diag) != SL_OK) fail_msg("%s", diag.message);
    for (size_t i = 0; i < list.count; i++) {
        const char *piece;
        size_t n;
        if (i) out[at++] = '|';
        assert_int_equal(sl_tokenizer_piece(t, list.ids[i], &piece, &n, NULL), SL_OK);
        if (sl_tokenizer_kind(t, list.ids[i]) == SL_TOKEN_CONTROL) {
            assert_int_equal(n, 0);
            const sl_gguf_string name = sl_tokenizer_text(t, list.ids[i]);
            piece = name.data;
            n = name.length;
        }
        memcpy(out + at, piece, n);
        at += n;
        out[at] = '\0';
    }
    sl_token_list_free(&list);
    return out;
}

#define SPLIT(t, text, flags) split((t), (text), sizeof(text) - 1, (flags), (char[512]){0})

static const recipe bpe_recipe = {
    .model = "gpt2",
    .pre = "smollm",
    .words = {"he", "ll", "hell", "hello", "Ġh", "Ġhello", "lo", "\xc3\x83\xc2\xa9", "ĠĠ", "12", "!!"},
    .controls = {"<|im_start|>", "<|im_end|>"},
    .user = {"<tool>", "<tool>>"},
    .merges = {"l l", "h e", "he ll", "hell o", "Ġ h", "Ġ hello", "l o", "\xc3\x83 \xc2\xa9", "Ġ Ġ", "1 2",
               "! !"},
    .eos_id = 256 + 11 + 1,
};

static void test_bpe(void **state)
{
    (void)state;
    sl_tokenizer *t = must_make(&bpe_recipe);
    assert_string_equal(sl_tokenizer_model(t), "gpt2");
    assert_string_equal(sl_tokenizer_pre(t), "smollm");
    assert_int_equal(sl_tokenizer_size(t), 256 + 11 + 4);
    assert_int_equal(sl_tokenizer_missing_bytes(t), 0);
    assert_string_equal(SPLIT(t, "hello", 0), "hello");
    assert_string_equal(SPLIT(t, "lllo", 0), "ll|lo"); /* "l l" ranks before "l o"; leftmost first */
    assert_string_equal(SPLIT(t, "llll", 0), "ll|ll");
    assert_string_equal(SPLIT(t, "lll", 0), "ll|l");
    assert_string_equal(SPLIT(t, " hello", 0), " hello"); /* "Ġ hello" after "hell o" */
    assert_string_equal(SPLIT(t, " hell", 0), " |hell");
    assert_string_equal(SPLIT(t, "h hello", 0), "h| hello");
    assert_string_equal(SPLIT(t, "\xc3\xa9", 0), "\xc3\xa9");
    assert_string_equal(SPLIT(t, "12!!", 0), "1|2|!!"); /* smollm: digits stand alone */
    assert_string_equal(SPLIT(t, "a   h", 0), "a|  | h");
    assert_string_equal(SPLIT(t, "", 0), "");
    sl_tokenizer_destroy(t);
    sl_tokenizer_destroy(NULL);
}

static void test_special(void **state)
{
    (void)state;
    sl_tokenizer *t = must_make(&bpe_recipe);
    const uint32_t start = sl_tokenizer_find(t, "<|im_start|>"), end = sl_tokenizer_find(t, "<|im_end|>");
    assert_string_equal(SPLIT(t, "<|im_end|>hello", SL_TOKENIZE_PARSE_SPECIAL), "<|im_end|>|hello");
    assert_string_equal(SPLIT(t, "<|im_end|>", 0), "<|||i|m|_|e|n|d|||>"); /* not asked for: just text */
    assert_string_equal(SPLIT(t, "he<tool>he", 0), "he|<tool>|he");
    assert_string_equal(SPLIT(t, "<tool>>", 0), "<tool>>"); /* the longest */
    assert_string_equal(SPLIT(t, "<<tool>", 0), "<|<tool>");
    assert_string_equal(SPLIT(t, "<tool", 0), "<|t|o|o|l");
    assert_true(sl_tokenizer_ends_generation(t, end));
    assert_false(sl_tokenizer_ends_generation(t, start));
    assert_false(sl_tokenizer_ends_generation(t, 0));
    assert_false(sl_tokenizer_ends_generation(t, UINT32_MAX));
    assert_int_equal(sl_tokenizer_special_ids(t).eos, end);
    assert_int_equal(sl_tokenizer_special_ids(t).eot, end);
    assert_true(sl_tokenizer_special_ids(t).bos == SL_TOKEN_NONE);
    assert_true(sl_tokenizer_find(t, "absent") == SL_TOKEN_NONE);
    assert_int_equal(sl_tokenizer_kind(t, start), SL_TOKEN_CONTROL);
    assert_int_equal(sl_tokenizer_kind(t, 9999), SL_TOKEN_UNKNOWN);
    const char *piece;
    size_t n;
    sl_diag diag;
    assert_int_equal(sl_tokenizer_piece(t, 9999, &piece, &n, &diag), SL_ERR_ARGUMENT);
    assert_non_null(strstr(diag.message, "9999"));
    sl_tokenizer_destroy(t);
}

static const recipe spm_recipe = {
    .model = "llama",
    .words = {"▁", "h", "e", "l", "o", "he", "ll", "▁he", "hell", "▁hell", "hello", "lo", "▁▁"},
    .controls = {"<s>", "</s>", "<end_of_turn>"},
    .user = {"\n\n", "<b>"},
    .eos_id = 256 + 13 + 1,
};

static void test_spm(void **state)
{
    (void)state;
    recipe r = spm_recipe;
    sl_tokenizer *t = must_make(&r);
    assert_string_equal(sl_tokenizer_model(t), "llama");
    assert_string_equal(SPLIT(t, "hello", 0), "hello");
    assert_string_equal(SPLIT(t, "llo", 0), "ll|o"); /* "ll" scores above "lo" */
    assert_string_equal(SPLIT(t, " hell", 0), " hell");
    assert_string_equal(SPLIT(t, "   ", 0), "  | "); /* leftmost first */
    assert_string_equal(SPLIT(t, "h\xc3\xa9o", 0), "h|\xc3|\xa9|o");
    assert_string_equal(SPLIT(t, "a\n\n\n", 0), "a|\n\n|\n");
    assert_string_equal(SPLIT(t, "<s>", 0), "<|s|>");
    assert_string_equal(SPLIT(t, "<s><b>h", SL_TOKENIZE_PARSE_SPECIAL), "<s>|<b>|h");
    assert_int_equal(sl_tokenizer_special_ids(t).eot, sl_tokenizer_find(t, "<end_of_turn>"));
    assert_true(sl_tokenizer_ends_generation(t, sl_tokenizer_find(t, "</s>")));
    sl_tokenizer_destroy(t);
    r.prefix = r.bos = r.eos = true;
    t = must_make(&r);
    assert_true(sl_tokenizer_adds_space_prefix(t) && sl_tokenizer_adds_bos(t) && sl_tokenizer_adds_eos(t));
    assert_string_equal(SPLIT(t, "hell", SL_TOKENIZE_ADD_SPECIAL), "<s>| hell|</s>");
    assert_string_equal(SPLIT(t, "hell", 0), " hell");
    assert_string_equal(SPLIT(t, "", SL_TOKENIZE_ADD_SPECIAL), "<s>|</s>");
    sl_tokenizer_destroy(t);
}

static void assert_comes_back(const sl_tokenizer *t, const unsigned char *text, size_t length)
{
    sl_token_list list = {0};
    sl_diag diag = {0};
    size_t at = 0;
    if (sl_tokenizer_encode(t, (const char *)text, length, 0, &list, &diag) != SL_OK)
        fail_msg("%s", diag.message);
    for (size_t i = 0; i < list.count; i++) {
        const char *piece;
        size_t n;
        assert_int_equal(sl_tokenizer_piece(t, list.ids[i], &piece, &n, NULL), SL_OK);
        assert_true(n <= length - at);
        assert_memory_equal(piece, text + at, n);
        at += n;
    }
    assert_int_equal(at, length);
    sl_token_list_free(&list);
}

static void test_broken_utf8(void **state)
{
    (void)state;
    sl_tokenizer *bpe = must_make(&bpe_recipe), *spm = must_make(&spm_recipe);
    assert_string_equal(SPLIT(bpe, "he\xffhe", 0), "he|\xff|he");
    assert_string_equal(SPLIT(bpe, "hell\xc3", 0), "hell|\xc3");
    assert_string_equal(SPLIT(spm, "he\xff he", 0), "he|\xff| he");
    /* A broken byte is a symbol to the pre-tokenizer: "!\xff!" is one piece, so "! !" stays apart, and
     * "\xff!!" joins. */
    assert_string_equal(SPLIT(bpe, "\xff!!", 0), "\xff|!!");
    assert_string_equal(SPLIT(bpe, "!\xff!", 0), "!|\xff|!");
    uint32_t random = 12345;
    for (int round = 0; round < 300; round++) {
        unsigned char text[64];
        for (size_t i = 0; i < sizeof text; i++) {
            random = random * 1664525u + 1013904223u;
            text[i] = (unsigned char)(random >> 24);
            if (round & 1) text[i] = (unsigned char)"he lo\n\xc3\xa9\xe2\x96\xf0\x9f<b>1!"[text[i] % 18];
        }
        assert_comes_back(bpe, text, sizeof text);
        bool has_lower_block = false; /* U+2581 itself becomes a space: not reversible in SPM */
        for (size_t i = 0; i + 2 < sizeof text; i++)
            has_lower_block |= text[i] == 0xe2 && text[i + 1] == 0x96 && text[i + 2] == 0x81;
        if (!has_lower_block) assert_comes_back(spm, text, sizeof text);
    }
    sl_tokenizer_destroy(bpe);
    sl_tokenizer_destroy(spm);
}

/* A megabyte that is one piece: time grows with n log n. The bound is generous, a quadratic run takes hours.
 */
static void test_long_piece(void **state)
{
    (void)state;
    enum { N = 1000000 };
    sl_tokenizer *const tokenizers[] = {must_make(&bpe_recipe), must_make(&spm_recipe)};
    static const char *const patterns[] = {"h", "hello", "lo", "\xff", "!", "\xe2\x96"};
    unsigned char *text = malloc(N);
    assert_non_null(text);
    for (size_t k = 0; k < 2; k++) {
        for (size_t p = 0; p < SL_COUNTOF(patterns); p++) {
            for (size_t i = 0; i < N; i++)
                text[i] = (unsigned char)patterns[p][i % strlen(patterns[p])];
            const clock_t begin = clock();
            assert_comes_back(tokenizers[k], text, N);
            assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 20);
        }
        sl_tokenizer_destroy(tokenizers[k]);
    }
    free(text);
}

static void test_lengths(void **state)
{
    (void)state;
    sl_tokenizer *t = must_make(&bpe_recipe);
    sl_token_list list = {0};
    sl_diag diag;
    /* Refused before a byte is read, so the pointer may be short. */
    assert_int_equal(sl_tokenizer_encode(t, "x", SL_TOKENIZER_TEXT_MAX_BYTES + 1, 0, &list, &diag),
                     SL_ERR_ARGUMENT);
    assert_int_equal(sl_tokenizer_encode(t, "x", SIZE_MAX, 0, &list, &diag), SL_ERR_ARGUMENT);
    assert_non_null(strstr(diag.message, "18446744073709551615"));
    assert_int_equal(list.count, 0);
    sl_tokenizer_destroy(t);
}

/* Every allocation of making and using one fails once, in turn. */
static void test_every_allocation(void **state)
{
    (void)state;
    static const recipe *const recipes[] = {&bpe_recipe, &spm_recipe};
    for (size_t k = 0; k < 2; k++) {
        sl_gguf *g = open_recipe(recipes[k]);
        uint64_t total = UINT64_MAX, failures = 0;
        size_t count = 0;
        /* Run 0 fails nothing and counts. */
        for (uint64_t n = 0; n <= total; n++) {
            sl_tokenizer *t = NULL;
            sl_token_list list = {0};
            sl_diag diag = {0};
            const uint64_t before = sl_alloc_count();
            sl_alloc_fail_at(n);
            sl_status st = sl_tokenizer_create(g, &t, &diag);
            if (st == SL_OK) st = sl_tokenizer_encode(t, "hello \xff he", 10, 0, &list, &diag);
            sl_alloc_fail_at(0);
            if (n == 0) {
                assert_int_equal(st, SL_OK);
                total = sl_alloc_count() - before;
                count = list.count;
            }
            assert_true(st == SL_OK || st == SL_ERR_NO_MEMORY);
            assert_int_equal(list.count, st == SL_OK ? count : 0);
            failures += st != SL_OK;
            sl_token_list_free(&list);
            sl_tokenizer_destroy(t);
        }
        /* The machine code of BPE's expressions takes memory too, and is done without when there is none. */
        assert_true(total > 10 && (k == 0 ? failures > 20 : failures == total));
        sl_gguf_close(g);
    }
}

typedef struct bad_case {
    const char *name;
    recipe r;
    sl_status status;
    const char *field, *value;
} bad_case;

#define BPE .model = "gpt2", .pre = "smollm", .words = {"he"}
#define SPM .model = "llama", .words = {"he"}, .controls = {"<s>"}

static const bad_case bad_cases[] = {
    {"model", {.model = "bert"}, SL_ERR_UNSUPPORTED, "tokenizer.ggml.model", "\"bert\""},
    {"pre-tokenizer", {.model = "gpt2", .pre = "odd"}, SL_ERR_UNSUPPORTED, "tokenizer.ggml.pre", "\"odd\""},
    {"pre-tokenizer names", {.model = "gpt2", .pre = "odd"}, SL_ERR_UNSUPPORTED, "smollm", "qwen2"},
    {"types as u8", {BPE, .u8_types = true}, SL_ERR_FORMAT, "token_type", "u8 x 257"},
    {"types short", {BPE, .types_missing = 2}, SL_ERR_FORMAT, "token_type", "255"},
    {"type beyond the enum", {BPE, .odd_kind = 7}, SL_ERR_FORMAT, "token_type\" element 256", "7"},
    {"type negative", {BPE, .odd_kind = UINT32_MAX}, SL_ERR_FORMAT, "token_type\" element 256", "-1"},
    {"scores as u8", {SPM, .u8_scores = true}, SL_ERR_FORMAT, "tokenizer.ggml.scores", "u8 x 258"},
    {"scores short", {SPM, .scores_missing = 1}, SL_ERR_FORMAT, "tokenizer.ggml.scores", "257"},
    {"score not a number",
     {SPM, .odd_score = (float)__builtin_nan("")},
     SL_ERR_FORMAT,
     "scores\" element 256",
     "number"},
    {"byte token out of range",
     {SPM, .first_byte = "<0x1FF>"},
     SL_ERR_FORMAT,
     "tokens\" element 0",
     "<0x1FF>"},
    {"byte token no hex", {SPM, .first_byte = "<0xG0>"}, SL_ERR_FORMAT, "tokens\" element 0", "<0xG0>"},
    {"byte token missing", {SPM, .n_bytes = 200}, SL_ERR_FORMAT, "tokens", "<0xC8>"},
    {"byte token twice", {SPM, .first_byte = "<0x41>"}, SL_ERR_FORMAT, "tokens", "<0x00>"},
    {"merge without space", {BPE, .merges = {"he"}}, SL_ERR_FORMAT, "merges\" element 0", "not two tokens"},
    {"merge empty", {BPE, .merges = {"h e", ""}}, SL_ERR_FORMAT, "merges\" element 1", "0 bytes"},
    {"merge half empty", {BPE, .merges = {"h "}}, SL_ERR_FORMAT, "merges\" element 0", "not two tokens"},
    {"merge of unknown token", {BPE, .merges = {"he x"}}, SL_ERR_FORMAT, "merges\" element 0", "result"},
    {"merge with unknown half", {BPE, .merges = {"xy e"}}, SL_ERR_FORMAT, "merges\" element 0", "left half"},
    {"merge outside the alphabet",
     {BPE, .merges = {"h \xe4\xb8\xad"}},
     SL_ERR_FORMAT,
     "merges\" element 0",
     "no byte"},
    {"merge of two spaces", {BPE, .merges = {"h  e"}}, SL_ERR_FORMAT, "merges\" element 0", "no byte"},
    {"eos beyond the vocabulary", {BPE, .eos_id = 5000}, SL_ERR_FORMAT, "eos_token_id", "5000"},
    {"eos to be added, none named", {BPE, .eos = true}, SL_ERR_FORMAT, "eos_token_id", "missing"},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < SL_COUNTOF(bad_cases); i++) {
        const bad_case *c = &bad_cases[i];
        sl_tokenizer *t = (sl_tokenizer *)1;
        sl_diag diag = {0};
        const sl_status st = make(&c->r, &t, &diag);
        if (st != c->status || t || strncmp(diag.message, "tiny.gguf: ", 11) != 0 ||
            !strstr(diag.message, c->field) || !strstr(diag.message, c->value))
            fail_msg("%s: status %s, message: %s", c->name, sl_status_name(st), diag.message);
    }
}

/* Keys that are absent, or of a wrong type as a whole. */
static void test_keys(void **state)
{
    (void)state;
    for (int which = 0; which < 5; which++) {
        sl_gguf_build b;
        sl_gguf *g;
        sl_tokenizer *t;
        sl_diag diag = {0};
        static const char *const expected[] = {"tokenizer.ggml.model", "tokenizer.ggml.tokens",
                                               "tokenizer.ggml.tokens", "tokenizer.ggml.merges",
                                               "tokenizer.ggml.tokens"};
        static const char *const one[] = {"a"};
        static const int32_t numbers[] = {1};
        sl_gguf_build_begin(&b, 3);
        if (which > 0) sl_gguf_build_string(&b, "tokenizer.ggml.model", "gpt2");
        if (which == 2) sl_gguf_build_i32s(&b, "tokenizer.ggml.tokens", numbers, 1);
        if (which == 3) sl_gguf_build_strings(&b, "tokenizer.ggml.tokens", one, 1);
        if (which == 4) sl_gguf_build_strings(&b, "tokenizer.ggml.tokens", one, 0);
        sl_gguf_build_end(&b);
        assert_int_equal(sl_gguf_open_memory(b.bytes, b.size, "k.gguf", &g, &diag), SL_OK);
        const sl_status st = sl_tokenizer_create(g, &t, &diag);
        assert_int_equal(st, which == 2 || which == 4 ? SL_ERR_FORMAT : SL_ERR_NOT_FOUND);
        assert_non_null(strstr(diag.message, expected[which]));
        assert_null(t);
        sl_gguf_close(g);
        sl_gguf_build_free(&b);
    }
}

/* Bytes without a token are left out, and counted. */
static void test_missing_bytes(void **state)
{
    (void)state;
    recipe r = {.model = "gpt2", .pre = "gpt-2", .words = {"ab"}, .merges = {"a b"}, .n_bytes = 255};
    sl_tokenizer *t = must_make(&r);
    assert_int_equal(sl_tokenizer_missing_bytes(t), 1);
    assert_string_equal(SPLIT(t, "ab\xff\xfe", 0), "ab|\xfe");
    assert_string_equal(SPLIT(t,
                              "a\xff"
                              "b",
                              0),
                        "a|b"); /* it keeps its neighbours apart */
    sl_tokenizer_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bpe),
        cmocka_unit_test(test_special),
        cmocka_unit_test(test_spm),
        cmocka_unit_test(test_broken_utf8),
        cmocka_unit_test(test_long_piece),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_every_allocation),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_missing_bytes),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
