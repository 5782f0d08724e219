/* Runs the passes that a profile is made of, and notes what the host does meanwhile. */
#include "runtime/profile/profiler.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"

#include <stdio.h>
#include <string.h>

void *sl_profile_add(sl_profile_array *array, size_t size)
{
    if (array->count == array->capacity) {
        const size_t capacity = SL_MAX(array->capacity * 2, (size_t)64);
        void *moved = sl_realloc(array->items, capacity, size);
        if (!moved) return NULL;
        array->items = moved;
        array->capacity = capacity;
    }
    return memset((uint8_t *)array->items + size * array->count++, 0, size);
}

/* ---- what sl_pass_run tells ---- */

sl_timing sl_profiler_timing(const sl_profiler *p)
{
    return p ? p->timing : SL_TIMING_NONE;
}

uint64_t sl_profiler_now(const sl_profiler *p)
{
    return p ? sl_now_ns() : 0;
}

static bool note(sl_profiler *p, sl_profile_activity activity, uint64_t begin_ns, uint64_t end_ns)
{
    sl_profile_event *event = sl_profile_add(&p->profile->events, sizeof *event);
    if (!event) return false;
    *event = (sl_profile_event){activity, (uint32_t)p->profile->passes.count - 1, begin_ns, end_ns, 0};
    return true;
}

static sl_profile_pass *last_pass(sl_profiler *p)
{
    return &SL_PROFILE_ITEMS(p->profile->passes, sl_profile_pass)[p->profile->passes.count - 1];
}

static void fail(sl_profiler *p, const char *what)
{
    if (p->failed == SL_OK) p->failed = sl_fail(&p->failed_diag, SL_ERR_NO_MEMORY, "profile: %s", what);
}

/* What the host has done since the last pass was still for that pass. What the profiler does here is not. */
static void finish_pending(sl_profiler *p)
{
    if (!p->pending) return;
    sl_profile_pass *pass = last_pass(p);
    const uint64_t now = sl_now_ns();
    if (!note(p, SL_PROFILE_HOST_RESULT, pass->end_ns, now)) fail(p, "events");
    pass->end_ns = now;
    pass->event_count = p->profile->events.count - pass->event;
    sl_attended attended;
    sl_status st = sl_attended_count(p->positions, p->sequences, pass->tokens, p->engine->limits.sessions,
                                     p->engine->model.h.window_tokens, &attended, &p->failed_diag);
    if (st == SL_OK)
        st = sl_profile_take_spans(p->profile, p->engine, p->pending, &attended, &p->failed_diag);
    if (p->failed == SL_OK) p->failed = st;
    p->pending = NULL;
    p->edge_ns = sl_now_ns();
}

uint64_t sl_profiler_begin(sl_profiler *p)
{
    if (!p) return 0;
    finish_pending(p);
    if (!p->keeps || p->failed != SL_OK) return sl_now_ns();
    sl_profile_pass *pass = sl_profile_add(&p->profile->passes, sizeof *pass);
    if (!pass) {
        fail(p, "passes");
        return sl_now_ns();
    }
    pass->prefill = p->prefill;
    pass->timed = p->timing != SL_TIMING_SEGMENTS;
    pass->begin_ns = p->edge_ns;
    pass->event = p->profile->events.count;
    return sl_profiler_lap(p, SL_PROFILE_HOST_PREPARE, p->edge_ns);
}

uint64_t sl_profiler_lap(sl_profiler *p, sl_profile_activity activity, uint64_t since_ns)
{
    if (!p) return 0;
    const uint64_t now = sl_now_ns();
    if (p->keeps && p->failed == SL_OK && !note(p, activity, since_ns, now)) fail(p, "events");
    return now;
}

sl_status sl_profiler_end(sl_profiler *p, const sl_program *program, const sl_pass_input *in, sl_diag *diag)
{
    if (!p) return SL_OK;
    if (p->failed != SL_OK) {
        if (diag) *diag = p->failed_diag;
        return p->failed;
    }
    if (!p->keeps) return SL_OK;
    sl_profile_pass *pass = last_pass(p);
    pass->end_ns = sl_now_ns();
    pass->tokens = in->n_tokens;
    pass->depth_tokens = in->positions[0];
    for (uint32_t i = 0; i < in->n_tokens; i++)
        pass->depth_tokens = SL_MIN(pass->depth_tokens, in->positions[i]);
    memcpy(p->positions, in->positions, in->n_tokens * sizeof *p->positions);
    memcpy(p->sequences, in->sequences, in->n_tokens * sizeof *p->sequences);
    p->pending = program;
    return SL_OK;
}

/* ---- running passes ---- */

/* Token ids do not matter for speed; these are spread over the vocabulary and always the same. */
static void fill_tokens(const sl_profiler *p, uint32_t *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = (uint32_t)((1103515245ull * i + 12345) % p->engine->model.h.n_vocab);
}

static sl_status feed(sl_profiler *p, sl_session *session, uint32_t count, sl_diag *diag)
{
    if (!count) return SL_OK;
    uint32_t *tokens = sl_calloc(count, sizeof *tokens);
    if (!tokens) return sl_fail(diag, SL_ERR_NO_MEMORY, "prompt of %u tokens", count);
    fill_tokens(p, tokens, count);
    p->edge_ns = sl_now_ns();
    sl_status st = sl_session_eval(session, tokens, count, NULL, diag);
    sl_free(tokens);
    return st;
}

static sl_status after(sl_profiler *p, sl_status st, sl_diag *diag)
{
    if (st != SL_OK) return st;
    finish_pending(p);
    if (p->failed != SL_OK && diag) *diag = p->failed_diag;
    return p->failed;
}

/* One prefill, or `steps` decode steps, from the depth asked for. */
static sl_status run_once(sl_profiler *p, const sl_profile_options *o, uint32_t steps, sl_diag *diag)
{
    for (uint32_t i = 0; i < p->session_count; i++)
        sl_session_truncate(p->sessions[i], o->depth_tokens);
    if (p->prefill) return after(p, feed(p, p->sessions[0], o->prompt_tokens, diag), diag);
    fill_tokens(p, p->tokens, p->session_count);
    for (uint32_t i = 0; i < steps; i++) {
        p->edge_ns = sl_now_ns();
        sl_status st = after(
            p, sl_engine_step(p->engine, p->sessions, p->tokens, p->session_count, p->tokens, diag), diag);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

static sl_status warm_up(sl_profiler *p, const sl_profile_options *o, sl_timing timing, uint64_t ns,
                         sl_diag *diag)
{
    const uint64_t begin = sl_now_ns();
    p->timing = timing;
    p->keeps = false;
    do {
        sl_status st = run_once(p, o, 1, diag);
        if (st != SL_OK) return st;
    } while (sl_now_ns() - begin < ns);
    return SL_OK;
}

/* Passes without the mode's timestamps, then those with them. Both are recorded before anything is timed:
 * compiling idles the device, and its clock falls. */
static sl_status run_kind(sl_profiler *p, const sl_profile_options *o, bool prefill, sl_timing timing,
                          sl_diag *diag)
{
    const uint32_t runs = prefill ? SL_MAX(o->prefills, 1) : 1;
    const sl_timing timings[] = {SL_TIMING_SEGMENTS, timing};
    const uint64_t warm_ns = o->warm_ms * 1000000ull;
    sl_status st;
    p->prefill = prefill;
    SL_TRY(warm_up(p, o, SL_TIMING_SEGMENTS, 0, diag));
    SL_TRY(warm_up(p, o, timing, 0, diag));
    for (int i = 0; i < 2; i++) {
        SL_TRY(warm_up(p, o, timings[i], i ? warm_ns / 4 : warm_ns, diag));
        p->keeps = true;
        for (uint32_t n = 0; n < runs; n++)
            SL_TRY(run_once(p, o, o->decode_steps, diag));
    }
cleanup:
    return st;
}

static sl_status fill_context(sl_profiler *p, const sl_profile_options *o, sl_diag *diag)
{
    sl_engine *e = p->engine;
    sl_status st = SL_OK;
    for (uint32_t i = 0; i < p->session_count && st == SL_OK; i++)
        if ((st = sl_session_create(e, NULL, &p->sessions[i], diag)) == SL_OK)
            st = feed(p, p->sessions[i], o->depth_tokens, diag);
    return st;
}

static sl_status run_passes(sl_profiler *p, const sl_profile_options *o, sl_diag *diag)
{
    static const sl_timing timings[] = {SL_TIMING_PHASES, SL_TIMING_BARRIERS, SL_TIMING_LAYERS};
    sl_engine *e = p->engine;
    sl_profile *profile = p->profile;
    sl_status st;
    SL_TRY(fill_context(p, o, diag)); /* with ordinary programs: the engine does not know the profiler yet */
    if (e->stream) {
        SL_TRY(sl_stream_trace_begin(e->stream, p->stream, diag));
        e->stream_stopped = true;
    }
    if (profile->calibrated)
        SL_TRY(
            sl_device_calibrate(e->device, &profile->clocks[0].device_ns, &profile->clocks[0].host_ns, diag));
    e->profiler = p;
    if (o->prompt_tokens) SL_TRY(run_kind(p, o, true, timings[o->mode], diag));
    if (o->decode_steps) SL_TRY(run_kind(p, o, false, timings[o->mode], diag));
    if (profile->calibrated)
        SL_TRY(
            sl_device_calibrate(e->device, &profile->clocks[1].device_ns, &profile->clocks[1].host_ns, diag));
cleanup:
    e->profiler = NULL;
    return st;
}

/* ---- the public side ---- */

static sl_status check(const sl_engine *e, const sl_profile_options *o, sl_diag *diag)
{
    if ((unsigned)o->mode > SL_PROFILE_LAYERS)
        return sl_fail(diag, SL_ERR_ARGUMENT, "profile: there is no mode %d", (int)o->mode);
    if (!o->prompt_tokens && !o->decode_steps)
        return sl_fail(diag, SL_ERR_ARGUMENT,
                       "profile: neither prompt_tokens nor decode_steps: nothing to measure");
    const uint64_t tokens = (uint64_t)o->depth_tokens + SL_MAX(o->prompt_tokens, o->decode_steps);
    if (tokens > e->options.context_tokens)
        return sl_fail(diag, SL_ERR_CONTEXT_FULL, "profile: %llu tokens do not fit into context_tokens %u",
                       (unsigned long long)tokens, e->options.context_tokens);
    if (!(sl_device_get_info(e->device)->caps.timestamp_period_ns > 0))
        return sl_fail(diag, SL_ERR_UNSUPPORTED, "profile: %s has no timestamps",
                       sl_device_get_info(e->device)->name);
    return SL_OK;
}

static sl_status make_profiler(sl_engine *e, const sl_profile_options *o, sl_profiler *p, sl_diag *diag)
{
    const sl_device_info *device = sl_device_get_info(e->device);
    *p = (sl_profiler){.engine = e, .session_count = SL_MAX(o->sequences, 1)};
    p->profile = sl_calloc(1, sizeof *p->profile);
    p->sessions = sl_calloc(p->session_count, sizeof(sl_session *));
    p->tokens = sl_calloc(p->session_count, sizeof *p->tokens);
    p->positions = sl_calloc(e->limits.tokens, sizeof *p->positions);
    p->sequences = sl_calloc(e->limits.tokens, sizeof *p->sequences);
    if (e->stream) p->stream = sl_calloc(1, sizeof *p->stream);
    if (!p->profile || !p->sessions || !p->tokens || !p->positions || !p->sequences ||
        (e->stream && !p->stream))
        return sl_fail(diag, SL_ERR_NO_MEMORY, "profile");
    p->profile->mode = o->mode;
    p->profile->calibrated = sl_caps_have(&device->caps, SL_CAP_CALIBRATED_TIME);
    snprintf(p->profile->model, sizeof p->profile->model, "%s", e->name);
    snprintf(p->profile->device, sizeof p->profile->device, "%s", device->name);
    return SL_OK;
}

/* Also after a failure: programs and the stream are as before. */
static sl_status clear_profiler(sl_profiler *p, sl_status st, sl_diag *diag)
{
    sl_engine *e = p->engine;
    if (p->stream && e->stream) {
        sl_diag own;
        const sl_status ended = sl_stream_trace_end(e->stream, &own);
        e->stream_stopped = true;
        if (st == SL_OK && ended != SL_OK) {
            st = ended;
            if (diag) *diag = own;
        }
    }
    sl_programs_clear(e); /* timed ones; the others are recorded again when they are wanted */
    for (uint32_t i = 0; p->sessions && i < p->session_count; i++)
        sl_session_destroy(p->sessions[i]);
    if (st == SL_OK && p->stream) st = sl_profile_take_stream(p->profile, p->stream, diag);
    sl_stream_trace_clear(p->stream);
    sl_free(p->stream);
    sl_free(p->sessions);
    sl_free(p->tokens);
    sl_free(p->positions);
    sl_free(p->sequences);
    return st;
}

sl_status sl_engine_profile(sl_engine *engine, const sl_profile_options *options, sl_profile **out,
                            sl_diag *diag)
{
    sl_profiler p;
    sl_status st = check(engine, options, diag);
    if (st == SL_OK) st = sl_ahead_drop(engine, diag); /* its program goes with the others, below */
    if (st != SL_OK) return st;
    st = make_profiler(engine, options, &p, diag);
    if (st == SL_OK) st = run_passes(&p, options, diag);
    st = clear_profiler(&p, st, diag);
    if (st == SL_OK) st = sl_profile_make_timeline(p.profile, diag);
    if (st == SL_OK)
        *out = p.profile;
    else
        sl_profile_destroy(p.profile);
    return st;
}

void sl_profile_destroy(sl_profile *p)
{
    if (!p) return;
    for (size_t i = 0; i < p->texts.count; i++)
        sl_free(SL_PROFILE_ITEMS(p->texts, char *)[i]);
    sl_free(p->passes.items);
    sl_free(p->kernels.items);
    sl_free(p->gaps.items);
    sl_free(p->events.items);
    sl_free(p->texts.items);
    sl_free(p);
}

void sl_profile_get(const sl_profile *p, sl_profile_view *out)
{
    *out = (sl_profile_view){
        .mode = p->mode,
        .model = p->model,
        .device = p->device,
        .clock = p->calibrated ? "calibrated" : "aligned",
        .passes = p->passes.items,
        .kernels = p->kernels.items,
        .gaps = p->gaps.items,
        .events = p->events.items,
        .pass_count = p->passes.count,
        .kernel_count = p->kernels.count,
        .gap_count = p->gaps.count,
        .event_count = p->events.count,
    };
}
