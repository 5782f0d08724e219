/* GGUF: what is read, and the list of malformed files, each of which ends in a typed error that names file,
 * field and value. Run under ASan and UBSan as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "runtime/gguf/gguf.h"
#include "tests/support/gguf_builder.h"

static const uint64_t dims_32x2[] = {32, 2};

/* A right file with one of everything. */
static void build_good(sl_gguf_build *b, uint32_t version)
{
    static const char *const words[] = {"a", "", "longer word"};
    static const float scores[] = {0.5f, -1.25f};
    static const int32_t types[] = {1, -2, 3};
    const uint64_t dims_q4k[] = {256, 3, 2};
    sl_gguf_build_begin(b, version);
    sl_gguf_build_string(b, "general.architecture", "llama");
    sl_gguf_build_u32(b, "n.u32", 4000000000u);
    sl_gguf_build_scalar(b, "n.u8", SL_GGUF_U8, 200, 1);
    sl_gguf_build_scalar(b, "n.i8", SL_GGUF_I8, 0xff, 1);
    sl_gguf_build_scalar(b, "n.u16", SL_GGUF_U16, 65535, 2);
    sl_gguf_build_scalar(b, "n.i32", SL_GGUF_I32, 7, 4);
    sl_gguf_build_scalar(b, "n.i64", SL_GGUF_I64, (uint64_t)-5, 8);
    sl_gguf_build_scalar(b, "n.u64", SL_GGUF_U64, UINT64_MAX, 8);
    sl_gguf_build_f32(b, "n.f32", 1.5f);
    sl_gguf_build_scalar(b, "n.f64", SL_GGUF_F64, 0x3ff8000000000000u, 8);
    sl_gguf_build_bool(b, "n.bool", true);
    sl_gguf_build_strings(b, "words", words, 3);
    sl_gguf_build_f32s(b, "scores", scores, 2);
    sl_gguf_build_i32s(b, "types", types, 3);
    sl_gguf_build_array(b, "nothing", SL_GGUF_STRING, 0);
    sl_gguf_build_tensor(b, "first", 2, dims_32x2, SL_GGML_Q4_0, 36);
    sl_gguf_build_tensor(b, "second", 3, dims_q4k, SL_GGML_Q4_K, 6 * 144);
    sl_gguf_build_end(b);
}

static sl_gguf *open_good(uint32_t version)
{
    sl_gguf_build b;
    sl_gguf *g;
    sl_diag diag = {0};
    build_good(&b, version);
    const sl_status st = sl_gguf_open_memory(b.bytes, b.size, "good.gguf", &g, &diag);
    sl_gguf_build_free(&b);
    if (st != SL_OK) fail_msg("%s", diag.message);
    return g;
}

static void test_good(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        sl_gguf *g = open_good(version);
        assert_int_equal(sl_gguf_version(g), version);
        assert_int_equal(sl_gguf_kv_count(g), 15);
        assert_int_equal(sl_gguf_tensor_count(g), 2);
        assert_int_equal(sl_gguf_alignment_bytes(g), 32);
        assert_int_equal(sl_gguf_file_count(g), 1);
        assert_string_equal(sl_gguf_path(g), "good.gguf");
        assert_null(sl_gguf_file_at(g, 1));
        assert_null(sl_gguf_kv_at(g, 15));
        assert_null(sl_gguf_tensor_at(g, 2));
        assert_string_equal(sl_gguf_kv_at(g, 0)->key, "general.architecture");
        const sl_gguf_tensor *t;
        assert_int_equal(sl_gguf_get_tensor(g, "second", &t, NULL), SL_OK);
        assert_ptr_equal(t, sl_gguf_tensor_at(g, 1));
        assert_string_equal(t->name, "second");
        assert_int_equal(t->type, SL_GGML_Q4_K);
        assert_int_equal(t->n_dims, 3);
        assert_int_equal(t->dims[0], 256);
        assert_int_equal(t->dims[2], 2);
        assert_int_equal(t->dims[3], 1);
        assert_int_equal(t->n_weights, 1536);
        assert_int_equal(t->row_bytes, 144);
        assert_int_equal(t->size_bytes, 864);
        assert_int_equal(t->offset_bytes, sl_gguf_file_at(g, 0)->data_offset_bytes + 64);
        sl_diag diag;
        assert_int_equal(sl_gguf_get_tensor(g, "third", &t, &diag), SL_ERR_NOT_FOUND);
        assert_non_null(strstr(diag.message, "good.gguf: tensor \"third\""));
        sl_gguf_close(g);
    }
    sl_gguf_close(NULL);
}

static void test_getters(void **state)
{
    (void)state;
    sl_gguf *g = open_good(3);
    uint32_t u;
    uint64_t w;
    float f;
    bool flag;
    sl_gguf_string s;
    sl_gguf_array a;
    sl_diag diag;
    assert_int_equal(sl_gguf_get_u32(g, "n.u32", &u, NULL), SL_OK);
    assert_int_equal(u, 4000000000u);
    assert_int_equal(sl_gguf_get_u32(g, "n.u8", &u, NULL), SL_OK);
    assert_int_equal(u, 200);
    assert_int_equal(sl_gguf_get_u32(g, "n.i32", &u, NULL), SL_OK);
    assert_int_equal(u, 7);
    assert_int_equal(sl_gguf_get_u64(g, "n.u64", &w, NULL), SL_OK);
    assert_true(w == UINT64_MAX);
    assert_int_equal(sl_gguf_get_u32(g, "n.u64", &u, &diag), SL_ERR_FORMAT);
    assert_non_null(
        strstr(diag.message, "good.gguf: key \"n.u64\" is u64 18446744073709551615, expected an integer"));
    assert_int_equal(sl_gguf_get_u32(g, "n.i64", &u, &diag), SL_ERR_FORMAT);
    assert_non_null(strstr(diag.message, "i64 -5"));
    assert_int_equal(sl_gguf_get_u64(g, "n.f32", &w, &diag), SL_ERR_FORMAT);
    assert_int_equal(sl_gguf_get_u64(g, "n.bool", &w, &diag), SL_ERR_FORMAT);
    assert_int_equal(sl_gguf_get_u32(g, "none", &u, &diag), SL_ERR_NOT_FOUND);
    assert_int_equal(sl_gguf_get_u32_or(g, "none", 42, &u, &diag), SL_OK);
    assert_int_equal(u, 42);
    assert_int_equal(sl_gguf_get_u32_or(g, "general.architecture", 42, &u, &diag), SL_ERR_FORMAT);
    assert_non_null(strstr(diag.message, "string \"llama\""));
    assert_int_equal(sl_gguf_get_f32(g, "n.f32", &f, NULL), SL_OK);
    assert_float_equal(f, 1.5f, 0);
    assert_int_equal(sl_gguf_get_f32(g, "n.f64", &f, NULL), SL_OK);
    assert_float_equal(f, 1.5f, 0);
    assert_int_equal(sl_gguf_get_f32(g, "n.i64", &f, NULL), SL_OK);
    assert_float_equal(f, -5.0f, 0);
    assert_int_equal(sl_gguf_get_f32(g, "words", &f, &diag), SL_ERR_FORMAT);
    assert_non_null(strstr(diag.message, "[string x 3]"));
    assert_int_equal(sl_gguf_get_bool(g, "n.bool", &flag, NULL), SL_OK);
    assert_true(flag);
    assert_int_equal(sl_gguf_get_bool_or(g, "none", true, &flag, NULL), SL_OK);
    assert_true(flag);
    assert_int_equal(sl_gguf_get_string(g, "general.architecture", &s, NULL), SL_OK);
    assert_int_equal(s.length, 5);
    assert_string_equal(s.data, "llama");
    assert_int_equal(sl_gguf_get_string_or(g, "none", NULL, &s, NULL), SL_OK);
    assert_null(s.data);
    assert_int_equal(sl_gguf_get_array(g, "words", SL_GGUF_STRING, &a, NULL), SL_OK);
    assert_int_equal(a.count, 3);
    s = sl_gguf_array_string(&a, 2);
    assert_int_equal(s.length, 11);
    assert_memory_equal(s.data, "longer word", 11);
    assert_int_equal(sl_gguf_array_string(&a, 1).length, 0);
    assert_int_equal(sl_gguf_get_array(g, "words", SL_GGUF_F32, &a, &diag), SL_ERR_FORMAT);
    assert_non_null(strstr(diag.message, "expected an array of f32"));
    assert_int_equal(sl_gguf_get_array(g, "scores", SL_GGUF_F32, &a, NULL), SL_OK);
    assert_true(sl_gguf_array_f32(&a, 1, &f));
    assert_float_equal(f, -1.25f, 0);
    int64_t i;
    assert_false(sl_gguf_array_i64(&a, 1, &i));
    assert_int_equal(sl_gguf_get_array(g, "types", SL_GGUF_TYPE_COUNT, &a, NULL), SL_OK);
    assert_true(sl_gguf_array_i64(&a, 1, &i));
    assert_int_equal(i, -2);
    assert_int_equal(sl_gguf_get_array_or_empty(g, "none", SL_GGUF_I32, &a, NULL), SL_OK);
    assert_int_equal(a.count, 0);
    assert_int_equal(sl_gguf_get_u32_at(g, "types", 2, &u, NULL), SL_OK);
    assert_int_equal(u, 3);
    assert_int_equal(sl_gguf_get_u32_at(g, "types", 1, &u, &diag), SL_ERR_FORMAT);
    assert_int_equal(sl_gguf_get_u32_at(g, "types", 3, &u, &diag), SL_ERR_FORMAT);
    assert_int_equal(sl_gguf_get_u32_at(g, "n.u8", 30, &u, NULL), SL_OK);
    assert_int_equal(u, 200);
    sl_gguf_close(g);
}

/* ---- malformed files ---- */

#define BIG (UINT64_C(1) << 62)

static void head(sl_gguf_build *b)
{
    sl_gguf_build_begin(b, 3);
}

static void with_tensor(sl_gguf_build *b, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                        uint64_t offset)
{
    head(b);
    sl_gguf_build_tensor_at(b, "w", n_dims, dims, type, offset);
    b->data_size = 4096;
    sl_gguf_build_end(b);
}

static void poke(sl_gguf_build *b, size_t at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        b->bytes[at + i] = (unsigned char)(value >> (8 * i));
}

static void bad_empty(sl_gguf_build *b)
{
    (void)b;
}
static void bad_magic(sl_gguf_build *b)
{
    head(b), b->bytes[3] = 'X';
}
static void bad_version_1(sl_gguf_build *b)
{
    sl_gguf_build_begin(b, 1);
}
static void bad_version_4(sl_gguf_build *b)
{
    sl_gguf_build_begin(b, 4);
}
static void bad_version_0(sl_gguf_build *b)
{
    sl_gguf_build_begin(b, 0);
}
static void bad_big_endian(sl_gguf_build *b)
{
    sl_gguf_build_begin(b, 0x03000000);
}
static void bad_preamble_cut(sl_gguf_build *b)
{
    head(b), b->size = 20;
}
static void bad_n_kv_max(sl_gguf_build *b)
{
    head(b), poke(b, 16, UINT64_MAX, 8);
}
static void bad_n_kv_left(sl_gguf_build *b)
{
    head(b), poke(b, 16, 60000, 8);
}
static void bad_n_tensors_max(sl_gguf_build *b)
{
    head(b), poke(b, 8, UINT64_MAX, 8);
}
static void bad_n_tensors_left(sl_gguf_build *b)
{
    head(b), poke(b, 8, 1000, 8);
}
static void bad_empty_key(sl_gguf_build *b)
{
    head(b), sl_gguf_build_u32(b, "", 1), sl_gguf_build_end(b);
}

static void bad_key_length(sl_gguf_build *b)
{
    head(b), sl_gguf_build_u32(b, "some.key.of.length", 1), sl_gguf_build_end(b), poke(b, 24, UINT64_MAX, 8);
}

static void bad_key_beyond(sl_gguf_build *b)
{
    head(b), sl_gguf_build_u32(b, "some.key.of.length", 1), sl_gguf_build_end(b), poke(b, 24, 60000, 8);
}

static void bad_key_byte(sl_gguf_build *b)
{
    head(b), sl_gguf_build_u32(b, "bad\x1bkey", 1), sl_gguf_build_end(b);
}

static void bad_key_duplicate(sl_gguf_build *b)
{
    head(b), sl_gguf_build_u32(b, "twice", 1), sl_gguf_build_f32(b, "twice", 1), sl_gguf_build_end(b);
}

static void bad_value_type(sl_gguf_build *b)
{
    head(b), sl_gguf_build_scalar(b, "odd", 13, 0, 8), sl_gguf_build_end(b);
}

static void bad_bool(sl_gguf_build *b)
{
    head(b), sl_gguf_build_scalar(b, "flag", 7, 2, 1), sl_gguf_build_end(b);
}

static void bad_bool_array(sl_gguf_build *b)
{
    head(b), sl_gguf_build_array(b, "flags", 7, 2), sl_gguf_build_number(b, 0xff01, 2), sl_gguf_build_end(b);
}

static void bad_string_length(sl_gguf_build *b)
{
    head(b), sl_gguf_build_key(b, "text", 8), sl_gguf_build_number(b, UINT64_MAX, 8), sl_gguf_build_end(b);
}

static void bad_array_count(sl_gguf_build *b)
{
    head(b), sl_gguf_build_array(b, "list", 5, BIG), sl_gguf_build_end(b);
}

static void bad_array_left(sl_gguf_build *b)
{
    head(b), sl_gguf_build_array(b, "list", 5, 1000000), sl_gguf_build_end(b);
}

static void bad_array_strings_left(sl_gguf_build *b)
{
    head(b), sl_gguf_build_array(b, "list", 8, 1000000), sl_gguf_build_end(b);
}

static void bad_array_string_element(sl_gguf_build *b)
{
    head(b), sl_gguf_build_array(b, "list", 8, 2), sl_gguf_build_text(b, "x", 1);
    sl_gguf_build_number(b, UINT64_MAX - 3, 8), sl_gguf_build_end(b);
}

static void bad_array_nested(sl_gguf_build *b)
{
    head(b), sl_gguf_build_array(b, "list", 9, 1), sl_gguf_build_number(b, 0, 8), sl_gguf_build_end(b);
}

static void bad_array_type(sl_gguf_build *b)
{
    head(b), sl_gguf_build_array(b, "list", 77, 1), sl_gguf_build_number(b, 0, 8), sl_gguf_build_end(b);
}

static void alignment(sl_gguf_build *b, uint32_t value)
{
    head(b), sl_gguf_build_u32(b, "general.alignment", value), sl_gguf_build_end(b);
}

static void bad_alignment_0(sl_gguf_build *b)
{
    alignment(b, 0);
}
static void bad_alignment_4(sl_gguf_build *b)
{
    alignment(b, 4);
}
static void bad_alignment_24(sl_gguf_build *b)
{
    alignment(b, 24);
}
static void bad_alignment_huge(sl_gguf_build *b)
{
    alignment(b, 0x80000000u);
}

static void bad_alignment_type(sl_gguf_build *b)
{
    head(b), sl_gguf_build_scalar(b, "general.alignment", SL_GGUF_U64, 32, 8), sl_gguf_build_end(b);
}

static void bad_n_dims_0(sl_gguf_build *b)
{
    with_tensor(b, 0, NULL, SL_GGML_F32, 0);
}

static void bad_n_dims_5(sl_gguf_build *b)
{
    with_tensor(b, 5, (const uint64_t[]){1, 1, 1, 1, 1}, SL_GGML_F32, 0);
}

static void bad_n_dims_max(sl_gguf_build *b)
{
    with_tensor(b, 1, (const uint64_t[]){32}, SL_GGML_F32, 0), poke(b, 24 + 8 + 1, UINT32_MAX, 4);
}

static void bad_dim_0(sl_gguf_build *b)
{
    with_tensor(b, 2, (const uint64_t[]){32, 0}, SL_GGML_F32, 0);
}
static void bad_dim_product(sl_gguf_build *b)
{
    with_tensor(b, 2, (const uint64_t[]){BIG, 8}, SL_GGML_F32, 0);
}
static void bad_dim_bytes(sl_gguf_build *b)
{
    with_tensor(b, 1, (const uint64_t[]){BIG}, SL_GGML_F32, 0);
}
static void bad_dim_sign(sl_gguf_build *b)
{
    with_tensor(b, 1, (const uint64_t[]){UINT64_MAX}, SL_GGML_I8, 0);
}
static void bad_row(sl_gguf_build *b)
{
    with_tensor(b, 2, (const uint64_t[]){48, 2}, SL_GGML_Q4_0, 0);
}
static void bad_row_k(sl_gguf_build *b)
{
    with_tensor(b, 2, (const uint64_t[]){64, 4}, SL_GGML_Q4_K, 0);
}
static void bad_type(sl_gguf_build *b)
{
    with_tensor(b, 2, dims_32x2, 4, 0);
}
static void bad_type_big(sl_gguf_build *b)
{
    with_tensor(b, 2, dims_32x2, 1000, 0);
}
static void bad_offset_odd(sl_gguf_build *b)
{
    with_tensor(b, 2, dims_32x2, SL_GGML_F32, 33);
}
static void bad_offset_wrap(sl_gguf_build *b)
{
    with_tensor(b, 2, dims_32x2, SL_GGML_F32, UINT64_MAX - 31);
}
static void bad_offset_end(sl_gguf_build *b)
{
    with_tensor(b, 2, dims_32x2, SL_GGML_F32, 4096 - 224);
}

static void bad_data_cut(sl_gguf_build *b)
{
    with_tensor(b, 2, dims_32x2, SL_GGML_F32, 0), b->size -= 4096 - 255;
}

static void bad_overlap(sl_gguf_build *b)
{
    head(b);
    sl_gguf_build_tensor_at(b, "later", 2, dims_32x2, SL_GGML_F32, 224);
    sl_gguf_build_tensor_at(b, "sooner", 2, dims_32x2, SL_GGML_F32, 0);
    b->data_size = 4096;
    sl_gguf_build_end(b);
}

static void bad_tensor_duplicate(sl_gguf_build *b)
{
    head(b);
    sl_gguf_build_tensor(b, "same", 2, dims_32x2, SL_GGML_F32, 256);
    sl_gguf_build_tensor(b, "same", 2, dims_32x2, SL_GGML_F32, 256);
    sl_gguf_build_end(b);
}

static void bad_tensor_empty_name(sl_gguf_build *b)
{
    head(b), sl_gguf_build_tensor(b, "", 2, dims_32x2, SL_GGML_F32, 256), sl_gguf_build_end(b);
}

static void bad_tensor_long_name(sl_gguf_build *b)
{
    char name[400];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    head(b), sl_gguf_build_tensor(b, name, 2, dims_32x2, SL_GGML_F32, 256), sl_gguf_build_end(b);
}

static void bad_split_memory(sl_gguf_build *b)
{
    head(b), sl_gguf_build_scalar(b, "split.count", SL_GGUF_U16, 3, 2), sl_gguf_build_end(b);
}

static void bad_split_count(sl_gguf_build *b)
{
    head(b), sl_gguf_build_u32(b, "split.count", 100000), sl_gguf_build_end(b);
}

static void bad_split_type(sl_gguf_build *b)
{
    head(b), sl_gguf_build_string(b, "split.count", "many"), sl_gguf_build_end(b);
}

static const struct bad_case {
    const char *name;
    void (*build)(sl_gguf_build *b);
    sl_status status;
    const char *field, *value; /* both must be in the message */
} bad_cases[] = {
    {"empty file", bad_empty, SL_ERR_TRUNCATED, "magic", "has 0 left"},
    {"magic", bad_magic, SL_ERR_FORMAT, "magic", "GGUX"},
    {"version 0", bad_version_0, SL_ERR_UNSUPPORTED, "version", "0"},
    {"version 1", bad_version_1, SL_ERR_UNSUPPORTED, "version", "1"},
    {"version 4", bad_version_4, SL_ERR_UNSUPPORTED, "version", "4"},
    {"big-endian", bad_big_endian, SL_ERR_UNSUPPORTED, "version", "big-endian"},
    {"preamble cut", bad_preamble_cut, SL_ERR_TRUNCATED, "n_kv", "4 left"},
    {"n_kv huge", bad_n_kv_max, SL_ERR_FORMAT, "n_kv", "18446744073709551615"},
    {"n_kv beyond the file", bad_n_kv_left, SL_ERR_TRUNCATED, "n_kv", "60000"},
    {"n_tensors huge", bad_n_tensors_max, SL_ERR_FORMAT, "n_tensors", "18446744073709551615"},
    {"n_tensors beyond the file", bad_n_tensors_left, SL_ERR_TRUNCATED, "n_tensors", "1000"},
    {"empty key", bad_empty_key, SL_ERR_FORMAT, "metadata pair 0 of 1", "key is empty"},
    {"key length huge", bad_key_length, SL_ERR_FORMAT, "key", "18446744073709551615"},
    {"key beyond the file", bad_key_beyond, SL_ERR_TRUNCATED, "key", "60000"},
    {"key with control byte", bad_key_byte, SL_ERR_FORMAT, "bad\\x1bkey", "0x1b"},
    {"duplicate key", bad_key_duplicate, SL_ERR_FORMAT, "duplicate key", "\"twice\""},
    {"value type", bad_value_type, SL_ERR_FORMAT, "\"odd\"", "13"},
    {"bool", bad_bool, SL_ERR_FORMAT, "\"flag\"", "2"},
    {"bool in array", bad_bool_array, SL_ERR_FORMAT, "\"flags\"", "255"},
    {"string length", bad_string_length, SL_ERR_TRUNCATED, "\"text\"", "18446744073709551615"},
    {"array count overflows", bad_array_count, SL_ERR_OVERFLOW, "\"list\"", "4611686018427387904"},
    {"array beyond the file", bad_array_left, SL_ERR_TRUNCATED, "\"list\"", "4000000"},
    {"string array beyond the file", bad_array_strings_left, SL_ERR_TRUNCATED, "\"list\"", "8000000"},
    {"string in array", bad_array_string_element, SL_ERR_TRUNCATED, "\"list\" element 1",
     "18446744073709551612"},
    {"nested array", bad_array_nested, SL_ERR_FORMAT, "\"list\"", "9"},
    {"array element type", bad_array_type, SL_ERR_FORMAT, "\"list\"", "77"},
    {"alignment 0", bad_alignment_0, SL_ERR_FORMAT, "general.alignment", "0 is not"},
    {"alignment 4", bad_alignment_4, SL_ERR_FORMAT, "general.alignment", "4 is not"},
    {"alignment 24", bad_alignment_24, SL_ERR_FORMAT, "general.alignment", "24 is not"},
    {"alignment 0x80000000", bad_alignment_huge, SL_ERR_FORMAT, "general.alignment", "2147483648"},
    {"alignment type", bad_alignment_type, SL_ERR_FORMAT, "general.alignment", "u64"},
    {"n_dims 0", bad_n_dims_0, SL_ERR_FORMAT, "\"w\": n_dims", "0"},
    {"n_dims 5", bad_n_dims_5, SL_ERR_FORMAT, "\"w\": n_dims", "5"},
    {"n_dims huge", bad_n_dims_max, SL_ERR_FORMAT, "\"w\": n_dims", "4294967295"},
    {"dimension 0", bad_dim_0, SL_ERR_FORMAT, "\"w\": dimension 1", "0"},
    {"dimension product", bad_dim_product, SL_ERR_OVERFLOW, "\"w\"", "dimension 1 = 8"},
    {"bytes overflow", bad_dim_bytes, SL_ERR_OVERFLOW, "\"w\"", "4611686018427387904"},
    {"dimension above 63 bits", bad_dim_sign, SL_ERR_OVERFLOW, "\"w\"", "18446744073709551615"},
    {"row no multiple of 32", bad_row, SL_ERR_FORMAT, "\"w\"", "48"},
    {"row no multiple of 256", bad_row_k, SL_ERR_FORMAT, "\"w\"", "64"},
    {"withdrawn type", bad_type, SL_ERR_UNSUPPORTED, "\"w\": tensor type", "4"},
    {"unknown type", bad_type_big, SL_ERR_UNSUPPORTED, "\"w\": tensor type", "1000"},
    {"offset not aligned", bad_offset_odd, SL_ERR_FORMAT, "\"w\": offset", "33"},
    {"offset wraps", bad_offset_wrap, SL_ERR_OVERFLOW, "\"w\": offset", "18446744073709551584"},
    {"tensor past the end", bad_offset_end, SL_ERR_TRUNCATED, "\"w\"", "beyond the end of the file"},
    {"data cut by one byte", bad_data_cut, SL_ERR_TRUNCATED, "\"w\"", "beyond the end of the file"},
    {"overlap", bad_overlap, SL_ERR_FORMAT, "\"later\"", "overlaps \"sooner\""},
    {"duplicate tensor", bad_tensor_duplicate, SL_ERR_FORMAT, "duplicate tensor", "\"same\""},
    {"tensor without name", bad_tensor_empty_name, SL_ERR_FORMAT, "tensor 0 of 1", "tensor name is empty"},
    {"tensor with long name", bad_tensor_long_name, SL_ERR_FORMAT, "tensor name", "399"},
    {"split in memory", bad_split_memory, SL_ERR_UNSUPPORTED, "split.count", "3"},
    {"split count", bad_split_count, SL_ERR_FORMAT, "split.count", "100000"},
    {"split type", bad_split_type, SL_ERR_FORMAT, "split.count", "string \"many\""},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < SL_COUNTOF(bad_cases); i++) {
        const struct bad_case *c = &bad_cases[i];
        sl_gguf_build b = {0};
        sl_diag diag = {0};
        sl_gguf *g = (sl_gguf *)1;
        c->build(&b);
        const sl_status st = sl_gguf_open_memory(b.bytes, b.size, "bad.gguf", &g, &diag);
        if (st != c->status || g || strncmp(diag.message, "bad.gguf: ", 10) != 0 ||
            !strstr(diag.message, c->field) || !strstr(diag.message, c->value))
            fail_msg("%s: status %s, message: %s", c->name, sl_status_name(st), diag.message);
        assert_int_equal(diag.code, c->status);
        sl_gguf_build_free(&b);
    }
}

/* 73 bytes that once made a division by zero elsewhere, and every prefix of a right file. */
static void test_every_prefix(void **state)
{
    (void)state;
    sl_gguf_build b;
    build_good(&b, 3);
    const size_t data_end = b.size;
    for (size_t n = 0; n < data_end; n++) {
        sl_diag diag = {0};
        sl_gguf *g = NULL;
        const sl_status st = sl_gguf_open_memory(b.bytes, n, "cut.gguf", &g, &diag);
        if (n + 32 <= data_end && st != SL_ERR_TRUNCATED)
            fail_msg("prefix of %zu bytes: %s: %s", n, sl_status_name(st), diag.message);
        sl_gguf_close(g);
    }
    sl_gguf_build_free(&b);
}

static void test_every_allocation(void **state)
{
    (void)state;
    sl_gguf_build b;
    build_good(&b, 3);
    for (uint64_t n = 1;; n++) {
        sl_gguf *g = NULL;
        sl_diag diag = {0};
        sl_alloc_fail_at(n);
        const sl_status st = sl_gguf_open_memory(b.bytes, b.size, "m.gguf", &g, &diag);
        sl_alloc_fail_at(0);
        if (st == SL_OK) {
            assert_true(n > 8);
            sl_gguf_close(g);
            break;
        }
        assert_int_equal(st, SL_ERR_NO_MEMORY);
        assert_null(g);
        assert_true(n < 100);
    }
    sl_gguf_build_free(&b);
}

/* A header above the first read: the parser starts again with more. */
static void test_long_header(void **state)
{
    (void)state;
    enum { COUNT = 200000 };
    sl_gguf_build b;
    char path[256];
    sl_gguf_build_begin(&b, 3);
    sl_gguf_build_array(&b, "tokens", SL_GGUF_STRING, COUNT);
    for (int i = 0; i < COUNT; i++) {
        char text[32];
        const int n = snprintf(text, sizeof text, "token-%d", i);
        sl_gguf_build_text(&b, text, (size_t)n);
    }
    sl_gguf_build_string(&b, "last", "end");
    sl_gguf_build_end(&b);
    assert_true(b.size > (2u << 20));
    assert_true(sl_gguf_build_save_temporary(&b, path, sizeof path));
    sl_gguf *g;
    sl_diag diag = {0};
    if (sl_gguf_open(path, &g, &diag) != SL_OK) fail_msg("%s", diag.message);
    sl_gguf_array a;
    sl_gguf_string s;
    assert_int_equal(sl_gguf_get_array(g, "tokens", SL_GGUF_STRING, &a, NULL), SL_OK);
    assert_int_equal(a.count, COUNT);
    s = sl_gguf_array_string(&a, COUNT - 1);
    assert_int_equal(s.length, 12);
    assert_memory_equal(s.data, "token-199999", 12);
    assert_int_equal(sl_gguf_get_string(g, "last", &s, NULL), SL_OK);
    assert_string_equal(s.data, "end");
    const sl_gguf_file *file = sl_gguf_file_at(g, 0);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(file->inode, info.st_ino);
    assert_int_equal(file->size_bytes, b.size);
    sl_gguf_close(g);
    unlink(path);
    sl_gguf_build_free(&b);
}

static void test_paths(void **state)
{
    (void)state;
    sl_gguf *g;
    sl_diag diag;
    assert_int_equal(sl_gguf_open("/nonexistent/model.gguf", &g, &diag), SL_ERR_NOT_FOUND);
    assert_non_null(strstr(diag.message, "/nonexistent/model.gguf"));
    assert_null(g);
    assert_int_equal(sl_gguf_open("/tmp", &g, &diag), SL_ERR_FORMAT);
    assert_non_null(strstr(diag.message, "/tmp: not a regular file"));
    char folder[] = "/tmp/sluice-fifo-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(sl_gguf_open(path, &g, &diag), SL_ERR_FORMAT);
    unlink(path);
    rmdir(folder);
}

/* ---- split files ---- */

typedef struct split {
    char folder[64];
    char paths[3][128];
} split;

/* Parts 0..2 with one tensor each; `odd` is 0, or the kind of lie that part 1 tells. */
enum { ODD_NOTHING, ODD_NO, ODD_COUNT, ODD_TOTAL, ODD_DUPLICATE, ODD_MISSING };

static void write_split(split *s, int odd)
{
    snprintf(s->folder, sizeof s->folder, "/tmp/sluice-split-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    for (uint32_t i = 0; i < 3; i++) {
        sl_gguf_build b;
        const bool lies = i == 1;
        sl_gguf_build_begin(&b, 3);
        if (i == 0) sl_gguf_build_string(&b, "general.architecture", "llama");
        sl_gguf_build_scalar(&b, "split.no", SL_GGUF_U16, lies && odd == ODD_NO ? 2 : i, 2);
        sl_gguf_build_scalar(&b, "split.count", SL_GGUF_U16, lies && odd == ODD_COUNT ? 4 : 3, 2);
        sl_gguf_build_scalar(&b, "split.tensors.count", SL_GGUF_I32, odd == ODD_TOTAL ? 4 : 3, 4);
        char name[16];
        snprintf(name, sizeof name, "t%u", lies && odd == ODD_DUPLICATE ? 0 : i);
        sl_gguf_build_tensor(&b, name, 2, dims_32x2, SL_GGML_F32, 256);
        sl_gguf_build_end(&b);
        snprintf(s->paths[i], sizeof s->paths[i], "%s/m-%05u-of-00003.gguf", s->folder, i + 1);
        if (!(lies && odd == ODD_MISSING)) assert_true(sl_gguf_build_save(&b, s->paths[i]));
        sl_gguf_build_free(&b);
    }
}

static void remove_split(split *s)
{
    for (int i = 0; i < 3; i++)
        unlink(s->paths[i]);
    rmdir(s->folder);
}

static void test_split(void **state)
{
    (void)state;
    split s;
    sl_gguf *g;
    sl_diag diag = {0};
    write_split(&s, ODD_NOTHING);
    if (sl_gguf_open(s.paths[0], &g, &diag) != SL_OK) fail_msg("%s", diag.message);
    assert_int_equal(sl_gguf_file_count(g), 3);
    assert_int_equal(sl_gguf_tensor_count(g), 3);
    for (uint32_t i = 0; i < 3; i++) {
        const char *const names[] = {"t0", "t1", "t2"};
        const sl_gguf_tensor *t = sl_gguf_find_tensor(g, names[i]);
        assert_non_null(t);
        assert_int_equal(t->file_index, i);
        assert_int_equal(t->offset_bytes, sl_gguf_file_at(g, i)->data_offset_bytes);
        assert_string_equal(sl_gguf_file_at(g, i)->path, s.paths[i]);
    }
    sl_gguf_close(g);
    assert_int_equal(sl_gguf_open(s.paths[1], &g, &diag), SL_ERR_ARGUMENT);
    assert_non_null(strstr(diag.message, "-00001-of-00003.gguf"));
    remove_split(&s);
}

static void test_split_bad(void **state)
{
    (void)state;
    static const struct {
        int odd;
        sl_status status;
        const char *says;
    } cases[] = {
        {ODD_NO, SL_ERR_FORMAT, "00002-of-00003.gguf: key \"split.no\" is 2, expected 1"},
        {ODD_COUNT, SL_ERR_FORMAT, "00002-of-00003.gguf: key \"split.count\" is 4"},
        {ODD_TOTAL, SL_ERR_FORMAT, "key \"split.tensors.count\" is 4, the 3 parts have 3"},
        {ODD_DUPLICATE, SL_ERR_FORMAT, "duplicate tensor \"t0\""},
        {ODD_MISSING, SL_ERR_NOT_FOUND, "00002-of-00003.gguf: cannot open"},
    };
    for (size_t i = 0; i < SL_COUNTOF(cases); i++) {
        split s;
        sl_gguf *g;
        sl_diag diag = {0};
        write_split(&s, cases[i].odd);
        const sl_status st = sl_gguf_open(s.paths[0], &g, &diag);
        if (st != cases[i].status || !strstr(diag.message, cases[i].says))
            fail_msg("case %zu: %s: %s", i, sl_status_name(st), diag.message);
        assert_null(g);
        remove_split(&s);
    }
    split s;
    sl_gguf *g;
    sl_diag diag = {0};
    char renamed[160];
    write_split(&s, ODD_NOTHING);
    snprintf(renamed, sizeof renamed, "%s/other.gguf", s.folder);
    assert_int_equal(rename(s.paths[0], renamed), 0);
    assert_int_equal(sl_gguf_open(renamed, &g, &diag), SL_ERR_FORMAT);
    assert_non_null(strstr(diag.message, "-00001-of-00003.gguf"));
    unlink(renamed);
    remove_split(&s);
}

static void test_types(void **state)
{
    (void)state;
    assert_null(sl_ggml_type_find(4));
    assert_null(sl_ggml_type_find(31));
    assert_null(sl_ggml_type_find(UINT32_MAX));
    assert_string_equal(sl_ggml_type_name(SL_GGML_Q6_K), "Q6_K");
    assert_string_equal(sl_ggml_type_name(5), "?");
    const sl_ggml_type_info *info = sl_ggml_type_find(SL_GGML_Q5_0);
    assert_int_equal(info->block_weights, 32);
    assert_int_equal(info->block_bytes, 22);
    assert_true(info->supported);
    assert_false(sl_ggml_type_find(SL_GGML_IQ1_S)->supported);
    for (uint32_t i = 0; i < 64; i++)
        if ((info = sl_ggml_type_find(i))) assert_int_equal(info->type, i);
}

static void test_values_as_text(void **state)
{
    (void)state;
    sl_gguf *g = open_good(3);
    char text[64];
    assert_string_equal(sl_gguf_value_text(sl_gguf_find(g, "n.i8"), text, sizeof text), "-1");
    assert_string_equal(sl_gguf_value_text(sl_gguf_find(g, "n.f64"), text, sizeof text), "1.5");
    assert_string_equal(sl_gguf_value_text(sl_gguf_find(g, "n.bool"), text, sizeof text), "true");
    assert_string_equal(sl_gguf_value_text(sl_gguf_find(g, "words"), text, sizeof text), "[string x 3]");
    assert_string_equal(sl_gguf_value_text(sl_gguf_find(g, "general.architecture"), text, 5), "\"lla");
    sl_gguf_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_every_allocation),
        cmocka_unit_test(test_long_header),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_bad),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_values_as_text),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
