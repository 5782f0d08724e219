#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/paper_model.h"

#include "hal/base/checked.h"
#include "tests/support/test_device.h"

#include <stdio.h>
#include <stdlib.h>

/* Far apart. */
#define WEIGHTS_AT   (1ull << 40)
#define WORKSPACE_AT (1ull << 50)
#define BATCH_AT     (1ull << 51)
#define CACHE_AT     (1ull << 52)
#define CACHE_BYTES  (1ull << 30)

static void read_model(const tiny_model *m, sl_paper_model *out)
{
    sl_diag diag;
    char path[512];
    const char *folder = getenv("SLUICE_TEST_TMP");
    snprintf(path, sizeof path, "%s/paper-model-%p.gguf", folder ? folder : "/tmp", (void *)out);
    tiny_model_write(m, path);
    EXPECT_OK(sl_gguf_open(path, &out->gguf, &diag));
    EXPECT_OK(sl_model_read(out->gguf, &out->model, &diag));
    remove(path);
}

void sl_paper_model_open(const tiny_model *m, const sl_limits *limits, sl_paper_model *out)
{
    sl_diag diag;
    const sl_plan_options options = {.max_block_bytes = 1ull << 32, .read_alignment_bytes = 4096};
    assert_in_range(m->layers, 1, PAPER_LAYERS_MAX);
    read_model(m, out);
    EXPECT_OK(sl_plan_make(&out->model, &options, &out->plan, &diag));
    assert_in_range(out->plan.block_count, 1, PAPER_BLOCKS_MAX);
    for (uint32_t i = 0; i < out->plan.block_count; i++)
        out->blocks[i] = WEIGHTS_AT * (i + 1);
    for (uint32_t i = 0; i < PAPER_LAYERS_MAX; i++) {
        out->k[i] = (sl_range){CACHE_AT * (2 * i + 1), CACHE_AT * (2 * i + 1) + CACHE_BYTES};
        out->v[i] = (sl_range){CACHE_AT * (2 * i + 2), CACHE_AT * (2 * i + 2) + CACHE_BYTES};
    }
    out->layout = (sl_layout){
        .model = &out->model,
        .plan = &out->plan,
        .limits = *limits,
        .block_addresses = out->blocks,
        .k_cache = out->k,
        .v_cache = out->v,
    };
    sl_workspace_lay_out(&out->model, limits, WORKSPACE_AT, &out->layout.work);
    sl_batch_lay_out(&out->model, limits, true, BATCH_AT, &out->layout.batch);
}

void sl_paper_model_close(sl_paper_model *paper)
{
    sl_plan_clear(&paper->plan);
    sl_model_clear(&paper->model);
    sl_gguf_close(paper->gguf);
}
