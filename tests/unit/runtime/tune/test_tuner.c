/* What the tuner chooses, with a clock of the test's own; and that it measures on a device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/step/gemm_phases.h"
#include "runtime/tune/tuner.h"
#include "tests/support/paper_model.h"
#include "tests/support/test_device.h"

#include "hal/base/checked.h"

#include <stdlib.h>
#include <string.h>

/* A GPU with matrix units, for which the registry prefers matmul/f16_m16 to matmul/f16. */
static const sl_device_info gpu = {.name = "a GPU",
                                   .type = SL_DEVICE_DISCRETE,
                                   .usable = true,
                                   .caps = {.features = SL_CAP_SPIRV | SL_CAP_STORAGE_16 | SL_CAP_SUBGROUP |
                                                        SL_CAP_MATRIX_F16 | SL_CAP_FLOAT_16,
                                            .subgroup_size = 32,
                                            .max_workgroup_invocations = 1024,
                                            .device_bytes = 1ull << 40,
                                            .matrix_shape_count = 1,
                                            .matrix_shapes = {{16, 16, 16, SL_MATRIX_F16, SL_MATRIX_F32}}}};

/* One with matrices of a workgroup besides, and kernels for everything between a column and thousands. */
static const sl_device_info whole_gpu = {
    .name = "another GPU",
    .type = SL_DEVICE_DISCRETE,
    .usable = true,
    .caps = {.features = SL_CAP_SPIRV | SL_CAP_STORAGE_16 | SL_CAP_SUBGROUP | SL_CAP_MATRIX_F16 |
                         SL_CAP_FLOAT_16 | SL_CAP_MATRIX_2,
             .subgroup_size = 32,
             .max_workgroup_invocations = 1024,
             .compute_units = 132,
             .device_bytes = 1ull << 40,
             .matrix_shape_count = 1,
             .matrix_shapes = {{16, 16, 16, SL_MATRIX_F16, SL_MATRIX_F32}}}};

static const sl_limits limits = {
    .tokens = 512, .outputs = 8, .sessions = 1, .pages_per_session = 8, .splits = 32};

typedef struct fixture {
    sl_device *device;
    sl_kernel_set *kernels;
    sl_paper_model paper;
    void *batch;
    sl_tuner tuner;
    sl_tuner_result result;
    /* The clock: seconds of a phase, by its variant and push block. */
    double (*cost)(const sl_phase *phase);
    uint32_t measurements, fail_at;
    sl_tuning_choice last_best; /* and what the tuner reported last */
    uint32_t reports, last_candidates;
} fixture;

static sl_status measure(void *user, const sl_step *step, double *out_seconds, sl_diag *diag)
{
    fixture *f = user;
    if (++f->measurements == f->fail_at) return sl_fail(diag, SL_ERR_DEVICE_MEMORY, "as asked");
    *out_seconds = 0;
    assert_true(step->count > 0);
    for (uint32_t i = 0; i < step->count; i++)
        *out_seconds += f->cost(&step->phases[i]);
    return SL_OK;
}

static void chosen(void *user, const sl_tuning_choice *candidates, const double *seconds, uint32_t count,
                   uint32_t best)
{
    fixture *f = user;
    assert_in_range(count, 2, 32);
    assert_true(best < count && seconds[best] <= seconds[0]);
    f->last_best = candidates[best];
    f->last_candidates = count;
    f->reports++;
}

/* all: with what the limits of products in F16 and by gemm are for. */
static void open_on(void **state, const sl_device_info *device, const tiny_model *m, bool all)
{
    static fixture f;
    sl_diag diag;
    sl_batch unused;
    f = (fixture){0};
    EXPECT_OK(sl_device_create("null", 0, &(sl_device_options){.table = device}, &f.device, &diag));
    EXPECT_OK(sl_kernel_set_create(f.device, &f.kernels, &diag));
    sl_paper_model_open(m, &limits, &f.paper);
    sl_layout *layout = &f.paper.layout;
    if (all) {
        sl_limits_few_columns(&layout->limits, &f.paper.model, &device->caps, false);
        assert_true(sl_gemm_set(&f.paper.model, &device->caps, SL_ROWS_F16, &layout->limits));
        sl_workspace_lay_out(&f.paper.model, &layout->limits, layout->work.x.begin, &layout->work);
    }
    f.batch = calloc(1, sl_batch_lay_out(&f.paper.model, &limits, true, 0, &unused));
    assert_non_null(f.batch);
    f.tuner = (sl_tuner){
        .device = f.device,
        .kernels = f.kernels,
        .layout = &f.paper.layout,
        .chosen = chosen,
        .user = &f,
        .measure = measure,
    };
    sl_batch_lay_out(&f.paper.model, &limits, true, (uintptr_t)f.batch, &f.tuner.batch_host);
    *state = &f;
}

static int set_up(void **state)
{
    const tiny_model m = tiny_model_default();
    open_on(state, &gpu, &m, false);
    return 0;
}

static int set_up_whole(void **state)
{
    tiny_model m = tiny_model_default();
    m.embd = 256; /* skinny products have parts of k */
    m.ff = 1024;
    open_on(state, &whole_gpu, &m, true);
    return 0;
}

static int set_up_experts(void **state)
{
    tiny_model m = tiny_model_default();
    m.arch = "qwen3moe";
    open_on(state, &whole_gpu, &m, true);
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    sl_paper_model_close(&f->paper);
    sl_kernel_set_destroy(f->kernels);
    sl_device_destroy(f->device);
    free(f->batch);
    return 0;
}

static const sl_shape step_1 = {.n_tokens = 1, .n_outputs = 1, .output = SL_OUTPUT_GREEDY};
static const sl_shape batch_512 = {
    .n_tokens = 512, .n_outputs = 1, .output = SL_OUTPUT_GREEDY, .prefill = true};

static void tune(fixture *f, const sl_shape *shapes, uint32_t count)
{
    sl_diag diag;
    f->result = (sl_tuner_result){0};
    f->reports = f->measurements = 0;
    EXPECT_OK(sl_tuner_run(&f->tuner, shapes, count, &f->result, &diag));
}

/* The variant that a pass of this shape runs for its queries. */
static const char *variant_of_q(fixture *f, const sl_shape *shape)
{
    sl_diag diag;
    sl_step step = {0};
    const char *name = NULL;
    EXPECT_OK(sl_step_build(&f->paper.layout, f->kernels, shape, &step, &diag));
    for (uint32_t i = 0; i < step.count && !name; i++)
        if (!strcmp(step.phases[i].label, "attn_q")) name = step.phases[i].kernel->variant->name;
    sl_step_clear(&step);
    assert_non_null(name);
    return name;
}

static double plain_is_faster(const sl_phase *phase)
{
    return phase->kernel->variant->matrix ? 2 : 1;
}

static double plain_is_slower(const sl_phase *phase)
{
    return phase->kernel->variant->matrix ? 1 : 2;
}

static double plain_is_hardly_faster(const sl_phase *phase)
{
    return phase->kernel->variant->matrix ? 1 : 0.99;
}

static void test_variants(void **state)
{
    fixture *f = *state;
    assert_string_equal(variant_of_q(f, &batch_512), "f16_m16");
    f->cost = plain_is_faster;
    tune(f, &batch_512, 1);
    assert_string_equal(variant_of_q(f, &batch_512), "f16");
    assert_true(f->result.measured >= 3); /* q and k, v differ in shape, so do gate, up and down */
    assert_int_equal(f->reports, f->result.measured);
    f->tuner.force = true;
    f->cost = plain_is_slower;
    tune(f, &batch_512, 1);
    assert_string_equal(variant_of_q(f, &batch_512), "f16_m16");
    f->cost = plain_is_hardly_faster;
    tune(f, &batch_512, 1);
    assert_string_equal(variant_of_q(f, &batch_512), "f16_m16");
}

/* Only classes of the pass are touched, and one that has a choice is measured again only by force. */
static void test_known(void **state)
{
    fixture *f = *state;
    f->cost = plain_is_faster;
    tune(f, &batch_512, 1);
    const uint32_t measured = f->result.measured;
    const sl_shape batch_256 = {.n_tokens = 256, .n_outputs = 1, .output = SL_OUTPUT_GREEDY, .prefill = true};
    assert_string_equal(variant_of_q(f, &batch_256), "f16_m16");
    tune(f, &batch_512, 1);
    assert_int_equal(f->result.measured, 0);
    assert_int_equal(f->measurements, 0);
    assert_true(f->result.known >= measured);
    f->tuner.force = true;
    tune(f, &batch_512, 1);
    assert_int_equal(f->result.measured, measured);
}

/* Best with 4 splits; the combine counts as well, because its push block differs. */
static double best_with_4_splits(const sl_phase *phase)
{
    struct sl_push_attention push;
    if (phase->kernel->variant->kernel == SL_K_attention_combine) return 0.1;
    memcpy(&push, phase->push, sizeof push);
    const double splits = push.n_splits;
    return 1 + (splits - 4) * (splits - 4);
}

static void test_numbers(void **state)
{
    fixture *f = *state;
    f->cost = best_with_4_splits;
    tune(f, &step_1, 1);
    assert_int_equal(f->result.measured, 1);
    assert_int_equal(f->last_best.of.kernel, SL_K_attention_decode);
    assert_int_equal(f->last_best.number, 4);
    assert_int_equal(f->last_candidates,
                     6); /* 1 to 32, of which 32 is the default; 64 would be no more than it */
    sl_diag diag;
    sl_step step = {0};
    EXPECT_OK(sl_step_build(&f->paper.layout, f->kernels, &step_1, &step, &diag));
    for (uint32_t i = 0; i < step.count; i++) {
        struct sl_push_attention push;
        if (step.phases[i].kernel->variant->kernel != SL_K_attention_decode) continue;
        memcpy(&push, step.phases[i].push, sizeof push);
        assert_int_equal(push.n_splits, 4);
    }
    sl_step_clear(&step);
}

/* Matvec costs a unit a column, matmul as much as so many columns whatever it multiplies. */
static double matmul_cost;

static double by_columns(const sl_phase *phase)
{
    struct sl_push_matmul push;
    const sl_kernel_id kernel = phase->kernel->variant->kernel;
    if (kernel == SL_K_matmul) return matmul_cost;
    if (kernel != SL_K_matvec) return 1;
    memcpy(&push, phase->push, sizeof push);
    return push.n_tokens;
}

static void test_switch_points(void **state)
{
    fixture *f = *state;
    const sl_tuning *tuning = sl_kernel_set_tuning(f->kernels);
    /* One column is a mat-vec's in any case; between the passes of 4 and 8 columns others are tried. */
    static const struct {
        double cost;
        uint32_t columns;
    } cases[] = {{5.5, 5}, {1.5, 1}, {3, 3}, {100, 8}};
    sl_shape shapes[4];
    for (uint32_t i = 0; i < 4; i++)
        shapes[i] = (sl_shape){.n_tokens = 2u << i, .n_outputs = 1, .output = SL_OUTPUT_GREEDY};
    f->tuner.switches = f->tuner.force = true;
    f->cost = by_columns;
    for (size_t i = 0; i < SL_COUNTOF(cases); i++) {
        matmul_cost = cases[i].cost;
        tune(f, shapes, 4); /* 2, 4, 8 and 16, which matvec cannot do */
        assert_int_equal(tuning->columns[SL_WEIGHT_F16][SL_RUNG_matvec], cases[i].columns);
        assert_true(tuning->columns[SL_WEIGHT_F16][SL_RUNG_matmul] >= 16);
        assert_int_equal(tuning->columns[SL_WEIGHT_Q4_K][SL_RUNG_matvec],
                         SL_MATVEC_COLUMNS_MAX); /* not in the model */
    }
}

/* ---- the whole ladder ---- */

/* Mat-vecs by the column, the others with a fixed part: tiles, the conversion of rows, the decoding of
 * weights. */
static double ladder_cost(const sl_phase *phase)
{
    struct sl_push_matmul push;
    struct sl_push_matmul_skinny skinny;
    struct sl_push_gemm gemm;
    memcpy(&push, phase->push, sizeof push);
    memcpy(&skinny, phase->push, sizeof skinny);
    memcpy(&gemm, phase->push, sizeof gemm);
    switch (phase->kernel->variant->kernel) {
    case SL_K_matvec:
        return push.n_tokens;
    case SL_K_matmul_skinny:
        return 4 + skinny.n_tokens / 16.0 + (skinny.n_splits == 2 ? 0 : 0.5);
    case SL_K_matmul_decode:
        return skinny.n_tokens <= 128 ? 0.2 : 20;
    case SL_K_matmul:
        return 8 + push.n_tokens / 8.0;
    case SL_K_dequant:
        return 6;
    case SL_K_gemm:
        return gemm.n_tokens / 64.0 + (phase->kernel->variant->tile_x == 64 ? 0 : 0.1);
    case SL_K_gemm_gated:
        return 2 * gemm.n_tokens / 64.0;
    case SL_K_convert_rows:
        return 0.5;
    default:
        return 0.1;
    }
}

static uint32_t list_points(sl_shape out[16])
{
    uint32_t count = 0;
    for (uint32_t n = 2; n <= 8; n *= 2)
        out[count++] = (sl_shape){.n_tokens = n, .n_outputs = n, .output = SL_OUTPUT_GREEDY};
    for (uint32_t n = 16; n <= 512; n *= 2)
        out[count++] = (sl_shape){
            .n_tokens = n, .n_outputs = 1, .output = SL_OUTPUT_GREEDY, .gather = true, .prefill = true};
    return count;
}

static double pass_cost(fixture *f, const sl_shape *shape)
{
    sl_diag diag;
    sl_step step = {0};
    double sum = 0;
    EXPECT_OK(sl_step_build(&f->paper.layout, f->kernels, shape, &step, &diag));
    for (uint32_t i = 0; i < step.count; i++)
        sum += f->cost(&step.phases[i]);
    sl_step_clear(&step);
    return sum;
}

/* Whatever the number of columns, no kernel would make the pass faster than the one that the ladder has for
 * it. */
static void test_no_cliff(void **state)
{
    fixture *f = *state;
    sl_tuning *tuning = sl_kernel_set_tuning(f->kernels);
    sl_shape shapes[16];
    const uint32_t count = list_points(shapes);
    f->tuner.switches = true;
    f->cost = ladder_cost;
    tune(f, shapes, count);
    const uint32_t *columns = tuning->columns[SL_WEIGHT_F16];
    assert_in_range(columns[SL_RUNG_matvec], 2, 7);
    assert_in_range(columns[SL_RUNG_matmul_skinny], 16, 256);
    assert_int_equal(columns[SL_RUNG_gemm], UINT32_MAX);
    assert_int_equal(columns[SL_RUNG_matmul_decode], 128);
    assert_int_equal(columns[SL_RUNG_matmul], columns[SL_RUNG_matmul_decode]); /* never the fastest */
    uint32_t kept[SL_RUNG_COUNT];
    memcpy(kept, columns, sizeof kept);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t n = i ? shapes[i - 1].n_tokens + 1 : 2; n <= shapes[i].n_tokens; n++) {
            sl_shape shape = shapes[i];
            if (n > SL_MATVEC_COLUMNS_MAX) n = shape.n_tokens; /* padded */
            shape.n_tokens = n;
            if (shape.n_outputs > 1) shape.n_outputs = n;
            const double chosen_cost = pass_cost(f, &shape);
            for (uint32_t rung = 0; rung < SL_RUNG_COUNT; rung++) {
                if (n < sl_products[rung].columns_min || n > sl_products[rung].columns_max) continue;
                sl_tuning_force(tuning, SL_WEIGHT_F16, n, (sl_product_rung)rung);
                assert_true(chosen_cost <= pass_cost(f, &shape) + 1e-9);
                memcpy(tuning->columns[SL_WEIGHT_F16], kept, sizeof kept);
            }
        }
}

/* Kernels whose default is no first row of the registry: tiles of gemm, parts of k of skinny products. */
static void test_tiles_and_parts(void **state)
{
    fixture *f = *state;
    sl_shape shapes[16];
    const uint32_t count = list_points(shapes);
    sl_diag diag;
    sl_step step = {0};
    uint32_t gemms = 0, skinnies = 0;
    f->tuner.switches = true;
    f->cost = ladder_cost;
    tune(f, shapes, count);
    EXPECT_OK(sl_step_build(&f->paper.layout, f->kernels, &batch_512, &step, &diag));
    for (uint32_t i = 0; i < step.count; i++) {
        if (step.phases[i].kernel->variant->kernel != SL_K_gemm) continue;
        assert_int_equal(step.phases[i].kernel->variant->tile_x, 64);
        gemms++;
    }
    sl_step_clear(&step);
    EXPECT_OK(sl_step_build(&f->paper.layout, f->kernels, &shapes[3], &step, &diag));
    for (uint32_t i = 0; i < step.count; i++) {
        struct sl_push_matmul_skinny push;
        if (step.phases[i].kernel->variant->kernel != SL_K_matmul_skinny) continue;
        memcpy(&push, step.phases[i].push, sizeof push);
        assert_int_equal(push.n_splits, SL_MIN(push.n_k / 256, 2));
        skinnies++;
    }
    sl_step_clear(&step);
    assert_true(gemms >= 2 && skinnies >= 2);
}

/* Experts one by one cost by the token, grouped a fixed sum, least with tiles of 16. */
static double experts_cost(const sl_phase *phase)
{
    struct sl_push_moe_matvec one;
    struct sl_push_moe_group group;
    memcpy(&one, phase->push, sizeof one);
    memcpy(&group, phase->push, sizeof group);
    switch (phase->kernel->variant->kernel) {
    case SL_K_moe_matvec:
        return one.n_tokens;
    case SL_K_moe_matmul:
        return 20;
    case SL_K_moe_group:
        return group.tile == 16 ? 0 : 10;
    default:
        return ladder_cost(phase);
    }
}

static void test_experts(void **state)
{
    fixture *f = *state;
    const sl_tuning *tuning = sl_kernel_set_tuning(f->kernels);
    sl_shape shapes[16];
    sl_diag diag;
    sl_step step = {0};
    const uint32_t count = list_points(shapes);
    assert_int_equal(tuning->experts_alone, SL_MATVEC_COLUMNS_MAX);
    f->tuner.switches = true;
    f->cost = experts_cost;
    tune(f, shapes, count);
    assert_int_equal(tuning->experts_alone, 16); /* a sum between 16 and 32 tokens */
    EXPECT_OK(sl_step_build(&f->paper.layout, f->kernels, &batch_512, &step, &diag));
    uint32_t grouped = 0;
    for (uint32_t i = 0; i < step.count; i++) {
        struct sl_push_moe_group push;
        const sl_kernel_id kernel = step.phases[i].kernel->variant->kernel;
        assert_int_not_equal(kernel, SL_K_moe_matvec);
        if (kernel == SL_K_moe_matmul) assert_int_equal(step.phases[i].kernel->variant->tile_y, 16);
        if (kernel != SL_K_moe_group) continue;
        memcpy(&push, step.phases[i].push, sizeof push);
        assert_int_equal(push.tile, 16);
        grouped++;
    }
    assert_int_equal(grouped, f->paper.model.h.n_layers);
    sl_step_clear(&step);
}

/* Switch points that were not reached keep what they were. */
static void test_ladder_budget(void **state)
{
    fixture *f = *state;
    sl_shape shapes[16];
    uint32_t before[SL_RUNG_COUNT];
    const uint32_t count = list_points(shapes);
    const sl_tuning *tuning = sl_kernel_set_tuning(f->kernels);
    memcpy(before, tuning->columns[SL_WEIGHT_F16], sizeof before);
    f->tuner.switches = true;
    f->tuner.budget_ns = 1;
    f->cost = ladder_cost;
    tune(f, shapes, count);
    assert_int_equal(f->result.measured, 0);
    assert_int_not_equal(f->result.left, 0);
    assert_memory_equal(tuning->columns[SL_WEIGHT_F16], before, sizeof before);
}

/* A measurement that fails leaves its class without a choice, what went before stays. */
static void test_failure(void **state)
{
    fixture *f = *state;
    sl_diag diag;
    f->cost = plain_is_faster;
    f->fail_at = 4; /* the second candidate of the second class */
    EXPECT_STATUS(SL_ERR_DEVICE_MEMORY, sl_tuner_run(&f->tuner, &batch_512, 1, &f->result, &diag));
    assert_int_equal(f->result.measured, 1);
    assert_int_equal(sl_kernel_set_tuning(f->kernels)->choice_count, 1);
    f->fail_at = 0;
    tune(f, &batch_512, 1);
    assert_int_equal(f->result.known, 1);
    assert_true(f->result.measured >= 2);
}

static void test_budget(void **state)
{
    fixture *f = *state;
    f->cost = plain_is_faster;
    f->tuner.budget_ns = 1;
    tune(f, &batch_512, 1);
    assert_int_equal(f->result.measured, 0);
    assert_true(f->result.left >= 3);
    assert_string_equal(variant_of_q(f, &batch_512), "f16_m16");
}

static uint64_t progress_done, progress_total;

static void note_progress(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    assert_true(done >= progress_done && done <= total);
    progress_done = done;
    progress_total = total;
}

/* Without a clock of the test's own the parts are recorded, submitted and waited for. */
static void test_on_the_device(void **state)
{
    fixture *f = *state;
    const sl_shape shapes[] = {step_1, batch_512};
    progress_done = progress_total = 0;
    f->tuner.measure = NULL;
    f->tuner.progress = note_progress;
    tune(f, shapes, 2);
    assert_true(f->result.measured >= 4);
    assert_int_equal(progress_done, progress_total);
    assert_int_not_equal(progress_total, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_variants, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_switch_points, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_cliff, set_up_whole, tear_down),
        cmocka_unit_test_setup_teardown(test_tiles_and_parts, set_up_whole, tear_down),
        cmocka_unit_test_setup_teardown(test_experts, set_up_experts, tear_down),
        cmocka_unit_test_setup_teardown(test_ladder_budget, set_up_whole, tear_down),
        cmocka_unit_test_setup_teardown(test_failure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_budget, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_on_the_device, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
