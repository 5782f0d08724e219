#include "runtime/model/model.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "runtime/model/hparams.h"

#include <stdio.h>
#include <string.h>

/* What a part is called in the file and what shape it has. */
typedef enum dim {
    DIM_NONE,
    DIM_EMBD,
    DIM_Q,
    DIM_KV,
    DIM_HEAD,
    DIM_FF,
    DIM_EXPERT_FF,
    DIM_EXPERTS,
    DIM_VOCAB,
    DIM_ROT_HALF
} dim;
typedef enum presence { NEVER, ALWAYS, MAYBE } presence;

typedef struct part_row {
    const char *name; /* in layers: after "blk.N." */
    dim k, out;       /* out DIM_NONE: a vector */
    bool experts;
} part_row;

static const part_row part_rows[SL_PART_COUNT] = {
    [SL_PART_EMBED] = {"token_embd.weight", DIM_EMBD, DIM_VOCAB, false},
    [SL_PART_ROPE_FACTORS] = {"rope_freqs.weight", DIM_ROT_HALF, DIM_NONE, false},
    [SL_PART_ATTN_NORM] = {"attn_norm.weight", DIM_EMBD, DIM_NONE, false},
    [SL_PART_Q] = {"attn_q.weight", DIM_EMBD, DIM_Q, false},
    [SL_PART_K] = {"attn_k.weight", DIM_EMBD, DIM_KV, false},
    [SL_PART_V] = {"attn_v.weight", DIM_EMBD, DIM_KV, false},
    [SL_PART_Q_NORM] = {"attn_q_norm.weight", DIM_HEAD, DIM_NONE, false},
    [SL_PART_K_NORM] = {"attn_k_norm.weight", DIM_HEAD, DIM_NONE, false},
    [SL_PART_O] = {"attn_output.weight", DIM_Q, DIM_EMBD, false},
    [SL_PART_ATTN_POST_NORM] = {"post_attention_norm.weight", DIM_EMBD, DIM_NONE, false},
    [SL_PART_FFN_NORM] = {"ffn_norm.weight", DIM_EMBD, DIM_NONE, false},
    [SL_PART_ROUTER] = {"ffn_gate_inp.weight", DIM_EMBD, DIM_EXPERTS, false},
    [SL_PART_GATE] = {"ffn_gate.weight", DIM_EMBD, DIM_FF, false},
    [SL_PART_UP] = {"ffn_up.weight", DIM_EMBD, DIM_FF, false},
    [SL_PART_DOWN] = {"ffn_down.weight", DIM_FF, DIM_EMBD, false},
    [SL_PART_GATE_EXPERTS] = {"ffn_gate_exps.weight", DIM_EMBD, DIM_EXPERT_FF, true},
    [SL_PART_UP_EXPERTS] = {"ffn_up_exps.weight", DIM_EMBD, DIM_EXPERT_FF, true},
    [SL_PART_DOWN_EXPERTS] = {"ffn_down_exps.weight", DIM_EXPERT_FF, DIM_EMBD, true},
    [SL_PART_FFN_POST_NORM] = {"post_ffw_norm.weight", DIM_EMBD, DIM_NONE, false},
    [SL_PART_OUTPUT_NORM] = {"output_norm.weight", DIM_EMBD, DIM_NONE, false},
    [SL_PART_OUTPUT] = {"output.weight", DIM_EMBD, DIM_VOCAB, false},
};

static presence part_presence(const sl_arch *arch, sl_part part)
{
    switch (part) {
    case SL_PART_ROPE_FACTORS:
    case SL_PART_OUTPUT:
        return MAYBE;
    case SL_PART_Q_NORM:
    case SL_PART_K_NORM:
        return arch->qk_norm ? ALWAYS : NEVER;
    case SL_PART_ATTN_POST_NORM:
    case SL_PART_FFN_POST_NORM:
        return arch->post_norms ? ALWAYS : NEVER;
    case SL_PART_ROUTER:
    case SL_PART_GATE_EXPERTS:
    case SL_PART_UP_EXPERTS:
    case SL_PART_DOWN_EXPERTS:
        return arch->moe ? ALWAYS : NEVER;
    case SL_PART_GATE:
    case SL_PART_UP:
    case SL_PART_DOWN:
        return arch->moe ? NEVER : ALWAYS;
    default:
        return ALWAYS;
    }
}

static uint64_t dim_value(const sl_hparams *h, dim d)
{
    switch (d) {
    case DIM_EMBD:
        return h->n_embd;
    case DIM_Q:
        return (uint64_t)h->n_heads * h->head_dim;
    case DIM_KV:
        return (uint64_t)h->n_kv_heads * h->head_dim;
    case DIM_HEAD:
        return h->head_dim;
    case DIM_FF:
        return h->n_ff;
    case DIM_EXPERT_FF:
        return h->n_expert_ff;
    case DIM_EXPERTS:
        return h->n_experts;
    case DIM_VOCAB:
        return h->n_vocab;
    case DIM_ROT_HALF:
        return h->rot_dim / 2;
    case DIM_NONE:
        return 1;
    }
    return 1;
}

bool sl_part_is_experts(sl_part part)
{
    return part_rows[part].experts;
}

bool sl_part_is_matrix(sl_part part)
{
    return part_rows[part].out != DIM_NONE;
}

bool sl_model_windowed(const sl_model *model, uint32_t layer)
{
    if (!model->h.window_tokens) return false;
    const uint32_t period = model->arch->window_period;
    return !period || (layer + 1) % period != 0;
}

static sl_status check_shape(const sl_model *m, const sl_gguf_tensor *t, sl_part part, sl_diag *diag)
{
    const part_row *row = &part_rows[part];
    const uint64_t want[3] = {dim_value(&m->h, row->k), dim_value(&m->h, row->out),
                              row->experts ? m->h.n_experts : 1};
    for (uint32_t i = 0; i < SL_GGUF_DIMS_MAX; i++) {
        const uint64_t expected = i < 3 ? want[i] : 1;
        if (t->dims[i] != expected)
            return sl_fail(diag, SL_ERR_FORMAT,
                           "%s: tensor %s: dimension %u is %llu, the model's keys imply %llu",
                           sl_gguf_path(m->gguf), t->name, i, (unsigned long long)t->dims[i],
                           (unsigned long long)expected);
    }
    uint32_t weights, bytes;
    if (!sl_weight_block((uint32_t)t->type, &weights, &bytes))
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "%s: tensor %s: type %s has no kernels",
                       sl_gguf_path(m->gguf), t->name, sl_ggml_type_name((uint32_t)t->type));
    if (row->out == DIM_NONE && (uint32_t)t->type != SL_WEIGHT_F32)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "%s: tensor %s: type %s, a vector must be F32",
                       sl_gguf_path(m->gguf), t->name, sl_ggml_type_name((uint32_t)t->type));
    if (t->row_bytes > UINT32_MAX)
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "%s: tensor %s: a row of %llu bytes", sl_gguf_path(m->gguf),
                       t->name, (unsigned long long)t->row_bytes);
    return SL_OK;
}

/* Adds one tensor to the list if the file has it. */
static sl_status add_part(sl_model *m, sl_part part, uint32_t layer, sl_diag *diag)
{
    const presence need = part_presence(m->arch, part);
    if (need == NEVER) return SL_OK;
    char name[64];
    if (layer == SL_NO_LAYER)
        snprintf(name, sizeof name, "%s", part_rows[part].name);
    else
        snprintf(name, sizeof name, "blk.%u.%s", layer, part_rows[part].name);
    const sl_gguf_tensor *t = sl_gguf_find_tensor(m->gguf, name);
    if (!t && need == MAYBE) return SL_OK;
    if (!t)
        return sl_fail(diag, SL_ERR_NOT_FOUND, "%s: tensor %s is missing; architecture %s needs it",
                       sl_gguf_path(m->gguf), name, m->arch->name);
    sl_status st = check_shape(m, t, part, diag);
    if (st != SL_OK) return st;
    m->tensors[m->tensor_count++] = (sl_model_tensor){
        .file = t,
        .part = part,
        .layer = layer,
        .n_k = (uint32_t)t->dims[0],
        .n_out = t->dims[1],
        .n_experts = part_rows[part].experts ? m->h.n_experts : 1,
        .row_bytes = (uint32_t)t->row_bytes,
    };
    return SL_OK;
}

static void count_sizes(sl_model *m)
{
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const sl_model_tensor *t = &m->tensors[i];
        uint64_t weights = t->file->n_weights, bytes = t->file->size_bytes;
        m->parameters += weights;
        m->bytes += bytes;
        if (t->part == SL_PART_EMBED && !m->tied_output) continue; /* a token reads one row */
        if (sl_part_is_experts(t->part)) {
            weights = weights / m->h.n_experts * m->h.n_used;
            bytes = bytes / m->h.n_experts * m->h.n_used;
        }
        m->active_parameters += weights;
        m->token_bytes += bytes;
    }
}

sl_status sl_model_read(const sl_gguf *gguf, sl_model *out, sl_diag *diag)
{
    *out = (sl_model){.gguf = gguf};
    sl_model *m = out;
    sl_status st;
    SL_TRY(sl_hparams_read(gguf, &m->arch, &m->h, diag));
    m->tensors = sl_calloc((size_t)m->h.n_layers * SL_PART_COUNT + 4, sizeof *m->tensors);
    if (!m->tensors) {
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "%s: list of tensors", sl_gguf_path(gguf));
        goto cleanup;
    }
    SL_TRY(add_part(m, SL_PART_EMBED, SL_NO_LAYER, diag));
    SL_TRY(add_part(m, SL_PART_ROPE_FACTORS, SL_NO_LAYER, diag));
    for (uint32_t layer = 0; layer < m->h.n_layers; layer++)
        for (int part = SL_PART_ATTN_NORM; part <= SL_PART_FFN_POST_NORM; part++)
            SL_TRY(add_part(m, (sl_part)part, layer, diag));
    SL_TRY(add_part(m, SL_PART_OUTPUT_NORM, SL_NO_LAYER, diag));
    SL_TRY(add_part(m, SL_PART_OUTPUT, SL_NO_LAYER, diag));
    m->tied_output = m->tensors[m->tensor_count - 1].part != SL_PART_OUTPUT;
    count_sizes(m);
    return SL_OK;
cleanup:
    sl_model_clear(m);
    return st;
}

void sl_model_clear(sl_model *model)
{
    sl_free(model->tensors);
    *model = (sl_model){0};
}

const sl_model_tensor *sl_model_find(const sl_model *model, sl_part part, uint32_t layer)
{
    for (uint32_t i = 0; i < model->tensor_count; i++)
        if (model->tensors[i].part == part && model->tensors[i].layer == layer) return &model->tensors[i];
    return NULL;
}
