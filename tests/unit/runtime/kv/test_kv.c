#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_device.h"

#include "hal/base/checked.h"
#include "runtime/kv/kv.h"
#include "shaders/push.h"

#include <string.h>

enum { SESSIONS = 3, CONTEXT = 5 * SL_KV_PAGE_TOKENS - 3, PAGES = 5 };

static const sl_hparams sizes = {.n_layers = 2, .n_kv_heads = 2, .head_dim = 64};

typedef struct fixture {
    sl_device *device;
    sl_kv kv;
    sl_kv_table tables[SESSIONS];
} fixture;

static fixture set_up_type(uint32_t type)
{
    fixture f = {.device = sl_test_device_open(NULL)};
    sl_diag diag;
    EXPECT_OK(sl_kv_create(f.device, &sizes, type, SESSIONS, CONTEXT, &f.kv, &diag));
    for (uint32_t i = 0; i < SESSIONS; i++)
        EXPECT_OK(sl_kv_table_create(&f.kv, &f.tables[i], &diag));
    return f;
}

static fixture set_up(void)
{
    return set_up_type(SL_KV_F16);
}

static void tear_down(fixture *f)
{
    for (uint32_t i = 0; i < SESSIONS; i++)
        sl_kv_table_clear(&f->kv, &f->tables[i]);
    assert_int_equal(f->kv.free_count, f->kv.n_pages);
    sl_kv_clear(&f->kv);
    sl_device_destroy(f->device);
}

/* Each page is free or in one table, once. */
static void check_pages(const fixture *f)
{
    uint8_t seen[SESSIONS * PAGES] = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->kv.free_count; i++, count++)
        seen[f->kv.free_pages[i]]++;
    for (uint32_t s = 0; s < SESSIONS; s++)
        for (uint32_t i = 0; i < f->tables[s].count; i++, count++)
            seen[f->tables[s].pages[i]]++;
    assert_int_equal(count, f->kv.n_pages);
    for (uint32_t i = 0; i < f->kv.n_pages; i++)
        assert_int_equal(seen[i], 1);
}

static void check_sizes(uint32_t type, uint64_t head_bytes)
{
    fixture f = set_up_type(type);
    assert_int_equal(f.kv.type, type);
    assert_int_equal(f.kv.pages_per_session, PAGES);
    assert_int_equal(f.kv.n_pages, SESSIONS * PAGES);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < sizes.n_layers; i++) {
        bytes += sl_buffer_size(f.kv.buffers[i]);
        assert_int_equal(f.kv.k[i].end, f.kv.v[i].begin);
        assert_int_equal(f.kv.k[i].begin, sl_buffer_address(f.kv.buffers[i]));
        assert_int_equal(f.kv.v[i].end - f.kv.k[i].begin, sl_buffer_size(f.kv.buffers[i]));
    }
    assert_int_equal(bytes, sl_kv_bytes(&sizes, type, SESSIONS, CONTEXT));
    /* K and V of two layers and heads, whole pages. */
    assert_int_equal(sl_kv_token_bytes(&sizes, type), 2 * 2 * 2 * head_bytes);
    assert_int_equal(bytes, SESSIONS * PAGES * SL_KV_PAGE_TOKENS * 2 * 2 * 2 * head_bytes);
    const sl_hparams huge = {.n_layers = 1024, .n_kv_heads = 4096, .head_dim = 1024};
    assert_true(sl_kv_bytes(&huge, type, 4096, 1u << 24) == UINT64_MAX);
    tear_down(&f);
}

static void test_sizes(void **state)
{
    (void)state;
    check_sizes(SL_KV_F16, 2 * 64);
    check_sizes(SL_KV_Q8_0, 64 + 2 * 2);
    check_sizes(SL_KV_Q4_0, 64 / 2 + 2 * 2);
}

/* Llama-3-8B, and heads that are no multiple of a block. */
static void test_token_bytes(void **state)
{
    (void)state;
    const sl_hparams llama = {.n_layers = 32, .n_kv_heads = 8, .head_dim = 128};
    assert_int_equal(sl_kv_token_bytes(&llama, SL_KV_F16), 128 << 10);
    assert_int_equal(sl_kv_token_bytes(&llama, SL_KV_Q8_0), 68 << 10);
    assert_int_equal(sl_kv_token_bytes(&llama, SL_KV_Q4_0), 36 << 10);
    const sl_hparams heads_of_80 = {.n_layers = 1, .n_kv_heads = 1, .head_dim = 80};
    assert_int_equal(sl_kv_token_bytes(&heads_of_80, SL_KV_Q8_0), 2 * (80 + 3 * 2));
    assert_int_equal(sl_kv_token_bytes(&heads_of_80, SL_KV_Q4_0), 2 * (40 + 3 * 2));
}

static void test_names(void **state)
{
    (void)state;
    for (uint32_t type = 0; type < SL_KV_TYPE_COUNT; type++) {
        uint32_t found = UINT32_MAX;
        assert_true(sl_kv_type_find(sl_kv_type_name(type), &found));
        assert_int_equal(found, type);
    }
    uint32_t unchanged = 7;
    assert_false(sl_kv_type_find("q8", &unchanged));
    assert_false(sl_kv_type_find("", &unchanged));
    assert_int_equal(unchanged, 7);
}

static void test_grow_and_shrink(void **state)
{
    (void)state;
    fixture f = set_up();
    sl_diag diag;
    sl_kv_table *t = &f.tables[0];
    static const struct {
        uint64_t tokens;
        uint32_t pages;
    } steps[] = {{1, 1}, {SL_KV_PAGE_TOKENS, 1}, {SL_KV_PAGE_TOKENS + 1, 2}, {CONTEXT, PAGES}, {1, 1}, {0, 0},
                 {70, 0}};
    for (size_t i = 0; i < SL_COUNTOF(steps); i++) {
        uint32_t kept[PAGES];
        const uint32_t before = t->count;
        memcpy(kept, t->pages, before * sizeof *kept);
        EXPECT_OK(sl_kv_table_resize(&f.kv, t, steps[i].tokens, &diag));
        const uint32_t wanted = (uint32_t)sl_div_up(steps[i].tokens, SL_KV_PAGE_TOKENS);
        if (steps[i].pages) assert_int_equal(wanted, steps[i].pages);
        assert_int_equal(t->count, wanted);
        /* The pages that stay keep their places. */
        assert_memory_equal(t->pages, kept, SL_MIN(before, t->count) * sizeof *kept);
        check_pages(&f);
    }
    tear_down(&f);
}

static void test_full(void **state)
{
    (void)state;
    fixture f = set_up();
    sl_diag diag;
    EXPECT_OK(sl_kv_table_resize(&f.kv, &f.tables[0], SL_KV_PAGE_TOKENS, &diag));
    EXPECT_STATUS(SL_ERR_CONTEXT_FULL,
                  sl_kv_table_resize(&f.kv, &f.tables[0], PAGES * SL_KV_PAGE_TOKENS + 1, &diag));
    assert_int_equal(f.tables[0].count, 1);
    /* Fewer pages than sessions may want: a table that gets none is as before. */
    for (uint32_t i = 0; i < SESSIONS; i++)
        EXPECT_OK(sl_kv_table_resize(&f.kv, &f.tables[i], CONTEXT, &diag));
    assert_int_equal(f.kv.free_count, 0);
    EXPECT_OK(sl_kv_table_resize(&f.kv, &f.tables[1], 3 * SL_KV_PAGE_TOKENS, &diag));
    sl_kv_table extra;
    EXPECT_OK(sl_kv_table_create(&f.kv, &extra, &diag));
    EXPECT_OK(sl_kv_table_resize(&f.kv, &extra, SL_KV_PAGE_TOKENS, &diag));
    EXPECT_STATUS(SL_ERR_CONTEXT_FULL, sl_kv_table_resize(&f.kv, &extra, 3 * SL_KV_PAGE_TOKENS, &diag));
    assert_int_equal(extra.count, 1);
    assert_int_equal(f.kv.free_count, 1);
    sl_kv_table_clear(&f.kv, &extra);
    check_pages(&f);
    tear_down(&f);
}

/* Many sessions that come, grow, shrink and go, in an order that a small generator decides. */
static void test_churn(void **state)
{
    (void)state;
    fixture f = set_up();
    sl_diag diag;
    uint32_t random = 12345;
    for (int i = 0; i < 3000; i++) {
        random = random * 1664525u + 1013904223u;
        sl_kv_table *t = &f.tables[(random >> 8) % SESSIONS];
        if ((random >> 28) == 0) {
            sl_kv_table_clear(&f.kv, t);
            EXPECT_OK(sl_kv_table_create(&f.kv, t, &diag));
        } else {
            EXPECT_OK(sl_kv_table_resize(&f.kv, t, (random >> 12) % (CONTEXT + 1), &diag));
        }
        check_pages(&f);
    }
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_token_bytes),
        cmocka_unit_test(test_names), cmocka_unit_test(test_grow_and_shrink),
        cmocka_unit_test(test_full),  cmocka_unit_test(test_churn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
