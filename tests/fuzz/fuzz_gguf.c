/* Fuzz target for GGUF headers and for tokenizers made of them.
 *
 * The first byte chooses what the rest is: a file as it is, or a description - a little program whose steps
 * write pairs, arrays, a vocabulary and tensors through the builder, then lie about them (overwrite a word,
 * cut the end). So the fuzzer's changes reach what lies behind the counts and lengths.
 *
 * Checked besides the sanitizers: what was accepted is inside the file, getters and the tokenizer end in a
 * status, and text that was tokenized comes back. Built with -fsanitize=fuzzer, or with replay_main.c over
 * the corpus. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hal/base/checked.h"
#include "hal/base/log.h"
#include "runtime/gguf/gguf.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/support/gguf_builder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct tape {
    const uint8_t *data;
    size_t left;
} tape;

static uint64_t draw(tape *t, size_t bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes && t->left; i++, t->left--)
        v |= (uint64_t)*t->data++ << (8 * i);
    return v;
}

/* Mostly small numbers, at times one of those that break arithmetic. */
static uint64_t draw_number(tape *t)
{
    static const uint64_t odd[] = {0,          1,          31,         32,         255,
                                   256,        4096,       0x7fffffff, 0x80000000, 0xffffffff,
                                   1ull << 32, 1ull << 62, 1ull << 63, UINT64_MAX};
    const uint64_t way = draw(t, 1);
    if (way < 160) return way;
    if (way < 224) return odd[way % SL_COUNTOF(odd)];
    return draw(t, 8);
}

static const char *draw_key(tape *t)
{
    static const char *const keys[] = {
        "general.architecture",
        "general.alignment",
        "tokenizer.ggml.model",
        "tokenizer.ggml.pre",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.scores",
        "tokenizer.ggml.merges",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
        "tokenizer.ggml.eot_token_id",
        "tokenizer.ggml.add_bos_token",
        "tokenizer.ggml.add_space_prefix",
        "split.count",
        "split.no",
        "split.tensors.count",
        "llama.block_count",
        "llama.attention.head_count",
        "a",
        "",
    };
    return keys[draw(t, 1) % SL_COUNTOF(keys)];
}

static void put_bytes(sl_gguf_build *b, tape *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sl_gguf_build_number(b, draw(t, 1), 1);
}

static void put_value(sl_gguf_build *b, tape *t, uint32_t type)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == SL_GGUF_STRING) {
        const size_t n = draw(t, 1) % 24;
        sl_gguf_build_number(b, n, 8);
        put_bytes(b, t, n);
    } else {
        sl_gguf_build_number(b, draw_number(t), type < sizeof bytes ? bytes[type] : 4);
    }
}

static void put_array(sl_gguf_build *b, tape *t, const char *key)
{
    const uint32_t type = (uint32_t)draw(t, 1) % 14;
    const uint64_t way = draw(t, 1), count = way < 200 ? way % 16 : draw_number(t);
    sl_gguf_build_array(b, key, type, count);
    for (uint64_t i = 0; i < SL_MIN(count, 300u); i++)
        put_value(b, t, type);
}

/* A vocabulary that works - all bytes, some words, some special tokens - with lies from the tape. */
static void put_vocabulary(sl_gguf_build *b, tape *t)
{
    static const char *const words[] = {"he",        "ll",         "hell", "o", "hello", "\xe2\x96\x81h",
                                        "\xc4\xa0h", "<|im_end|>", "  "};
    static const char *const pres[] = {"smollm", "default", "gpt-2", "qwen2", "llama-bpe", "nothing"};
    static const char *const merges[] = {"h e", "l l", "he ll", "hell o", "h  e", " h", "x y", "\xc4\xa0 h"};
    const bool spm = draw(t, 1) & 1;
    const uint32_t n = 256 + SL_COUNTOF(words), lie = (uint32_t)draw(t, 1);
    sl_gguf_build_string(b, "tokenizer.ggml.model", spm ? "llama" : "gpt2");
    if (!spm) sl_gguf_build_string(b, "tokenizer.ggml.pre", pres[draw(t, 1) % SL_COUNTOF(pres)]);
    sl_gguf_build_array(b, "tokenizer.ggml.tokens", SL_GGUF_STRING, n);
    for (uint32_t i = 0, next = 256; i < 256; i++) {
        char text[16];
        const bool plain = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i != 0xad);
        const uint32_t point = plain ? i : next++;
        if (spm)
            snprintf(text, sizeof text, "<0x%02X>", i);
        else if (point < 0x80)
            snprintf(text, sizeof text, "%c", (char)point);
        else
            snprintf(text, sizeof text, "%c%c", (char)(0xc0 | point >> 6), (char)(0x80 | (point & 0x3f)));
        sl_gguf_build_text(b, text, strlen(text));
    }
    for (uint32_t i = 0; i < SL_COUNTOF(words); i++)
        sl_gguf_build_text(b, words[i], strlen(words[i]));
    sl_gguf_build_array(b, "tokenizer.ggml.token_type", SL_GGUF_I32, lie == 1 ? n - 1 : n);
    for (uint32_t i = 0; i < (lie == 1 ? n - 1 : n); i++) {
        uint64_t kind = i < 256 ? (spm ? SL_TOKEN_BYTE : SL_TOKEN_NORMAL) : SL_TOKEN_NORMAL;
        if (i >= n - 2) kind = i == n - 1 ? SL_TOKEN_USER_DEFINED : SL_TOKEN_CONTROL;
        sl_gguf_build_number(b, lie >= 2 && lie < 16 && i % lie == 1 ? draw_number(t) : kind, 4);
    }
    if (spm) {
        sl_gguf_build_array(b, "tokenizer.ggml.scores", SL_GGUF_F32, n);
        for (uint32_t i = 0; i < n; i++)
            sl_gguf_build_number(b, lie & 0x40 ? draw_number(t) : 0xbf800000u + i, 4);
    } else {
        const uint32_t n_merges = lie & 0x40 ? (uint32_t)SL_COUNTOF(merges) : 4;
        sl_gguf_build_strings(b, "tokenizer.ggml.merges", merges, n_merges);
    }
}

static void put_tensor(sl_gguf_build *b, tape *t)
{
    static const char *const names[] = {"token_embd.weight", "blk.0.attn_q.weight", "output.weight", "w", ""};
    static const uint32_t types[] = {SL_GGML_F32, SL_GGML_Q4_0, SL_GGML_Q4_K, SL_GGML_BF16, SL_GGML_I8, 4,
                                     99};
    const char *name = names[draw(t, 1) % SL_COUNTOF(names)];
    const uint32_t n_dims = (uint32_t)draw(t, 1) % 6, type = types[draw(t, 1) % SL_COUNTOF(types)];
    uint64_t dims[6];
    for (uint32_t i = 0; i < n_dims; i++)
        dims[i] = i == 0 && !(draw(t, 1) & 1) ? 256 : draw_number(t);
    if (draw(t, 1) & 3)
        sl_gguf_build_tensor(b, name, n_dims, dims, type, draw(t, 1) * 16);
    else
        sl_gguf_build_tensor_at(b, name, n_dims, dims, type, draw_number(t));
}

/* Pairs must precede tensors in the file, so a first pass makes the pairs. */
static void build(sl_gguf_build *b, tape *t)
{
    sl_gguf_build_begin(b, draw(t, 1) < 250 ? 3 : (uint32_t)draw_number(t));
    if (draw(t, 1) & 1) put_vocabulary(b, t);
    for (uint64_t n = draw(t, 1) % 8; n && t->left; n--) {
        const char *key = draw_key(t);
        if (draw(t, 1) & 1) {
            put_array(b, t, key);
        } else {
            const uint32_t type = (uint32_t)draw(t, 1) % 14;
            sl_gguf_build_key(b, key, type);
            put_value(b, t, type);
        }
    }
    for (uint64_t n = draw(t, 1) % 6; n && t->left; n--)
        put_tensor(b, t);
    sl_gguf_build_end(b);
    for (uint64_t n = draw(t, 1) % 4; n && t->left; n--) {
        const size_t at = draw(t, 2) % b->size;
        const uint64_t value = draw_number(t);
        for (size_t i = 0; i < 8 && at + i < b->size; i++)
            b->bytes[at + i] = (unsigned char)(value >> (8 * i));
    }
    if (draw(t, 1) > 240) b->size = draw(t, 2) % (b->size + 1);
}

static void check(bool ok)
{
    if (!ok) abort();
}

static void use_metadata(const sl_gguf *g, size_t size)
{
    for (size_t i = 0; i < sl_gguf_kv_count(g); i++) {
        const sl_gguf_kv *kv = sl_gguf_kv_at(g, i);
        char text[64];
        uint32_t u;
        float f;
        bool flag;
        sl_gguf_string s;
        sl_diag diag;
        check(sl_gguf_find(g, kv->key) == kv && strlen(kv->key) == kv->key_length);
        check(strlen(sl_gguf_value_text(kv, text, sizeof text)) < sizeof text);
        (void)!sl_gguf_get_u32_at(g, kv->key, 1, &u, &diag);
        (void)!sl_gguf_get_f32(g, kv->key, &f, &diag);
        (void)!sl_gguf_get_bool(g, kv->key, &flag, &diag);
        if (sl_gguf_get_string(g, kv->key, &s, &diag) == SL_OK)
            check(s.length < size && s.data[s.length] == '\0');
        if (kv->type != SL_GGUF_ARRAY || kv->value.array.type != SL_GGUF_STRING) continue;
        for (size_t j = 0; j < kv->value.array.count; j++)
            check(sl_gguf_array_string(&kv->value.array, j).length < size);
    }
    for (size_t i = 0; i < sl_gguf_tensor_count(g); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(g, i);
        check(sl_gguf_find_tensor(g, t->name) == t && strlen(t->name) == t->name_length);
        check(t->size_bytes && t->offset_bytes <= size && t->size_bytes <= size - t->offset_bytes);
        check(t->offset_bytes % sl_gguf_alignment_bytes(g) == 0);
    }
}

static void use_tokenizer(const sl_gguf *g, const uint8_t *text, size_t length)
{
    static const char fixed[] = "hello  <|im_end|>\xff\xc3(he\xe2\x82 1234 ...";
    sl_tokenizer *t;
    sl_token_list list = {0};
    sl_diag diag;
    if (sl_tokenizer_create(g, &t, &diag) != SL_OK) {
        check(diag.message[0] != '\0');
        return;
    }
    check(sl_tokenizer_encode(t, fixed, sizeof fixed - 1, 3, &list, &diag) == SL_OK);
    list.count = 0;
    check(sl_tokenizer_encode(t, (const char *)text, length, 0, &list, &diag) == SL_OK);
    size_t at = 0;
    bool same = true;
    for (size_t i = 0; i < list.count; i++) {
        const char *piece;
        size_t n;
        check(sl_tokenizer_piece(t, list.ids[i], &piece, &n, &diag) == SL_OK);
        same = same && n <= length - at && memcmp(text + at, piece, n) == 0;
        if (same) at += n;
    }
    /* SPM cannot tell U+2581 from a space, and may put a space in front. */
    const bool exact = sl_tokenizer_missing_bytes(t) == 0 && strcmp(sl_tokenizer_model(t), "gpt2") == 0;
    if (exact) check(same && at == length);
    sl_token_list_free(&list);
    sl_tokenizer_destroy(t);
}

static void drop_line(void *user, sl_log_level level, const char *line)
{
    (void)user, (void)level, (void)line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tape t = {data, size};
    sl_gguf_build b = {0};
    sl_gguf *g;
    sl_diag diag = {0};
    sl_log_set(SL_LOG_ERROR, drop_line, NULL);
    if (draw(&t, 1) & 1)
        build(&b, &t);
    else
        sl_gguf_build_bytes(&b, t.data, t.left);
    const sl_status st = sl_gguf_open_memory(b.bytes, b.size, "fuzz", &g, &diag);
    if (st == SL_OK) {
        use_metadata(g, b.size);
        use_tokenizer(g, t.data, t.left);
        sl_gguf_close(g);
    } else {
        check(g == NULL && diag.code == st && strncmp(diag.message, "fuzz: ", 6) == 0);
    }
    sl_gguf_build_free(&b);
    return 0;
}
