/* A profile as a Perfetto trace. Tracks of one process: the device (passes, in them layers, in them kernels),
 * its idle time by cause, the host, reads and copies of streamed weights, and counters. An arrow leads from
 * each submit to the first kernel of it. */
#include "runtime/profile/profiler.h"
#include "runtime/trace/perfetto.h"

#include "hal/base/checked.h"

#include <stdio.h>
#include <unistd.h>

enum { LANES_MAX = 16, ARGS_MAX = 12 };

typedef struct writer {
    const sl_profile_view *v;
    sl_perfetto *out;
    uint64_t process;
    int32_t rank;
} writer;

/* A track whose times never go back: clocks that were read apart can differ by a little. */
typedef struct lane {
    uint64_t track, at;
} lane;

static lane new_lane(writer *w, const char *name)
{
    return (lane){.track = sl_perfetto_track(w->out, w->process, w->rank++, name)};
}

static void begin(writer *w, lane *l, uint64_t ns, const char *name, const sl_perfetto_arg *args,
                  size_t count, uint64_t flow)
{
    l->at = SL_MAX(l->at, ns);
    sl_perfetto_begin(w->out, l->track, l->at, name, args, count, flow);
}

static void end(writer *w, lane *l, uint64_t ns)
{
    l->at = SL_MAX(l->at, ns);
    sl_perfetto_end(w->out, l->track, l->at);
}

static sl_perfetto_arg number(const char *name, uint64_t value)
{
    return (sl_perfetto_arg){.name = name, .kind = SL_PERFETTO_UINT, .number = value};
}

static sl_perfetto_arg real(const char *name, double value)
{
    return (sl_perfetto_arg){.name = name, .kind = SL_PERFETTO_DOUBLE, .real = value};
}

static sl_perfetto_arg text(const char *name, const char *value)
{
    return (sl_perfetto_arg){.name = name, .kind = SL_PERFETTO_TEXT, .text = value};
}

/* Never 0. */
static uint64_t flow_of(size_t pass, uint32_t submission)
{
    return (uint64_t)pass << 32 | (submission + 1u);
}

/* ---- the device ---- */

static double per_ns(double amount, uint64_t begin_ns, uint64_t end_ns)
{
    return end_ns > begin_ns ? amount / (double)(end_ns - begin_ns) : 0;
}

static uint64_t kernel_bytes(const sl_profile_kernel *k)
{
    return k->weight_bytes + k->activation_bytes + k->kv_bytes;
}

static void write_kernel(writer *w, lane *device, const sl_profile_kernel *k, uint64_t flow)
{
    sl_perfetto_arg args[ARGS_MAX];
    size_t n = 0;
    if (k->layer != SL_PROFILE_NO_LAYER) args[n++] = number("layer", k->layer);
    args[n++] = text("kernel", k->kernel);
    args[n++] = text("variant", k->variant);
    args[n++] = number("kernels", k->kernels);
    args[n++] = number("weight bytes (modelled)", k->weight_bytes);
    args[n++] = number("activation bytes (modelled)", k->activation_bytes);
    args[n++] = number("KV bytes (modelled)", k->kv_bytes);
    args[n++] = number("FLOPs (modelled)", k->flops);
    args[n++] = real("GB/s (modelled bytes in measured time)",
                     per_ns((double)kernel_bytes(k), k->begin_ns, k->end_ns));
    args[n++] = real("TFLOP/s (modelled FLOPs in measured time)",
                     per_ns((double)k->flops, k->begin_ns, k->end_ns) / 1e3);
    begin(w, device, k->begin_ns, k->label, args, n, flow);
    end(w, device, k->end_ns);
}

static const char *pass_name(const sl_profile_pass *pass)
{
    return pass->prefill ? "prefill" : "decode";
}

static size_t pass_args(const sl_profile_pass *pass, size_t index, sl_perfetto_arg args[ARGS_MAX])
{
    size_t n = 0;
    args[n++] = number("pass", index);
    args[n++] = number("tokens", pass->tokens);
    args[n++] = number("depth", pass->depth_tokens);
    args[n++] = number("dispatches", pass->dispatches);
    args[n++] = number("barriers", pass->barriers);
    args[n++] = text("timestamps", pass->timed ? "of the mode" : "around submissions");
    return n;
}

/* Kernels of one layer stand together in a slice. */
static void write_kernels(writer *w, lane *device, const sl_profile_pass *pass, size_t index)
{
    const sl_profile_kernel *k = w->v->kernels + pass->kernel;
    for (size_t i = 0; i < pass->kernel_count; i++) {
        const bool first = i == 0 || k[i].submission != k[i - 1].submission;
        const bool in_layer = pass->timed && k[i].layer != SL_PROFILE_NO_LAYER;
        if (in_layer && (i == 0 || k[i].layer != k[i - 1].layer)) {
            char name[32];
            snprintf(name, sizeof name, "layer %u", k[i].layer);
            begin(w, device, k[i].begin_ns, name, NULL, 0, 0);
        }
        write_kernel(w, device, &k[i], first ? flow_of(index, k[i].submission) : 0);
        if (in_layer && (i + 1 == pass->kernel_count || k[i].layer != k[i + 1].layer))
            end(w, device, k[i].end_ns);
    }
}

static void write_device(writer *w)
{
    lane device = new_lane(w, "device"), idle = new_lane(w, "device idle");
    sl_perfetto_arg args[ARGS_MAX];
    for (size_t i = 0; i < w->v->pass_count; i++) {
        const sl_profile_pass *pass = &w->v->passes[i];
        begin(w, &device, pass->device_begin_ns, pass_name(pass), args, pass_args(pass, i, args), 0);
        write_kernels(w, &device, pass, i);
        end(w, &device, pass->device_end_ns);
    }
    for (size_t i = 0; i < w->v->gap_count; i++) {
        const sl_profile_gap *gap = &w->v->gaps[i];
        begin(w, &idle, gap->begin_ns, sl_profile_cause_name(gap->cause), NULL, 0, 0);
        end(w, &idle, gap->end_ns);
    }
}

/* ---- the host ---- */

static void write_host(writer *w)
{
    lane host = new_lane(w, "host");
    sl_perfetto_arg args[ARGS_MAX];
    for (size_t i = 0; i < w->v->pass_count; i++) {
        const sl_profile_pass *pass = &w->v->passes[i];
        const sl_profile_event *events = w->v->events + pass->event;
        uint32_t submission = 0;
        begin(w, &host, pass->begin_ns, pass_name(pass), args, pass_args(pass, i, args), 0);
        for (size_t n = 0; n < pass->event_count; n++) {
            const bool submits = events[n].activity == SL_PROFILE_HOST_SUBMIT;
            begin(w, &host, events[n].begin_ns, sl_profile_activity_name(events[n].activity), NULL, 0,
                  submits ? flow_of(i, submission++) : 0);
            end(w, &host, events[n].end_ns);
        }
        end(w, &host, pass->end_ns);
    }
}

/* ---- streamed weights: reads overlap, and slices of one track must not ---- */

static void write_stream(writer *w, sl_profile_activity activity, const char *name)
{
    lane lanes[LANES_MAX];
    size_t lane_count = 0;
    for (size_t i = 0; i < w->v->event_count; i++) {
        const sl_profile_event *e = &w->v->events[i];
        if (e->activity != activity) continue;
        size_t n = 0;
        while (n < lane_count && lanes[n].at > e->begin_ns)
            n++;
        if (n == lane_count && n < LANES_MAX) lanes[lane_count++] = new_lane(w, name);
        lane *l = &lanes[SL_MIN(n, LANES_MAX - 1)];
        const sl_perfetto_arg args[] = {number("bytes", e->bytes),
                                        real("GB/s", per_ns((double)e->bytes, e->begin_ns, e->end_ns))};
        begin(w, l, e->begin_ns, name, args, SL_COUNTOF(args), 0);
        end(w, l, e->end_ns);
    }
}

/* ---- counters ---- */

static void write_rate(writer *w, const char *name, const char *unit,
                       double (*rate)(const sl_profile_kernel *k))
{
    const uint64_t track = sl_perfetto_counter_track(w->out, w->process, w->rank++, name, unit);
    uint64_t at = 0;
    for (size_t i = 0; i < w->v->kernel_count; i++) {
        const sl_profile_kernel *k = &w->v->kernels[i];
        if (at && at < k->begin_ns) sl_perfetto_count(w->out, track, at, 0);
        sl_perfetto_count(w->out, track, SL_MAX(at, k->begin_ns), rate(k));
        at = SL_MAX(at, k->end_ns);
    }
    if (at) sl_perfetto_count(w->out, track, at, 0);
}

static double gigabytes_per_s(const sl_profile_kernel *k)
{
    return per_ns((double)kernel_bytes(k), k->begin_ns, k->end_ns);
}

static double teraflops(const sl_profile_kernel *k)
{
    return per_ns((double)k->flops, k->begin_ns, k->end_ns) / 1e3;
}

sl_status sl_profile_write_trace(const sl_profile *profile, const char *path, sl_diag *diag)
{
    sl_profile_view view;
    char name[sizeof profile->model + sizeof profile->device + 16];
    writer w = {.v = &view};
    sl_profile_get(profile, &view);
    sl_status st = sl_perfetto_open(path, &w.out, diag);
    if (st != SL_OK) return st;
    snprintf(name, sizeof name, "sluice: %s on %s", view.model, view.device);
    w.process = sl_perfetto_process(w.out, (uint32_t)getpid(), name);
    write_device(&w);
    write_host(&w);
    write_stream(&w, SL_PROFILE_READ, "read");
    write_stream(&w, SL_PROFILE_COPY, "copy");
    write_rate(&w, "memory (modelled bytes)", "GB/s", gigabytes_per_s);
    write_rate(&w, "arithmetic (modelled FLOPs)", "TFLOP/s", teraflops);
    return sl_perfetto_close(w.out, diag);
}
