#include "shaders/matmul/row_products.h"

#include "hal/base/half.h"
#include "shaders/weights.h"

#include <string.h>

/* A strip of 8 rows is 16 KiB: half a first-level cache, the other half is for activations. Both are
 * multiples of every block. */
#define STRIP       512u
#define TOKEN_BLOCK 128u

typedef float quad __attribute__((vector_size(16)));

static inline float half_at(const uint8_t *p)
{
    return sl_half_to_float((uint16_t)(p[0] | p[1] << 8));
}

typedef uint8_t bytes_16 __attribute__((vector_size(16)));
typedef uint64_t words_2 __attribute__((vector_size(16)));

static inline bytes_16 load_16(const uint8_t *p)
{
    bytes_16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* gcc peels loops of 16 before it would vectorize them. */
#if defined __GNUC__ && !defined __clang__
#define ROW_ROLLED _Pragma("GCC unroll 1")
#else
#define ROW_ROLLED
#endif

#define ROW_FN(name) name##_base
#define ROW_TARGET
#define ROW_LANES 4
#include "shaders/matmul/row_kernels.h"

#if defined __x86_64__
#define ROW_FN(name) name##_avx2
#define ROW_TARGET   __attribute__((target("avx2,fma")))
#define ROW_LANES    8
#include "shaders/matmul/row_kernels.h"
#endif

typedef void (*group_fn)(const sl_row_products *job, uint64_t first, uint32_t rows, uint32_t begin,
                         uint32_t count);

static group_fn choose(void)
{
#if defined __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return group_avx2;
#endif
    return group_base;
}

void sl_row_products_run(const sl_row_products *job, uint64_t begin, uint64_t end)
{
    const group_fn group = choose();
    for (uint32_t t = 0; t < job->n_tokens; t += TOKEN_BLOCK) {
        const uint32_t count = job->n_tokens - t < TOKEN_BLOCK ? job->n_tokens - t : TOKEN_BLOCK;
        for (uint64_t r = begin; r < end; r += SL_ROW_GROUP)
            group(job, r, (uint32_t)(end - r < SL_ROW_GROUP ? end - r : SL_ROW_GROUP), t, count);
    }
}
