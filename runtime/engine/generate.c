#include "runtime/engine/engine.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "runtime/tokenizer/utf8.h"

#include <string.h>

const char *sl_finish_name(sl_finish finish)
{
    static const char *const names[] = {
        [SL_FINISH_LENGTH] = "length",       [SL_FINISH_END_TOKEN] = "end",
        [SL_FINISH_STOP_STRING] = "stop",    [SL_FINISH_CONTEXT] = "context",
        [SL_FINISH_CANCELLED] = "cancelled",
    };
    return (unsigned)finish < SL_COUNTOF(names) ? names[finish] : "unknown";
}

/* The text so far, and how much of it has been shown. */
typedef struct writer {
    const sl_generate_options *o;
    sl_generation *out;
    size_t capacity, shown;
    sl_utf8_stream utf8;
} writer;

static sl_status append(writer *w, const char *bytes, size_t n, sl_diag *diag)
{
    if (w->out->text_length + n + 1 > w->capacity) {
        const size_t capacity = SL_MAX(256, 2 * (w->out->text_length + n + 1));
        char *text = sl_realloc(w->out->text, capacity, 1);
        if (!text) return sl_fail(diag, SL_ERR_NO_MEMORY, "text of %zu bytes", capacity);
        w->out->text = text;
        w->capacity = capacity;
    }
    memcpy(w->out->text + w->out->text_length, bytes, n);
    w->out->text_length += n;
    w->out->text[w->out->text_length] = '\0';
    return SL_OK;
}

/* Earliest stop string that begins at or after `from`, or text_length. */
static size_t find_stop(const writer *w, size_t from)
{
    size_t best = w->out->text_length;
    for (size_t s = 0; s < w->o->stop_count; s++) {
        const size_t n = strlen(w->o->stops[s]);
        if (n == 0) continue;
        for (size_t at = from; at + n <= w->out->text_length && at < best; at++)
            if (!memcmp(w->out->text + at, w->o->stops[s], n)) best = at;
    }
    return best;
}

/* Longest end of the text that could be the beginning of a stop string: not shown yet. */
static size_t held_back(const writer *w)
{
    size_t held = 0;
    for (size_t s = 0; s < w->o->stop_count; s++) {
        const size_t n = strlen(w->o->stops[s]);
        for (size_t k = SL_MIN(n ? n - 1 : 0, w->out->text_length - w->shown); k > held; k--)
            if (!memcmp(w->out->text + w->out->text_length - k, w->o->stops[s], k)) held = k;
    }
    return held;
}

static bool show(writer *w, size_t until)
{
    const size_t from = w->shown;
    w->shown = until;
    if (!w->o->text || until == from) return true;
    return w->o->text(w->o->user, w->out->text + from, until - from);
}

/* Adds bytes that are whole characters. When the generation ends with them, sets the finish and *out_stopped.
 */
static sl_status write_text(writer *w, const char *bytes, size_t n, bool *out_stopped, sl_diag *diag)
{
    sl_status st = append(w, bytes, n, diag);
    if (st != SL_OK) return st;
    const size_t stop = find_stop(w, w->shown);
    if (stop < w->out->text_length) {
        w->out->text_length = stop;
        w->out->text[stop] = '\0';
        w->out->finish = SL_FINISH_STOP_STRING;
        *out_stopped = true;
        if (!show(w, stop)) w->out->finish = SL_FINISH_CANCELLED;
    } else if (!show(w, w->out->text_length - held_back(w))) {
        w->out->finish = SL_FINISH_CANCELLED;
        *out_stopped = true;
    }
    return SL_OK;
}

static sl_status write_token(writer *w, const sl_engine *e, uint32_t token, bool *out_stopped, sl_diag *diag)
{
    size_t n = 0;
    const char *piece = sl_engine_piece(e, token, false, &n);
    char *whole = sl_malloc(SL_UTF8_STREAM_BYTES(n));
    if (!whole) return sl_fail(diag, SL_ERR_NO_MEMORY, "token of %zu bytes", n);
    const size_t length = sl_utf8_stream_push(&w->utf8, piece, n, whole);
    sl_status st = write_text(w, whole, length, out_stopped, diag);
    sl_free(whole);
    return st;
}

/* The end of the generation: what was held back is text after all. */
static sl_status flush(writer *w, sl_diag *diag)
{
    if (w->out->finish == SL_FINISH_STOP_STRING) return SL_OK;
    char last[SL_UTF8_STREAM_BYTES(1)];
    sl_status st = append(w, last, sl_utf8_stream_flush(&w->utf8, last), diag);
    if (st == SL_OK && w->out->finish != SL_FINISH_CANCELLED) show(w, w->out->text_length);
    return st;
}

static sl_status keep_token(sl_generation *out, size_t *capacity, uint32_t token, sl_diag *diag)
{
    if (out->token_count == *capacity) {
        const size_t grown = SL_MAX(64, 2 * *capacity);
        uint32_t *tokens = sl_realloc(out->tokens, grown, sizeof *tokens);
        if (!tokens) return sl_fail(diag, SL_ERR_NO_MEMORY, "list of %zu tokens", grown);
        out->tokens = tokens;
        *capacity = grown;
    }
    out->tokens[out->token_count++] = token;
    return SL_OK;
}

typedef struct timing {
    uint64_t begin_ns, first_ns, last_ns, read_bytes_before_decode;
} timing;

static void finish_timing(sl_session *s, const timing *t, size_t prompt, sl_generation *out)
{
    sl_engine_stats stats;
    sl_engine_get_stats(s->engine, &stats);
    if (!out->token_count) return;
    out->ttft_ms = (double)(t->first_ns - t->begin_ns) / 1e6;
    out->prompt_tokens_per_s = prompt ? (double)prompt * 1e9 / (double)(t->first_ns - t->begin_ns) : 0;
    if (out->decode_steps) {
        const double ns = (double)(t->last_ns - t->first_ns);
        out->tpot_ms = ns / out->decode_steps / 1e6;
        out->tokens_per_s = out->decode_steps * 1e9 / ns;
        out->stream_read_bytes = stats.pass_read_bytes - t->read_bytes_before_decode;
    }
}

sl_status sl_session_generate(sl_session *session, const uint32_t *prompt, size_t count,
                              const sl_generate_options *options, sl_generation *out, sl_diag *diag)
{
    static const sl_generate_options none = {0};
    *out = (sl_generation){.finish = SL_FINISH_LENGTH};
    writer w = {.o = options ? options : &none, .out = out};
    const uint32_t context = session->engine->options.context_tokens;
    if (!count)
        return sl_fail(diag, SL_ERR_ARGUMENT, "the prompt is empty: there is no token to continue from");
    timing t = {.begin_ns = sl_now_ns()};
    size_t capacity = 0;
    uint32_t token = 0;
    bool stopped = false;
    sl_engine_stats stats;
    sl_status st;
    SL_TRY(append(&w, "", 0, diag));
    SL_TRY(sl_session_advance(session, prompt, count, &token, diag));
    sl_engine_get_stats(session->engine, &stats);
    t.read_bytes_before_decode = stats.pass_read_bytes;
    t.first_ns = t.last_ns = sl_now_ns();
    for (;;) {
        SL_TRY(keep_token(out, &capacity, token, diag));
        if (!w.o->ignore_end && sl_engine_is_end(session->engine, token)) {
            out->finish = SL_FINISH_END_TOKEN;
            break;
        }
        SL_TRY(write_token(&w, session->engine, token, &stopped, diag));
        if (stopped || (w.o->max_tokens && out->token_count >= w.o->max_tokens)) break;
        if (session->length == context) {
            out->finish = SL_FINISH_CONTEXT;
            break;
        }
        SL_TRY(sl_session_advance(session, &token, 1, &token, diag));
        t.last_ns = sl_now_ns();
        out->decode_steps++;
    }
    SL_TRY(flush(&w, diag));
cleanup:
    finish_timing(session, &t, count, out);
    return st;
}

void sl_generation_clear(sl_generation *generation)
{
    sl_free(generation->tokens);
    sl_free(generation->text);
    *generation = (sl_generation){0};
}
