#include "runtime/trace/perfetto.h"

#include "hal/base/alloc.h"
#include "runtime/trace/protobuf.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

/* Field numbers of perfetto/trace/trace_packet.proto and what it includes. */
enum {
    TRACE_PACKET = 1,

    PACKET_CLOCK_SNAPSHOT = 6,
    PACKET_TIMESTAMP = 8,
    PACKET_SEQUENCE_ID = 10,
    PACKET_TRACK_EVENT = 11,
    PACKET_CLOCK_ID = 58,
    PACKET_TRACK_DESCRIPTOR = 60,

    SNAPSHOT_CLOCKS = 1,
    CLOCK_ID = 1,
    CLOCK_TIMESTAMP = 2,
    BUILTIN_MONOTONIC = 3,
    BUILTIN_BOOTTIME = 6,

    TRACK_UUID = 1,
    TRACK_NAME = 2,
    TRACK_PROCESS = 3,
    TRACK_PARENT_UUID = 5,
    TRACK_COUNTER = 8,
    TRACK_CHILD_ORDERING = 11,
    TRACK_SIBLING_RANK = 12,
    ORDERING_EXPLICIT = 3,
    PROCESS_PID = 1,
    PROCESS_NAME = 6,
    COUNTER_UNIT_NAME = 6,

    EVENT_ANNOTATIONS = 4,
    EVENT_TYPE = 9,
    EVENT_TRACK_UUID = 11,
    EVENT_NAME = 23,
    EVENT_COUNTER_VALUE = 44, /* double */
    EVENT_FLOW_IDS = 47,
    TYPE_BEGIN = 1,
    TYPE_END = 2,
    TYPE_COUNTER = 4,

    ANNOTATION_UINT = 3,
    ANNOTATION_DOUBLE = 5,
    ANNOTATION_TEXT = 6,
    ANNOTATION_NAME = 10,
};

/* The one writer of this trace. */
#define SEQUENCE_ID      1
#define FLUSH_BYTES      65536
#define FIRST_TRACK_UUID 1

struct sl_perfetto {
    FILE *file;
    sl_pb pb;
    uint64_t next_track;
    int failed_errno;
    char path[256]; /* for the message */
};

static void flush(sl_perfetto *t, size_t at_least)
{
    if (t->pb.length < at_least) return;
    errno = 0;
    if (fwrite(t->pb.bytes, 1, t->pb.length, t->file) != t->pb.length && !t->failed_errno)
        t->failed_errno = errno ? errno : EIO;
    t->pb.length = 0;
}

/* Packets begin with field 8 or, without a time, with what they say: fields stay in order. */
static size_t open_packet(sl_perfetto *t)
{
    flush(t, FLUSH_BYTES);
    return sl_pb_open(&t->pb, TRACE_PACKET);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void snapshot_clock(sl_pb *pb, uint32_t id, uint64_t ns)
{
    const size_t clock = sl_pb_open(pb, SNAPSHOT_CLOCKS);
    sl_pb_uint(pb, CLOCK_ID, id);
    sl_pb_uint(pb, CLOCK_TIMESTAMP, ns);
    sl_pb_close(pb, clock);
}

sl_status sl_perfetto_open(const char *path, sl_perfetto **out, sl_diag *diag)
{
    sl_perfetto *t = sl_calloc(1, sizeof *t);
    if (!t) return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: trace", path);
    t->next_track = FIRST_TRACK_UUID;
    snprintf(t->path, sizeof t->path, "%s", path);
    t->file = fopen(path, "wb");
    if (!t->file) {
        const int err = errno;
        sl_free(t);
        return sl_fail_errno(diag, SL_ERR_IO, err, "%s", path);
    }
    const size_t packet = open_packet(t), snapshot = sl_pb_open(&t->pb, PACKET_CLOCK_SNAPSHOT);
    snapshot_clock(&t->pb, BUILTIN_MONOTONIC, clock_ns(CLOCK_MONOTONIC));
    snapshot_clock(&t->pb, BUILTIN_BOOTTIME, clock_ns(CLOCK_BOOTTIME));
    sl_pb_close(&t->pb, snapshot);
    sl_pb_uint(&t->pb, PACKET_SEQUENCE_ID, SEQUENCE_ID);
    sl_pb_close(&t->pb, packet);
    *out = t;
    return SL_OK;
}

sl_status sl_perfetto_close(sl_perfetto *t, sl_diag *diag)
{
    if (!t) return SL_OK;
    flush(t, 1);
    if (fclose(t->file) != 0 && !t->failed_errno) t->failed_errno = errno;
    sl_status st = SL_OK;
    if (t->pb.failed)
        st = sl_fail(diag, SL_ERR_NO_MEMORY, "%s: trace", t->path);
    else if (t->failed_errno)
        st = sl_fail_errno(diag, SL_ERR_IO, t->failed_errno, "%s", t->path);
    sl_pb_clear(&t->pb);
    sl_free(t);
    return st;
}

/* ---- tracks ---- */

typedef struct new_track {
    uint64_t parent;
    int32_t rank;
    const char *name;
    uint32_t pid;     /* of a process; 0: none */
    const char *unit; /* of a counter; NULL: none */
} new_track;

static uint64_t add_track(sl_perfetto *t, const new_track *n)
{
    sl_pb *pb = &t->pb;
    const size_t packet = open_packet(t);
    sl_pb_uint(pb, PACKET_SEQUENCE_ID, SEQUENCE_ID);
    const size_t track = sl_pb_open(pb, PACKET_TRACK_DESCRIPTOR);
    sl_pb_uint(pb, TRACK_UUID, t->next_track);
    if (!n->pid) sl_pb_text(pb, TRACK_NAME, n->name);
    if (n->pid) {
        const size_t process = sl_pb_open(pb, TRACK_PROCESS);
        sl_pb_uint(pb, PROCESS_PID, n->pid);
        sl_pb_text(pb, PROCESS_NAME, n->name);
        sl_pb_close(pb, process);
    }
    if (n->parent) sl_pb_uint(pb, TRACK_PARENT_UUID, n->parent);
    if (n->unit) {
        const size_t counter = sl_pb_open(pb, TRACK_COUNTER);
        sl_pb_text(pb, COUNTER_UNIT_NAME, n->unit);
        sl_pb_close(pb, counter);
    }
    if (n->pid) sl_pb_uint(pb, TRACK_CHILD_ORDERING, ORDERING_EXPLICIT);
    if (n->parent) sl_pb_int(pb, TRACK_SIBLING_RANK, n->rank);
    sl_pb_close(pb, track);
    sl_pb_close(pb, packet);
    return t->next_track++;
}

uint64_t sl_perfetto_process(sl_perfetto *t, uint32_t pid, const char *name)
{
    return add_track(t, &(new_track){.name = name, .pid = pid});
}

uint64_t sl_perfetto_track(sl_perfetto *t, uint64_t parent, int32_t rank, const char *name)
{
    return add_track(t, &(new_track){.parent = parent, .rank = rank, .name = name});
}

uint64_t sl_perfetto_counter_track(sl_perfetto *t, uint64_t parent, int32_t rank, const char *name,
                                   const char *unit)
{
    return add_track(t, &(new_track){.parent = parent, .rank = rank, .name = name, .unit = unit});
}

/* ---- events ---- */

static void put_annotation(sl_pb *pb, const sl_perfetto_arg *arg)
{
    const size_t annotation = sl_pb_open(pb, EVENT_ANNOTATIONS);
    if (arg->kind == SL_PERFETTO_UINT) sl_pb_uint(pb, ANNOTATION_UINT, arg->number);
    if (arg->kind == SL_PERFETTO_DOUBLE) sl_pb_double(pb, ANNOTATION_DOUBLE, arg->real);
    if (arg->kind == SL_PERFETTO_TEXT) sl_pb_text(pb, ANNOTATION_TEXT, arg->text);
    sl_pb_text(pb, ANNOTATION_NAME, arg->name);
    sl_pb_close(pb, annotation);
}

typedef struct track_event {
    uint64_t track, time_ns;
    uint32_t type;
    const char *name; /* of slices that begin */
    const sl_perfetto_arg *args;
    size_t arg_count;
    uint64_t flow;
    double value; /* of counters */
} track_event;

static void add_event(sl_perfetto *t, const track_event *e)
{
    sl_pb *pb = &t->pb;
    const size_t packet = open_packet(t);
    sl_pb_uint(pb, PACKET_TIMESTAMP, e->time_ns);
    sl_pb_uint(pb, PACKET_SEQUENCE_ID, SEQUENCE_ID);
    const size_t event = sl_pb_open(pb, PACKET_TRACK_EVENT);
    for (size_t i = 0; i < e->arg_count; i++)
        put_annotation(pb, &e->args[i]);
    sl_pb_uint(pb, EVENT_TYPE, e->type);
    sl_pb_uint(pb, EVENT_TRACK_UUID, e->track);
    if (e->name) sl_pb_text(pb, EVENT_NAME, e->name);
    if (e->type == TYPE_COUNTER) sl_pb_double(pb, EVENT_COUNTER_VALUE, e->value);
    if (e->flow) sl_pb_fixed64(pb, EVENT_FLOW_IDS, e->flow);
    sl_pb_close(pb, event);
    sl_pb_uint(pb, PACKET_CLOCK_ID, BUILTIN_MONOTONIC);
    sl_pb_close(pb, packet);
}

void sl_perfetto_begin(sl_perfetto *t, uint64_t track, uint64_t time_ns, const char *name,
                       const sl_perfetto_arg *args, size_t arg_count, uint64_t flow)
{
    add_event(t, &(track_event){.track = track,
                                .time_ns = time_ns,
                                .type = TYPE_BEGIN,
                                .name = name,
                                .args = args,
                                .arg_count = arg_count,
                                .flow = flow});
}

void sl_perfetto_end(sl_perfetto *t, uint64_t track, uint64_t time_ns)
{
    add_event(t, &(track_event){.track = track, .time_ns = time_ns, .type = TYPE_END});
}

void sl_perfetto_count(sl_perfetto *t, uint64_t track, uint64_t time_ns, double value)
{
    add_event(t, &(track_event){.track = track, .time_ns = time_ns, .type = TYPE_COUNTER, .value = value});
}
