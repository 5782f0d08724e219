/* Model files that contradict themselves: typed errors that name the file, the field, the value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_engine.h"
#include "tests/support/tiny_model.h"

#include "hal/base/checked.h"
#include "runtime/model/model.h"

#include <stdio.h>
#include <string.h>

static const char *const archs[] = {"llama", "qwen3", "gemma3", "qwen3moe"};

static sl_status read_model(const tiny_model *m, sl_gguf **gguf, sl_model *out, sl_diag *diag)
{
    const char *path = sl_test_path("model.gguf");
    tiny_model_write(m, path);
    *gguf = NULL;
    *out = (sl_model){0};
    sl_status st = sl_gguf_open(path, gguf, diag);
    return st == SL_OK ? sl_model_read(*gguf, out, diag) : st;
}

/* The file is refused, with a message that names it, `field` and `value`. */
static void check_refused(const tiny_model *m, sl_status wanted, const char *field, const char *value)
{
    sl_gguf *gguf;
    sl_model model;
    sl_diag diag = {0};
    const sl_status st = read_model(m, &gguf, &model, &diag);
    if (st != wanted)
        fail_msg("%s %s: gave %s: %s", field, value, sl_status_name(st), st == SL_OK ? "" : diag.message);
    if (!strstr(diag.message, "model.gguf") || !strstr(diag.message, field) || !strstr(diag.message, value))
        fail_msg("message without model.gguf, %s or %s: %s", field, value, diag.message);
    assert_null(model.tensors);
    sl_gguf_close(gguf);
}

static void test_right_models(void **state)
{
    (void)state;
    for (size_t i = 0; i < SL_COUNTOF(archs); i++) {
        tiny_model m = tiny_model_default();
        m.arch = archs[i];
        m.tied = i == 2;
        sl_gguf *gguf;
        sl_model model;
        sl_diag diag = {0};
        if (read_model(&m, &gguf, &model, &diag) != SL_OK) fail_msg("%s: %s", archs[i], diag.message);
        assert_string_equal(model.arch->name, archs[i]);
        assert_int_equal(model.h.n_layers, m.layers);
        assert_int_equal(model.h.n_embd, m.embd);
        assert_int_equal(model.h.n_vocab, m.vocab);
        assert_int_equal(model.h.n_heads, m.heads);
        assert_int_equal(model.h.n_kv_heads, m.kv_heads);
        assert_int_equal(model.h.head_dim, m.head_dim);
        assert_int_equal(model.tied_output, m.tied);
        assert_non_null(sl_model_find(&model, SL_PART_Q, 1));
        assert_null(sl_model_find(&model, SL_PART_Q, 2));
        assert_int_equal(sl_model_find(&model, SL_PART_EMBED, SL_NO_LAYER)->part, SL_PART_EMBED);
        uint64_t bytes = 0;
        for (uint32_t t = 0; t < model.tensor_count; t++) {
            bytes += model.tensors[t].file->size_bytes;
            if (t && model.tensors[t].layer != SL_NO_LAYER && model.tensors[t - 1].layer != SL_NO_LAYER)
                assert_true(model.tensors[t].layer >= model.tensors[t - 1].layer);
        }
        assert_int_equal(model.bytes, bytes);
        /* Two of four experts, and one row of an embedding that is not tied. */
        if (i == 3)
            assert_true(model.active_parameters < model.parameters);
        else
            assert_int_equal(model.active_parameters, model.parameters - (m.tied ? 0 : m.embd * m.vocab));
        sl_model_clear(&model);
        sl_gguf_close(gguf);
    }
}

static void test_bad_keys(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *key;
        uint32_t value;
        sl_status status;
        const char *field, *text;
    } rows[] = {
        {"llama", "attention.head_count", 0, SL_ERR_FORMAT, "attention.head_count", "0"},
        {"llama", "attention.head_count_kv", 0, SL_ERR_FORMAT, "attention.head_count_kv", "0"},
        {"llama", "attention.head_count_kv", 3, SL_ERR_FORMAT, "attention.head_count_kv", "3"},
        {"llama", "attention.head_count", 5, SL_ERR_FORMAT, "attention.head_count", "divide"},
        {"llama", "block_count", 0, SL_ERR_FORMAT, "block_count", "0"},
        {"llama", "block_count", 5000, SL_ERR_FORMAT, "block_count", "5000"},
        {"llama", "block_count", 3, SL_ERR_NOT_FOUND, "blk.2.attn_norm.weight", "missing"},
        {"llama", "embedding_length", 0, SL_ERR_FORMAT, "embedding_length", "0"},
        {"llama", "embedding_length", 4294967295u, SL_ERR_FORMAT, "embedding_length", "4.29"},
        {"llama", "embedding_length", 68, SL_ERR_FORMAT, "token_embd.weight", "68"},
        {"llama", "context_length", 0, SL_ERR_FORMAT, "context_length", "0"},
        {"llama", "feed_forward_length", 0, SL_ERR_FORMAT, "feed_forward_length", "0"},
        {"llama", "feed_forward_length", 100, SL_ERR_FORMAT, "ffn_gate.weight", "100"},
        {"llama", "feed_forward_length", 98, SL_ERR_UNSUPPORTED, "feed_forward_length", "98"},
        {"llama", "embedding_length", 66, SL_ERR_UNSUPPORTED, "embedding_length", "66"},
        {"llama", "attention.key_length", 48, SL_ERR_UNSUPPORTED, "attention.key_length", "48"},
        {"llama", "attention.key_length", 0, SL_ERR_FORMAT, "attention.key_length", "0"},
        {"llama", "attention.key_length", 4096, SL_ERR_FORMAT, "attention.key_length", "4096"},
        {"llama", "attention.value_length", 32, SL_ERR_UNSUPPORTED, "attention.value_length", "32"},
        {"llama", "rope.dimension_count", 0, SL_ERR_FORMAT, "rope.dimension_count", "0"},
        {"llama", "rope.dimension_count", 33, SL_ERR_FORMAT, "rope.dimension_count", "33"},
        {"llama", "rope.dimension_count", 128, SL_ERR_FORMAT, "rope.dimension_count", "128"},
        {"qwen3moe", "expert_count", 0, SL_ERR_FORMAT, "expert_count", "0"},
        {"qwen3moe", "expert_count", 100000, SL_ERR_FORMAT, "expert_count", "100000"},
        {"qwen3moe", "expert_count", 5, SL_ERR_FORMAT, "ffn_gate_inp.weight", "5"},
        {"qwen3moe", "expert_used_count", 0, SL_ERR_FORMAT, "expert_used_count", "0"},
        {"qwen3moe", "expert_used_count", 9, SL_ERR_FORMAT, "expert_used_count", "9"},
        {"qwen3moe", "expert_feed_forward_length", 64, SL_ERR_FORMAT, "ffn_gate_exps.weight", "64"},
    };
    for (size_t i = 0; i < SL_COUNTOF(rows); i++) {
        tiny_model m = tiny_model_default();
        m.arch = rows[i].arch;
        m.key = rows[i].key;
        m.value = rows[i].value;
        check_refused(&m, rows[i].status, rows[i].field, rows[i].text);
    }
}

/* YaRN's ramp between two counts of rotations, which have logarithms. */
static void test_yarn(void **state)
{
    (void)state;
    tiny_model m = tiny_model_default();
    m.yarn_beta = -2;
    check_refused(&m, SL_ERR_FORMAT, "rope.scaling.yarn_beta_fast", "-2");
    m.yarn_beta = 8;
    sl_gguf *gguf;
    sl_model model;
    sl_diag diag = {0};
    if (read_model(&m, &gguf, &model, &diag) != SL_OK) fail_msg("%s", diag.message);
    /* The pair that turns 8 times within 256 positions: 64 ln(256 / 16 pi) / (2 ln 10000) = 5.66. */
    assert_true(model.h.rope.corr_low == 5 && model.h.rope.corr_high == 6);
    assert_true(model.h.rope.freq_scale == 0.25f && model.h.rope.ext_factor == 1);
    sl_model_clear(&model);
    sl_gguf_close(gguf);
}

static void test_missing(void **state)
{
    (void)state;
    static const char *const keys[] = {"general.architecture", "block_count", "embedding_length",
                                       "feed_forward_length", "attention.head_count"};
    for (size_t i = 0; i < SL_COUNTOF(keys); i++) {
        tiny_model m = tiny_model_default();
        m.no_key = keys[i];
        check_refused(&m, SL_ERR_NOT_FOUND, keys[i], "");
    }
    static const struct {
        const char *arch, *tensor;
    } rows[] = {
        {"llama", "token_embd.weight"},           {"llama", "output_norm.weight"},
        {"llama", "blk.0.attn_norm.weight"},      {"llama", "blk.1.attn_q.weight"},
        {"llama", "blk.1.ffn_down.weight"},       {"qwen3", "blk.0.attn_q_norm.weight"},
        {"gemma3", "blk.1.post_ffw_norm.weight"}, {"qwen3moe", "blk.0.ffn_gate_inp.weight"},
        {"qwen3moe", "blk.1.ffn_up_exps.weight"},
    };
    for (size_t i = 0; i < SL_COUNTOF(rows); i++) {
        tiny_model m = tiny_model_default();
        m.arch = rows[i].arch;
        m.no_tensor = rows[i].tensor;
        check_refused(&m, SL_ERR_NOT_FOUND, rows[i].tensor, "");
    }
}

static void test_wrong_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *tensor;
        uint32_t dim, size, type;
        sl_status status;
        const char *text;
    } rows[] = {
        {"llama", "blk.0.attn_q.weight", 0, 32, 0, SL_ERR_FORMAT, "32"},
        {"llama", "blk.0.attn_q.weight", 1, 255, 0, SL_ERR_FORMAT, "255"},
        {"llama", "blk.1.attn_k.weight", 1, 256, 0, SL_ERR_FORMAT, "256"},
        {"llama", "blk.1.ffn_down.weight", 0, 192, 0, SL_ERR_FORMAT, "192"},
        {"llama", "output_norm.weight", 0, 63, 0, SL_ERR_FORMAT, "63"},
        {"llama", "output.weight", 1, 39, 0, SL_ERR_FORMAT, "39"},
        {"llama", "blk.0.attn_norm.weight", 0, 0, 1, SL_ERR_UNSUPPORTED, "F16"},
        {"llama", "blk.0.attn_q.weight", 0, 0, 25, SL_ERR_UNSUPPORTED, "I16"},
        {"qwen3moe", "blk.0.ffn_up_exps.weight", 2, 3, 0, SL_ERR_FORMAT, "3"},
    };
    for (size_t i = 0; i < SL_COUNTOF(rows); i++) {
        tiny_model m = tiny_model_default();
        m.arch = rows[i].arch;
        m.tensor = rows[i].tensor;
        m.dim = rows[i].dim;
        m.size = rows[i].size;
        m.type = rows[i].type;
        check_refused(&m, rows[i].status, rows[i].tensor, rows[i].text);
    }
    tiny_model m = tiny_model_default();
    m.arch = "mamba";
    check_refused(&m, SL_ERR_UNSUPPORTED, "general.architecture", "mamba");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_models),  cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_yarn),          cmocka_unit_test(test_missing),
        cmocka_unit_test(test_wrong_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
