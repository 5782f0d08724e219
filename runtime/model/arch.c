#include "runtime/model/arch_list.h"

#include "hal/base/checked.h"

#include <string.h>

static const sl_arch *const archs[] = {
#define X(name) &sl_arch_##name,
    SL_ARCHS(X)
#undef X
};

const sl_arch *sl_arch_find(const char *name, uint64_t length)
{
    for (size_t i = 0; i < SL_COUNTOF(archs); i++)
        if (strlen(archs[i]->name) == length && !memcmp(archs[i]->name, name, length)) return archs[i];
    return NULL;
}

const char *sl_arch_names(void)
{
#define X(name) #name " "
    return SL_ARCHS(X) "";
#undef X
}
