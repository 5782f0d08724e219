#include "runtime/tune/tune_internal.h"

#include "hal/base/checked.h"

#include <string.h>

static bool holds(const sl_label_set *set, const char *label)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (!strcmp(set->labels[i], label)) return true;
    return false;
}

static void add(sl_label_set *set, const char *label)
{
    if (!holds(set, label) && set->count < SL_LABELS_MAX) set->labels[set->count++] = label;
}

static bool same(const sl_phase *a, const sl_phase *b)
{
    return a->kernel == b->kernel && a->layer == b->layer && !memcmp(a->push, b->push, sizeof a->push);
}

/* Position of the next phase with this label from `at` on, or step->count. */
static uint32_t next_of(const sl_step *step, const char *label, uint32_t at)
{
    while (at < step->count && strcmp(step->phases[at].label, label) != 0)
        at++;
    return at;
}

static bool label_differs(const sl_step *a, const sl_step *b, const char *label)
{
    uint32_t i = next_of(a, label, 0), k = next_of(b, label, 0);
    while (i < a->count && k < b->count && same(&a->phases[i], &b->phases[k])) {
        i = next_of(a, label, i + 1);
        k = next_of(b, label, k + 1);
    }
    return i < a->count || k < b->count;
}

static void add_differing(const sl_step *labelled, const sl_step *a, const sl_step *b, sl_label_set *labels)
{
    sl_label_set seen = {0};
    for (uint32_t i = 0; i < labelled->count; i++) {
        const char *label = labelled->phases[i].label;
        if (holds(&seen, label)) continue;
        add(&seen, label);
        if (label_differs(a, b, label)) add(labels, label);
    }
}

void sl_steps_differ(const sl_step *a, const sl_step *b, sl_label_set *labels)
{
    add_differing(a, a, b, labels);
    add_differing(b, a, b, labels);
}

/* The last of the first `layers` layers that have phases with these labels. */
static uint32_t last_layer(const sl_step *step, const sl_label_set *labels, uint32_t layers)
{
    uint32_t last = SL_NO_LAYER;
    for (uint32_t seen = 0; seen < layers; seen++) {
        uint32_t next = SL_NO_LAYER;
        for (uint32_t i = 0; i < step->count; i++) {
            const sl_phase *phase = &step->phases[i];
            const bool after = last == SL_NO_LAYER || phase->layer > last;
            if (phase->layer != SL_NO_LAYER && after && phase->layer < next && holds(labels, phase->label))
                next = phase->layer;
        }
        if (next == SL_NO_LAYER) break;
        last = next;
    }
    return last;
}

sl_status sl_step_part(const sl_step *step, const sl_label_set *labels, uint32_t layers, sl_step *out,
                       sl_diag *diag)
{
    const uint32_t last = last_layer(step, labels, layers);
    for (uint32_t i = 0; i < step->count; i++) {
        const sl_phase *phase = &step->phases[i];
        if (!holds(labels, phase->label) || (phase->layer != SL_NO_LAYER && phase->layer > last)) continue;
        sl_phase *copy = sl_step_add(out);
        if (!copy) return sl_fail(diag, SL_ERR_NO_MEMORY, "tuning: part of a pass");
        *copy = *phase;
        copy->stage = 0;
    }
    return SL_OK;
}
