/* Which tiles gemm takes, what it tells the driver, and rows of int8 against the products of the rows they
 * stand for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/checked.h"
#include "shaders/matmul/gemm.h"
#include "shaders/matmul/rotated.h"

#include <math.h>
#include <string.h>

/* As much of an H100 as the choice depends on. */
static sl_device_caps workgroup_matrices(void)
{
    return (sl_device_caps){.features = SL_CAP_SPIRV | SL_CAP_STORAGE_16 | SL_CAP_SUBGROUP | SL_CAP_FLOAT_16 |
                                        SL_CAP_MATRIX_F16 | SL_CAP_MATRIX_2,
                            .subgroup_size = 32,
                            .subgroup_min = 32,
                            .subgroup_max = 32,
                            .max_workgroup_invocations = 1024,
                            .compute_units = 132};
}

static const char *chosen(sl_kernel_id kernel, uint32_t format, uint32_t n_out, uint32_t n_k,
                          uint32_t n_tokens)
{
    const sl_device_caps caps = workgroup_matrices();
    const struct sl_push_gemm push = {.n_out = n_out, .n_k = n_k, .n_tokens = n_tokens, .format = format};
    const sl_variant *v = sl_gemm_select(kernel, &push, &caps);
    return v ? v->name : "none";
}

static void test_choice(void **state)
{
    (void)state;
    /* Few tiles: small ones, so that every compute unit has one. */
    assert_string_equal(chosen(SL_K_gemm, SL_ROWS_F16, 1024, 4096, 512), "f16_w64");
    assert_string_equal(chosen(SL_K_gemm, SL_ROWS_F16, 4096, 4096, 512), "f16_w128");
    /* Many: large ones. */
    assert_string_equal(chosen(SL_K_gemm, SL_ROWS_F16, 4096, 14336, 4096), "f16_w256");
    assert_string_equal(chosen(SL_K_gemm, SL_ROWS_S8, 4096, 14336, 4096), "s8_w256");
    /* Of two matrices there is one tile. */
    assert_string_equal(chosen(SL_K_gemm_gated, SL_ROWS_F16, 14336, 4096, 512), "f16_w128");
    assert_string_equal(chosen(SL_K_gemm_gated, SL_ROWS_F16, 14336, 4096, 4096), "f16_w128");
    /* 576 rows are no whole number of large tiles: clamping costs more than small tiles. */
    assert_string_equal(chosen(SL_K_gemm, SL_ROWS_F16, 576, 1536, 512), "f16_w64");
    assert_string_equal(chosen(SL_K_gemm, SL_ROWS_Q8, 4096, 4096, 512), "none");
    const struct sl_push_gemm push = {.n_out = 64, .n_k = 64, .n_tokens = 64, .format = SL_ROWS_F16};
    assert_null(sl_gemm_select(SL_K_gemm, &push, &(sl_device_caps){.features = SL_CAP_SPIRV}));
}

/* A device without matrix units: large tiles where they make as many waves as the device has units. */
static void test_choice_of_tiles(void **state)
{
    (void)state;
    static const struct {
        sl_kernel_id kernel;
        uint32_t format, n_out, n_tokens;
        const char *variant;
    } wanted[] = {
        {SL_K_gemm, SL_ROWS_S8, 4096, 512, "s8_t128"},
        {SL_K_gemm, SL_ROWS_S8, 1024, 100, "s8_t64"},
        {SL_K_gemm, SL_ROWS_F16, 4096, 512, "f16_t128"},
        {SL_K_gemm, SL_ROWS_F16, 576, 65, "f16_t64"},
        {SL_K_gemm_gated, SL_ROWS_S8, 14336, 512, "s8_g64"},
        {SL_K_gemm_gated, SL_ROWS_F16, 64, 65, "f16_g64"},
    };
    const sl_device_caps caps = {.features =
                                     SL_CAP_SPIRV | SL_CAP_STORAGE_16 | SL_CAP_SUBGROUP | SL_CAP_DOT_8,
                                 .subgroup_size = 64,
                                 .max_workgroup_invocations = 256,
                                 .compute_units = 60};
    for (size_t i = 0; i < SL_COUNTOF(wanted); i++) {
        const struct sl_push_gemm push = {.n_out = wanted[i].n_out,
                                          .n_k = 4096,
                                          .n_tokens = wanted[i].n_tokens,
                                          .format = wanted[i].format};
        const sl_variant *v = sl_gemm_select(wanted[i].kernel, &push, &caps);
        assert_non_null(v);
        assert_string_equal(v->name, wanted[i].variant);
        assert_false(sl_gemm_on_matrix_units(v));
    }
}

static void test_spec(void **state)
{
    (void)state;
    const sl_variant v = {.kernel = SL_K_gemm, .tile_x = 128, .tile_y = 64};
    struct sl_push_gemm push = {.n_out = 256, .n_k = 384, .n_tokens = 64, .y_stride = 300, .act = 1};
    uint32_t spec[SL_GEMM_SPECS];
    sl_gemm_spec(&push, &v, spec);
    assert_memory_equal(spec, ((uint32_t[SL_GEMM_SPECS]){256, 384, 300, 0, 1}), sizeof spec);
    static const uint32_t beyond[][3] = {{257, 384, 64}, {256, 320, 64}, {256, 384, 65}};
    for (size_t i = 0; i < SL_COUNTOF(beyond); i++) {
        push.n_out = beyond[i][0];
        push.n_k = beyond[i][1];
        push.n_tokens = beyond[i][2];
        sl_gemm_spec(&push, &v, spec);
        assert_int_equal(spec[3], 1);
    }
}

static void test_rotation(void **state)
{
    (void)state;
    assert_int_equal(sl_rotation_of(4096), 256);
    assert_int_equal(sl_rotation_of(576), 64);
    assert_int_equal(sl_rotation_of(48), 16);
    assert_int_equal(sl_rotation_of(7), 1);
    /* One element becomes a row of the Hadamard matrix; twice is nothing; lengths and products stay. */
    float a[64] = {[5] = 8}, b[64];
    double before = 0, after = 0;
    for (int i = 0; i < 64; i++)
        b[i] = (float)(i * 37 % 64) - 30;
    for (int i = 0; i < 64; i++)
        before += (double)a[i] * (double)b[i];
    sl_rotate(a, 64, 64);
    sl_rotate(b, 64, 64);
    for (int i = 0; i < 64; i++) {
        assert_true(fabsf(fabsf(a[i]) - 1) < 1e-6f);
        after += (double)a[i] * (double)b[i];
    }
    assert_true(fabs(after - before) < 1e-3);
    sl_rotate(a, 64, 64);
    for (int i = 0; i < 64; i++)
        assert_true(fabsf(a[i] - (i == 5 ? 8.0f : 0.0f)) < 1e-5f);
    /* Blocks do not touch each other. */
    float c[8] = {1, 0, 0, 0, 0, 0, 0, 0};
    sl_rotate(c, 8, 4);
    assert_memory_equal(c, ((float[8]){0.5f, 0.5f, 0.5f, 0.5f, 0, 0, 0, 0}), sizeof c);
}

/* A row with an outlier: its int8 form keeps the small elements, which one scale without a rotation loses. */
static void test_outlier(void **state)
{
    (void)state;
    enum { N = 256 };
    float x[N];
    _Alignas(16) uint8_t y[N + sizeof(float)];
    for (int i = 0; i < N; i++)
        x[i] = i == 100 ? 1000.0f : (float)(i % 7) - 3;
    const struct sl_push_dequant push = {.w = (uintptr_t)x,
                                         .y = (uintptr_t)y,
                                         .n_k = N,
                                         .n_rows = 1,
                                         .row_bytes = sizeof x,
                                         .weight_type = SL_WEIGHT_F32,
                                         .all_rows = 1};
    sl_host_rotate(&(sl_kernel_task){.push = &push, .count = 1});
    float back[N];
    for (int i = 0; i < N; i++)
        back[i] = sl_s8_scales(y, 1, N)[0] * (float)((const int8_t *)y)[i];
    sl_rotate(back, N, N);
    double errors = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        if (i == 100) continue;
        errors += (double)(back[i] - x[i]) * (double)(back[i] - x[i]);
        squares += (double)x[i] * (double)x[i];
    }
    assert_true(errors < 0.02 * squares); /* 1000 / 127 as the step would make all of them 0 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),   cmocka_unit_test(test_choice_of_tiles), cmocka_unit_test(test_spec),
        cmocka_unit_test(test_rotation), cmocka_unit_test(test_outlier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
