#include "runtime/engine/engine.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "shaders/push.h"

#include <string.h>

/* Written so that NaN fails too. */
static sl_status check_sampling(const sl_sampling *s, sl_diag *diag)
{
    if (!(s->temperature <= 1e6f))
        return sl_fail(diag, SL_ERR_ARGUMENT, "temperature %g: must be a number up to 1e6",
                       (double)s->temperature);
    if (!(s->top_p >= 0))
        return sl_fail(diag, SL_ERR_ARGUMENT, "top_p %g: must not be negative", (double)s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return sl_fail(diag, SL_ERR_ARGUMENT, "min_p %g: must be 0 to 1", (double)s->min_p);
    if (!(s->repeat_penalty >= 0))
        return sl_fail(diag, SL_ERR_ARGUMENT, "repeat_penalty %g: must not be negative",
                       (double)s->repeat_penalty);
    if (!(s->frequency_penalty >= -1e6f && s->frequency_penalty <= 1e6f && s->presence_penalty >= -1e6f &&
          s->presence_penalty <= 1e6f))
        return sl_fail(diag, SL_ERR_ARGUMENT, "frequency_penalty %g, presence_penalty %g: must be finite",
                       (double)s->frequency_penalty, (double)s->presence_penalty);
    return SL_OK;
}

sl_status sl_session_create(sl_engine *engine, const sl_sampling *sampling, sl_session **out, sl_diag *diag)
{
    if (sampling) {
        const sl_status bad = check_sampling(sampling, diag);
        if (bad != SL_OK) return bad;
    }
    uint32_t slot = 0;
    while (slot < engine->limits.sessions && engine->sessions[slot])
        slot++;
    if (slot == engine->limits.sessions)
        return sl_fail(diag, SL_ERR_BUSY, "all %u sessions of this engine are in use",
                       engine->limits.sessions);
    sl_session *s = sl_calloc(1, sizeof *s);
    if (!s) return sl_fail(diag, SL_ERR_NO_MEMORY, "session");
    s->engine = engine;
    s->slot = slot;
    if (sampling) s->sampling = *sampling;
    s->tokens = sl_calloc(engine->options.context_tokens, sizeof *s->tokens);
    sl_status st =
        s->tokens ? sl_kv_table_create(&engine->kv, &s->table, diag)
                  : sl_fail(diag, SL_ERR_NO_MEMORY, "session of %u tokens", engine->options.context_tokens);
    if (st != SL_OK) {
        sl_free(s->tokens);
        sl_free(s);
        return st;
    }
    engine->sessions[slot] = s;
    *out = s;
    return SL_OK;
}

void sl_session_destroy(sl_session *session)
{
    if (!session) return;
    session->engine->sessions[session->slot] = NULL;
    session->engine->ahead.stale = true;
    sl_kv_table_clear(&session->engine->kv, &session->table);
    sl_free(session->tokens);
    sl_free(session);
}

uint32_t sl_session_length(const sl_session *session)
{
    return session->length;
}

void sl_session_truncate(sl_session *session, uint32_t length)
{
    session->length = SL_MIN(session->length, length);
    /* Pages taken for tokens that never came go back as well. Shrinking cannot fail. */
    sl_status st = sl_kv_table_resize(&session->engine->kv, &session->table, session->length, NULL);
    (void)st;
}

/* Room in history and KV cache for `count` more tokens. */
static sl_status reserve(sl_session *s, size_t count, sl_diag *diag)
{
    const uint32_t context = s->engine->options.context_tokens;
    if (count > context - s->length)
        return sl_fail(diag, SL_ERR_CONTEXT_FULL, "context_tokens %u: %u are taken, %zu more do not fit",
                       context, s->length, count);
    return sl_kv_table_resize(&s->engine->kv, &s->table, (uint64_t)s->length + count, diag);
}

static sl_status check_tokens(const sl_engine *e, const uint32_t *tokens, size_t count, sl_diag *diag)
{
    for (size_t i = 0; i < count; i++)
        if (tokens[i] >= e->model.h.n_vocab)
            return sl_fail(diag, SL_ERR_ARGUMENT, "token %zu is %u; the vocabulary has %u", i, tokens[i],
                           e->model.h.n_vocab);
    return SL_OK;
}

static void commit(sl_session *s, const uint32_t *tokens, size_t count)
{
    memcpy(s->tokens + s->length, tokens, count * sizeof *tokens);
    s->length += (uint32_t)count;
}

/* One pass over `count` tokens of one session, which has room for them; `n_outputs` of them, the last ones,
 * with results. */
static sl_status run_chunk(sl_session *s, const uint32_t *tokens, uint32_t count, uint32_t n_outputs,
                           sl_output output, const uint32_t **out_next, const float **out_logits,
                           sl_diag *diag)
{
    sl_engine *e = s->engine;
    uint32_t *positions = sl_calloc(3, (size_t)count * sizeof(uint32_t));
    if (!positions) return sl_fail(diag, SL_ERR_NO_MEMORY, "batch of %u tokens", count);
    uint32_t *sequences = positions + count, *out_index = sequences + count;
    for (uint32_t i = 0; i < count; i++) {
        positions[i] = s->length + i;
        sequences[i] = s->slot;
    }
    for (uint32_t i = 0; i < n_outputs; i++)
        out_index[i] = count - n_outputs + i;
    const sl_pass_input in = {
        .n_tokens = count,
        .tokens = tokens,
        .positions = positions,
        .sequences = sequences,
        .n_outputs = n_outputs,
        .out_index = out_index,
        .output = n_outputs ? output : SL_OUTPUT_NONE,
        .prefill = true,
    };
    sl_status st = sl_pass_run(e, &in, out_next, out_logits, diag);
    if (st == SL_OK) commit(s, tokens, count);
    sl_free(positions);
    return st;
}

sl_status sl_session_eval(sl_session *s, const uint32_t *tokens, size_t count, float *logits, sl_diag *diag)
{
    sl_engine *e = s->engine;
    const uint32_t before = s->length;
    sl_status st;
    SL_TRY(check_tokens(e, tokens, count, diag));
    SL_TRY(reserve(s, count, diag));
    const uint32_t chunk = logits ? SL_MIN(e->limits.tokens, e->limits.outputs) : e->limits.tokens;
    for (size_t i = 0; i < count; i += chunk) {
        const uint32_t n = (uint32_t)SL_MIN(chunk, count - i);
        const float *rows = NULL;
        SL_TRY(run_chunk(s, tokens + i, n, logits ? n : 0, SL_OUTPUT_LOGITS, NULL, &rows, diag));
        if (logits)
            memcpy(logits + i * e->model.h.n_vocab, rows, (size_t)n * e->model.h.n_vocab * sizeof *logits);
    }
    return SL_OK;
cleanup:
    sl_session_truncate(s, before);
    return st;
}

sl_status sl_session_advance(sl_session *s, const uint32_t *tokens, size_t count, uint32_t *out_next,
                             sl_diag *diag)
{
    const uint32_t before = s->length;
    sl_status st;
    SL_TRY(check_tokens(s->engine, tokens, count, diag));
    SL_TRY(reserve(s, count, diag));
    const sl_output output = sl_session_output(s);
    for (size_t i = 0; i < count;) {
        const uint32_t n = (uint32_t)SL_MIN(s->engine->limits.tokens, count - i);
        const bool last = i + n == count;
        const uint32_t *next = NULL;
        const float *logits = NULL;
        memcpy(s->tokens + s->length, tokens + i, n * sizeof *tokens); /* the penalties look at these too */
        SL_TRY(run_chunk(s, tokens + i, n, last, output, &next, &logits, diag));
        if (last && output == SL_OUTPUT_LOGITS)
            SL_TRY(sl_session_pick(s, (float *)logits, out_next, diag));
        else if (last)
            *out_next = next[0];
        i += n;
    }
    s->draws++;
    return SL_OK;
cleanup:
    sl_session_truncate(s, before);
    return st;
}

static sl_status check_step(sl_engine *e, sl_session *const *sessions, const uint32_t *tokens, size_t count,
                            sl_diag *diag)
{
    if (!count || count > e->limits.outputs || count > e->limits.tokens)
        return sl_fail(diag, SL_ERR_ARGUMENT, "a step of %zu sessions; this engine was opened for %u", count,
                       SL_MIN(e->limits.outputs, e->limits.tokens));
    for (size_t i = 0; i < count; i++) {
        if (sessions[i]->engine != e)
            return sl_fail(diag, SL_ERR_ARGUMENT, "session %zu is of another engine", i);
        for (size_t k = 0; k < i; k++)
            if (sessions[k] == sessions[i])
                return sl_fail(diag, SL_ERR_ARGUMENT, "session %zu is twice in a step", i);
    }
    return check_tokens(e, tokens, count, diag);
}

/* One kind of output for all: greedy only when all are, logits as soon as one needs them. */
static sl_output common_output(sl_session *const *sessions, size_t count)
{
    sl_output output = SL_OUTPUT_GREEDY;
    for (size_t i = 0; i < count; i++) {
        const sl_output own = sl_session_output(sessions[i]);
        if (own == SL_OUTPUT_LOGITS) return own;
        if (own == SL_OUTPUT_SAMPLED) output = own;
    }
    return output;
}

static sl_status run_step(sl_engine *e, sl_session *const *sessions, const uint32_t *tokens, uint32_t count,
                          uint32_t *scratch, uint32_t *out_next, sl_diag *diag)
{
    uint32_t *positions = scratch, *sequences = positions + count, *out_index = sequences + count;
    sl_status st;
    for (uint32_t i = 0; i < count; i++) {
        sl_session *s = sessions[i];
        positions[i] = s->length;
        sequences[i] = s->slot;
        out_index[i] = i;
        SL_TRY(reserve(s, 1, diag));
        s->tokens[s->length] = tokens[i]; /* the penalties look at this token too */
    }
    const sl_pass_input in = {
        count, tokens, positions, sequences, count, out_index, common_output(sessions, count), false};
    const uint32_t *next = NULL;
    const float *logits = NULL;
    SL_TRY(sl_pass_run(e, &in, &next, &logits, diag));
    for (uint32_t i = 0; i < count; i++) {
        sessions[i]->length++; /* before picking, for the same reason */
        if (in.output != SL_OUTPUT_LOGITS)
            out_next[i] = next[i];
        else if ((st = sl_session_pick(sessions[i], (float *)logits + (size_t)i * e->model.h.n_vocab,
                                       &out_next[i], diag)) != SL_OK)
            break;
    }
    for (uint32_t i = 0; i < count && st == SL_OK; i++)
        sessions[i]->draws++;
    for (uint32_t i = 0; i < count && st != SL_OK; i++)
        sessions[i]->length = positions[i];
cleanup:
    return st;
}

sl_status sl_engine_step(sl_engine *engine, sl_session *const *sessions, const uint32_t *tokens, size_t count,
                         uint32_t *out_next, sl_diag *diag)
{
    sl_status st = check_step(engine, sessions, tokens, count, diag);
    if (st != SL_OK) return st;
    uint32_t *scratch = sl_calloc(count, 3 * sizeof *scratch);
    if (!scratch) return sl_fail(diag, SL_ERR_NO_MEMORY, "step of %zu sessions", count);
    st = run_step(engine, sessions, tokens, (uint32_t)count, scratch, out_next, diag);
    sl_free(scratch);
    if (st != SL_OK) /* pages taken for the token go back */
        for (size_t i = 0; i < count; i++)
            if (sl_kv_table_resize(&engine->kv, &sessions[i]->table, sessions[i]->length, NULL) != SL_OK)
                return st;
    return st;
}
