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
    uint32_t stage; /* counted from 1, as in sl_phase; 0: needs none */
} sl_segment;

/* A copy at the end of the pass: results to memory that the host reads. size 0: none. */
typedef struct sl_result_copy {
    sl_buffer *source, *target;
    uint64_t source_offset, target_offset, size_bytes;
} sl_result_copy;

typedef struct sl_recording {
    sl_segment *segments;
    uint32_t segment_count;
    uint32_t dispatches, barriers;
} sl_recording;

/* `stage_count`: stages of a pass; there is a segment for each, even one without phases of its own. */
SL_NODISCARD sl_status sl_record(sl_device *device, const sl_step *step, uint32_t stage_count,
                                 const sl_result_copy *result, sl_recording *out, sl_diag *diag);
void sl_recording_clear(sl_recording *recording);

#endif
