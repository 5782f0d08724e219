#include "runtime/step/record.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

/* Ranges touched since the last barrier. A list that overflows forces a barrier: correct, and rare. */
enum { PENDING_MAX = 64 };

typedef struct pending {
    sl_range ranges[PENDING_MAX];
    uint32_t count;
} pending;

typedef struct recorder {
    pending reads, writes;
    sl_recording *out;
    const sl_step *step;
    sl_timing timing;
    sl_span *span; /* open, or NULL */
    uint32_t due;  /* needed barriers since the last span */
} recorder;

static bool touches(const pending *list, const sl_range *ranges, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < list->count; k++)
            if (ranges[i].begin < ranges[i].end && ranges[i].begin < list->ranges[k].end &&
                list->ranges[k].begin < ranges[i].end)
                return true;
    return false;
}

static void note(pending *list, const sl_range *ranges, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (ranges[i].begin < ranges[i].end) list->ranges[list->count++] = ranges[i];
}

static bool needs_barrier(const recorder *r, const sl_phase *phase)
{
    return touches(&r->writes, phase->reads, phase->read_count) ||
           touches(&r->writes, phase->writes, phase->write_count) ||
           touches(&r->reads, phase->writes, phase->write_count) ||
           r->reads.count + phase->read_count > PENDING_MAX ||
           r->writes.count + phase->write_count > PENDING_MAX;
}

/* ---- timestamps ---- */

static void open_span(recorder *r, uint32_t phase)
{
    if (r->timing == SL_TIMING_NONE) return;
    sl_segment *segment = &r->out->segments[r->out->segment_count - 1];
    r->span = &r->out->spans[r->out->span_count++];
    *r->span = (sl_span){.segment = r->out->segment_count - 1,
                         .slot = segment->timestamps,
                         .phase = phase,
                         .barriers = r->due};
    r->due = 0;
    sl_commands_timestamp(segment->commands, segment->timestamps);
    segment->timestamps += 2;
}

static void close_span(recorder *r)
{
    if (!r->span) return;
    sl_commands_timestamp(r->out->segments[r->span->segment].commands, r->span->slot + 1);
    r->span = NULL;
}

/* Does a span end before phase `index`, which needs a barrier or not? */
static bool span_ends(const recorder *r, uint32_t index, bool needed)
{
    const sl_phase *phases = r->step->phases;
    switch (r->timing) {
    case SL_TIMING_PHASES:
        return true;
    case SL_TIMING_BARRIERS:
        return needed;
    case SL_TIMING_LAYERS: /* a layer that begins without a barrier stays with the one before it */
        return needed && phases[index].layer != phases[r->span->phase].layer;
    default:
        return false;
    }
}

/* A barrier that is needed belongs to the span that it stands in, or to the next. */
static void count_barrier(recorder *r)
{
    r->out->barriers++;
    *(r->span ? &r->span->barriers : &r->due) += 1;
}

/* ---- phases ---- */

static void record_phase(recorder *r, sl_commands *commands, uint32_t index)
{
    const sl_phase *phase = &r->step->phases[index];
    const bool needed = needs_barrier(r, phase);
    const bool ends = r->span && span_ends(r, index, needed);
    if (ends) close_span(r);
    if (needed || ends) sl_commands_barrier(commands, SL_BARRIER_COMPUTE);
    if (needed) {
        count_barrier(r);
        r->reads.count = r->writes.count = 0;
    }
    if (!r->span) open_span(r, index);
    sl_bound_kernel_dispatch(commands, phase->kernel, phase->push);
    r->out->dispatches++;
    if (r->span) r->span->phase_count++;
    note(&r->reads, phase->reads, phase->read_count);
    note(&r->writes, phase->writes, phase->write_count);
}

static void record_result(recorder *r, const sl_result_copy *result, sl_commands *commands, uint32_t end)
{
    const bool alone = r->span && r->timing != SL_TIMING_SEGMENTS;
    if (alone) close_span(r);
    sl_commands_barrier(commands, SL_BARRIER_ALL);
    count_barrier(r);
    if (!r->span) open_span(r, end);
    if (r->span) r->span->copies = true;
    sl_commands_copy(commands, result->source, result->source_offset, result->target, result->target_offset,
                     result->size_bytes);
}

static sl_status record_segment(recorder *r, uint32_t first, uint32_t end, bool last,
                                const sl_result_copy *result, sl_commands *commands, sl_diag *diag)
{
    sl_status st = sl_commands_begin(commands, diag);
    if (st != SL_OK) return st;
    /* Segments of one pass follow each other by semaphores, whose waits order everything before them. */
    r->reads.count = r->writes.count = 0;
    const bool copies = last && result && result->size_bytes;
    if (r->timing == SL_TIMING_SEGMENTS || (first == end && !copies)) open_span(r, first);
    for (uint32_t i = first; i < end; i++)
        record_phase(r, commands, i);
    if (copies) record_result(r, result, commands, end);
    close_span(r);
    if (last) sl_commands_barrier(commands, SL_BARRIER_ALL);
    return sl_commands_end(commands, diag);
}

/* A span a phase, and one more a segment: for the results, or for a segment without phases. */
static sl_status allocate(recorder *r, uint32_t stage_count, sl_diag *diag)
{
    sl_recording *out = r->out;
    out->segments = sl_calloc((size_t)stage_count + 1, sizeof *out->segments);
    if (r->timing != SL_TIMING_NONE)
        out->spans = sl_calloc((size_t)r->step->count + stage_count + 1, sizeof *out->spans);
    return out->segments && (out->spans || r->timing == SL_TIMING_NONE)
               ? SL_OK
               : sl_fail(diag, SL_ERR_NO_MEMORY, "recording: segments");
}

sl_status sl_record(sl_device *device, const sl_step *step, uint32_t stage_count,
                    const sl_result_copy *result, sl_timing timing, sl_recording *out, sl_diag *diag)
{
    *out = (sl_recording){0};
    recorder r = {.out = out, .step = step, .timing = timing};
    sl_status st;
    SL_TRY(allocate(&r, stage_count, diag));
    /* Phases before the first stage form a segment of their own, so that they need not wait for it. */
    uint32_t next = 0;
    for (uint32_t stage = 0; stage <= stage_count; stage++) {
        const uint32_t first = next;
        while (next < step->count && step->phases[next].stage <= stage)
            next++;
        const bool last = stage == stage_count;
        if (last) next = step->count;
        if (stage == 0 && next == first && !last) continue;
        sl_segment *segment = &out->segments[out->segment_count++];
        segment->stage = stage;
        const uint32_t timestamps = timing == SL_TIMING_NONE ? 0 : 2 * (next - first + 1);
        SL_TRY(sl_commands_create(device, SL_QUEUE_COMPUTE, 0, timestamps, "pass", &segment->commands, diag));
        SL_TRY(record_segment(&r, first, next, last, result, segment->commands, diag));
    }
    return SL_OK;
cleanup:
    sl_recording_clear(out);
    return st;
}

void sl_recording_clear(sl_recording *recording)
{
    for (uint32_t i = 0; i < recording->segment_count; i++)
        sl_commands_destroy(recording->segments[i].commands);
    sl_free(recording->segments);
    sl_free(recording->spans);
    *recording = (sl_recording){0};
}
