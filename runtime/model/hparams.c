#include "runtime/model/hparams.h"

#include "hal/base/checked.h"
#include "shaders/registry.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
    const sl_gguf *gguf;
    const sl_arch *arch;
    sl_diag *diag;
    char key[128];
} reader;

static const char *key_of(reader *r, const char *suffix)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch->name, suffix);
    return r->key;
}

static sl_status bad(reader *r, const char *suffix, double value, const char *why)
{
    return sl_fail(r->diag, SL_ERR_FORMAT, "%s: %s is %g: %s", sl_gguf_path(r->gguf), key_of(r, suffix),
                   value, why);
}

static sl_status get_u32(reader *r, const char *suffix, uint32_t low, uint32_t high, uint32_t *out)
{
    sl_status st = sl_gguf_get_u32_at(r->gguf, key_of(r, suffix), 0, out, r->diag);
    if (st != SL_OK) return st;
    if (*out < low || *out > high) {
        char why[64];
        snprintf(why, sizeof why, "must be %u to %u", low, high);
        return bad(r, suffix, *out, why);
    }
    return SL_OK;
}

static sl_status get_u32_or(reader *r, const char *suffix, uint32_t fallback, uint32_t low, uint32_t high,
                            uint32_t *out)
{
    if (sl_gguf_find(r->gguf, key_of(r, suffix))) return get_u32(r, suffix, low, high, out);
    *out = fallback;
    return SL_OK;
}

/* The length of a row that kernels read: in vectors of four. */
static sl_status get_width(reader *r, const char *suffix, uint32_t *out)
{
    sl_status st = get_u32(r, suffix, 1, 1u << 20, out);
    if (st != SL_OK || *out % 4 == 0) return st;
    return sl_fail(r->diag, SL_ERR_UNSUPPORTED, "%s: %s is %u; the kernels need a multiple of 4",
                   sl_gguf_path(r->gguf), key_of(r, suffix), *out);
}

static sl_status get_f32_or(reader *r, const char *suffix, float fallback, float *out)
{
    sl_status st = sl_gguf_get_f32_or(r->gguf, key_of(r, suffix), fallback, out, r->diag);
    if (st != SL_OK) return st;
    return isfinite(*out) ? SL_OK : bad(r, suffix, (double)*out, "must be finite");
}

/* One number for all layers: an array with one value a layer must repeat it. */
static sl_status same_in_all_layers(reader *r, const char *suffix, uint32_t n_layers, uint32_t value)
{
    const sl_gguf_kv *kv = sl_gguf_find(r->gguf, key_of(r, suffix));
    if (!kv || kv->type != SL_GGUF_ARRAY) return SL_OK;
    for (uint32_t i = 0; i < n_layers; i++) {
        uint32_t v;
        sl_status st = sl_gguf_get_u32_at(r->gguf, key_of(r, suffix), i, &v, r->diag);
        if (st != SL_OK) return st;
        if (v != value)
            return sl_fail(r->diag, SL_ERR_UNSUPPORTED, "%s: %s differs between layers (%u and %u)",
                           sl_gguf_path(r->gguf), r->key, value, v);
    }
    return SL_OK;
}

/* YaRN's ramp: the pair index at which `rotations` whole turns fit into the original context. */
static float yarn_pair(uint32_t rot_dim, uint32_t context, float rotations, float base)
{
    const double pi = 3.14159265358979323846;
    return (float)(rot_dim * log(context / (rotations * 2 * pi)) / (2 * log((double)base)));
}

static sl_status read_rope(reader *r, sl_hparams *h)
{
    sl_status st;
    if ((st = get_u32_or(r, "rope.dimension_count", h->head_dim, 2, h->head_dim, &h->rot_dim)) != SL_OK)
        return st;
    if (h->rot_dim % 2) return bad(r, "rope.dimension_count", h->rot_dim, "must be even");
    sl_rope *rope = &h->rope;
    *rope = (sl_rope){.freq_scale = 1, .attn_factor = 1};
    if ((st = get_f32_or(r, "rope.freq_base", 10000.0f, &rope->freq_base)) != SL_OK) return st;
    if (rope->freq_base <= 1) return bad(r, "rope.freq_base", (double)rope->freq_base, "must be above 1");
    h->window_rope = *rope;
    const float window_base = r->arch->window_rope_base > 0 ? r->arch->window_rope_base : rope->freq_base;
    if ((st = get_f32_or(r, "rope.freq_base_swa", window_base, &h->window_rope.freq_base)) != SL_OK)
        return st;
    if (h->window_rope.freq_base <= 1)
        return bad(r, "rope.freq_base_swa", (double)h->window_rope.freq_base, "must be above 1");

    sl_gguf_string type;
    if ((st = sl_gguf_get_string_or(r->gguf, key_of(r, "rope.scaling.type"), "none", &type, r->diag)) !=
        SL_OK)
        return st;
    float factor;
    if ((st = get_f32_or(r, "rope.scaling.factor", 1.0f, &factor)) != SL_OK) return st;
    if (factor <= 0) return bad(r, "rope.scaling.factor", (double)factor, "must be above 0");
    const bool yarn = type.length == 4 && !memcmp(type.data, "yarn", 4);
    const bool linear = type.length == 6 && !memcmp(type.data, "linear", 6);
    const bool none = type.length == 4 && !memcmp(type.data, "none", 4);
    if (!yarn && !linear && !none)
        return sl_fail(r->diag, SL_ERR_UNSUPPORTED, "%s: %s is \"%.*s\"; Sluice has none, linear, yarn",
                       sl_gguf_path(r->gguf), key_of(r, "rope.scaling.type"), (int)SL_MIN(type.length, 32),
                       type.data);
    if (!none) rope->freq_scale = 1 / factor;
    if ((st = get_f32_or(r, "rope.scaling.attn_factor", 1.0f, &rope->attn_factor)) != SL_OK) return st;
    if (!yarn) return SL_OK;

    uint32_t original;
    float beta_fast, beta_slow;
    if ((st = get_u32_or(r, "rope.scaling.original_context_length", h->trained_context_tokens, 1, UINT32_MAX,
                         &original)) != SL_OK ||
        (st = get_f32_or(r, "rope.scaling.yarn_ext_factor", 1.0f, &rope->ext_factor)) != SL_OK ||
        (st = get_f32_or(r, "rope.scaling.yarn_beta_fast", 32.0f, &beta_fast)) != SL_OK ||
        (st = get_f32_or(r, "rope.scaling.yarn_beta_slow", 1.0f, &beta_slow)) != SL_OK ||
        (st = get_f32_or(r, "rope.scaling.yarn_attn_factor", rope->attn_factor, &rope->attn_factor)) != SL_OK)
        return st;
    if (beta_fast <= 0) return bad(r, "rope.scaling.yarn_beta_fast", (double)beta_fast, "must be above 0");
    if (beta_slow <= 0) return bad(r, "rope.scaling.yarn_beta_slow", (double)beta_slow, "must be above 0");
    rope->corr_low = fmaxf(0, floorf(yarn_pair(h->rot_dim, original, beta_fast, rope->freq_base)));
    rope->corr_high =
        fminf((float)h->rot_dim - 1, ceilf(yarn_pair(h->rot_dim, original, beta_slow, rope->freq_base)));
    rope->attn_factor *= 1 + 0.1f * logf(factor); /* the magnitude correction of the paper */
    return SL_OK;
}

/* Attention kernels are compiled for a head size each. */
static sl_status check_head_size(reader *r, uint32_t head_dim)
{
    char sizes[64] = "";
    uint32_t last = 0;
    for (size_t i = 0; i < sl_variant_count; i++) {
        const sl_variant *v = &sl_variants[i];
        if (v->kernel != SL_K_attention_prefill || v->key <= last) continue;
        if (v->key == head_dim) return SL_OK;
        const size_t at = strlen(sizes);
        snprintf(sizes + at, sizeof sizes - at, " %u", last = v->key);
    }
    return sl_fail(r->diag, SL_ERR_UNSUPPORTED, "%s: %s is %u; there are kernels for%s",
                   sl_gguf_path(r->gguf), key_of(r, "attention.key_length"), head_dim, sizes);
}

static sl_status read_attention(reader *r, sl_hparams *h)
{
    sl_status st;
    if ((st = get_u32(r, "attention.head_count", 1, 4096, &h->n_heads)) != SL_OK ||
        (st = get_u32_or(r, "attention.head_count_kv", h->n_heads, 1, 4096, &h->n_kv_heads)) != SL_OK ||
        (st = same_in_all_layers(r, "attention.head_count", h->n_layers, h->n_heads)) != SL_OK ||
        (st = same_in_all_layers(r, "attention.head_count_kv", h->n_layers, h->n_kv_heads)) != SL_OK)
        return st;
    if (h->n_heads % h->n_kv_heads)
        return bad(r, "attention.head_count_kv", h->n_kv_heads, "does not divide attention.head_count");
    if (h->n_embd % h->n_heads && !sl_gguf_find(r->gguf, key_of(r, "attention.key_length")))
        return bad(r, "attention.head_count", h->n_heads,
                   "does not divide embedding_length, and there is no attention.key_length");
    uint32_t value_length;
    if ((st = get_u32_or(r, "attention.key_length", h->n_embd / h->n_heads, 1, 1024, &h->head_dim)) !=
            SL_OK ||
        (st = check_head_size(r, h->head_dim)) != SL_OK ||
        (st = get_u32_or(r, "attention.value_length", h->head_dim, 1, 1024, &value_length)) != SL_OK)
        return st;
    if (value_length != h->head_dim)
        return sl_fail(r->diag, SL_ERR_UNSUPPORTED, "%s: %s is %u, differs from attention.key_length %u",
                       sl_gguf_path(r->gguf), key_of(r, "attention.value_length"), value_length, h->head_dim);
    if ((st = get_u32_or(r, "attention.sliding_window", 0, 0, UINT32_MAX, &h->window_tokens)) != SL_OK ||
        (st = get_f32_or(r, "attention.scale", 0, &h->attention_scale)) != SL_OK ||
        (st = get_f32_or(r, "attention.layer_norm_rms_epsilon", 1e-6f, &h->norm_eps)) != SL_OK)
        return st;
    if (h->attention_scale <= 0) h->attention_scale = 1 / sqrtf((float)h->head_dim);
    if (h->norm_eps < 0)
        return bad(r, "attention.layer_norm_rms_epsilon", (double)h->norm_eps, "must not be negative");
    return SL_OK;
}

static sl_status read_experts(reader *r, sl_hparams *h)
{
    sl_status st;
    if ((st = get_u32(r, "expert_count", 1, SL_MODEL_EXPERTS_MAX, &h->n_experts)) != SL_OK ||
        (st = get_u32(r, "expert_used_count", 1, SL_MODEL_USED_MAX, &h->n_used)) != SL_OK ||
        (st = get_width(r, "expert_feed_forward_length", &h->n_expert_ff)) != SL_OK ||
        (st = get_f32_or(r, "expert_weights_scale", 1.0f, &h->expert_scale)) != SL_OK)
        return st;
    if (h->n_used > h->n_experts) return bad(r, "expert_used_count", h->n_used, "is above expert_count");
    if (h->expert_scale == 0) h->expert_scale = 1; /* the converter writes 0 for "none" */
    return SL_OK;
}

/* The vocabulary's size: rows of the embedding. tokenizer.ggml.tokens, when there, must not be longer. */
static sl_status read_vocabulary(reader *r, sl_hparams *h)
{
    const sl_gguf_tensor *embed;
    sl_status st = sl_gguf_get_tensor(r->gguf, "token_embd.weight", &embed, r->diag);
    if (st != SL_OK) return st;
    if (embed->dims[1] > 1u << 24)
        return sl_fail(r->diag, SL_ERR_FORMAT, "%s: tensor token_embd.weight: %llu rows",
                       sl_gguf_path(r->gguf), (unsigned long long)embed->dims[1]);
    h->n_vocab = (uint32_t)embed->dims[1];
    const sl_gguf_kv *tokens = sl_gguf_find(r->gguf, "tokenizer.ggml.tokens");
    if (tokens && tokens->type == SL_GGUF_ARRAY && tokens->value.array.count > h->n_vocab)
        return sl_fail(r->diag, SL_ERR_FORMAT,
                       "%s: tokenizer.ggml.tokens has %zu entries, token_embd.weight %u rows",
                       sl_gguf_path(r->gguf), tokens->value.array.count, h->n_vocab);
    return SL_OK;
}

sl_status sl_hparams_read(const sl_gguf *gguf, const sl_arch **out_arch, sl_hparams *h, sl_diag *diag)
{
    sl_gguf_string name;
    sl_status st = sl_gguf_get_string(gguf, "general.architecture", &name, diag);
    if (st != SL_OK) return st;
    const sl_arch *arch = sl_arch_find(name.data, name.length);
    if (!arch)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "%s: general.architecture is \"%.*s\"; Sluice has %s",
                       sl_gguf_path(gguf), (int)SL_MIN(name.length, 64), name.data, sl_arch_names());
    *out_arch = arch;
    *h = (sl_hparams){0};
    reader r = {.gguf = gguf, .arch = arch, .diag = diag};
    if ((st = get_u32(&r, "block_count", 1, SL_MODEL_LAYERS_MAX, &h->n_layers)) != SL_OK ||
        (st = get_width(&r, "embedding_length", &h->n_embd)) != SL_OK ||
        (st = get_u32_or(&r, "context_length", 4096, 1, 1u << 30, &h->trained_context_tokens)) != SL_OK ||
        (st = read_vocabulary(&r, h)) != SL_OK || (st = read_attention(&r, h)) != SL_OK ||
        (st = read_rope(&r, h)) != SL_OK)
        return st;
    if (arch->moe)
        st = read_experts(&r, h);
    else if ((st = get_width(&r, "feed_forward_length", &h->n_ff)) == SL_OK)
        st = same_in_all_layers(&r, "feed_forward_length", h->n_layers, h->n_ff);
    if (st != SL_OK) return st;
    h->embedding_scale = arch->scale_embedding ? sqrtf((float)h->n_embd) : 1.0f;
    return SL_OK;
}
