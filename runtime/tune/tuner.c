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
#define LOAD_NS_MIN    100000000ull
#define LOAD_NS_MAX    1000000000ull
#define LADDER_LOAD_NS 30000000ull /* between timings, of a device that is warm */
/* Of the progress: the passes, before the switch points. */
#define SHAPES_PART    0.7
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

/* The first trial that makes the same pass, or `count`. */
static uint32_t same_pass(const trial *trials, uint32_t count, const sl_step *step)
{
    for (uint32_t i = 0; i < count; i++) {
        sl_label_set labels = {0};
        sl_steps_differ(&trials[i].step, step, &labels);
        if (!labels.count) return i;
    }
    return count;
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
        if (st == SL_OK && same_pass(trials, *out_count, &step) == *out_count) {
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

/* Measures those of the candidates that make different passes; *out is the best, and is set. */
static sl_status choose(run *r, const sl_shape *shape, const sl_tuning_choice *candidates, uint32_t count,
                        sl_tuning_choice *out)
{
    trial trials[CANDIDATES_MAX] = {0};
    double seconds[CANDIDATES_MAX];
    uint32_t trial_count = 0, best = 0;
    bool differ = false;
    sl_status st;
    *out = candidates[0];
    SL_TRY(build_trials(r, shape, candidates, count, trials, &trial_count));
    SL_TRY(time_trials(r, trials, trial_count, seconds, &differ));
    if (differ) {
        best = fastest(seconds, trial_count);
        r->result->measured++;
        report(r, candidates, trials, seconds, trial_count, best);
    }
    *out = candidates[trials[best].candidate];
    SL_TRY(sl_tuning_set(r->tuning, out, r->diag));
cleanup:
    clear_trials(trials, trial_count);
    return st;
}

/* The variant first, then its number: the product of both would be too many. */
static sl_status tune_class(run *r, const sl_shape *shape, const sl_shape_class *of)
{
    sl_tuning_choice candidates[CANDIDATES_MAX], best;
    uint32_t count = sl_tuning_variants(of, r->caps, candidates, CANDIDATES_MAX);
    sl_status st = SL_OK;
    best = candidates[0];
    if (count > 1) SL_TRY(choose(r, shape, candidates, SL_MIN(count, CANDIDATES_MAX), &best));
    count = sl_tuning_numbers(of, best.variant, candidates, CANDIDATES_MAX);
    if (count > 1) SL_TRY(choose(r, shape, candidates, SL_MIN(count, CANDIDATES_MAX), &best));
    SL_TRY(note_done(r, of));
cleanup:
    if (st != SL_OK) sl_tuning_unset(r->tuning, of);
    return st;
}

static bool has_choice(const run *r, const sl_shape_class *of)
{
    return sl_tuning_variants(of, r->caps, NULL, 0) > 1 || sl_tuning_numbers(of, NULL, NULL, 0) > 1;
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
        if (is_done(r, &of) || !has_choice(r, &of)) continue;
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

/* Makes the kernels of the candidates of a class: the kernel set keeps them. Numbers of another variant than
 * the usual one are made when they are measured. */
static sl_status compile_class(run *r, const sl_shape *shape, const sl_shape_class *of)
{
    sl_tuning_choice candidates[2 * CANDIDATES_MAX];
    trial trials[2 * CANDIDATES_MAX] = {0};
    uint32_t count = SL_MIN(sl_tuning_variants(of, r->caps, candidates, CANDIDATES_MAX), CANDIDATES_MAX);
    uint32_t trial_count = 0;
    const sl_tuning_choice *found = sl_tuning_find(r->tuning, of);
    const sl_tuning_choice before = found ? *found : (sl_tuning_choice){.of = *of};
    count += SL_MIN(sl_tuning_numbers(of, candidates[0].variant, candidates + count, CANDIDATES_MAX),
                    CANDIDATES_MAX);
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

#define POINTS_MAX  24u
#define EXPERT_WAYS 2u                /* one by one, grouped */
#define EXPERTS     SL_WEIGHT_NUMBERS /* the ladder of experts, among those of weight types */

/* Of one number of columns and each rung of a ladder. */
typedef struct rung_times {
    double seconds[SL_RUNG_COUNT]; /* INFINITY: cannot */
    uint32_t candidates;           /* that make different passes */
} rung_times;

/* The passes whose products are compared, by ascending numbers of columns. */
typedef struct points {
    sl_shape shapes[POINTS_MAX];
    uint32_t count;
    double done; /* of the progress */
} points;

static bool can(const run *r, uint32_t type, uint32_t columns, uint32_t rung)
{
    const sl_product_kernel *k = &sl_products[rung];
    return sl_step_rungs(&r->t->layout->limits, r->tuning, type) & SL_RUNG_BIT(rung) &&
           columns >= k->columns_min && columns <= k->columns_max;
}

/* Times the trials; `same` says which of them each rung's pass is. */
static sl_status time_ladder(run *r, const sl_shape *shape, trial *trials, uint32_t count,
                             const uint32_t same[SL_RUNG_COUNT], rung_times *out)
{
    double times[SL_RUNG_COUNT];
    bool differ = false;
    sl_status st = SL_OK;
    out->candidates = count;
    if (count > 1 && !r->t->measure) SL_TRY(sl_tuner_prepare(r->t, shape, LADDER_LOAD_NS, r->diag));
    if (count > 1) SL_TRY(time_trials(r, trials, count, times, &differ));
    for (uint32_t rung = 0; rung < SL_RUNG_COUNT; rung++)
        out->seconds[rung] = same[rung] == UINT32_MAX ? (double)INFINITY : differ ? times[same[rung]] : 1;
cleanup:
    return st;
}

/* The pass as it is now, unless an earlier trial is the same. */
static sl_status add_trial(run *r, const sl_shape *shape, trial *trials, uint32_t *count, uint32_t *out_same)
{
    trial *next = &trials[*count];
    *next = (trial){0};
    sl_status st = sl_step_build(r->t->layout, r->t->kernels, shape, &next->step, r->diag);
    if (st == SL_OK) *out_same = same_pass(trials, *count, &next->step);
    if (st == SL_OK && *out_same == *count)
        (*count)++;
    else
        sl_step_clear(&next->step);
    return st;
}

static bool has_type(const sl_model *m, uint32_t type)
{
    for (uint32_t i = 0; i < m->tensor_count; i++)
        if (sl_part_is_matrix(m->tensors[i].part) && (uint32_t)m->tensors[i].file->type == type) return true;
    return false;
}

/* Times the pass with products of one type on each rung that can do them. Where mat-vecs are fused a matrix
 * stays with them only as long as its neighbours do: these are mat-vecs here as long as they can. */
static sl_status time_rungs(run *r, const sl_shape *shape, uint32_t type, rung_times *out)
{
    trial trials[SL_RUNG_COUNT];
    uint32_t count = 0, same[SL_RUNG_COUNT];
    uint32_t before[SL_WEIGHT_NUMBERS][SL_RUNG_COUNT];
    sl_status st = SL_OK;
    memcpy(before, r->tuning->columns, sizeof before);
    for (uint32_t other = 0; other < SL_WEIGHT_NUMBERS; other++)
        if (can(r, other, shape->n_tokens, SL_RUNG_matvec))
            sl_tuning_force(r->tuning, other, shape->n_tokens, SL_RUNG_matvec);
    for (uint32_t rung = 0; rung < SL_RUNG_COUNT; rung++) {
        same[rung] = UINT32_MAX;
        if (!can(r, type, shape->n_tokens, rung)) continue;
        sl_tuning_force(r->tuning, type, shape->n_tokens, (sl_product_rung)rung);
        SL_TRY(add_trial(r, shape, trials, &count, &same[rung]));
    }
    SL_TRY(time_ladder(r, shape, trials, count, same, out));
cleanup:
    memcpy(r->tuning->columns, before, sizeof before);
    clear_trials(trials, count);
    return st;
}

static sl_status time_experts(run *r, const sl_shape *shape, rung_times *out)
{
    trial trials[SL_RUNG_COUNT];
    uint32_t count = 0, same[SL_RUNG_COUNT];
    const uint32_t before = r->tuning->experts_alone;
    sl_status st = SL_OK;
    for (uint32_t way = 0; way < SL_RUNG_COUNT; way++) {
        same[way] = UINT32_MAX;
        if (way >= EXPERT_WAYS) continue;
        r->tuning->experts_alone = shape->n_tokens - way;
        SL_TRY(add_trial(r, shape, trials, &count, &same[way]));
    }
    SL_TRY(time_ladder(r, shape, trials, count, same, out));
cleanup:
    r->tuning->experts_alone = before;
    clear_trials(trials, count);
    return st;
}

/* The rung of each of the ascending numbers of columns, never going back to an earlier one, with the least
 * sum of times, each relative to the best of its number: so wherever the ladder goes on, the next rung is the
 * faster one. */
static void climb(const rung_times *times, uint32_t count, uint32_t out[POINTS_MAX])
{
    double cost[POINTS_MAX][SL_RUNG_COUNT];
    uint32_t from[POINTS_MAX][SL_RUNG_COUNT];
    for (uint32_t i = 0; i < count; i++) {
        double least = (double)INFINITY;
        for (uint32_t r = 0; r < SL_RUNG_COUNT; r++)
            least = SL_MIN(least, times[i].seconds[r]);
        for (uint32_t r = 0; r < SL_RUNG_COUNT; r++) {
            uint32_t best = 0;
            for (uint32_t q = 0; i && q <= r; q++)
                if (cost[i - 1][q] < cost[i - 1][best]) best = q;
            from[i][r] = best;
            cost[i][r] = times[i].seconds[r] / least + (i ? cost[i - 1][best] : 0);
        }
    }
    uint32_t rung = 0;
    for (uint32_t r = 1; count && r < SL_RUNG_COUNT; r++)
        if (cost[count - 1][r] < cost[count - 1][rung]) rung = r;
    for (uint32_t i = count; i-- > 0; rung = from[i][rung])
        out[i] = rung;
}

/* Columns between two points of which the upper one has another rung: the last that is the lower rung's.
 * Passes of more columns than mat-vecs take are padded to the points (engine/pass.c). */
static sl_status last_of_lower(run *r, const points *p, uint32_t type, const uint32_t *rungs, uint32_t i,
                               uint32_t *out)
{
    uint32_t high = p->shapes[i + 1].n_tokens;
    *out = p->shapes[i].n_tokens;
    if (rungs[i] == rungs[i + 1] || high > SL_MATVEC_COLUMNS_MAX) return SL_OK;
    while (high - *out > 1) {
        rung_times times;
        sl_shape shape = p->shapes[i];
        shape.n_tokens = *out + (high - *out) / 2;
        shape.n_outputs = SL_MIN(shape.n_tokens, r->t->layout->limits.outputs);
        const sl_status st = time_rungs(r, &shape, type, &times);
        if (st != SL_OK) return st;
        if (times.seconds[rungs[i]] <= times.seconds[rungs[i + 1]])
            *out = shape.n_tokens;
        else
            high = shape.n_tokens;
    }
    return SL_OK;
}

/* Switch points from the rungs of all points. What lies beyond the last point keeps its defaults. */
static sl_status set_columns(run *r, const points *p, uint32_t type, const uint32_t *rungs)
{
    sl_tuning defaults;
    uint32_t columns[SL_RUNG_COUNT] = {1}; /* a mat-vec has no rival */
    sl_tuning_default(&defaults, sl_device_get_info(r->t->device));
    for (uint32_t i = 0; i < p->count; i++) {
        uint32_t last = p->shapes[i].n_tokens;
        if (i + 1 < p->count) {
            const sl_status st = last_of_lower(r, p, type, rungs, i, &last);
            if (st != SL_OK) return st;
        }
        const uint32_t end = i + 1 < p->count ? SL_MAX(rungs[i + 1], rungs[i] + 1) : SL_RUNG_COUNT;
        for (uint32_t rung = rungs[i]; rung < end; rung++)
            columns[rung] = SL_MAX(last, i + 1 < p->count ? 0 : defaults.columns[type][rung]);
    }
    memcpy(r->tuning->columns[type], columns, sizeof columns);
    return SL_OK;
}

/* Counts what was chosen at a point where there was a choice, and says what. */
static void report_point(const run *r, uint32_t type, uint32_t columns, const rung_times *times,
                         sl_kernel_id chosen, uint32_t rung, sl_kernel_id usual, uint32_t usual_rung)
{
    const sl_ladder_choice choice = {
        .weight_type = type,
        .columns = columns,
        .chosen = chosen,
        .usual = usual,
        .seconds = times->seconds[rung],
        .usual_seconds = times->seconds[usual_rung],
        .candidates = times->candidates,
    };
    if (times->candidates < 2) return;
    r->result->measured++;
    if (r->t->climbed) r->t->climbed(r->t->user, &choice);
}

static void report_ladder(const run *r, const points *p, uint32_t type, const rung_times *times,
                          const uint32_t *rungs)
{
    sl_tuning defaults;
    sl_tuning_default(&defaults, sl_device_get_info(r->t->device));
    const uint32_t allowed = sl_step_rungs(&r->t->layout->limits, &defaults, type);
    for (uint32_t i = 0; i < p->count; i++) {
        const uint32_t columns = p->shapes[i].n_tokens;
        const sl_product_rung usual = sl_tuning_rung(&defaults, type, columns, allowed);
        report_point(r, type, columns, &times[i], sl_products[rungs[i]].kernel, rungs[i],
                     sl_products[usual].kernel, usual);
    }
}

/* Every point of a ladder; *out_all: there was time for it. */
static sl_status time_points(run *r, points *p, uint32_t type, double progress, rung_times *out,
                             bool *out_all)
{
    *out_all = false;
    for (uint32_t i = 0; i < p->count; i++) {
        if (out_of_time(r)) {
            r->result->left++;
            return SL_OK;
        }
        const sl_status st = type == EXPERTS ? time_experts(r, &p->shapes[i], &out[i])
                                             : time_rungs(r, &p->shapes[i], type, &out[i]);
        if (st != SL_OK) return st;
        progress_to(r, p->done += progress / p->count);
    }
    *out_all = true;
    return SL_OK;
}

static sl_status tune_ladder(run *r, points *p, uint32_t type, double progress)
{
    rung_times times[POINTS_MAX];
    uint32_t rungs[POINTS_MAX];
    bool all;
    sl_status st = time_points(r, p, type, progress, times, &all);
    if (st != SL_OK || !all) return st;
    climb(times, p->count, rungs);
    st = set_columns(r, p, type, rungs);
    if (st == SL_OK) report_ladder(r, p, type, times, rungs);
    return st;
}

/* How many tokens are multiplied with their experts one by one. */
static sl_status tune_experts(run *r, points *p, double progress)
{
    static const sl_kernel_id kernels[EXPERT_WAYS] = {SL_K_moe_matvec, SL_K_moe_matmul};
    rung_times times[POINTS_MAX];
    uint32_t ways[POINTS_MAX];
    bool all;
    sl_tuning defaults;
    const sl_status st = time_points(r, p, EXPERTS, progress, times, &all);
    if (st != SL_OK || !all) return st;
    climb(times, p->count, ways);
    sl_tuning_default(&defaults, sl_device_get_info(r->t->device));
    r->tuning->experts_alone = 1;
    for (uint32_t i = 0; i < p->count; i++) {
        const uint32_t n = p->shapes[i].n_tokens, usual = n > defaults.experts_alone;
        if (!ways[i]) r->tuning->experts_alone = n;
        report_point(r, EXPERTS, n, &times[i], kernels[ways[i]], ways[i], kernels[usual], usual);
    }
    return SL_OK;
}

/* Products of more columns than mat-vecs take are compared in prompts, which have one row of logits: the
 * output matrix has fewer kernels than the others. */
static void list_points(const sl_shape *shapes, uint32_t shape_count, points *out)
{
    for (uint32_t i = 0; i < shape_count && out->count < POINTS_MAX; i++) {
        const uint32_t n = shapes[i].n_tokens;
        if (n < 2 || (out->count && n <= out->shapes[out->count - 1].n_tokens)) continue;
        out->shapes[out->count++] = n <= SL_MATVEC_COLUMNS_MAX ? shapes[i]
                                                               : (sl_shape){.n_tokens = n,
                                                                            .n_outputs = 1,
                                                                            .output = SL_OUTPUT_GREEDY,
                                                                            .gather = true,
                                                                            .prefill = true};
    }
}

static sl_status tune_switches(run *r, const sl_shape *shapes, uint32_t shape_count)
{
    points p = {.done = SHAPES_PART};
    uint32_t ladders = sl_step_groups_experts(r->t->layout, r->t->kernels) ? 1 : 0;
    sl_status st = SL_OK;
    list_points(shapes, shape_count, &p);
    if (!p.count) return SL_OK;
    for (uint32_t type = 0; type < SL_WEIGHT_NUMBERS; type++)
        ladders += has_type(r->t->layout->model, type);
    const double progress = (1 - SHAPES_PART) / SL_MAX(ladders, 1);
    for (uint32_t type = 0; type < SL_WEIGHT_NUMBERS; type++)
        if (has_type(r->t->layout->model, type)) SL_TRY(tune_ladder(r, &p, type, progress));
    if (sl_step_groups_experts(r->t->layout, r->t->kernels)) SL_TRY(tune_experts(r, &p, progress));
cleanup:
    return st;
}

/* All variants of each rung are tuned for the shape first, so that the best of each kernel are compared; of
 * experts, one by one with the first rung, grouped with the others. */
static sl_status tune_rungs(run *r, const sl_shape *shape, span of)
{
    const double each = (of.to - of.from) / SL_RUNG_COUNT;
    uint32_t before[SL_WEIGHT_NUMBERS][SL_RUNG_COUNT];
    const uint32_t alone_before = r->tuning->experts_alone;
    memcpy(before, r->tuning->columns, sizeof before);
    sl_status st = SL_OK;
    for (uint32_t rung = 0; rung < SL_RUNG_COUNT; rung++) {
        for (uint32_t type = 0; type < SL_WEIGHT_NUMBERS; type++)
            if (can(r, type, shape->n_tokens, rung))
                sl_tuning_force(r->tuning, type, shape->n_tokens, (sl_product_rung)rung);
        r->tuning->experts_alone = shape->n_tokens - (rung ? 1 : 0);
        SL_TRY(tune_pass(r, shape, (span){of.from + rung * each, of.from + (rung + 1) * each}));
    }
cleanup:
    memcpy(r->tuning->columns, before, sizeof before);
    r->tuning->experts_alone = alone_before;
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
        const bool ladder = tuner->switches && shapes[i].n_tokens > 1;
        const double part = tuner->switches ? SHAPES_PART : 1;
        const span of = {part * i / shape_count, part * (i + 1) / shape_count};
        SL_TRY(ladder ? tune_rungs(&r, &shapes[i], of) : tune_pass(&r, &shapes[i], of));
    }
    if (tuner->switches) SL_TRY(tune_switches(&r, shapes, shape_count));
    progress_to(&r, 1);
cleanup:
    sl_free(r.done);
    return st;
}
