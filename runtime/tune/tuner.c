/* Which classes there are to choose for, what differs between the passes of their candidates, and which is
 * best. */
#include "runtime/tune/tuner.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/clock.h"
#include "hal/base/log.h"
#include "runtime/tune/tune_internal.h"

#include <math.h>
#include <string.h>

#define CANDIDATES_MAX 32u
/* By how much a candidate must be faster than the default: less is noise, and another run would choose
 * otherwise. */
#define WORTHWHILE 0.98
/* Of a budget: until then kernels are compiled. */
#define COMPILE_SHARE 0.6
/* Load before timings. */
#define LOAD_NS_MIN 100000000ull
#define LOAD_NS_MAX 1000000000ull
/* Of the progress: the passes, before the switch points. */
#define SHAPES_PART    0.9
#define PROGRESS_STEPS 10000u

typedef struct run {
    const sl_tuner *t;
    sl_tuning *tuning;
    const sl_device_caps *caps;
    sl_tuner_result *result;
    sl_diag *diag;
    uint64_t begin_ns;
    sl_shape_class *done; /* classes that this run has chosen for */
    uint32_t done_count, done_capacity;
} run;

/* The pass with one candidate. */
typedef struct trial {
    uint32_t candidate;
    sl_step step, part; /* the whole pass, and those of its phases that are timed */
} trial;

static void clear_trials(trial *trials, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        sl_step_clear(&trials[i].step);
        sl_step_clear(&trials[i].part);
    }
}

static bool out_of_time(const run *r)
{
    return r->t->budget_ns && sl_now_ns() - r->begin_ns > r->t->budget_ns;
}

/* ---- timing what differs ---- */

/* Times the phases of all trials whose labels differ between any two of them. *out_differ: whether there are
 * any. */
static sl_status time_trials(run *r, trial *trials, uint32_t count, double *out_seconds, bool *out_differ)
{
    sl_label_set labels = {0};
    const sl_step *parts[CANDIDATES_MAX];
    for (uint32_t i = 1; i < count; i++)
        sl_steps_differ(&trials[0].step, &trials[i].step, &labels);
    *out_differ = labels.count != 0;
    if (!labels.count) return SL_OK;
    uint32_t layers = UINT32_MAX;
    sl_status st = SL_OK;
    if (!r->t->measure) {
        SL_TRY(sl_step_part(&trials[0].step, &labels, 1, &trials[0].part, r->diag));
        SL_TRY(sl_tuner_layers(r->t, &trials[0].part, &layers, r->diag));
        sl_step_clear(&trials[0].part);
    }
    for (uint32_t i = 0; i < count; i++) {
        SL_TRY(sl_step_part(&trials[i].step, &labels, layers, &trials[i].part, r->diag));
        parts[i] = &trials[i].part;
    }
    if (r->t->measure)
        for (uint32_t i = 0; i < count; i++)
            SL_TRY(r->t->measure(r->t->user, parts[i], &out_seconds[i], r->diag));
    else
        st = sl_tuner_time(r->t, parts, count, out_seconds, r->diag);
cleanup:
    return st;
}

/* ---- classes ---- */

static bool is_done(const run *r, const sl_shape_class *of)
{
    for (uint32_t i = 0; i < r->done_count; i++)
        if (sl_shape_class_equal(&r->done[i], of)) return true;
    return false;
}

static sl_status note_done(run *r, const sl_shape_class *of)
{
    if (r->done_count == r->done_capacity) {
        const uint32_t capacity = 2 * r->done_capacity + 64;
        sl_shape_class *grown = sl_realloc(r->done, capacity, sizeof *grown);
        if (!grown) return sl_fail(r->diag, SL_ERR_NO_MEMORY, "tuning: list of classes");
        r->done = grown;
        r->done_capacity = capacity;
    }
    r->done[r->done_count++] = *of;
    return SL_OK;
}

/* A candidate that the device's driver does not compile, or the builder has no use for, is none. */
static bool is_no_candidate(sl_status st)
{
    return st != SL_OK && st != SL_ERR_NO_MEMORY && st != SL_ERR_DEVICE_LOST;
}

static bool repeats(const trial *trials, uint32_t count, const sl_step *step)
{
    for (uint32_t i = 0; i < count; i++) {
        sl_label_set labels = {0};
        sl_steps_differ(&trials[i].step, step, &labels);
        if (!labels.count) return true;
    }
    return false;
}

/* The pass with each candidate; those that make the same pass as one before are left out. */
static sl_status build_trials(run *r, const sl_shape *shape, const sl_tuning_choice *candidates,
                              uint32_t count, trial *trials, uint32_t *out_count)
{
    sl_status st = SL_OK;
    for (uint32_t i = 0; i < count; i++) {
        sl_step step = {0};
        SL_TRY(sl_tuning_set(r->tuning, &candidates[i], r->diag));
        st = sl_step_build(r->t->layout, r->t->kernels, shape, &step, r->diag);
        if (st == SL_OK && !repeats(trials, *out_count, &step)) {
            trials[(*out_count)++] = (trial){.candidate = i, .step = step};
            continue;
        }
        sl_step_clear(&step);
        if (i && is_no_candidate(st)) {
            sl_log(SL_LOG_INFO, "tuning: %s is no candidate: %s", candidates[i].variant->module,
                   r->diag->message);
            st = SL_OK;
        }
        if (st != SL_OK) break;
    }
cleanup:
    return st;
}

static uint32_t fastest(const double *seconds, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (seconds[i] < seconds[best]) best = i;
    return seconds[best] < WORTHWHILE * seconds[0] ? best : 0;
}

static void report(const run *r, const sl_tuning_choice *candidates, const trial *trials,
                   const double *seconds, uint32_t count, uint32_t best)
{
    sl_tuning_choice tried[CANDIDATES_MAX];
    if (!r->t->chosen) return;
    for (uint32_t i = 0; i < count; i++)
        tried[i] = candidates[trials[i].candidate];
    r->t->chosen(r->t->user, tried, seconds, count, best);
}

static sl_status tune_class(run *r, const sl_shape *shape, const sl_shape_class *of)
{
    sl_tuning_choice candidates[CANDIDATES_MAX];
    trial trials[CANDIDATES_MAX] = {0};
    double seconds[CANDIDATES_MAX];
    uint32_t count = SL_MIN(sl_tuning_candidates(of, r->caps, candidates, CANDIDATES_MAX), CANDIDATES_MAX);
    uint32_t trial_count = 0, best = 0;
    bool differ = false;
    sl_status st;
    SL_TRY(build_trials(r, shape, candidates, count, trials, &trial_count));
    SL_TRY(time_trials(r, trials, trial_count, seconds, &differ));
    if (differ) {
        best = fastest(seconds, trial_count);
        r->result->measured++;
        report(r, candidates, trials, seconds, trial_count, best);
    }
    SL_TRY(sl_tuning_set(r->tuning, &candidates[trials[best].candidate], r->diag));
    SL_TRY(note_done(r, of));
cleanup:
    if (st != SL_OK) sl_tuning_unset(r->tuning, of);
    clear_trials(trials, trial_count);
    return st;
}

/* The classes of a pass for which there is a choice, each once. Counts those that need none. */
static sl_status collect(run *r, const sl_shape *shape, sl_shape_class **out, uint32_t *out_count)
{
    sl_step step = {0};
    sl_shape_class *list = NULL;
    uint32_t count = 0;
    sl_status st;
    SL_TRY(sl_step_build(r->t->layout, r->t->kernels, shape, &step, r->diag));
    list = sl_calloc(step.count, sizeof *list);
    if (!list) {
        st = sl_fail(r->diag, SL_ERR_NO_MEMORY, "tuning: list of classes");
        goto cleanup;
    }
    for (uint32_t i = 0; i < step.count; i++) {
        const sl_variant *v = step.phases[i].kernel->variant;
        const sl_shape_class of = sl_shape_class_of(v->kernel, v->key, step.phases[i].push,
                                                    step.phases[i].kernel->spec + SL_SPEC_FIRST);
        if (is_done(r, &of) || sl_tuning_candidates(&of, r->caps, NULL, 0) < 2) continue;
        if (!r->t->force && sl_tuning_find(r->tuning, &of)) {
            r->result->known++;
            SL_TRY(note_done(r, &of));
            continue;
        }
        bool listed = false;
        for (uint32_t k = 0; k < count && !listed; k++)
            listed = sl_shape_class_equal(&list[k], &of);
        if (!listed) list[count++] = of;
    }
    *out = list;
    *out_count = count;
    list = NULL;
cleanup:
    sl_free(list);
    sl_step_clear(&step);
    return st;
}

/* Which part of the whole run a pass is. */
typedef struct span {
    double from, to;
} span;

static void progress_to(const run *r, double done)
{
    if (r->t->progress) r->t->progress(r->t->user, (uint64_t)(done * PROGRESS_STEPS), PROGRESS_STEPS);
}

/* Makes the kernels of all candidates of a class: the kernel set keeps them. */
static sl_status compile_class(run *r, const sl_shape *shape, const sl_shape_class *of)
{
    sl_tuning_choice candidates[CANDIDATES_MAX];
    trial trials[CANDIDATES_MAX] = {0};
    uint32_t count = SL_MIN(sl_tuning_candidates(of, r->caps, candidates, CANDIDATES_MAX), CANDIDATES_MAX);
    uint32_t trial_count = 0;
    const sl_tuning_choice *found = sl_tuning_find(r->tuning, of);
    const sl_tuning_choice before = found ? *found : (sl_tuning_choice){.of = *of};
    sl_status st = build_trials(r, shape, candidates, count, trials, &trial_count);
    clear_trials(trials, trial_count);
    if (!found)
        sl_tuning_unset(r->tuning, of);
    else if (st == SL_OK)
        st = sl_tuning_set(r->tuning, &before, r->diag);
    return st;
}

/* All kernels are made before the first is timed, and then the device is loaded for as long as that took: a
 * GPU that waits for a compiler lowers its clock. */
static sl_status compile_pass(run *r, const sl_shape *shape, const sl_shape_class *classes, uint32_t *count)
{
    const uint64_t begin = sl_now_ns();
    uint32_t i = 0;
    sl_status st = SL_OK;
    for (; i < *count && st == SL_OK; i++) {
        if (r->t->budget_ns && (double)(sl_now_ns() - r->begin_ns) > COMPILE_SHARE * (double)r->t->budget_ns)
            break;
        st = compile_class(r, shape, &classes[i]);
    }
    r->result->left += *count - i;
    *count = i;
    if (st != SL_OK || r->t->measure) return st;
    const uint64_t took = sl_now_ns() - begin;
    return sl_tuner_prepare(r->t, shape, SL_MIN(took + LOAD_NS_MIN, LOAD_NS_MAX), r->diag);
}

static sl_status tune_pass(run *r, const sl_shape *shape, span of)
{
    sl_shape_class *classes = NULL;
    uint32_t count = 0;
    sl_status st;
    SL_TRY(collect(r, shape, &classes, &count));
    if (count) SL_TRY(compile_pass(r, shape, classes, &count));
    for (uint32_t i = 0; i < count; i++) {
        if (out_of_time(r)) {
            r->result->left += count - i;
            break;
        }
        SL_TRY(tune_class(r, shape, &classes[i]));
        progress_to(r, of.from + (of.to - of.from) * (i + 1) / count);
    }
cleanup:
    sl_free(classes);
    return st;
}

/* ---- up to how many columns ---- */

#define COUNTS_MAX 16u

typedef double rung_times[COUNTS_MAX][SL_RUNG_COUNT]; /* of each number of columns; INFINITY: cannot */

static bool can(const run *r, uint32_t type, uint32_t columns, uint32_t rung)
{
    sl_tuning defaults;
    sl_tuning_default(&defaults, sl_device_get_info(r->t->device));
    return defaults.columns[type][rung] && columns <= sl_product_columns_max(rung);
}

/* Times the pass with products of one type on each rung that can do them. */
static sl_status time_rungs(run *r, const sl_shape *shape, uint32_t type, double seconds[SL_RUNG_COUNT])
{
    trial trials[SL_RUNG_COUNT];
    double times[SL_RUNG_COUNT];
    uint32_t count = 0;
    bool differ = false;
    uint32_t before[SL_RUNG_COUNT];
    memcpy(before, r->tuning->columns[type], sizeof before);
    sl_status st = SL_OK;
    for (uint32_t rung = 0; rung < SL_RUNG_COUNT; rung++) {
        seconds[rung] = (double)INFINITY;
        if (!can(r, type, shape->n_tokens, rung)) continue;
        trials[count++] = (trial){.candidate = rung};
        sl_tuning_force(r->tuning, type, shape->n_tokens, rung);
        SL_TRY(sl_step_build(r->t->layout, r->t->kernels, shape, &trials[count - 1].step, r->diag));
    }
    if (count && !r->t->measure) SL_TRY(sl_tuner_prepare(r->t, shape, LOAD_NS_MIN, r->diag));
    if (count) SL_TRY(time_trials(r, trials, count, times, &differ));
    for (uint32_t i = 0; i < count; i++)
        seconds[trials[i].candidate] = differ ? times[i] : 1; /* the same: any will do */
cleanup:
    memcpy(r->tuning->columns[type], before, sizeof before);
    clear_trials(trials, count);
    return st;
}

/* The rungs of ascending numbers of columns, never going back to an earlier one, with the least sum of times,
 * each relative to the best of its number. */
static void climb(const uint32_t *columns, rung_times times, uint32_t count, uint32_t out[SL_RUNG_COUNT])
{
    double cost[COUNTS_MAX][SL_RUNG_COUNT];
    uint32_t from[COUNTS_MAX][SL_RUNG_COUNT];
    for (uint32_t i = 0; i < count; i++) {
        double least = (double)INFINITY;
        for (uint32_t r = 0; r < SL_RUNG_COUNT; r++)
            least = SL_MIN(least, times[i][r]);
        for (uint32_t r = 0; r < SL_RUNG_COUNT; r++) {
            uint32_t best = 0;
            for (uint32_t q = 0; i && q <= r; q++)
                if (cost[i - 1][q] < cost[i - 1][best]) best = q;
            from[i][r] = best;
            cost[i][r] = times[i][r] / least + (i ? cost[i - 1][best] : 0);
        }
    }
    uint32_t rung = 0;
    for (uint32_t r = 1; r < SL_RUNG_COUNT; r++)
        if (cost[count - 1][r] < cost[count - 1][rung]) rung = r;
    for (uint32_t r = 0; r < SL_RUNG_COUNT; r++)
        out[r] = 0;
    for (uint32_t i = count; i-- > 0; rung = from[i][rung])
        for (uint32_t r = rung; r < SL_RUNG_COUNT; r++)
            out[r] = SL_MAX(out[r], columns[i]);
    out[SL_RUNG_COUNT - 1] = UINT32_MAX;
}

static bool has_type(const sl_model *m, uint32_t type)
{
    for (uint32_t i = 0; i < m->tensor_count; i++)
        if (sl_part_is_matrix(m->tensors[i].part) && (uint32_t)m->tensors[i].file->type == type) return true;
    return false;
}

/* All variants of each rung are tuned for the shape first, so that the best of each kernel are compared. */
static sl_status tune_rungs(run *r, const sl_shape *shape, span of)
{
    const double each = (of.to - of.from) / SL_RUNG_COUNT;
    uint32_t before[SL_WEIGHT_NUMBERS][SL_RUNG_COUNT];
    memcpy(before, r->tuning->columns, sizeof before);
    sl_status st = SL_OK;
    for (uint32_t rung = 0; rung < SL_RUNG_COUNT; rung++) {
        for (uint32_t type = 0; type < SL_WEIGHT_NUMBERS; type++)
            if (can(r, type, shape->n_tokens, rung)) sl_tuning_force(r->tuning, type, shape->n_tokens, rung);
        SL_TRY(tune_pass(r, shape, (span){of.from + rung * each, of.from + (rung + 1) * each}));
    }
cleanup:
    memcpy(r->tuning->columns, before, sizeof before);
    return st;
}

static sl_status tune_switches(run *r, const sl_shape *shapes, uint32_t shape_count)
{
    uint32_t columns[COUNTS_MAX], count = 0;
    const sl_shape *of[COUNTS_MAX];
    sl_status st = SL_OK;
    for (uint32_t i = 0; i < shape_count && count < COUNTS_MAX; i++) {
        if (shapes[i].prefill || shapes[i].n_tokens < 2) continue;
        columns[count] = shapes[i].n_tokens;
        of[count++] = &shapes[i];
    }
    for (uint32_t type = 0; count && type < SL_WEIGHT_NUMBERS; type++) {
        rung_times times;
        if (!has_type(r->t->layout->model, type)) continue;
        if (out_of_time(r)) {
            r->result->left++;
            continue;
        }
        for (uint32_t i = 0; i < count; i++)
            SL_TRY(time_rungs(r, of[i], type, times[i]));
        climb(columns, times, count, r->tuning->columns[type]);
        r->result->measured++;
    }
cleanup:
    return st;
}

/* ---- the whole ---- */

sl_status sl_tuner_run(const sl_tuner *tuner, const sl_shape *shapes, uint32_t shape_count,
                       sl_tuner_result *result, sl_diag *diag)
{
    run r = {
        .t = tuner,
        .tuning = sl_kernel_set_tuning(tuner->kernels),
        .caps = &sl_device_get_info(tuner->device)->caps,
        .result = result,
        .diag = diag,
        .begin_ns = sl_now_ns(),
    };
    sl_status st = SL_OK;
    for (uint32_t i = 0; i < shape_count; i++) {
        const bool several = !shapes[i].prefill && shapes[i].n_tokens > 1;
        const span of = {SHAPES_PART * i / shape_count, SHAPES_PART * (i + 1) / shape_count};
        SL_TRY(tuner->switches && several ? tune_rungs(&r, &shapes[i], of) : tune_pass(&r, &shapes[i], of));
    }
    if (tuner->switches) SL_TRY(tune_switches(&r, shapes, shape_count));
    progress_to(&r, 1);
cleanup:
    sl_free(r.done);
    return st;
}
