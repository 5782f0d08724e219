#include "tests/portability/compiler_figures.h"

#include "hal/base/checked.h"

#include <math.h>
#include <string.h>

typedef enum figure { REGISTERS, SPILLED, MOVED, SCRATCH, OCCUPANCY, CODE, FIGURES } figure;

static const struct {
    const char *name;
    figure figure;
} names[] = {
    /* RADV. Scalar registers are spilled into lanes of vector registers. */
    {"VGPRs", REGISTERS},
    {"Spilled VGPRs", SPILLED},
    {"Spilled SGPRs", MOVED},
    {"Scratch size", SCRATCH},
    {"Subgroups per SIMD", OCCUPANCY},
    /* NVK. To registers go predicates and uniform registers. */
    {"Number of GPRs", REGISTERS},
    {"Spills to memory", SPILLED},
    {"Spills to reg", MOVED},
    {"SLM size", SCRATCH},
    {"Max warps/SM", OCCUPANCY},
    /* Turnip. STP stores to private memory. */
    {"Registers used", REGISTERS},
    {"STP Count", SPILLED},
    {"Max Waves Per Core", OCCUPANCY},
    /* ANV */
    {"Spill count", SPILLED},
    {"Scratch Memory Size", SCRATCH},
    {"Max live registers", REGISTERS},
    /* NVIDIA's own. What is spilled lies on the stack, in bytes. */
    {"Register Count", REGISTERS},
    {"Stack Size", SPILLED},
    {"Binary Size", CODE},
    /* All of them */
    {"Code size", CODE},
    {"Code Size", CODE},
};

bool compiler_figures_read(const sl_kernel_statistic *list, size_t count, compiler_figures *out)
{
    double values[FIGURES] = {NAN, NAN, NAN, NAN, NAN, NAN};
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < SL_COUNTOF(names); k++) {
            if (strcmp(list[i].name, names[k].name) != 0) continue;
            double *value = &values[names[k].figure];
            *value = names[k].figure == OCCUPANCY ? fmin(*value, list[i].value) : fmax(*value, list[i].value);
        }
    *out = (compiler_figures){values[REGISTERS], values[SPILLED],   values[MOVED],
                              values[SCRATCH],   values[OCCUPANCY], values[CODE]};
    return !isnan(out->spilled);
}
