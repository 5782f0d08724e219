#include "hal/base/half.h"
#include "shaders/attention/attention_host.h"
#include "shaders/attention/kv_rows.h"
#include "shaders/registry.h"
#include "shaders/rows_out.h"

#include <math.h>
#include <string.h>

/* The operation of one dispatch. */
typedef struct step {
    const struct sl_push_attention_step *p;
    const uint32_t *spec;
    struct sl_push_attention cached; /* what attention over the cache reads of its push block */
    uint32_t group, head_dim;
} step;

static float spec_float(const step *s, uint32_t id)
{
    return sl_bits_to_float(s->spec[id]);
}

/* out = the row x[head_dim], normed where a weight is given, and turned. */
static void prepare_row(const step *s, const float *x, const float *weight, const float *turns, float *out)
{
    const uint32_t d = s->head_dim, pairs = s->spec[SL_STEP_ROT_DIM] / 2;
    const bool neox = s->spec[SL_STEP_NEOX];
    float scale = 1;
    if (weight) {
        double squares = 0;
        for (uint32_t i = 0; i < d; i++)
            squares += (double)x[i] * (double)x[i];
        scale = (float)(1 / sqrt(squares / d + (double)spec_float(s, SL_STEP_EPS)));
    }
    for (uint32_t i = 0; i < d; i++)
        out[i] = x[i] * scale * (weight ? weight[i] : 1);
    for (uint32_t i = 0; i < pairs; i++) {
        float *a = &out[neox ? i : 2 * i], *b = a + (neox ? pairs : 1);
        const float before = *a, c = turns[2 * i], n = turns[2 * i + 1];
        *a = before * c - *b * n;
        *b = before * n + *b * c;
    }
}

/* The token's key and value of head g, into the cache. */
static void store_new(const step *s, uint32_t t, uint32_t g, uint32_t position, const uint32_t *pages,
                      const float *turns)
{
    const struct sl_push_attention_step *p = s->p;
    const uint32_t d = s->head_dim, n_kv_heads = s->spec[SL_STEP_KV_HEADS];
    const uint32_t type = s->spec[SL_STEP_KV_TYPE], slot = position % SL_KV_PAGE_TOKENS;
    const uint64_t from = (uint64_t)t * s->spec[SL_STEP_KV_STRIDE] + (uint64_t)g * d;
    const float *v = (const float *)sl_host(p->v) + from;
    const uint64_t page = pages[position / SL_KV_PAGE_TOKENS];
    const uint64_t at = (page * n_kv_heads + g) * SL_KV_GROUP_BYTES(type, d);
    float key[SL_ATTENTION_HEAD_MAX] = {0};
    prepare_row(s, (const float *)sl_host(p->k) + from, sl_host(p->k_norm), turns, key);
    sl_kv_put(type, (uint8_t *)sl_host(p->k_cache) + at, d, slot, key);
    sl_kv_put(type, (uint8_t *)sl_host(p->v_cache) + at, d, slot, v);
}

static void put_head(const step *s, uint32_t t, uint32_t head, const sl_attention_row *row)
{
    const uint32_t format = s->spec[SL_STEP_FORMAT], d = s->head_dim;
    const uint32_t n = s->spec[SL_STEP_KV_HEADS] * s->group * d;
    const float scale = row->sum > 0 ? 1.0f / row->sum : 0.0f;
    float out[SL_ATTENTION_HEAD_MAX];
    for (uint32_t i = 0; i < d; i++)
        out[i] = row->acc[i] * scale;
    sl_rows_put(format, (uint8_t *)sl_host(s->p->y) + t * sl_rows_bytes(format, n), n, head * d, d, out);
}

static void one_group(const step *s, uint32_t t, uint32_t g)
{
    const struct sl_push_attention_step *p = s->p;
    const uint32_t position = ((const uint32_t *)sl_host(p->positions))[t];
    const uint32_t sequence = ((const uint32_t *)sl_host(p->sequences))[t];
    const float *turns = (const float *)sl_host(p->rope) + (uint64_t)t * s->spec[SL_STEP_ROT_DIM];
    const float *q = (const float *)sl_host(p->q) + (uint64_t)t * s->spec[SL_STEP_Q_STRIDE];
    const uint32_t *pages = NULL;
    float queries[SL_ATTENTION_ROWS][SL_ATTENTION_HEAD_MAX];
    sl_attention_row rows[SL_ATTENTION_ROWS];
    if (position != SL_NO_POSITION) {
        pages = (const uint32_t *)sl_host(p->block_table) + (uint64_t)sequence * p->table_stride;
        store_new(s, t, g, position, pages, turns);
    }
    for (uint32_t done = 0, count; done < s->group; done += count) {
        const uint32_t head = g * s->group + done;
        count = s->group - done < SL_ATTENTION_ROWS ? s->group - done : SL_ATTENTION_ROWS;
        for (uint32_t r = 0; r < count; r++) {
            if (position != SL_NO_POSITION)
                prepare_row(s, q + (uint64_t)(head + r) * s->head_dim, sl_host(p->q_norm), turns, queries[r]);
            rows[r].q = queries[r];
            sl_attention_visible(position, p->window, &rows[r].begin, &rows[r].end);
        }
        sl_attention_rows(&s->cached, s->spec[SL_STEP_KV_TYPE], pages, g, rows, count);
        for (uint32_t r = 0; r < count; r++)
            put_head(s, t, head + r, &rows[r]);
    }
}

/* Items are (token, kv head). No token reads what another one writes: they are of different sequences. */
void sl_host_attention_step(const sl_kernel_task *task)
{
    const struct sl_push_attention_step *p = task->push;
    const uint32_t n_kv_heads = task->spec[SL_STEP_KV_HEADS], group = task->spec[SL_STEP_GROUP];
    step s = {.p = p, .spec = task->spec, .group = group, .head_dim = task->spec[SL_STEP_HEAD_DIM]};
    s.cached = (struct sl_push_attention){
        .k_cache = p->k_cache,
        .v_cache = p->v_cache,
        .n_heads = n_kv_heads * group,
        .n_kv_heads = n_kv_heads,
        .head_dim = s.head_dim,
        .scale = spec_float(&s, SL_STEP_SCALE),
        .softcap = spec_float(&s, SL_STEP_SOFTCAP),
    };
    uint64_t item, end;
    sl_task_share(task, (uint64_t)p->n_tokens * n_kv_heads, &item, &end);
    for (; item < end; item++)
        one_group(&s, (uint32_t)(item / n_kv_heads), (uint32_t)(item % n_kv_heads));
}

void sl_grid_attention_step(const void *push, const sl_variant *variant, const uint32_t *spec,
                            uint32_t groups[3])
{
    const struct sl_push_attention_step *p = push;
    (void)variant;
    groups[0] = p->n_tokens;
    groups[1] = spec[SL_STEP_KV_HEADS];
    groups[2] = p->n_splits;
}
