/* vk_matrix.c - which cooperative matrix shapes a device has, and whether they stand for real matrix units.
 */
#include "hal/vulkan/vk_internal.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#ifdef VK_KHR_cooperative_matrix

#define VENDOR_AMD    0x1002u
#define VENDOR_INTEL  0x8086u
#define VENDOR_NVIDIA 0x10deu

/* Some drivers emulate the extension with plain arithmetic, which is slower than the plain kernels. So the
 * architecture decides, not the extension alone:
 *   NVIDIA  every device that has it;
 *   AMD     RDNA3 and later: the first with an accelerated dot product of mixed signedness;
 *   Intel   Xe2 and later (subgroups of at least 16) and DG2 (by device id);
 *   llvmpipe, for tests, at its 8 lanes of 32 bits only: with 4 or 16 the compiler of Mesa 26.1 crashes on a
 *   matrix load or store. */
static bool has_matrix_units(const sl_vk_probe *probe, VkDriverId driver, bool dot_mixed_accelerated)
{
    const sl_device_info *info = &probe->info;
    if (driver == VK_DRIVER_ID_MESA_LLVMPIPE) return info->caps.subgroup_size == 8;
    switch (info->vendor_id) {
    case VENDOR_NVIDIA:
        return true;
    case VENDOR_AMD:
        return dot_mixed_accelerated;
    case VENDOR_INTEL:
        return info->caps.subgroup_min >= 16 || (info->device_id >= 0x4f80 && info->device_id <= 0x4f88) ||
               (info->device_id >= 0x5690 && info->device_id <= 0x56c2);
    default:
        return false;
    }
}

static bool type_of(VkComponentTypeKHR component, sl_matrix_type *out)
{
    switch (component) {
    case VK_COMPONENT_TYPE_FLOAT16_KHR:
        *out = SL_MATRIX_F16;
        return true;
    case VK_COMPONENT_TYPE_FLOAT32_KHR:
        *out = SL_MATRIX_F32;
        return true;
    case VK_COMPONENT_TYPE_SINT8_KHR:
        *out = SL_MATRIX_S8;
        return true;
    case VK_COMPONENT_TYPE_UINT8_KHR:
        *out = SL_MATRIX_U8;
        return true;
    case VK_COMPONENT_TYPE_SINT32_KHR:
        *out = SL_MATRIX_S32;
        return true;
    default:
        return false;
    }
}

/* Adds a shape when it is one that kernels can name: subgroup scope, A and B alike, C and the result alike,
 * no saturation. */
static void add_shape(sl_device_caps *caps, const VkCooperativeMatrixPropertiesKHR *p)
{
    sl_matrix_type ab, c;
    if (p->scope != VK_SCOPE_SUBGROUP_KHR || p->AType != p->BType || p->CType != p->ResultType ||
        p->saturatingAccumulation)
        return;
    if (!type_of(p->AType, &ab) || !type_of(p->CType, &c)) return;
    if (caps->matrix_shape_count == SL_MATRIX_SHAPES_MAX) return;
    caps->matrix_shapes[caps->matrix_shape_count++] =
        (sl_matrix_shape){.m = p->MSize, .n = p->NSize, .k = p->KSize, .ab = ab, .c = c};
    if (ab == SL_MATRIX_F16 && c == SL_MATRIX_F32) caps->features |= SL_CAP_MATRIX_F16;
    if (ab == SL_MATRIX_F16 && c == SL_MATRIX_F16) caps->features |= SL_CAP_MATRIX_F16_F16;
    if (ab == SL_MATRIX_S8 && c == SL_MATRIX_S32) caps->features |= SL_CAP_MATRIX_I8;
}

/* cooperative_matrix2 counts as a whole, because kernels of this kind use all its parts; the operations on
 * matrices of a subgroup, which more drivers have, count for themselves too. */
static void probe_matrix2(sl_vk_probe *probe, const sl_vk_features *have)
{
#ifdef VK_NV_cooperative_matrix2
    const VkPhysicalDeviceCooperativeMatrix2FeaturesNV *f = &have->matrix2;
    if (!probe->ext.matrix2 || !f->cooperativeMatrixReductions || !f->cooperativeMatrixConversions ||
        !f->cooperativeMatrixPerElementOperations) {
        probe->ext.matrix2 = false;
        return;
    }
    probe->wanted.matrix2 = *f;
    probe->info.caps.features |= SL_CAP_MATRIX_OPS;
    if (f->cooperativeMatrixWorkgroupScope && f->cooperativeMatrixFlexibleDimensions &&
        f->cooperativeMatrixTensorAddressing && f->cooperativeMatrixBlockLoads)
        probe->info.caps.features |= SL_CAP_MATRIX_2;
#else
    (void)have;
    probe->ext.matrix2 = false;
#endif
}

sl_status sl_vk_probe_matrix(const sl_vk_instance *instance, sl_vk_probe *probe, const sl_vk_features *have,
                             VkDriverId driver, bool dot_mixed_accelerated, sl_diag *diag)
{
    sl_status st = SL_OK;
    VkCooperativeMatrixPropertiesKHR *list = NULL;
    uint32_t count = 0;
    if (!probe->ext.matrix || !have->matrix.cooperativeMatrix || !have->v12.vulkanMemoryModel ||
        !instance->fn.GetPhysicalDeviceCooperativeMatrixPropertiesKHR ||
        !has_matrix_units(probe, driver, dot_mixed_accelerated)) {
        probe->ext.matrix = probe->ext.matrix2 = false;
        return SL_OK;
    }
    VkResult r = instance->fn.GetPhysicalDeviceCooperativeMatrixPropertiesKHR(probe->handle, &count, NULL);
    if (r == VK_SUCCESS && count) {
        list = sl_calloc(count, sizeof *list);
        if (!list) {
            st = sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a list of %u matrix shapes", count);
            goto cleanup;
        }
        for (uint32_t i = 0; i < count; i++)
            list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
        r = instance->fn.GetPhysicalDeviceCooperativeMatrixPropertiesKHR(probe->handle, &count, list);
    }
    if (r < VK_SUCCESS) {
        st = sl_vk_fail(NULL, r, diag, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
        goto cleanup;
    }
    for (uint32_t i = 0; list && i < count; i++)
        add_shape(&probe->info.caps, &list[i]);
    /* No query tells where elements lie; the tests of kernels that rely on it do. */
    if (driver == VK_DRIVER_ID_NVIDIA_PROPRIETARY && sl_caps_have(&probe->info.caps, SL_CAP_MATRIX_F16))
        probe->info.caps.features |= SL_CAP_MATRIX_FRAGMENTS;
    probe->wanted.matrix.cooperativeMatrix = VK_TRUE;
    probe_matrix2(probe, have);
cleanup:
    sl_free(list);
    return st;
}

#else

sl_status sl_vk_probe_matrix(const sl_vk_instance *instance, sl_vk_probe *probe, const sl_vk_features *have,
                             VkDriverId driver, bool dot_mixed_accelerated, sl_diag *diag)
{
    (void)instance, (void)have, (void)driver, (void)dot_mixed_accelerated, (void)diag;
    probe->ext.matrix = probe->ext.matrix2 = false; /* these headers do not know the extensions */
    return SL_OK;
}

#endif
