/* tuning.h - choices that depend on the device and are better measured than guessed, with the defaults that
 * hold where nothing was measured:
 *
 *   columns   up to how many columns each kernel of products is used, by weight type
 *   choices   which variant of a kernel runs, and the number that its caller may choose (key splits, ...), by
 * shape
 *
 * runtime/tune measures them; the kernel set and the builder of passes look them up.
 *
 * Owns: an sl_tuning owns its list of choices (sl_tuning_clear). Threads: as sl_kernel_set, which has one. */
#ifndef SL_TUNING_H
#define SL_TUNING_H

#include "shaders/registry.h"

/* ---- Which kernel multiplies how many columns ---- */

/* The ladder: kernels of products from few columns to many. Fewest columns that it may be worth, most that it
 * can do, up to how many it is used where nothing was measured (0: for none), and the rows of activations
 * that it reads (gemm: of the pass's format). One that reads F16 and has the push block of matmul needs no
 * more than its line here. */
#define SL_PRODUCTS(X)                                                                                       \
    X(matvec, 1, SL_MATVEC_COLUMNS_MAX, SL_MATVEC_COLUMNS_MAX, SL_ROWS_F32)                                  \
    X(matmul_skinny, 2, 512, 64, SL_ROWS_F16)                                                                \
    X(matmul_decode, 33, UINT32_MAX, 0, SL_ROWS_F16)                                                         \
    X(matmul, 2, UINT32_MAX, UINT32_MAX, SL_ROWS_F32)                                                        \
    X(gemm, 33, UINT32_MAX, UINT32_MAX, SL_ROWS_F32)

typedef enum sl_product_rung {
#define X(kernel, least, most, usual, rows) SL_RUNG_##kernel,
    SL_PRODUCTS(X)
#undef X
        SL_RUNG_COUNT
} sl_product_rung;

#define SL_RUNG_BIT(rung) (1u << (rung))

typedef struct sl_product_kernel {
    sl_kernel_id kernel;
    uint32_t columns_min, columns_max, columns_usual;
    uint32_t rows; /* SL_ROWS_* */
} sl_product_kernel;

extern const sl_product_kernel sl_products[SL_RUNG_COUNT];

#define SL_WEIGHT_NUMBERS 32 /* numbers of weight types are below this */

/* ---- Which variant, and which number ---- */

#define SL_SHAPE_DIMS 4

/* A class of dispatches of one kernel that share a choice. */
typedef struct sl_shape_class {
    sl_kernel_id kernel;
    uint32_t key;
    uint32_t dims[SL_SHAPE_DIMS]; /* of the operands, as the kernel's line in tuning.c says; 0: has none */
} sl_shape_class;

typedef struct sl_tuning_choice {
    sl_shape_class of;
    const sl_variant *variant; /* NULL: the registry's first */
    uint32_t number;           /* 0: the caller's own */
} sl_tuning_choice;

typedef struct sl_tuning {
    /* [type][rung]: products of up to so many columns are that rung's, of more the next one's; the last rung
     * that a pass has takes the rest. */
    uint32_t columns[SL_WEIGHT_NUMBERS][SL_RUNG_COUNT];
    uint32_t rungs[SL_WEIGHT_NUMBERS]; /* SL_RUNG_BIT of those that the device has kernels for */
    /* Up to so many tokens each is multiplied with its experts by itself; of more, those of an expert
     * together. */
    uint32_t experts_alone;
    bool attention_step; /* decode steps attend in one dispatch a layer */
    sl_tuning_choice *choices;
    uint32_t choice_count, choice_capacity;
} sl_tuning;

/* What holds without measurement: by vendor, where one is known to need it. `tuning` is overwritten. */
void sl_tuning_default(sl_tuning *tuning, const sl_device_info *device);
void sl_tuning_clear(sl_tuning *tuning);

/* Which of the rungs `allowed` (SL_RUNG_BIT, at least one) multiplies weights of this type with so many
 * columns. */
sl_product_rung sl_tuning_rung(const sl_tuning *tuning, uint32_t weight_type, uint32_t columns,
                               uint32_t allowed);
/* Lets products of this type with exactly so many columns be the rung's, whatever was measured, and those
 * with fewer the first one's. */
void sl_tuning_force(sl_tuning *tuning, uint32_t weight_type, uint32_t columns, sl_product_rung rung);

/* The class of a dispatch with this push block and the kernel's own constants `spec`. Numbers of tokens count
 * as the next power of two. */
sl_shape_class sl_shape_class_of(sl_kernel_id kernel, uint32_t key, const void *push, const uint32_t *spec);
bool sl_shape_class_equal(const sl_shape_class *a, const sl_shape_class *b);

/* NULL: nothing was chosen for the class. */
const sl_tuning_choice *sl_tuning_find(const sl_tuning *tuning, const sl_shape_class *of);
/* Adds the choice, or replaces that of its class. */
SL_NODISCARD sl_status sl_tuning_set(sl_tuning *tuning, const sl_tuning_choice *choice, sl_diag *diag);
/* Forgets the choice of the class. */
void sl_tuning_unset(sl_tuning *tuning, const sl_shape_class *of);

/* The variant that runs the class where nothing was chosen: the registry's first, or what a kernel's own
 * model of its speed prefers (gemm.h, skinny.h). NULL: none runs. */
const sl_variant *sl_tuning_usual(const sl_shape_class *of, const sl_device_caps *caps);
/* The variant that runs the class: the choice, else the usual one. NULL: none runs. */
const sl_variant *sl_tuning_variant(const sl_tuning *tuning, const sl_shape_class *of,
                                    const sl_device_caps *caps);
/* The number for dispatches with this push block and these constants, of which those that make the class are
 * set. */
uint32_t sl_tuning_number(const sl_tuning *tuning, sl_kernel_id kernel, uint32_t key, const void *push,
                          const uint32_t *spec, uint32_t fallback);

/* What there is to choose from for a class, in two steps. First the usable variants, the usual one first,
 * each with the caller's own number; then for one of them the caller's number, which is 0, and those worth
 * trying. Both write at most `capacity` and return the true count: 1 where there is no choice. */
uint32_t sl_tuning_variants(const sl_shape_class *of, const sl_device_caps *caps, sl_tuning_choice *out,
                            uint32_t capacity);
uint32_t sl_tuning_numbers(const sl_shape_class *of, const sl_variant *variant, sl_tuning_choice *out,
                           uint32_t capacity);

#endif
