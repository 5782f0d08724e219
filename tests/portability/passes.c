#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/portability/passes.h"

#include "hal/base/checked.h"
#include "runtime/step/builder.h"
#include "runtime/step/gemm_phases.h"
#include "shaders/tuning.h"
#include "tests/support/paper_model.h"

#include <stdio.h>
#include <string.h>

typedef struct visitor {
    sl_device *device;
    sl_kernel_set *set;
    pass_phase_fn visit;
    void *user;
    uint32_t decode_rows; /* activations of decode steps, by default */
    char model[64];
} visitor;

static const sl_shape shapes[] = {
    {.n_tokens = 1, .n_outputs = 1, .output = SL_OUTPUT_SAMPLED, .apart = true},
    {.n_tokens = 2, .n_outputs = 2, .output = SL_OUTPUT_SAMPLED, .apart = true},
    {.n_tokens = 4, .n_outputs = 4, .output = SL_OUTPUT_GREEDY},
    {.n_tokens = 8, .n_outputs = 8, .output = SL_OUTPUT_GREEDY, .apart = true},
    {.n_tokens = 16, .n_outputs = 16, .output = SL_OUTPUT_GREEDY, .apart = true},
    {.n_tokens = 64, .n_outputs = 64, .output = SL_OUTPUT_GREEDY, .apart = true},
    {.n_tokens = 512, .n_outputs = 1, .output = SL_OUTPUT_GREEDY, .gather = true, .prefill = true},
};

static void visit_pass(visitor *v, const sl_layout *layout, const sl_shape *shape)
{
    sl_diag diag = {0};
    char where[96];
    sl_step step = {0};
    snprintf(where, sizeof where, "%s, %u tokens", v->model, shape->n_tokens);
    const sl_status st = sl_step_build(layout, v->set, shape, &step, &diag);
    if (st != SL_OK) fail_msg("%s: %s", where, diag.message);
    for (uint32_t i = 0; i < step.count; i++)
        v->visit(v->user, where, &step.phases[i]);
    sl_step_clear(&step);
}

static void visit_shapes(visitor *v, const sl_layout *layout)
{
    for (size_t i = 0; i < SL_COUNTOF(shapes); i++)
        visit_pass(v, layout, &shapes[i]);
}

/* Products of many tokens in two phases, experts in groups, where the device has what that takes. */
static void use_gemm(const visitor *v, sl_paper_model *paper, bool int8)
{
    const sl_device_caps *caps = &sl_device_get_info(v->device)->caps;
    sl_limits few = paper->layout.limits;
    sl_gemm_choose(&paper->model, caps, int8, &paper->layout.limits);
    sl_limits_few_columns(&few, &paper->model, caps, false);
    paper->layout.limits.experts_grouped = few.experts_grouped;
    sl_workspace_lay_out(&paper->model, &paper->layout.limits, paper->layout.work.x.begin,
                         &paper->layout.work);
}

static void visit_model(visitor *v, const tiny_model *m, const char *type_name)
{
    static const sl_limits limits = {
        .tokens = 512, .outputs = 64, .sessions = 64, .pages_per_session = 128, .splits = 32};
    sl_paper_model paper;
    snprintf(v->model, sizeof v->model, "%s %s", m->arch, type_name);
    sl_paper_model_open(m, &limits, &paper);
    paper.layout.attention_step = sl_kernel_set_tuning(v->set)->attention_step;
    visit_shapes(v, &paper.layout);
    use_gemm(v, &paper, false);
    if (paper.layout.limits.gemm_format != SL_ROWS_F32) visit_shapes(v, &paper.layout);
    paper.layout.decode_rows = v->decode_rows;
    use_gemm(v, &paper, v->decode_rows == SL_ROWS_Q8);
    for (uint32_t type = SL_KV_F16; type < SL_KV_TYPE_COUNT; type++) {
        paper.layout.kv_type = type;
        if (v->decode_rows != SL_ROWS_F32 || type != SL_KV_F16) visit_shapes(v, &paper.layout);
    }
    sl_paper_model_close(&paper);
}

void passes_visit(sl_device *device, sl_kernel_set *set, const char *types, pass_phase_fn visit, void *user)
{
    visitor v = {.device = device,
                 .set = set,
                 .visit = visit,
                 .user = user,
                 .decode_rows = sl_caps_have(&sl_device_get_info(device)->caps, SL_CAP_DOT_8_FAST)
                                    ? SL_ROWS_Q8
                                    : SL_ROWS_F16_SCALED};
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
        visit_model(&v, &llama, #name);                                                                      \
    }
    SL_WEIGHT_TYPES(X)
#undef X
    visit_model(&v, &llama_small, "f16");
    visit_model(&v, &gemma, "q8_0");
    visit_model(&v, &moe, "q4_k");
}
