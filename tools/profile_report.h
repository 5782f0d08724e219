/* profile_report.h - what `sluice profile` and `sluice bench --verbose` make of a profile: sums by kernel, by
 * layer, by cause, a pass on average. */
#ifndef SL_TOOLS_PROFILE_REPORT_H
#define SL_TOOLS_PROFILE_REPORT_H

#include "sluice.h"

#include <jansson.h>

/* Sums over passes; divide by the number of passes. */
typedef struct report_row {
    const char *label, *kernel, *variant; /* of kernels */
    uint32_t layer;                       /* of layers */
    double kernels, seconds, weight_bytes, activation_bytes, kv_bytes, flops;
} report_row;

/* Passes of one kind, with the mode's timestamps or without. Strings are the profile's. */
typedef struct report {
    bool prefill;
    uint32_t passes, tokens; /* tokens of one */
    uint32_t depth_tokens;   /* of the first */
    uint32_t dispatches, barriers, layer_dispatches, layer_barriers;
    double seconds, device_seconds, busy_seconds, idle_seconds; /* host, from call to result; device: first to
                                                                   last kernel; busy + idle = seconds */
    double cause_seconds[SL_PROFILE_CAUSES], activity_seconds[SL_PROFILE_ACTIVITIES];
    double untimed_seconds, untimed_device_seconds; /* of the passes without the mode's timestamps */
    uint32_t untimed_passes;
    report_row *rows; /* kernels, slowest first */
    size_t row_count;
    report_row *layers; /* in order */
    size_t layer_count;
    report_row total;
} report;

/* Everything a pass on average. Returns false when memory is out; clear in any case. A kind without passes
 * has passes 0. */
bool report_make(report *out, const sl_profile_view *view, bool prefill);
void report_clear(report *r);

/* Shares of ceilings are "-" where a ceiling is 0. */
void report_print(const report *r, const sl_ceilings *ceilings, bool layers);
json_t *report_json(const report *r, const sl_ceilings *ceilings);

/* Two lines: which paths run; what the device was measured to reach. */
void report_print_paths(const sl_engine_info *info);
void report_print_ceilings(const sl_ceilings *ceilings);
json_t *report_ceilings_json(const sl_ceilings *ceilings);

/* "barrier 12.0, CPU submit 3.1": the parts of a sum in us, those of nothing left out. */
typedef const char *(*part_name)(size_t index);
void report_print_parts(FILE *out, const double *seconds, size_t count, part_name name);
const char *report_cause_name(size_t index);
const char *report_activity_name(size_t index);

#endif
