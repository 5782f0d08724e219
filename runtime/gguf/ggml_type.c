#include "runtime/gguf/ggml_type.h"

#include <stddef.h>

#include "hal/base/checked.h"

static const sl_ggml_type_info table[] = {
#define SL_X(suffix, value, name, weights, bytes, supported)                                                 \
    [value] = {name, SL_GGML_##suffix, weights, bytes, supported},
    SL_GGML_TYPES(SL_X)
#undef SL_X
};

const sl_ggml_type_info *sl_ggml_type_find(uint32_t type)
{
    return type < SL_COUNTOF(table) && table[type].name ? &table[type] : NULL;
}

const char *sl_ggml_type_name(uint32_t type)
{
    const sl_ggml_type_info *info = sl_ggml_type_find(type);
    return info ? info->name : "?";
}
