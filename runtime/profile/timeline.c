/* From device times and notes to one timeline: everything on the host's clock, and every moment of a pass
 * either busy or in a gap with a cause. */
#include "runtime/profile/profiler.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <stdlib.h>

/* ---- clocks ---- */

/* Shorter intervals say less about the two clocks' rates than their readings' error does. */
#define RATE_NS_MIN 10000000u

/* Device time on the host's clock, by the calibrations before and after the passes. */
static uint64_t by_calibration(const sl_clock_point c[2], uint64_t device_ns)
{
    const int64_t since = (int64_t)(device_ns - c[0].device_ns);
    const uint64_t device = c[1].device_ns - c[0].device_ns, host = c[1].host_ns - c[0].host_ns;
    if (device < RATE_NS_MIN) return c[0].host_ns + (uint64_t)since;
    return c[0].host_ns + (uint64_t)(int64_t)((double)since * ((double)host / (double)device));
}

static const sl_profile_event *find_event(const sl_profile *p, const sl_profile_pass *pass,
                                          sl_profile_activity activity)
{
    const sl_profile_event *events = SL_PROFILE_ITEMS(p->events, sl_profile_event) + pass->event;
    for (size_t i = 0; i < pass->event_count; i++)
        if (events[i].activity == activity) return &events[i];
    return NULL;
}

/* Without calibrated clocks: a pass is taken to end when the host learns of it. */
static uint64_t offset_of(const sl_profile *p, const sl_profile_pass *pass)
{
    const sl_profile_kernel *k = SL_PROFILE_ITEMS(p->kernels, sl_profile_kernel) + pass->kernel;
    const sl_profile_event *wait = find_event(p, pass, SL_PROFILE_HOST_WAIT);
    return wait && pass->kernel_count ? wait->end_ns - k[pass->kernel_count - 1].end_ns : 0;
}

static void to_host_clock(sl_profile *p)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < p->passes.count; i++) {
        sl_profile_pass *pass = &SL_PROFILE_ITEMS(p->passes, sl_profile_pass)[i];
        sl_profile_kernel *k = SL_PROFILE_ITEMS(p->kernels, sl_profile_kernel) + pass->kernel;
        offset = offset_of(p, pass);
        for (size_t n = 0; n < pass->kernel_count; n++) {
            k[n].begin_ns = p->calibrated ? by_calibration(p->clocks, k[n].begin_ns) : k[n].begin_ns + offset;
            k[n].end_ns = p->calibrated ? by_calibration(p->clocks, k[n].end_ns) : k[n].end_ns + offset;
        }
    }
    for (size_t i = 0; i < p->events.count; i++) {
        sl_profile_event *e = &SL_PROFILE_ITEMS(p->events, sl_profile_event)[i];
        if (e->activity != SL_PROFILE_COPY) continue;
        e->begin_ns = p->calibrated ? by_calibration(p->clocks, e->begin_ns) : e->begin_ns + offset;
        e->end_ns = p->calibrated ? by_calibration(p->clocks, e->end_ns) : e->end_ns + offset;
    }
}

/* ---- gaps ---- */

typedef struct gaps {
    sl_profile *p;
    sl_profile_pass *pass;
    uint64_t at; /* everything before is accounted for */
    bool out_of_memory;
} gaps;

/* The device was idle until `until`, if that is later than what is accounted for. */
static void idle_until(gaps *g, uint64_t until, sl_profile_cause cause)
{
    if (until <= g->at) return;
    sl_profile_gap *gap = sl_profile_add(&g->p->gaps, sizeof *gap);
    if (!gap) {
        g->out_of_memory = true;
        return;
    }
    *gap = (sl_profile_gap){cause, (uint32_t)(g->pass - SL_PROFILE_ITEMS(g->p->passes, sl_profile_pass)),
                            g->at, until};
    g->at = until;
}

/* When the copy that submission `number` of the pass waited for ended; 0: it did not wait, or is not known.
 * The copies of a pass are taken to be those that ended last before its submissions began. */
static uint64_t copied_before(const sl_profile *p, uint64_t begin_ns)
{
    uint64_t last = 0;
    for (size_t i = 0; i < p->events.count; i++) {
        const sl_profile_event *e = &SL_PROFILE_ITEMS(p->events, sl_profile_event)[i];
        if (e->activity == SL_PROFILE_COPY && e->end_ns <= begin_ns) last = SL_MAX(last, e->end_ns);
    }
    return last;
}

/* The idle time before the first kernel of a submission, by what the host did meanwhile. */
static void idle_before_submission(gaps *g, uint32_t submission, uint64_t begin_ns)
{
    const sl_profile_event *events = SL_PROFILE_ITEMS(g->p->events, sl_profile_event) + g->pass->event;
    const sl_profile_event *submit = NULL, *stream = NULL;
    for (size_t i = 0, n = 0; i < g->pass->event_count && !submit; i++) {
        if (events[i].activity == SL_PROFILE_HOST_STREAM) stream = &events[i];
        if (events[i].activity != SL_PROFILE_HOST_SUBMIT) continue;
        if (n++ == submission)
            submit = &events[i];
        else
            stream = NULL;
    }
    if (submit) {
        if (stream) {
            idle_until(g, SL_MIN(stream->begin_ns, begin_ns), SL_PROFILE_EMPTY);
            idle_until(g, SL_MIN(stream->end_ns, begin_ns), SL_PROFILE_STREAM);
        }
        idle_until(g, SL_MIN(submit->begin_ns, begin_ns), SL_PROFILE_EMPTY);
        idle_until(g, SL_MIN(submit->end_ns, begin_ns), SL_PROFILE_SUBMIT);
        if (stream) idle_until(g, copied_before(g->p, begin_ns), SL_PROFILE_STREAM);
    }
    idle_until(g, begin_ns, SL_PROFILE_START);
}

/* Kernels follow one another, so the gaps are what is between them; what the two clocks' error lets overlap
 * is counted once. */
static void find_gaps(gaps *g)
{
    sl_profile_pass *pass = g->pass;
    const sl_profile_kernel *k = SL_PROFILE_ITEMS(g->p->kernels, sl_profile_kernel) + pass->kernel;
    const size_t first = g->p->gaps.count;
    if (pass->kernel_count) {
        pass->device_begin_ns = k[0].begin_ns;
        pass->device_end_ns = k[pass->kernel_count - 1].end_ns;
        pass->begin_ns = SL_MIN(pass->begin_ns, pass->device_begin_ns);
        pass->end_ns = SL_MAX(pass->end_ns, pass->device_end_ns);
    }
    g->at = pass->begin_ns;
    for (size_t i = 0; i < pass->kernel_count; i++) {
        if (i && k[i].submission == k[i - 1].submission)
            idle_until(g, k[i].begin_ns, SL_PROFILE_BARRIER);
        else
            idle_before_submission(g, k[i].submission, k[i].begin_ns);
        if (k[i].end_ns > g->at) pass->busy_ns += k[i].end_ns - g->at;
        g->at = SL_MAX(g->at, k[i].end_ns);
    }
    const sl_profile_event *wait = find_event(g->p, pass, SL_PROFILE_HOST_WAIT);
    if (wait) idle_until(g, SL_MIN(wait->end_ns, pass->end_ns), SL_PROFILE_RESULT);
    idle_until(g, pass->end_ns, SL_PROFILE_EMPTY);
    pass->gap = first;
    pass->gap_count = g->p->gaps.count - first;
}

/* ---- streamed weights ---- */

sl_status sl_profile_take_stream(sl_profile *p, const sl_stream_trace *trace, sl_diag *diag)
{
    if (trace->incomplete) return sl_fail(diag, SL_ERR_NO_MEMORY, "profile: events of streamed weights");
    for (size_t i = 0; i < trace->count; i++) {
        const sl_stream_event *from = &trace->events[i];
        sl_profile_event *e = sl_profile_add(&p->events, sizeof *e);
        if (!e) return sl_fail(diag, SL_ERR_NO_MEMORY, "profile: events of streamed weights");
        *e = (sl_profile_event){from->copy ? SL_PROFILE_COPY : SL_PROFILE_READ, SL_PROFILE_NO_PASS,
                                from->begin_ns, from->end_ns, from->bytes};
    }
    return SL_OK;
}

static int by_begin(const void *a, const void *b)
{
    const sl_profile_event *x = a, *y = b;
    return x->begin_ns < y->begin_ns ? -1 : x->begin_ns > y->begin_ns;
}

sl_status sl_profile_make_timeline(sl_profile *p, sl_diag *diag)
{
    to_host_clock(p);
    size_t own = 0; /* events of passes, which are in order */
    for (size_t i = 0; i < p->passes.count; i++)
        own += SL_PROFILE_ITEMS(p->passes, sl_profile_pass)[i].event_count;
    if (p->events.count > own)
        qsort(SL_PROFILE_ITEMS(p->events, sl_profile_event) + own, p->events.count - own,
              sizeof(sl_profile_event), by_begin);
    gaps g = {.p = p};
    for (size_t i = 0; i < p->passes.count; i++) {
        g.pass = &SL_PROFILE_ITEMS(p->passes, sl_profile_pass)[i];
        find_gaps(&g);
    }
    return g.out_of_memory ? sl_fail(diag, SL_ERR_NO_MEMORY, "profile: gaps") : SL_OK;
}

/* ---- names ---- */

const char *sl_profile_cause_name(sl_profile_cause cause)
{
    static const char *const names[SL_PROFILE_CAUSES] = {
        [SL_PROFILE_BARRIER] = "barrier",   [SL_PROFILE_STREAM] = "waiting for stream",
        [SL_PROFILE_SUBMIT] = "CPU submit", [SL_PROFILE_START] = "start",
        [SL_PROFILE_EMPTY] = "empty queue", [SL_PROFILE_RESULT] = "completion",
    };
    return (unsigned)cause < SL_PROFILE_CAUSES ? names[cause] : "unknown";
}

const char *sl_profile_activity_name(sl_profile_activity activity)
{
    static const char *const names[SL_PROFILE_ACTIVITIES] = {
        [SL_PROFILE_HOST_PREPARE] = "prepare",
        [SL_PROFILE_HOST_RECORD] = "record",
        [SL_PROFILE_HOST_BATCH] = "batch",
        [SL_PROFILE_HOST_STREAM] = "await stream",
        [SL_PROFILE_HOST_SUBMIT] = "submit",
        [SL_PROFILE_HOST_WAIT] = "wait",
        [SL_PROFILE_HOST_RESULT] = "result",
        [SL_PROFILE_READ] = "read",
        [SL_PROFILE_COPY] = "copy",
    };
    return (unsigned)activity < SL_PROFILE_ACTIVITIES ? names[activity] : "unknown";
}
