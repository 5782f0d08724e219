#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/tiny_model.h"

#include "shaders/weights.h"
#include "tests/support/gguf_builder.h"

#include <stdio.h>
#include <string.h>

typedef struct writer {
    const tiny_model *m;
    sl_gguf_build build;
} writer;

tiny_model tiny_model_default(void)
{
    return (tiny_model){.arch = "llama",
                        .layers = 2,
                        .embd = 64,
                        .heads = 4,
                        .kv_heads = 2,
                        .head_dim = 64,
                        .ff = 96,
                        .vocab = 40,
                        .experts = 4,
                        .used = 2,
                        .expert_ff = 32};
}

static const char *arch_of(const writer *w)
{
    return w->m->arch ? w->m->arch : "llama";
}

static void number(writer *w, const char *key, uint32_t value)
{
    char name[96];
    if (w->m->no_key && !strcmp(w->m->no_key, key)) return;
    if (w->m->key && !strcmp(w->m->key, key)) value = w->m->value;
    snprintf(name, sizeof name, "%s.%s", arch_of(w), key);
    sl_gguf_build_u32(&w->build, name, value);
}

/* A tensor of up to three dimensions; `k` alone is a vector. */
static void tensor(writer *w, const char *name, uint32_t k, uint32_t out, uint32_t experts)
{
    uint64_t dims[3] = {k, out, experts};
    const uint32_t n_dims = experts ? 3 : out ? 2 : 1;
    const uint32_t matrix_type = w->m->matrix_type ? w->m->matrix_type : SL_WEIGHT_F16;
    uint32_t type = out ? matrix_type : SL_WEIGHT_F32, block_weights = 1, block_bytes = 4;
    if (w->m->no_tensor && !strcmp(w->m->no_tensor, name)) return;
    if (w->m->tensor && !strcmp(w->m->tensor, name)) {
        if (w->m->size) dims[w->m->dim] = w->m->size;
        if (w->m->type) type = w->m->type;
    }
    uint64_t count = 1;
    for (uint32_t i = 0; i < n_dims; i++)
        count *= dims[i];
    sl_weight_block(type, &block_weights, &block_bytes); /* false: one that is wrong on purpose */
    sl_gguf_build_tensor(&w->build, name, n_dims, dims, type, count / block_weights * block_bytes);
}

static void layer_tensor(writer *w, uint32_t layer, const char *suffix, uint32_t k, uint32_t out,
                         uint32_t experts)
{
    char name[96];
    snprintf(name, sizeof name, "blk.%u.%s.weight", layer, suffix);
    tensor(w, name, k, out, experts);
}

static void layer(writer *w, uint32_t n)
{
    const tiny_model *m = w->m;
    const uint32_t q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
    const bool gemma = !strcmp(arch_of(w), "gemma3"), moe = !strcmp(arch_of(w), "qwen3moe");
    layer_tensor(w, n, "attn_norm", m->embd, 0, 0);
    layer_tensor(w, n, "attn_q", m->embd, q, 0);
    layer_tensor(w, n, "attn_k", m->embd, kv, 0);
    layer_tensor(w, n, "attn_v", m->embd, kv, 0);
    if (strcmp(arch_of(w), "llama") != 0) {
        layer_tensor(w, n, "attn_q_norm", m->head_dim, 0, 0);
        layer_tensor(w, n, "attn_k_norm", m->head_dim, 0, 0);
    }
    layer_tensor(w, n, "attn_output", q, m->embd, 0);
    if (gemma) layer_tensor(w, n, "post_attention_norm", m->embd, 0, 0);
    layer_tensor(w, n, "ffn_norm", m->embd, 0, 0);
    if (moe) {
        layer_tensor(w, n, "ffn_gate_inp", m->embd, m->experts, 0);
        layer_tensor(w, n, "ffn_gate_exps", m->embd, m->expert_ff, m->experts);
        layer_tensor(w, n, "ffn_up_exps", m->embd, m->expert_ff, m->experts);
        layer_tensor(w, n, "ffn_down_exps", m->expert_ff, m->embd, m->experts);
    } else {
        layer_tensor(w, n, "ffn_gate", m->embd, m->ff, 0);
        layer_tensor(w, n, "ffn_up", m->embd, m->ff, 0);
        layer_tensor(w, n, "ffn_down", m->ff, m->embd, 0);
    }
    if (gemma) layer_tensor(w, n, "post_ffw_norm", m->embd, 0, 0);
}

static void yarn(writer *w)
{
    static const char *const betas[] = {"fast", "slow"};
    char name[96];
    snprintf(name, sizeof name, "%s.rope.scaling.type", arch_of(w));
    sl_gguf_build_string(&w->build, name, "yarn");
    snprintf(name, sizeof name, "%s.rope.scaling.factor", arch_of(w));
    sl_gguf_build_f32(&w->build, name, 4);
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s.rope.scaling.yarn_beta_%s", arch_of(w), betas[i]);
        sl_gguf_build_f32(&w->build, name, w->m->yarn_beta);
    }
}

void tiny_model_write(const tiny_model *m, const char *path)
{
    writer w = {.m = m};
    sl_gguf_build_begin(&w.build, 3);
    w.build.hole = m->hole;
    if (!m->no_key || strcmp(m->no_key, "general.architecture") != 0)
        sl_gguf_build_string(&w.build, "general.architecture", arch_of(&w));
    number(&w, "block_count", m->layers);
    number(&w, "embedding_length", m->embd);
    number(&w, "context_length", 256);
    number(&w, "feed_forward_length", m->ff);
    number(&w, "attention.head_count", m->heads);
    number(&w, "attention.head_count_kv", m->kv_heads);
    number(&w, "attention.key_length", m->head_dim);
    number(&w, "attention.value_length", m->head_dim);
    number(&w, "rope.dimension_count", m->head_dim);
    if (m->yarn_beta != 0) yarn(&w);
    if (!strcmp(arch_of(&w), "qwen3moe")) {
        number(&w, "expert_count", m->experts);
        number(&w, "expert_used_count", m->used);
        number(&w, "expert_feed_forward_length", m->expert_ff);
    }
    tensor(&w, "token_embd.weight", m->embd, m->vocab, 0);
    for (uint32_t i = 0; i < m->layers; i++)
        layer(&w, i);
    tensor(&w, "output_norm.weight", m->embd, 0, 0);
    if (!m->tied) tensor(&w, "output.weight", m->embd, m->vocab, 0);
    sl_gguf_build_end(&w.build);
    if (!sl_gguf_build_save(&w.build, path)) fail_msg("cannot write %s", path);
    sl_gguf_build_free(&w.build);
}
