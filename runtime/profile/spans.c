/* The timestamps of a pass, with what stood between them. */
#include "runtime/profile/profiler.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <stdio.h>
#include <string.h>

/* Names joined by " + ", up to this many different ones; more are "first .. last", and of variants nothing.
 */
enum { JOINED_MAX = 4, NAME_BYTES_MAX = 256 };

typedef const char *(*name_of)(const sl_phase *phase);

static const char *label_of(const sl_phase *phase)
{
    return phase->label;
}

static const char *kernel_of(const sl_phase *phase)
{
    return sl_kernel_rows[phase->kernel->variant->kernel].name;
}

static const char *variant_of(const sl_phase *phase)
{
    return phase->kernel->variant->name;
}

/* Where kernels run as their C sides, all variants are one. */
static const char *host_variant(const sl_phase *phase)
{
    (void)phase;
    return "host";
}

/* The text as the profile's own: it may outlive the engine, and most texts come again and again. */
static const char *keep(sl_profile *p, const char *text)
{
    char **texts = p->texts.items;
    for (size_t i = 0; i < p->texts.count; i++)
        if (!strcmp(texts[i], text)) return texts[i];
    char *copy = sl_strdup(text);
    char **place = copy ? sl_profile_add(&p->texts, sizeof *place) : NULL;
    if (place) return *place = copy;
    sl_free(copy);
    return NULL;
}

static bool said_before(const sl_phase *phases, uint32_t index, name_of name)
{
    for (uint32_t i = 0; i < index; i++)
        if (!strcmp(name(&phases[i]), name(&phases[index]))) return true;
    return false;
}

static const char *join(sl_profile *p, const sl_phase *phases, uint32_t count, name_of name)
{
    char text[NAME_BYTES_MAX] = "";
    uint32_t different = 0;
    for (uint32_t i = 0; i < count; i++)
        different += !said_before(phases, i, name);
    if (different > JOINED_MAX && name == variant_of) return keep(p, "");
    if (different > JOINED_MAX) {
        snprintf(text, sizeof text, "%s .. %s", name(&phases[0]), name(&phases[count - 1]));
        return keep(p, text);
    }
    size_t length = 0;
    for (uint32_t i = 0; i < count && length < sizeof text; i++)
        if (!said_before(phases, i, name))
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%s", length ? " + " : "",
                                       name(&phases[i]));
    return keep(p, text);
}

static sl_status describe(sl_profile *p, sl_engine *e, const sl_program *program, const sl_span *span,
                          const sl_attended *attended, sl_profile_kernel *k, sl_diag *diag)
{
    const sl_phase *phases = program->step.phases + span->phase;
    const bool host = sl_caps_have(&sl_device_get_info(e->device)->caps, SL_CAP_HOST_FN);
    k->pass = (uint32_t)p->passes.count - 1;
    k->layer = span->phase_count ? phases[0].layer : SL_NO_LAYER;
    k->kernels = span->phase_count;
    k->submission = span->segment;
    k->label = span->phase_count ? join(p, phases, span->phase_count, label_of)
                                 : keep(p, span->copies ? "results" : "nothing");
    k->kernel = span->phase_count ? join(p, phases, span->phase_count, kernel_of)
                                  : keep(p, span->copies ? "copy" : "");
    k->variant = span->phase_count ? join(p, phases, span->phase_count, host ? host_variant : variant_of)
                                   : keep(p, "");
    if (!k->label || !k->kernel || !k->variant) return sl_fail(diag, SL_ERR_NO_MEMORY, "profile: names");
    for (uint32_t i = 0; i < span->phase_count; i++) {
        const sl_cost c = sl_phase_cost(&phases[i], &e->layout, program->shape.n_tokens,
                                        program->shape.n_outputs, attended);
        k->weight_bytes += c.weight_bytes;
        k->activation_bytes += c.activation_bytes;
        k->kv_bytes += c.kv_bytes;
        k->flops += c.flops;
    }
    if (span->copies) k->activation_bytes += 2 * program->result_bytes;
    return SL_OK;
}

/* Of the layer that has most. */
static void count_of_layers(const sl_program *program, sl_profile_pass *pass)
{
    const sl_recording *r = &program->recording;
    const sl_phase *phases = program->step.phases;
    uint32_t layer = SL_NO_LAYER, dispatches = 0, barriers = 0;
    for (uint32_t i = 0; i < r->span_count; i++) {
        const sl_span *s = &r->spans[i];
        const uint32_t of = s->phase_count ? phases[s->phase].layer : SL_NO_LAYER;
        if (of != layer) dispatches = barriers = 0;
        layer = of;
        if (layer == SL_NO_LAYER) continue;
        dispatches += s->phase_count;
        barriers += s->barriers;
        pass->layer_dispatches = SL_MAX(pass->layer_dispatches, dispatches);
        pass->layer_barriers = SL_MAX(pass->layer_barriers, barriers);
    }
}

static sl_status read_times(const sl_recording *r, sl_profile_kernel *kernels, sl_diag *diag)
{
    for (uint32_t s = 0, i = 0; s < r->segment_count; s++) {
        const uint32_t count = r->segments[s].timestamps;
        uint64_t *ns = sl_calloc(count, sizeof *ns);
        if (!ns) return sl_fail(diag, SL_ERR_NO_MEMORY, "profile: %u timestamps", count);
        sl_status st = sl_commands_read_timestamps(r->segments[s].commands, 0, count, ns, diag);
        for (; st == SL_OK && i < r->span_count && r->spans[i].segment == s; i++) {
            kernels[i].begin_ns = ns[r->spans[i].slot];
            kernels[i].end_ns = ns[r->spans[i].slot + 1];
        }
        sl_free(ns);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

sl_status sl_profile_take_spans(sl_profile *p, sl_engine *e, const sl_program *program,
                                const sl_attended *attended, sl_diag *diag)
{
    const sl_recording *r = &program->recording;
    sl_profile_pass *pass = &SL_PROFILE_ITEMS(p->passes, sl_profile_pass)[p->passes.count - 1];
    sl_status st = SL_OK;
    pass->kernel = p->kernels.count;
    for (uint32_t i = 0; i < r->span_count && st == SL_OK; i++) {
        sl_profile_kernel *k = sl_profile_add(&p->kernels, sizeof *k);
        st = k ? describe(p, e, program, &r->spans[i], attended, k, diag)
               : sl_fail(diag, SL_ERR_NO_MEMORY, "profile: kernels");
    }
    if (st != SL_OK) return st;
    pass->kernel_count = r->span_count;
    pass->dispatches = r->dispatches;
    pass->barriers = r->barriers;
    if (pass->timed) count_of_layers(program, pass);
    return read_times(r, SL_PROFILE_ITEMS(p->kernels, sl_profile_kernel) + pass->kernel, diag);
}
