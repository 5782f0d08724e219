#include "runtime/step/phase.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <assert.h>

void sl_step_clear(sl_step *step)
{
    sl_free(step->phases);
    *step = (sl_step){0};
}

sl_phase *sl_step_add(sl_step *step)
{
    if (step->count == step->capacity) {
        const uint32_t capacity = SL_MAX(64, step->capacity * 2);
        sl_phase *phases = sl_realloc(step->phases, capacity, sizeof *phases);
        if (!phases) return NULL;
        step->phases = phases;
        step->capacity = capacity;
    }
    sl_phase *phase = &step->phases[step->count++];
    *phase = (sl_phase){0};
    return phase;
}

void sl_phase_reads(sl_phase *phase, sl_range range)
{
    assert(phase->read_count < SL_PHASE_READS_MAX);
    phase->reads[phase->read_count++] = range;
}

void sl_phase_writes(sl_phase *phase, sl_range range)
{
    assert(phase->write_count < SL_PHASE_WRITES_MAX);
    phase->writes[phase->write_count++] = range;
}
