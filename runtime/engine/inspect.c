#include "runtime/engine/engine.h"

#include <stdio.h>

static void describe(const sl_model *m, char *text, size_t size)
{
    const sl_hparams *h = &m->h;
    const int n =
        snprintf(text, size, "%s, %u layers of %u, %u heads of %u over %u, %.1f M weights", m->arch->name,
                 h->n_layers, h->n_embd, h->n_heads, h->head_dim, h->n_kv_heads, (double)m->parameters / 1e6);
    if (m->arch->moe && n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, " (%.1f M a token, %u of %u experts)",
                 (double)m->active_parameters / 1e6, h->n_used, h->n_experts);
}

sl_status sl_model_inspect(const char *path, const sl_model_visitor *v, sl_diag *diag)
{
    sl_gguf *gguf;
    sl_status st = sl_gguf_open(path, &gguf, diag);
    if (st != SL_OK) return st;
    for (uint32_t i = 0; v->file && i < sl_gguf_file_count(gguf); i++) {
        const sl_gguf_file *f = sl_gguf_file_at(gguf, i);
        v->file(v->user, f->path, f->size_bytes, sl_gguf_version(gguf));
    }
    for (size_t i = 0; v->metadata && i < sl_gguf_kv_count(gguf); i++) {
        const sl_gguf_kv *kv = sl_gguf_kv_at(gguf, i);
        char value[256];
        v->metadata(v->user, kv->key, sl_gguf_type_name(kv->type),
                    sl_gguf_value_text(kv, value, sizeof value));
    }
    for (size_t i = 0; v->tensor && i < sl_gguf_tensor_count(gguf); i++) {
        const sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);
        v->tensor(v->user, t->name, sl_ggml_type_name((uint32_t)t->type), t->n_dims, t->dims, t->size_bytes,
                  t->offset_bytes);
    }
    if (v->verdict) {
        sl_model model;
        sl_tokenizer *tokenizer = NULL;
        sl_diag why = {0};
        sl_status verdict = sl_model_read(gguf, &model, &why);
        if (verdict == SL_OK) verdict = sl_tokenizer_open(gguf, &tokenizer, &why);
        if (verdict == SL_OK) describe(&model, why.message, sizeof why.message);
        v->verdict(v->user, verdict, why.message);
        sl_tokenizer_destroy(tokenizer);
        sl_model_clear(&model);
    }
    sl_gguf_close(gguf);
    return SL_OK;
}
