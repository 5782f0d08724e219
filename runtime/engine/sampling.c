/* How a session's next token is chosen. On the device: penalties, the SL_TOPK_MAX most likely tokens, one
 * draw. Only a session that wants more candidates than that (top_k 0 or above) while drawing takes its logits
 * to the host. */
#include "runtime/engine/engine.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that the penalties look back at. */
#define PENALTY_WINDOW SL_PENALTY_ENTRIES_MAX

static bool penalised(const sl_sampling *s)
{
    return (s->repeat_penalty != 0 && s->repeat_penalty != 1) || s->frequency_penalty != 0 ||
           s->presence_penalty != 0;
}

sl_output sl_session_output(const sl_session *session)
{
    const sl_sampling *s = &session->sampling;
    if (s->temperature <= 0) return penalised(s) ? SL_OUTPUT_SAMPLED : SL_OUTPUT_GREEDY;
    const uint32_t most = SL_MIN(SL_TOPK_MAX, session->engine->model.h.n_vocab);
    return s->top_k == 0 || s->top_k > most ? SL_OUTPUT_LOGITS : SL_OUTPUT_SAMPLED;
}

bool sl_session_chains(const sl_session *session)
{
    return sl_session_output(session) != SL_OUTPUT_LOGITS && !penalised(&session->sampling);
}

/* {id, count} of the last PENALTY_WINDOW tokens. Returns how many entries. */
static uint32_t count_recent(const sl_session *session, uint32_t (*entries)[2])
{
    uint32_t n = 0;
    const uint32_t first = session->length > PENALTY_WINDOW ? session->length - PENALTY_WINDOW : 0;
    for (uint32_t i = first; i < session->length; i++) {
        uint32_t k = 0;
        while (k < n && entries[k][0] != session->tokens[i])
            k++;
        if (k == n) {
            entries[n][0] = session->tokens[i];
            entries[n++][1] = 0;
        }
        entries[k][1]++;
    }
    return n;
}

static struct sl_penalty_params penalties_of(const sl_sampling *s)
{
    return (struct sl_penalty_params){
        .repeat = s->repeat_penalty == 0 ? 1 : s->repeat_penalty,
        .frequency = s->frequency_penalty,
        .presence = s->presence_penalty,
    };
}

static struct sl_sample_params draw_of(const sl_session *session)
{
    const sl_sampling *s = &session->sampling;
    return (struct sl_sample_params){
        .temperature = s->temperature,
        .top_p = s->top_p <= 0 ? 1 : s->top_p,
        .min_p = s->min_p,
        .top_k = s->top_k,
        .seed_low = (uint32_t)s->seed,
        .seed_high = (uint32_t)(s->seed >> 32),
        .counter = session->draws,
    };
}

void sl_session_write_sampling(const sl_session *session, uint32_t row)
{
    if (sl_session_output(session) == SL_OUTPUT_GREEDY && row == 0 && session->engine->limits.sessions == 1)
        return;
    const sl_batch *b = &session->engine->batch_host;
    ((struct sl_sample_params *)sl_host(b->sample_params.begin))[row] = draw_of(session);
    ((struct sl_penalty_params *)sl_host(b->penalty_params.begin))[row] = penalties_of(&session->sampling);
    uint32_t(*entries)[2] =
        (uint32_t(*)[2])sl_host(b->penalty_entries.begin) + (size_t)row * SL_PENALTY_ENTRIES_MAX;
    const uint32_t n = penalised(&session->sampling) ? count_recent(session, entries) : 0;
    memset(entries + n, 0, (SL_PENALTY_ENTRIES_MAX - n) * sizeof *entries);
}

typedef struct candidate {
    float logit;
    uint32_t id;
} candidate;

static int by_logit(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* The same chain as on the device, over the whole vocabulary: sort, then the kernel's own C side draws. */
sl_status sl_session_pick(sl_session *session, float *logits, uint32_t *out_token, sl_diag *diag)
{
    const uint32_t n = session->engine->model.h.n_vocab;
    uint32_t entries[SL_PENALTY_ENTRIES_MAX][2];
    const struct sl_penalty_params penalties = penalties_of(&session->sampling);
    const struct sl_sample_params draw = draw_of(session);
    const uint32_t recent = penalised(&session->sampling) ? count_recent(session, entries) : 0;
    if (recent) {
        const struct sl_push_penalize push = {.logits = (uintptr_t)logits,
                                              .entries = (uintptr_t)entries,
                                              .params = (uintptr_t)&penalties,
                                              .n_vocab = n,
                                              .rows = 1,
                                              .logits_stride = n,
                                              .n_entries = recent};
        sl_host_penalize(&(sl_kernel_task){.push = &push, .groups = {1, 1, 1}, .count = 1});
    }
    candidate *sorted = sl_calloc(n, sizeof *sorted);
    uint32_t *ids = sl_calloc(n, sizeof *ids);
    if (!sorted || !ids) {
        sl_free(sorted);
        sl_free(ids);
        return sl_fail(diag, SL_ERR_NO_MEMORY, "sampling from %u logits", n);
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!isnan(logits[i])) sorted[count++] = (candidate){logits[i], i};
    qsort(sorted, count, sizeof *sorted, by_logit);
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = sorted[i].id;
        logits[i] = sorted[i].logit;
    }
    *out_token = 0;
    const struct sl_push_sample push = {.ids = (uintptr_t)ids,
                                        .values = (uintptr_t)logits,
                                        .params = (uintptr_t)&draw,
                                        .token = (uintptr_t)out_token,
                                        .k = count,
                                        .rows = 1};
    if (count) sl_host_sample(&(sl_kernel_task){.push = &push, .groups = {1, 1, 1}, .count = 1});
    sl_free(sorted);
    sl_free(ids);
    return SL_OK;
}
