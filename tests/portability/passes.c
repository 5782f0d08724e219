#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/portability/passes.h"

#include "hal/base/checked.h"
#include "runtime/step/builder.h"
#include "tests/support/test_device.h"
#include "tests/support/tiny_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Addresses of nothing, far apart. */
#define WEIGHTS_AT   (1ull << 40)
#define WORKSPACE_AT (1ull << 50)
#define BATCH_AT     (1ull << 51)
#define CACHE_AT     (1ull << 52)

#define LAYERS_MAX 2u

typedef struct visitor {
    sl_device *device;
    sl_kernel_set *set;
    pass_phase_fn visit;
    void *user;
    char model[64];
} visitor;

static const sl_shape shapes[] = {
    {.n_tokens = 1, .n_outputs = 1, .output = SL_OUTPUT_SAMPLED, .apart = true},
    {.n_tokens = 2, .n_outputs = 2, .output = SL_OUTPUT_SAMPLED, .apart = true},
    {.n_tokens = 4, .n_outputs = 4, .output = SL_OUTPUT_GREEDY},
    {.n_tokens = 8, .n_outputs = 8, .output = SL_OUTPUT_GREEDY, .apart = true},
    {.n_tokens = 16, .n_outputs = 16, .output = SL_OUTPUT_GREEDY, .apart = true},
    {.n_tokens = 64, .n_outputs = 64, .output = SL_OUTPUT_GREEDY, .apart = true},
    {.n_tokens = 512, .n_outputs = 1, .output = SL_OUTPUT_GREEDY, .prefill = true},
};

static void visit_pass(visitor *v, const sl_layout *layout, const sl_shape *shape)
{
    sl_diag diag;
    char where[96];
    sl_step step = {0};
    snprintf(where, sizeof where, "%s, %u tokens", v->model, shape->n_tokens);
    diag = (sl_diag){0};
    const sl_status st = sl_step_build(layout, v->set, shape, &step, &diag);
    if (st != SL_OK) fail_msg("%s: %s", where, diag.message);
    for (uint32_t i = 0; i < step.count; i++)
        v->visit(v->user, where, &step.phases[i]);
    sl_step_clear(&step);
}

static void visit_model(visitor *v, const sl_model *model)
{
    sl_diag diag;
    sl_plan plan;
    uint64_t blocks[8];
    sl_range k[LAYERS_MAX], value[LAYERS_MAX];
    const sl_plan_options options = {.max_block_bytes = 1ull << 32, .read_alignment_bytes = 4096};
    EXPECT_OK(sl_plan_make(model, &options, &plan, &diag));
    assert_in_range(plan.block_count, 1, SL_COUNTOF(blocks));
    for (uint32_t i = 0; i < plan.block_count; i++)
        blocks[i] = WEIGHTS_AT * (i + 1);
    for (uint32_t i = 0; i < LAYERS_MAX; i++) {
        k[i] = (sl_range){CACHE_AT * (2 * i + 1), CACHE_AT * (2 * i + 1) + (1 << 30)};
        value[i] = (sl_range){CACHE_AT * (2 * i + 2), CACHE_AT * (2 * i + 2) + (1 << 30)};
    }
    sl_layout layout = {
        .model = model,
        .plan = &plan,
        .limits = {.tokens = 512, .outputs = 64, .sessions = 64, .pages_per_session = 128, .splits = 32},
        .block_addresses = blocks,
        .k_cache = k,
        .v_cache = value,
        .attention_step = true,
    };
    sl_workspace_lay_out(model, &layout.limits, WORKSPACE_AT, &layout.work);
    sl_batch_lay_out(model, &layout.limits, true, BATCH_AT, &layout.batch);
    for (size_t i = 0; i < SL_COUNTOF(shapes); i++)
        visit_pass(v, &layout, &shapes[i]);
    sl_plan_clear(&plan);
}

static void visit_file(visitor *v, const tiny_model *m, const char *type_name)
{
    sl_diag diag;
    char path[512];
    sl_gguf *gguf;
    sl_model model;
    const char *folder = getenv("SLUICE_TEST_TMP");
    snprintf(path, sizeof path, "%s/portability-model.gguf", folder ? folder : "/tmp");
    snprintf(v->model, sizeof v->model, "%s %s", m->arch, type_name);
    tiny_model_write(m, path);
    EXPECT_OK(sl_gguf_open(path, &gguf, &diag));
    EXPECT_OK(sl_model_read(gguf, &model, &diag));
    visit_model(v, &model);
    sl_model_clear(&model);
    sl_gguf_close(gguf);
    remove(path);
}

void passes_visit(sl_device *device, sl_kernel_set *set, const char *types, pass_phase_fn visit, void *user)
{
    visitor v = {.device = device, .set = set, .visit = visit, .user = user};
    /* Llama-3-8B, Llama-3.2-1B, Gemma-3-1B, Qwen3-30B-A3B, with a layer or two. */
    tiny_model llama = {"llama", 1, 4096, 32, 8, 128, 14336, 8192, .hole = true};
    const tiny_model llama_small = {"llama",          1,           2048, 32, 8, 64, 8192, 8192, .tied = true,
                                    .matrix_type = 1, .hole = true};
    const tiny_model gemma = {"gemma3",         2,           1152, 4, 1, 256, 6912, 8192, .tied = true,
                              .matrix_type = 8, .hole = true};
    const tiny_model moe = {"qwen3moe",        1,           2048, 32, 4, 128, 6144, 8192, 128, 8, 768,
                            .matrix_type = 12, .hole = true};
#define X(NAME, name, number, weights, bytes)                                                                \
    if (!types || strstr(types, #name)) {                                                                    \
        llama.matrix_type = number;                                                                          \
        visit_file(&v, &llama, #name);                                                                       \
    }
    SL_WEIGHT_TYPES(X)
#undef X
    visit_file(&v, &llama_small, "f16");
    visit_file(&v, &gemma, "q8_0");
    visit_file(&v, &moe, "q4_k");
}
