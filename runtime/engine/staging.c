#include "runtime/engine/engine.h"

#include "hal/base/log.h"

#include <string.h>

sl_status sl_staging_create(sl_device *device, uint64_t size_bytes, sl_staging *out, sl_diag *diag)
{
    *out = (sl_staging){0};
    sl_status st;
    SL_TRY(sl_io_arena_create(size_bytes, 0, &out->arena, diag));
    sl_io_arena_info info;
    sl_io_arena_get_info(out->arena, &info);
    out->base = info.base;
    out->size_bytes = info.size_bytes;
    const sl_device_caps *caps = &sl_device_get_info(device)->caps;
    sl_diag why = {0};
    if (sl_caps_have(caps, SL_CAP_HOST_IMPORT) && info.size_bytes % caps->import_alignment_bytes == 0) {
        st = sl_buffer_import(device, info.base, info.size_bytes, "arena", &out->imported, &why);
        if (st == SL_OK) return SL_OK;
        if (st == SL_ERR_DEVICE_LOST) {
            if (diag) *diag = why;
            goto cleanup;
        }
        sl_log(SL_LOG_INFO, "the device cannot import host memory (%s): weights are copied once more",
               why.message);
    }
    SL_TRY(sl_buffer_create(device, out->size_bytes, SL_MEMORY_UPLOAD, "staging", &out->copy, diag));
    return SL_OK;
cleanup:
    sl_staging_clear(out);
    return st;
}

void sl_staging_clear(sl_staging *staging)
{
    sl_buffer_destroy(staging->imported);
    sl_buffer_destroy(staging->copy);
    sl_io_arena_destroy(staging->arena);
    *staging = (sl_staging){0};
}

sl_buffer *sl_staging_ready(sl_staging *staging, uint64_t offset, uint64_t size_bytes)
{
    if (staging->imported) return staging->imported;
    memcpy((uint8_t *)sl_buffer_map(staging->copy) + offset, staging->base + offset, size_bytes);
    return staging->copy;
}
