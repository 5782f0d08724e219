#include "shaders/attention/attention_host.h"

#include "hal/base/half.h"
#include "hal/hal.h"
#include "shaders/attention/kv_rows.h"
#include "shaders/rows_out.h"

#include <math.h>
#include <string.h>

#define PAGE  SL_KV_PAGE_TOKENS
#define LANES 16u

/* exp(x) for x <= 0 to about 2e-7 relative, in operations that vectorize: 2^n * e^r with |r| <= ln2 / 2. */
static inline float exp_negative(float x)
{
    const float n = floorf(x * 1.44269504f + 0.5f);
    const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    float e = 1.98756915e-4f;
    e = e * r + 1.39819994e-3f;
    e = e * r + 8.33345190e-3f;
    e = e * r + 4.16657962e-2f;
    e = e * r + 1.66666657e-1f;
    e = e * r + 0.5f;
    e = e * r * r + r + 1.0f;
    const float scale = sl_bits_to_float((uint32_t)((int32_t)(n < -126.0f ? -126.0f : n) + 127) << 23);
    return x < -87.0f ? 0.0f : e * scale;
}

/* A fixed tree of partial sums: the compiler may keep them in vector registers of any width. */
static inline float dot(const float *a, const float *b, uint32_t n)
{
    float part[LANES] = {0}, sum = 0;
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (uint32_t l = 0; l < LANES; l++)
            part[l] += a[i + l] * b[i + l];
    for (uint32_t width = LANES / 2; width; width /= 2)
        for (uint32_t l = 0; l < width; l++)
            part[l] += part[l + width];
    for (; i < n; i++)
        sum += a[i] * b[i];
    return part[0] + sum;
}

/* Turns the scores of keys [from, to) of a page into weights exp(score - maximum), after the row's maximum
 * has been raised to theirs and what it had summed so far scaled down accordingly. */
static inline void weigh(sl_attention_row *row, float *scores, uint32_t from, uint32_t to, uint32_t head_dim)
{
    float maximum = row->maximum;
    for (uint32_t j = from; j < to; j++)
        maximum = scores[j] > maximum ? scores[j] : maximum;
    if (maximum > row->maximum) {
        const float scale = exp_negative(row->maximum - maximum);
        for (uint32_t d = 0; d < head_dim; d++)
            row->acc[d] *= scale;
        row->sum *= scale;
        row->maximum = maximum;
    }
    for (uint32_t j = from; j < to; j++)
        scores[j] = exp_negative(scores[j] - maximum);
    for (uint32_t j = from; j < to; j++)
        row->sum += scores[j];
}

/* Keys [*from, *to) of the page that begins at key `first` which the row sees. */
static inline bool overlap(const sl_attention_row *row, uint32_t first, uint32_t *from, uint32_t *to)
{
    *from = row->begin > first ? row->begin - first : 0;
    *to = row->end > first ? row->end - first : 0;
    if (*to > PAGE) *to = PAGE;
    return *from < *to;
}

/* keys, values: what the page that begins at key `first` has of the head. */
static inline void one_page(const struct sl_push_attention *p, uint32_t kv_type, const uint8_t *keys,
                            const uint8_t *values, uint32_t first, sl_attention_row *rows, uint32_t count,
                            float *data)
{
    const uint32_t head_dim = p->head_dim;
    float scores[SL_ATTENTION_ROWS][PAGE];
    uint32_t from, to, low = PAGE, high = 0;
    for (uint32_t r = 0; r < count; r++) {
        if (!overlap(&rows[r], first, &from, &to)) continue;
        low = from < low ? from : low;
        high = to > high ? to : high;
    }
    if (low >= high) return;

    sl_kv_get(kv_type, keys, head_dim, low, high - low, data + low * head_dim);
    for (uint32_t r = 0; r < count; r++) {
        if (!overlap(&rows[r], first, &from, &to)) continue;
        for (uint32_t j = from; j < to; j++)
            scores[r][j] = p->scale * dot(rows[r].q, data + j * head_dim, head_dim);
        if (p->softcap > 0)
            for (uint32_t j = from; j < to; j++)
                scores[r][j] = p->softcap * tanhf(scores[r][j] / p->softcap);
        weigh(&rows[r], scores[r], from, to, head_dim);
    }

    sl_kv_get(kv_type, values, head_dim, low, high - low, data + low * head_dim);
    for (uint32_t r = 0; r < count; r++) {
        if (!overlap(&rows[r], first, &from, &to)) continue;
        float *restrict acc = rows[r].acc;
        for (uint32_t j = from; j < to; j++)
            for (uint32_t d = 0; d < head_dim; d++)
                acc[d] += scores[r][j] * data[j * head_dim + d];
    }
}

SL_HOST_CLONES
void sl_attention_rows(const struct sl_push_attention *p, uint32_t kv_type, const uint32_t *pages, uint32_t g,
                       sl_attention_row *rows, uint32_t count)
{
    const uint8_t *k = sl_host(p->k_cache), *v = sl_host(p->v_cache);
    const uint64_t group_bytes = SL_KV_GROUP_BYTES(kv_type, p->head_dim);
    float data[PAGE * SL_ATTENTION_HEAD_MAX] = {0}; /* keys, then values of a page */
    uint32_t begin = UINT32_MAX, end = 0;
    for (uint32_t r = 0; r < count; r++) {
        rows[r].maximum = -INFINITY;
        rows[r].sum = 0;
        memset(rows[r].acc, 0, p->head_dim * sizeof(float));
        if (rows[r].begin >= rows[r].end) continue;
        begin = rows[r].begin < begin ? rows[r].begin : begin;
        end = rows[r].end > end ? rows[r].end : end;
    }
    for (uint32_t page = begin / PAGE; (uint64_t)page * PAGE < end; page++) {
        const uint64_t at = ((uint64_t)pages[page] * p->n_kv_heads + g) * group_bytes;
        one_page(p, kv_type, k + at, v + at, page * PAGE, rows, count, data);
    }
}

void sl_attention_store(const struct sl_push_attention *p, uint32_t t, uint32_t h,
                        const sl_attention_row *row)
{
    uint8_t *y = (uint8_t *)sl_host(p->y) + t * sl_rows_bytes(p->format, p->y_stride);
    float out[SL_ATTENTION_HEAD_MAX];
    const float scale = row->sum > 0 ? 1.0f / row->sum : 0.0f;
    for (uint32_t d = 0; d < p->head_dim; d++)
        out[d] = row->acc[d] * scale;
    sl_rows_put(p->format, y, p->y_stride, h * p->head_dim, p->head_dim, out);
}
