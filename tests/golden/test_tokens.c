/* Token ids of both tokenizers over the corpus, against those that the reference libraries gave (README.md
 * here). A model that is not in the cache directory skips its tests. Runs in the repository's root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/tokenizer/tokenizer.h"

#define DATA      "tests/golden/data/"
#define LINES_MIN 10000

typedef struct blob {
    unsigned char *bytes;
    size_t size, at;
} blob;

static blob read_blob(const char *path, const char *magic)
{
    blob b = {0};
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s: cannot open", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    b.size = (size_t)ftell(f);
    rewind(f);
    b.bytes = malloc(b.size);
    assert_non_null(b.bytes);
    assert_int_equal(fread(b.bytes, 1, b.size, f), b.size);
    fclose(f);
    assert_true(b.size > 8 && memcmp(b.bytes, magic, 8) == 0);
    b.at = 8;
    return b;
}

static const unsigned char *take(blob *b, size_t n)
{
    assert_true(n <= b->size - b->at);
    b->at += n;
    return b->bytes + b->at - n;
}

static uint32_t number(blob *b, size_t bytes)
{
    const unsigned char *p = take(b, bytes);
    uint32_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v |= (uint32_t)p[i] << (8 * i);
    return v;
}

typedef struct corpus {
    blob file;
    uint32_t count;
    const unsigned char **lines;
    uint32_t *lengths;
} corpus;

static corpus read_corpus(void)
{
    corpus c = {.file = read_blob(DATA "corpus.bin", "SLCORP01")};
    c.count = number(&c.file, 4);
    assert_true(c.count >= LINES_MIN);
    c.lines = calloc(c.count, sizeof *c.lines);
    c.lengths = calloc(c.count, sizeof *c.lengths);
    assert_true(c.lines && c.lengths);
    for (uint32_t i = 0; i < c.count; i++) {
        c.lengths[i] = number(&c.file, 4);
        c.lines[i] = take(&c.file, c.lengths[i]);
    }
    return c;
}

static void free_corpus(corpus *c)
{
    free(c->lines);
    free(c->lengths);
    free(c->file.bytes);
}

/* False: the model is not there. */
static bool model_path(const char *name, char *path, size_t capacity)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/')
        snprintf(path, capacity, "%s/sluice/models/%s", cache, name);
    else
        snprintf(path, capacity, "%s/.cache/sluice/models/%s", home ? home : "", name);
    return access(path, R_OK) == 0;
}

static void print_ids(const char *title, const uint32_t *ids, size_t count)
{
    print_error("  %s:", title);
    for (size_t i = 0; i < count && i < 40; i++)
        print_error(" %u", ids[i]);
    print_error("%s\n", count > 40 ? " ..." : "");
}

static bool same_record(const sl_tokenizer *t, const corpus *c, blob *ids, size_t id_bytes)
{
    const uint32_t line = number(ids, 4), special = number(ids, 2), count = number(ids, 2);
    uint32_t *want = calloc(count ? count : 1, sizeof *want);
    sl_token_list got = {0};
    sl_diag diag = {0};
    assert_true(line < c->count && want);
    for (uint32_t i = 0; i < count; i++)
        want[i] = number(ids, id_bytes);
    if (sl_tokenizer_encode(t, (const char *)c->lines[line], c->lengths[line],
                            special ? SL_TOKENIZE_PARSE_SPECIAL : 0, &got, &diag) != SL_OK)
        fail_msg("line %u: %s", line, diag.message);
    const bool same = got.count == count && (count == 0 || memcmp(got.ids, want, count * sizeof *want) == 0);
    if (!same) {
        print_error("line %u, special %u differs\n", line, special);
        print_ids("reference", want, count);
        print_ids("here", got.ids, got.count);
    }
    sl_token_list_free(&got);
    free(want);
    return same;
}

static void compare(const char *model, const char *ids_path)
{
    char path[4096], pre[17] = "";
    if (!model_path(model, path, sizeof path)) {
        print_message("skipped: %s is absent\n", path);
        skip();
    }
    corpus c = read_corpus();
    blob ids = read_blob(ids_path, "SLTOKS01");
    take(&ids, 32);
    memcpy(pre, take(&ids, 16), 16);
    const uint32_t id_bytes = number(&ids, 4), n_records = number(&ids, 4);
    sl_gguf *g;
    sl_tokenizer *t;
    sl_diag diag = {0};
    if (sl_gguf_open(path, &g, &diag) != SL_OK) fail_msg("%s", diag.message);
    if (sl_tokenizer_create_with(g, pre, &t, &diag) != SL_OK) fail_msg("%s", diag.message);
    sl_gguf_close(g);
    uint32_t different = 0;
    assert_true(n_records > 0);
    for (uint32_t i = 0; i < n_records && different < 5; i++)
        different += !same_record(t, &c, &ids, id_bytes);
    if (different) fail_msg("%s: at least %u records differ", ids_path, different);
    assert_int_equal(ids.at, ids.size);
    print_message("%s: %u records of %u lines are the same\n", ids_path, n_records, c.count);
    sl_tokenizer_destroy(t);
    free(ids.bytes);
    free_corpus(&c);
}

#define SMOLLM2 "SmolLM2-135M-Instruct.Q4_1.gguf"
#define GEMMA3  "gemma-3-270m-q4_k_m.gguf"

static void test_smollm2(void **state)
{
    (void)state;
    compare(SMOLLM2, DATA "smollm2.ids");
}

static void test_smollm2_default(void **state)
{
    (void)state;
    compare(SMOLLM2, DATA "smollm2-default.ids");
}

static void test_smollm2_gpt2(void **state)
{
    (void)state;
    compare(SMOLLM2, DATA "smollm2-gpt2.ids");
}

static void test_gemma3(void **state)
{
    (void)state;
    compare(GEMMA3, DATA "gemma3.ids");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smollm2),
        cmocka_unit_test(test_smollm2_default),
        cmocka_unit_test(test_smollm2_gpt2),
        cmocka_unit_test(test_gemma3),
    };
    return cmocka_run_group_tests_name("tokens", tests, NULL, NULL);
}
