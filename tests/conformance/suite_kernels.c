#include "tests/conformance/suite_kernels.h"

#include "build/gen/test_shaders.h"
#include "hal/base/checked.h"

_Static_assert(sizeof(test_affine_push) == 24, "as in affine.comp");
_Static_assert(sizeof(test_push128_push) == SL_PUSH_BYTES_MAX, "as in push128.comp");

static void affine(const sl_kernel_task *task)
{
    const test_affine_push *p = task->push;
    const uint32_t *source = sl_host(p->source);
    uint32_t *target = sl_host(p->target);
    const uint64_t count = SL_MIN((uint64_t)p->count, (uint64_t)task->groups[0] * 64);
    const uint64_t end = count * (task->index + 1) / task->count;
    for (uint64_t i = count * task->index / task->count; i < end; i++)
        target[i] = source[i] * task->spec[1] + p->add + (task->spec[0] - 7);
}

static void groups(const sl_kernel_task *task)
{
    const test_groups_push *p = task->push;
    uint32_t *target = sl_host(p->target);
    const uint32_t *n = task->groups;
    const uint64_t count = (uint64_t)n[0] * n[1] * n[2];
    for (uint64_t i = task->index; i < count; i += task->count)
        target[i] = (uint32_t)(i % n[0] + 100 * (i / n[0] % n[1]) + 10000 * (i / n[0] / n[1]));
}

static void push128(const sl_kernel_task *task)
{
    const test_push128_push *p = task->push;
    uint32_t *target = sl_host(p->target);
    for (uint32_t i = task->index; i < 30; i += task->count)
        target[i] = p->words[i] + i;
}

static const uint32_t affine_spec[] = {7, 1};

const sl_kernel_desc test_affine = {
    .name = "test-affine",
    .spirv = sl_test_spirv_affine,
    .spirv_words = SL_COUNTOF(sl_test_spirv_affine),
    .host = affine,
    .push_bytes = sizeof(test_affine_push),
    .spec = affine_spec,
    .spec_count = 2,
};

const sl_kernel_desc test_groups = {
    .name = "test-groups",
    .spirv = sl_test_spirv_groups,
    .spirv_words = SL_COUNTOF(sl_test_spirv_groups),
    .host = groups,
    .push_bytes = sizeof(test_groups_push),
};

const sl_kernel_desc test_push128 = {
    .name = "test-push128",
    .spirv = sl_test_spirv_push128,
    .spirv_words = SL_COUNTOF(sl_test_spirv_push128),
    .host = push128,
    .push_bytes = sizeof(test_push128_push),
};
