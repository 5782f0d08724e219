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

static void record_phase(recorder *r, sl_commands *commands, const sl_phase *phase)
{
    if (needs_barrier(r, phase)) {
        sl_commands_barrier(commands, SL_BARRIER_COMPUTE);
        r->out->barriers++;
        r->reads.count = r->writes.count = 0;
    }
    sl_bound_kernel_dispatch(commands, phase->kernel, phase->push);
    r->out->dispatches++;
    note(&r->reads, phase->reads, phase->read_count);
    note(&r->writes, phase->writes, phase->write_count);
}

static sl_status record_segment(recorder *r, const sl_step *step, uint32_t first, uint32_t end, bool last,
                                const sl_result_copy *result, sl_commands *commands, sl_diag *diag)
{
    sl_status st = sl_commands_begin(commands, diag);
    if (st != SL_OK) return st;
    /* Segments of one pass follow each other by semaphores, whose waits order everything before them. */
    r->reads.count = r->writes.count = 0;
    for (uint32_t i = first; i < end; i++)
        record_phase(r, commands, &step->phases[i]);
    if (last && result && result->size_bytes) {
        sl_commands_barrier(commands, SL_BARRIER_ALL);
        r->out->barriers++;
        sl_commands_copy(commands, result->source, result->source_offset, result->target,
                         result->target_offset, result->size_bytes);
    }
    if (last) sl_commands_barrier(commands, SL_BARRIER_ALL);
    return sl_commands_end(commands, diag);
}

sl_status sl_record(sl_device *device, const sl_step *step, uint32_t stage_count,
                    const sl_result_copy *result, sl_recording *out, sl_diag *diag)
{
    *out = (sl_recording){0};
    recorder r = {.out = out};
    sl_status st;
    /* Phases before the first stage form a segment of their own, so that they need not wait for it. */
    out->segments = sl_calloc((size_t)stage_count + 1, sizeof *out->segments);
    if (!out->segments) return sl_fail(diag, SL_ERR_NO_MEMORY, "recording: segments");
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
        SL_TRY(sl_commands_create(device, SL_QUEUE_COMPUTE, 0, 0, "pass", &segment->commands, diag));
        SL_TRY(record_segment(&r, step, first, next, last, result, segment->commands, diag));
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
    *recording = (sl_recording){0};
}
