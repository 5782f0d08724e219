/* registry.h - which kernels exist, which module of each a device can run, and the objects made from them.
 *
 * Threads: the tables are constant; an sl_kernel_set belongs to one thread at a time. */
#ifndef SL_REGISTRY_H
#define SL_REGISTRY_H

#include "hal/hal.h"
#include "shaders/push.h"
#include "shaders/weights.h"

/* Specialization constants that every shader gets; a kernel's own begin at SL_SPEC_FIRST. */
#define SL_SPEC_SUBGROUP  0 /* subgroup size it runs with */
#define SL_SPEC_WORKGROUP 1 /* local_size_x */
#define SL_SPEC_FIRST     2
#define SL_SPEC_COLUMNS   2 /* matvec: number of columns */

#define SL_MATRIX(m, n, k) ((m) << 16 | (n) << 8 | (k))

typedef enum sl_kernel_id {
#define SL_KERNEL(name, push, tolerance) SL_K_##name,
#define SL_VARIANT(...)
#include "shaders/kernels.def"
#undef SL_KERNEL
#undef SL_VARIANT
    SL_KERNEL_COUNT
} sl_kernel_id;

typedef struct sl_variant {
    sl_kernel_id kernel;
    const char *name;   /* "q4_k" */
    const char *module; /* "matvec__q4_k": name of the SPIR-V in spirv.h */
    uint32_t key;
    uint64_t needs;
    int32_t workgroup; /* invocations; negative: subgroups */
    uint32_t tile_x, tile_y;
    uint32_t matrix; /* SL_MATRIX or 0 */
} sl_variant;

/* Number of workgroups of one dispatch. `spec` as in sl_kernel_task. */
typedef void (*sl_grid_fn)(const void *push, const sl_variant *variant, const uint32_t *spec,
                           uint32_t groups[3]);

typedef struct sl_kernel_row {
    const char *name;
    uint32_t push_bytes;
    sl_kernel_host_fn host;
    sl_grid_fn grid;
    double tolerance; /* normalised mean squared error; 0: exact */
} sl_kernel_row;

extern const sl_kernel_row sl_kernel_rows[SL_KERNEL_COUNT];
extern const sl_variant sl_variants[];
extern const size_t sl_variant_count;

/* True when the device can run the variant: its capabilities, matrix shape and limits allow it and its SPIR-V
 * was built (or the device runs C sides). *out_why (may be NULL) names what is missing; static storage. */
bool sl_variant_usable(const sl_variant *variant, const sl_device_caps *caps, const char **out_why);

/* First usable variant of (kernel, key), or NULL. */
const sl_variant *sl_variant_select(sl_kernel_id kernel, uint32_t key, const sl_device_caps *caps);

/* A kernel ready for dispatch: borrowed from the set that made it. */
typedef struct sl_bound_kernel {
    sl_kernel *kernel;
    const sl_variant *variant;
    uint32_t spec[SL_SPEC_MAX];
} sl_bound_kernel;

typedef struct sl_kernel_set sl_kernel_set;

/* Makes kernels for `device` on demand and keeps them. The device must outlive the set. */
SL_NODISCARD sl_status sl_kernel_set_create(sl_device *device, sl_kernel_set **out, sl_diag *diag);
void sl_kernel_set_destroy(sl_kernel_set *set);
/* What the set and the builder of passes choose by (tuning.h): the device's defaults at first. Kernels that
 * were got before a change stay as they are. */
struct sl_tuning *sl_kernel_set_tuning(sl_kernel_set *set);
const sl_device_caps *sl_kernel_set_caps(const sl_kernel_set *set); /* of its device */

/* The preferred variant of (kernel, key) with the kernel's own specialization constants `spec` (spec_count of
 * them, ids from SL_SPEC_FIRST). SL_ERR_UNSUPPORTED: no variant fits; the message says which and why. */
SL_NODISCARD sl_status sl_kernel_set_get(sl_kernel_set *set, sl_kernel_id kernel, uint32_t key,
                                         const uint32_t *spec, uint32_t spec_count,
                                         const sl_bound_kernel **out, sl_diag *diag);
/* The same for a dispatch with this push block: the variant that was tuned for its shape, else the preferred
 * one. */
SL_NODISCARD sl_status sl_kernel_set_get_for(sl_kernel_set *set, sl_kernel_id kernel, uint32_t key,
                                             const void *push, const uint32_t *spec, uint32_t spec_count,
                                             const sl_bound_kernel **out, sl_diag *diag);
/* The same for one given variant: tests. */
SL_NODISCARD sl_status sl_kernel_set_get_variant(sl_kernel_set *set, const sl_variant *variant,
                                                 const uint32_t *spec, uint32_t spec_count,
                                                 const sl_bound_kernel **out, sl_diag *diag);

/* A number that changes with the modules and their rows: what was measured or cached with others is worth
 * nothing. */
uint64_t sl_shaders_build_id(void);

/* Workgroups that a dispatch with this push block has. */
void sl_bound_kernel_grid(const sl_bound_kernel *bound, const void *push, uint32_t groups[3]);
void sl_bound_kernel_dispatch(sl_commands *commands, const sl_bound_kernel *bound, const void *push);

/* C sides and grids, one of each a kernel. */
#define SL_KERNEL(name, push, tolerance)                                                                     \
    void sl_host_##name(const sl_kernel_task *task);                                                         \
    void sl_grid_##name(const void *push, const sl_variant *variant, const uint32_t *spec,                   \
                        uint32_t groups[3]);                                                                 \
    _Static_assert(sizeof(struct sl_push_##push) <= SL_PUSH_BYTES_MAX, "push block of " #name);              \
    _Static_assert(sizeof(struct sl_push_##push) % 4 == 0, "push block of " #name);
#define SL_VARIANT(...)
#include "shaders/kernels.def"
#undef SL_KERNEL
#undef SL_VARIANT

/* Defines sl_grid_<name>: the grid of a kernel that is cut as another one is. */
#define SL_GRID_LIKE(name, other)                                                                            \
    void sl_grid_##name(const void *push, const sl_variant *variant, const uint32_t *spec,                   \
                        uint32_t groups[3])                                                                  \
    {                                                                                                        \
        sl_grid_##other(push, variant, spec, groups);                                                        \
    }

/* Largest grid of one dimension on every device (Vulkan 1.2, required limits). Kernels of which more
 * workgroups could be wanted loop over the rest. */
#define SL_GROUPS_OF_ALL_DEVICES 65535u

static inline uint32_t sl_grid_clamp(uint64_t groups)
{
    return groups < SL_GROUPS_OF_ALL_DEVICES ? (uint32_t)groups : SL_GROUPS_OF_ALL_DEVICES;
}

/* A grid of at least `groups` workgroups for kernels with barriers, which do not loop: the number of one is
 * y * gl_NumWorkGroups.x + x. */
static inline void sl_grid_of_rows(uint64_t groups, uint32_t out_groups[3])
{
    out_groups[0] = sl_grid_clamp(groups);
    out_groups[1] = groups ? (uint32_t)((groups - 1) / out_groups[0] + 1) : 1;
}

/* The share of `items` that part index of count does: [*begin, *end). */
static inline void sl_task_share(const sl_kernel_task *task, uint64_t items, uint64_t *begin, uint64_t *end)
{
    *begin = items * task->index / task->count;
    *end = items * (task->index + 1) / task->count;
}

#endif
