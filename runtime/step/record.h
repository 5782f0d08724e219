/* record.h - the executor that records a list of phases as command buffers.
 *
 * One command buffer a segment: the phases between two stages of streamed weights; with nothing streamed, one
 * for the whole pass. Within a segment a barrier stands only where a phase reads what an unfinished one
 * writes, or writes what an unfinished one reads or writes.
 */
#ifndef SL_RUNTIME_STEP_RECORD_H
#define SL_RUNTIME_STEP_RECORD_H

#include "runtime/step/phase.h"

typedef struct sl_segment {
    sl_commands *commands;
    uint32_t stage;      /* counted from 1, as in sl_phase; 0: needs none */
    uint32_t timestamps; /* slots written; two a span */
} sl_segment;

/* Where timestamps stand. A device may drain its queue at each of them (NVIDIA's driver does), so the more of
 * them, the less a pass is like one without. */
typedef enum sl_timing {
    SL_TIMING_NONE,
    SL_TIMING_PHASES,   /* around every phase, with a barrier between any two: exact times of kernels */
    SL_TIMING_BARRIERS, /* around what stands between two needed barriers, which overlaps as ever */
    SL_TIMING_LAYERS,   /* around what is between the first needed barriers of two layers */
    SL_TIMING_SEGMENTS, /* around a segment */
} sl_timing;

/* What is between two timestamps: phases [phase, phase + phase_count) of the step. phase_count 0: the copy of
 * the results; or a segment without phases. */
typedef struct sl_span {
    uint32_t segment;
    uint32_t slot; /* of the segment's timestamps; the span ends at slot + 1 */
    uint32_t phase, phase_count;
    uint32_t barriers; /* needed ones, before its first phase and between its phases */
    bool copies;       /* the copy of the results is in it */
} sl_span;

/* A copy at the end of the pass: results to memory that the host reads. size 0: none. */
typedef struct sl_result_copy {
    sl_buffer *source, *target;
    uint64_t source_offset, target_offset, size_bytes;
} sl_result_copy;

typedef struct sl_recording {
    sl_segment *segments;
    uint32_t segment_count;
    uint32_t dispatches, barriers; /* barriers: the needed ones, whatever `timing` adds */
    sl_span *spans;                /* in the order of execution; none without timing */
    uint32_t span_count;
} sl_recording;

/* `stage_count`: stages of a pass; there is a segment for each, even one without phases of its own. Errors:
 * SL_ERR_UNSUPPORTED for timing on a device without timestamps. */
SL_NODISCARD sl_status sl_record(sl_device *device, const sl_step *step, uint32_t stage_count,
                                 const sl_result_copy *result, sl_timing timing, sl_recording *out,
                                 sl_diag *diag);
void sl_recording_clear(sl_recording *recording);

#endif
