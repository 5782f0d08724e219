/* stream.h - streamed weights: from the file through the host ring into the device ring, ahead of the
 * kernels.
 *
 * One thread owns the i/o ring and the transfer queue. It walks the endless sequence of stages (pass 0 stage
 * 1, 2, ... pass 1 stage 1, ...; the n-th of all has number n) and for each: waits until its bytes of the
 * host ring are free, reads, waits until its bytes of the device ring are free, copies. So the drive works
 * across layer and token boundaries, up to the capacity of the rings. Two timeline semaphores carry the
 * numbers:
 *
 *   copied    raised to n by the transfer queue when stage n is in the device ring
 *   computed  raised to n by the compute queue when the kernels of stage n are done (the caller submits them)
 *
 * A read that fails stops the stream: sl_stream_await returns the error, and the pass must be given up.
 *
 * Threads: created, used and destroyed by one thread.
 */
#ifndef SL_RUNTIME_STREAM_STREAM_H
#define SL_RUNTIME_STREAM_STREAM_H

#include "hal/hal.h"
#include "io/io.h"
#include "runtime/plan/plan.h"

typedef struct sl_stream sl_stream;

typedef struct sl_stream_options {
    sl_device *device;
    const sl_plan *plan;             /* with stage_count > 0; outlives the stream */
    const sl_io_options *io_options; /* for the stream's own engine; copied */
    const char *const *paths;        /* one a file of the model */
    uint32_t path_count;
    sl_io_arena *arena;      /* at least plan->host_ring_bytes; outlives the stream */
    sl_buffer *arena_buffer; /* the arena as the device sees it, imported; or NULL, and then */
    sl_buffer *staging;      /* mapped memory of the same size, which copies pass through */
    sl_buffer *ring;         /* device ring */
} sl_stream_options;

SL_NODISCARD sl_status sl_stream_create(const sl_stream_options *options, sl_stream **out, sl_diag *diag);
void sl_stream_destroy(sl_stream *stream); /* stops reading; waits for copies under way */

sl_semaphore *sl_stream_copied(sl_stream *stream);
sl_semaphore *sl_stream_computed(sl_stream *stream);

/* Blocks until the copy of stage number n has been submitted, so that a submission that waits for it cannot
 * stand before it in a queue. Errors: those of the read (SL_ERR_IO, SL_ERR_TRUNCATED, ...), of the device. */
SL_NODISCARD sl_status sl_stream_await(sl_stream *stream, uint64_t number, sl_diag *diag);

/* Are the files still the ones that were opened? Called after a pass, it tells that all the pass read was
 * read from them as they were. Errors: SL_ERR_NOT_FOUND (deleted), SL_ERR_TRUNCATED (written to, replaced),
 * SL_ERR_IO. */
SL_NODISCARD sl_status sl_stream_check(const sl_stream *stream, sl_diag *diag);

/* After a failed pass: waits for the device, forgets what was read, checks that the files are still the ones
 * that were opened and starts again with the first stage of a pass. Its number, above all that were used,
 * goes to *out_first. On failure it may be called again. */
SL_NODISCARD sl_status sl_stream_restart(sl_stream *stream, uint64_t *out_first, sl_diag *diag);

/* Is `file`, opened just now, the file whose header was read? SL_ERR_TRUNCATED when its size, time or inode
 * differ. */
SL_NODISCARD sl_status sl_file_is_models(const sl_io_file *file, const sl_gguf_file *header, sl_diag *diag);

/* Before something that the device may still use is freed: waits until it is idle. A wait that fails for want
 * of memory is tried again; on a lost device nothing runs. */
void sl_settle(sl_device *device);

typedef struct sl_stream_stats {
    uint64_t read_bytes; /* of completed reads */
    uint64_t used_bytes; /* of the reads of stages that were awaited: without what was read ahead */
    uint64_t stall_ns;   /* spent in sl_stream_await */
} sl_stream_stats;

void sl_stream_get_stats(sl_stream *stream, sl_stream_stats *out);

/* ---- For profiles ---- */

/* A stage that was read from the drive (host clock), or copied to the device (device clock). */
typedef struct sl_stream_event {
    bool copy;
    uint64_t begin_ns, end_ns, bytes;
} sl_stream_event;

typedef struct sl_stream_trace {
    sl_stream_event *events;
    size_t count, capacity;
    /* By stage: when its reads began and ended; what is being copied, 0: nothing that is not noted yet. */
    uint64_t *read_begin_ns, *read_end_ns, *copying;
    bool incomplete; /* memory was out */
} sl_stream_trace;

/* Stops the stream and from its next start on notes reads, and copies where the transfer queue has
 * timestamps. `trace` is zeroed, and outlives sl_stream_trace_end. The caller restarts the stream after both,
 * as after a failed pass. */
SL_NODISCARD sl_status sl_stream_trace_begin(sl_stream *stream, sl_stream_trace *trace, sl_diag *diag);
SL_NODISCARD sl_status sl_stream_trace_end(sl_stream *stream, sl_diag *diag);
void sl_stream_trace_clear(sl_stream_trace *trace);

#endif
