/* What phases are said to move and compute, against sums by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_device.h"

#include "hal/base/checked.h"
#include "runtime/step/cost.h"
#include "shaders/push.h"

#include <string.h>

/* Two sequences: one of a prefill of 4 tokens from position 6, one of a decode step at position 99. */
static void test_attended(void **state)
{
    (void)state;
    sl_diag diag;
    sl_attended a;
    const uint32_t positions[] = {6, 7, 8, 9, 99}, sequences[] = {2, 2, 2, 2, 0};
    EXPECT_OK(sl_attended_count(positions, sequences, 5, 3, 0, &a, &diag));
    assert_int_equal(a.tokens, 5);
    assert_int_equal(a.pairs[0], 7 + 8 + 9 + 10 + 100);
    assert_int_equal(a.keys[0], 10 + 100);
    assert_int_equal(a.pairs[1], a.pairs[0]); /* no window */
    assert_int_equal(a.keys[1], a.keys[0]);

    EXPECT_OK(sl_attended_count(positions, sequences, 5, 3, 8, &a, &diag));
    assert_int_equal(a.pairs[1], 7 + 8 + 8 + 8 + 8);
    assert_int_equal(a.keys[1], 10 + 8); /* from position 0, which the first token still sees; 92 .. 99 */
    assert_int_equal(a.pairs[0], 7 + 8 + 9 + 10 + 100);

    EXPECT_OK(sl_attended_count(positions, sequences, 4, 3, 4, &a, &diag));
    assert_int_equal(a.keys[1], 7); /* 3 .. 9 */
    assert_int_equal(a.pairs[1], 16);
}

/* 2 sessions of 3 pages; 4 heads of 64; K and V of 128 elements a token, f16. */
enum { TOKENS_MAX = 8, OUTPUTS_MAX = 4, KV_BYTES = 256, CACHE_TOKENS = 6 * SL_KV_PAGE_TOKENS };

static sl_phase phase_of(sl_kernel_id kernel, sl_bound_kernel *bound, sl_variant *variant)
{
    *variant = (sl_variant){.kernel = kernel};
    *bound = (sl_bound_kernel){.variant = variant};
    return (sl_phase){.kernel = bound, .layer = 0};
}

static void test_phases(void **state)
{
    (void)state;
    static const sl_arch arch = {.name = "test"};
    const sl_model model = {.arch = &arch, .h = {.n_layers = 1, .n_heads = 4, .head_dim = 64}};
    const sl_range k = {1 << 20, (1 << 20) + KV_BYTES * CACHE_TOKENS},
                   v = {2 << 20, (2 << 20) + KV_BYTES * CACHE_TOKENS};
    sl_layout l = {
        .model = &model,
        .k_cache = &k,
        .v_cache = &v,
        .limits = {.tokens = TOKENS_MAX, .outputs = OUTPUTS_MAX, .sessions = 2, .pages_per_session = 3}};
    l.work.router = (sl_range){4096, 4096 + TOKENS_MAX * 512};
    l.work.logits = (sl_range){16384, 16384 + OUTPUTS_MAX * 4000};
    const sl_attended attended = {.tokens = 2, .pairs = {70, 30}, .keys = {60, 20}};
    sl_variant variant;
    sl_bound_kernel bound;

    sl_phase attention = phase_of(SL_K_attention_decode, &bound, &variant);
    sl_phase_reads(&attention, (sl_range){100, 612});
    sl_phase_reads(&attention, k);
    sl_phase_reads(&attention, v);
    sl_phase_writes(&attention, (sl_range){1000, 1256});
    sl_cost c = sl_phase_cost(&attention, &l, 2, 1, &attended);
    assert_int_equal(c.kv_bytes, 2 * KV_BYTES * 60);
    assert_int_equal(c.activation_bytes, 512 + 256);
    assert_int_equal(c.flops, 4ull * 70 * 4 * 64);
    assert_int_equal(c.weight_bytes, 0);

    sl_phase store = phase_of(SL_K_kv_store, &bound, &variant);
    sl_phase_reads(&store, (sl_range){100, 200});
    sl_phase_writes(&store, k);
    sl_phase_writes(&store, v);
    c = sl_phase_cost(&store, &l, 2, 1, &attended);
    assert_int_equal(c.kv_bytes, 2 * KV_BYTES * 2);
    assert_int_equal(c.activation_bytes, 100);
    assert_int_equal(c.flops, 0);

    /* A product knows its weights and operations; whole fields of the workspace count by the rows in use. */
    sl_phase product = phase_of(SL_K_matvec, &bound, &variant);
    product.weight_bytes = 12345;
    product.flops = 777;
    sl_phase_reads(&product, l.work.router);
    sl_phase_writes(&product, l.work.logits);
    c = sl_phase_cost(&product, &l, 2, 1, &attended);
    assert_int_equal(c.weight_bytes, 12345);
    assert_int_equal(c.flops, 777);
    assert_int_equal(c.activation_bytes, 2 * 512 + 1 * 4000);

    sl_phase embed = phase_of(SL_K_embed, &bound, &variant);
    const struct sl_push_embed push = {.row_bytes = 34, .n_tokens = 2};
    memcpy(embed.push, &push, sizeof push);
    embed.layer = SL_NO_LAYER;
    c = sl_phase_cost(&embed, &l, 2, 1, &attended);
    assert_int_equal(c.weight_bytes, 68);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attended),
        cmocka_unit_test(test_phases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
