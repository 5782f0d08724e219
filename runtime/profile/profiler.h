/* profiler.h - what collects a profile while passes run, and what is made of it.
 *
 *   profiler.c   runs the passes that a profile is made of; notes what the host does
 *   spans.c      the timestamps of a pass, with what stood between them
 *   timeline.c   device times on the host's clock; gaps and their causes
 *   to_trace.c   a profile as a Perfetto trace
 *
 * An engine that profiles has a profiler; sl_pass_run notes into it. All of these functions take NULL for an
 * engine that does not, and then do nothing, not even look at the clock.
 *
 * Threads: those of the engine.
 */
#ifndef SL_RUNTIME_PROFILE_PROFILER_H
#define SL_RUNTIME_PROFILE_PROFILER_H

#include "runtime/engine/engine.h"
#include "runtime/step/cost.h"

typedef struct sl_profiler sl_profiler;

/* ---- For sl_pass_run ---- */

/* How programs are recorded now. */
sl_timing sl_profiler_timing(const sl_profiler *profiler);
/* A pass begins. Returns the time now. */
uint64_t sl_profiler_begin(sl_profiler *profiler);
uint64_t sl_profiler_now(const sl_profiler *profiler);
/* The host did `activity` since then. Returns the time now. */
uint64_t sl_profiler_lap(sl_profiler *profiler, sl_profile_activity activity, uint64_t since_ns);
/* The device has finished the pass. Its timestamps are taken later, so that it costs the pass no time: the
 * program must not be submitted again before sl_profiler_begin. */
SL_NODISCARD sl_status sl_profiler_end(sl_profiler *profiler, const sl_program *program,
                                       const sl_pass_input *input, sl_diag *diag);

/* ---- Inside ---- */

/* Grows with malloc's doubling. */
typedef struct sl_profile_array {
    void *items;
    size_t count, capacity;
} sl_profile_array;

/* Device clock and host clock at one moment. */
typedef struct sl_clock_point {
    uint64_t device_ns, host_ns;
} sl_clock_point;

struct sl_profile {
    sl_profile_mode mode;
    char model[128], device[256];
    bool calibrated;
    sl_clock_point clocks[2]; /* before the passes and after them */
    sl_profile_array passes;  /* sl_profile_pass */
    sl_profile_array kernels; /* sl_profile_kernel; device times until the timeline is made */
    sl_profile_array gaps;    /* sl_profile_gap */
    sl_profile_array events;  /* sl_profile_event */
    sl_profile_array texts;   /* char *: joined labels */
};

struct sl_profiler {
    sl_engine *engine;
    sl_profile *profile;
    sl_timing timing;
    bool keeps;       /* passes are measured; else they warm the device up */
    bool prefill;     /* what the passes are */
    uint64_t edge_ns; /* where the next pass begins: the call that runs it, or the end of the last one */
    sl_status failed; /* of a function that has no way to tell */
    sl_diag failed_diag;

    /* A pass whose timestamps are to be taken, once its result has been dealt with. */
    const sl_program *pending;
    uint32_t *positions, *sequences; /* its input; room for the largest */

    sl_session **sessions;
    uint32_t session_count;
    uint32_t *tokens; /* one a session, or those of a prompt */
    sl_stream_trace *stream;
};

/* Room for one more item of `size` bytes, zeroed; NULL when memory is out. */
void *sl_profile_add(sl_profile_array *array, size_t size);

#define SL_PROFILE_ITEMS(array, type) ((type *)(array).items)

/* Appends a sl_profile_kernel for each span of the last pass. */
SL_NODISCARD sl_status sl_profile_take_spans(sl_profile *profile, sl_engine *engine,
                                             const sl_program *program, const sl_attended *attended,
                                             sl_diag *diag);
/* Appends reads and copies as events. */
SL_NODISCARD sl_status sl_profile_take_stream(sl_profile *profile, const sl_stream_trace *trace,
                                              sl_diag *diag);
/* Moves device times to the host's clock, sorts the events, and finds the gaps. */
SL_NODISCARD sl_status sl_profile_make_timeline(sl_profile *profile, sl_diag *diag);

#endif
