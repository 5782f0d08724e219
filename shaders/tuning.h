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

/* The kernels of products, from few columns to many, and how many each can do. */
#define SL_PRODUCTS(X)                                                                                       \
    X(matvec, SL_MATVEC_COLUMNS_MAX)                                                                         \
    X(matmul, UINT32_MAX)

typedef enum sl_product_rung {
#define X(kernel, columns) SL_RUNG_##kernel,
    SL_PRODUCTS(X)
#undef X
        SL_RUNG_COUNT
} sl_product_rung;

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
    /* [type][rung]: products of up to so many columns are that rung's, of more the next one's. */
    uint32_t columns[SL_WEIGHT_NUMBERS][SL_RUNG_COUNT];
    bool attention_step; /* decode steps attend in one dispatch a layer */
    sl_tuning_choice *choices;
    uint32_t choice_count, choice_capacity;
} sl_tuning;

/* What holds without measurement: by vendor, where one is known to need it. `tuning` is overwritten. */
void sl_tuning_default(sl_tuning *tuning, const sl_device_info *device);
void sl_tuning_clear(sl_tuning *tuning);

/* The kernel that multiplies weights of this type with so many columns. */
sl_kernel_id sl_tuning_product(const sl_tuning *tuning, uint32_t weight_type, uint32_t columns);
/* Most columns that a rung's kernel can do. */
uint32_t sl_product_columns_max(sl_product_rung rung);
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

/* The variant that runs the class: the choice, else the registry's first. NULL: none runs. */
const sl_variant *sl_tuning_variant(const sl_tuning *tuning, const sl_shape_class *of,
                                    const sl_device_caps *caps);
/* The number for dispatches with this push block and these constants, of which those that make the class are
 * set. */
uint32_t sl_tuning_number(const sl_tuning *tuning, sl_kernel_id kernel, uint32_t key, const void *push,
                          const uint32_t *spec, uint32_t fallback);

/* What there is to choose from for a class, the default first: usable variants, each with the caller's own
 * number and with those worth trying. Writes at most `capacity` and returns the true count: 1 where there is
 * no choice. */
uint32_t sl_tuning_candidates(const sl_shape_class *of, const sl_device_caps *caps, sl_tuning_choice *out,
                              uint32_t capacity);

#endif
