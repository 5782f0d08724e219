/* Which kernels a pass has: matrices of several types in one layer, rungs that a pass lacks, what is
 * converted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/step/builder.h"
#include "runtime/step/gemm_phases.h"
#include "tests/support/paper_model.h"
#include "tests/support/test_device.h"

#include <string.h>

static const sl_device_info gpu = {.name = "a GPU",
                                   .type = SL_DEVICE_DISCRETE,
                                   .usable = true,
                                   .caps = {.features = SL_CAP_SPIRV | SL_CAP_STORAGE_16 | SL_CAP_SUBGROUP |
                                                        SL_CAP_MATRIX_F16 | SL_CAP_FLOAT_16 | SL_CAP_DOT_8 |
                                                        SL_CAP_DOT_8_FAST,
                                            .subgroup_size = 32,
                                            .max_workgroup_invocations = 1024,
                                            .device_bytes = 1ull << 40,
                                            .matrix_shape_count = 1,
                                            .matrix_shapes = {{16, 16, 16, SL_MATRIX_F16, SL_MATRIX_F32}}}};

typedef struct fixture {
    sl_device *device;
    sl_kernel_set *kernels;
    sl_paper_model paper;
    sl_tuning *tuning;
    sl_step step;
} fixture;

/* Matrices of F16, but for the values of the first layer, which are Q8_0. */
static int set_up(void **state)
{
    static fixture f;
    static const sl_limits limits = {
        .tokens = 512, .outputs = 64, .sessions = 64, .pages_per_session = 8, .splits = 32};
    sl_diag diag;
    tiny_model m = tiny_model_default();
    m.embd = m.ff = 256; /* what rows of Q8 are multiples of */
    m.tensor = "blk.0.attn_v.weight";
    m.type = SL_WEIGHT_Q8_0;
    f = (fixture){0};
    EXPECT_OK(sl_device_create("null", 0, &(sl_device_options){.table = &gpu}, &f.device, &diag));
    EXPECT_OK(sl_kernel_set_create(f.device, &f.kernels, &diag));
    f.tuning = sl_kernel_set_tuning(f.kernels);
    sl_paper_model_open(&m, &limits, &f.paper);
    sl_layout *layout = &f.paper.layout;
    sl_limits_few_columns(&layout->limits, &f.paper.model, &gpu.caps, false);
    assert_true(sl_gemm_set(&f.paper.model, &gpu.caps, SL_ROWS_F16, &layout->limits));
    sl_workspace_lay_out(&f.paper.model, &layout->limits, layout->work.x.begin, &layout->work);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    sl_step_clear(&f->step);
    sl_paper_model_close(&f->paper);
    sl_kernel_set_destroy(f->kernels);
    sl_device_destroy(f->device);
    return 0;
}

static void build(fixture *f, uint32_t n_tokens)
{
    sl_diag diag;
    const sl_shape shape = {.n_tokens = n_tokens,
                            .n_outputs = n_tokens > 64 ? 1 : n_tokens,
                            .output = SL_OUTPUT_GREEDY,
                            .gather = n_tokens > 64,
                            .prefill = n_tokens > SL_MATVEC_COLUMNS_MAX};
    sl_step_clear(&f->step);
    EXPECT_OK(sl_step_build(&f->paper.layout, f->kernels, &shape, &f->step, &diag));
}

static const sl_phase *phase_of(const fixture *f, const char *label, uint32_t layer)
{
    for (uint32_t i = 0; i < f->step.count; i++)
        if (f->step.phases[i].layer == layer && !strcmp(f->step.phases[i].label, label))
            return &f->step.phases[i];
    return NULL;
}

static void expect(const fixture *f, const char *label, uint32_t layer, sl_kernel_id kernel)
{
    const sl_phase *p = phase_of(f, label, layer);
    if (!p) fail_msg("layer %u has no %s", layer, label);
    assert_string_equal(sl_kernel_rows[p->kernel->variant->kernel].name, sl_kernel_rows[kernel].name);
}

static uint32_t count_of(const fixture *f, const char *label)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->step.count; i++)
        count += !strcmp(f->step.phases[i].label, label);
    return count;
}

/* A half of a layer is fused as a whole or not at all; the other half and other layers go their own way. */
static void test_fused_halves(void **state)
{
    fixture *f = *state;
    f->paper.layout.decode_rows = SL_ROWS_Q8;
    f->tuning->columns[SL_WEIGHT_F16][SL_RUNG_matvec] = 6;
    f->tuning->columns[SL_WEIGHT_Q8_0][SL_RUNG_matvec] = 4;
    build(f, 4);
    expect(f, "attn_q", 0, SL_K_matvec_fused);
    expect(f, "attn_v", 0, SL_K_matvec_fused);
    expect(f, "ffn_gate_up", 0, SL_K_matvec_gated);
    build(f, 5); /* too many for the values of layer 0 */
    expect(f, "attn_q", 0, SL_K_matmul_skinny);
    expect(f, "attn_v", 0, SL_K_matmul_skinny);
    expect(f, "attn_output", 0, SL_K_matmul_skinny);
    expect(f, "ffn_gate_up", 0, SL_K_matvec_gated);
    expect(f, "attn_q", 1, SL_K_matvec_fused);
    build(f, 7);
    expect(f, "ffn_gate_up", 0, SL_K_matmul_skinny_gated);
    expect(f, "attn_q", 1, SL_K_matmul_skinny);
    f->paper.layout.decode_rows = SL_ROWS_F32; /* nothing holds them together */
    build(f, 5);
    expect(f, "attn_q", 0, SL_K_matvec);
    expect(f, "attn_v", 0, SL_K_matmul_skinny);
}

/* Rows are made as their products read them, and converted once where these differ. */
static void test_rows(void **state)
{
    fixture *f = *state;
    struct sl_push_rms_norm norm;
    build(f, 16);
    expect(f, "attn_v", 0, SL_K_matmul_skinny);
    memcpy(&norm, phase_of(f, "attn_norm", 0)->push, sizeof norm);
    assert_int_equal(norm.format, SL_ROWS_F16);
    assert_int_equal(count_of(f, "halves"), 2); /* attention's rows, once a layer */
    f->tuning->columns[SL_WEIGHT_Q8_0][SL_RUNG_matmul_skinny] = 0;
    build(f, 16);
    expect(f, "attn_q", 0, SL_K_matmul_skinny);
    expect(f, "attn_v", 0, SL_K_matmul);
    memcpy(&norm, phase_of(f, "attn_norm", 0)->push, sizeof norm);
    assert_int_equal(norm.format, SL_ROWS_F32);
    memcpy(&norm, phase_of(f, "attn_norm", 1)->push, sizeof norm);
    assert_int_equal(norm.format, SL_ROWS_F16);
    assert_int_equal(count_of(f, "halves"), 3); /* once more for queries and keys together */
}

/* Weights are decoded for gemm only; a matrix beside it may take another kernel. */
static void test_mixed_gemm(void **state)
{
    fixture *f = *state;
    build(f, 128);
    expect(f, "attn_q", 0, SL_K_gemm);
    expect(f, "attn_v", 0, SL_K_gemm);
    expect(f, "output", SL_NO_LAYER, SL_K_matvec);
    assert_int_equal(count_of(f, "decode"), 1); /* the others are F16 already */
    f->tuning->columns[SL_WEIGHT_Q8_0][SL_RUNG_matmul] = 128;
    build(f, 128);
    expect(f, "attn_q", 0, SL_K_gemm);
    expect(f, "attn_v", 0, SL_K_matmul);
    assert_int_equal(count_of(f, "decode"), 0);
    f->tuning->columns[SL_WEIGHT_F16][SL_RUNG_matmul] = 256; /* and so may all of a layer */
    build(f, 128);
    assert_int_equal(count_of(f, "convert"), 0);
    expect(f, "ffn_gate", 0, SL_K_matmul);
    build(f, 512);
    expect(f, "ffn_down", 1, SL_K_gemm);
}

/* The plain kernel takes what a pass has no better one for. */
static void test_without(void **state)
{
    fixture *f = *state;
    sl_limits *limits = &f->paper.layout.limits;
    limits->gemm_format = SL_ROWS_F32;
    build(f, 64);
    expect(f, "attn_q", 0, SL_K_matmul_skinny);
    build(f, 128);
    expect(f, "attn_q", 0, SL_K_matmul);
    limits->half_columns = limits->few_arrived = 0;
    build(f, 64);
    expect(f, "attn_q", 0, SL_K_matmul);
    build(f, 8);
    expect(f, "attn_q", 0, SL_K_matvec);
    assert_int_equal(sl_step_rungs(limits, f->tuning, SL_WEIGHT_F16),
                     SL_RUNG_BIT(SL_RUNG_matvec) | SL_RUNG_BIT(SL_RUNG_matmul));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fused_halves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mixed_gemm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
