/* null.h - what the null driver counted. The driver runs nothing and moves nothing: plans are built and
 * recorded against the device of a table (sl_device_options.table), and looked at.
 *
 * SL_MEMORY_UPLOAD, READBACK, DEVICE_MAPPED: real host memory, zeroed, so that host code which fills them
 * works. SL_MEMORY_DEVICE: an address that overlaps no other, no memory; together with DEVICE_MAPPED it is
 * held to the table's device_bytes. Submissions complete at once, their waits are taken as reached.
 * Timestamps are 0. Fields of the table's caps that are 0 keep the table's 0, except max_push_bytes,
 * max_groups and max_buffer_bytes, without which nothing could be recorded: they become those of the default
 * table. Threads: any. */
#ifndef SL_HAL_NULL_H
#define SL_HAL_NULL_H

#include "hal/hal.h"

typedef struct sl_null_counts {
    uint64_t dispatches, barriers, copies, fills, timestamps;
    uint64_t copied_bytes, filled_bytes;
} sl_null_counts;

/* What the recording holds. `commands` is of a null device. */
void sl_null_recorded(const sl_commands *commands, sl_null_counts *out);

/* What was submitted to the device so far, a recording once for each submission. `device` is a null device.
 */
void sl_null_submitted(sl_device *device, sl_null_counts *out, uint64_t *out_submissions);

#endif
