/* perfetto.h - writes traces that the Perfetto UI opens: tracks with slices and counters.
 *
 * The format is a protobuf message Trace { repeated TracePacket packet = 1 }; a file may be cut after any
 * packet. Source: perfetto.dev/docs/reference/trace-packet-proto.
 *
 * Names are written in every packet (no interning): a trace of a few passes is a megabyte, and each packet
 * stands for itself. The fields of a message are written in ascending order, as other encoders do.
 *
 * Errors: kept, and returned by sl_perfetto_close, so that code which writes has no error path a packet.
 * Threads: one at a time.
 */
#ifndef SL_RUNTIME_TRACE_PERFETTO_H
#define SL_RUNTIME_TRACE_PERFETTO_H

#include "hal/base/diag.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sl_perfetto sl_perfetto;

/* Times are ns of CLOCK_MONOTONIC; the trace says how that clock stands to CLOCK_BOOTTIME, in which
 * Perfetto's own traces are, so that both can be looked at together. */
SL_NODISCARD sl_status sl_perfetto_open(const char *path, sl_perfetto **out, sl_diag *diag);
/* Writes what is left and frees. SL_ERR_IO: something could not be written. */
SL_NODISCARD sl_status sl_perfetto_close(sl_perfetto *trace, sl_diag *diag);

/* Tracks: ids are never 0. `rank` orders the tracks of one parent. */
uint64_t sl_perfetto_process(sl_perfetto *trace, uint32_t pid, const char *name);
uint64_t sl_perfetto_track(sl_perfetto *trace, uint64_t parent, int32_t rank, const char *name);
uint64_t sl_perfetto_counter_track(sl_perfetto *trace, uint64_t parent, int32_t rank, const char *name,
                                   const char *unit);

typedef enum sl_perfetto_kind { SL_PERFETTO_UINT, SL_PERFETTO_DOUBLE, SL_PERFETTO_TEXT } sl_perfetto_kind;

/* An argument that the UI shows with a slice. */
typedef struct sl_perfetto_arg {
    const char *name;
    sl_perfetto_kind kind;
    uint64_t number;
    double real;
    const char *text;
} sl_perfetto_arg;

/* Slices of one track are nested by their begins and ends, and are written in order. flow: 0, or a number
 * that joins slices of different tracks by an arrow. */
void sl_perfetto_begin(sl_perfetto *trace, uint64_t track, uint64_t time_ns, const char *name,
                       const sl_perfetto_arg *args, size_t arg_count, uint64_t flow);
void sl_perfetto_end(sl_perfetto *trace, uint64_t track, uint64_t time_ns);
void sl_perfetto_count(sl_perfetto *trace, uint64_t track, uint64_t time_ns, double value);

#endif
