/* vk_instance.c - opens the Vulkan loader, makes instances, and turns validation on when asked. */
#include "hal/vulkan/vk_internal.h"
#include "hal/vulkan/vulkan.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "hal/base/log.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"

/* The loader is opened once and stays open: drivers leave threads and thread-local data behind that must not
 * lose their code. */
static pthread_once_t loader_once = PTHREAD_ONCE_INIT;
static sl_vk_global_fn loader;   /* written under loader_once, read-only after it */
static char loader_problem[256]; /* empty: the loader is there */
static _Atomic uint64_t validation_messages;

/* One instance without layers serves every enumeration and every device that is not validated. It is made at
 * the first success and stays: making one loads all drivers anew, and drivers that are unloaded while threads
 * of theirs still end have crashed programs. */
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static sl_vk_instance shared; /* under shared_lock until .handle is set, read-only after */

uint64_t sl_vulkan_validation_messages(void)
{
    return atomic_load(&validation_messages);
}

bool sl_vk_validation_wanted(void)
{
    const char *value = getenv("SLUICE_VALIDATION");
    return value && strcmp(value, "1") == 0;
}

static void loader_open(void)
{
    void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        snprintf(loader_problem, sizeof loader_problem, "no Vulkan loader: %s",
                 reason ? reason : "dlopen failed");
        return;
    }
    void *symbol = dlsym(library, "vkGetInstanceProcAddr");
    if (!symbol) {
        snprintf(loader_problem, sizeof loader_problem, "libvulkan.so.1 has no vkGetInstanceProcAddr");
        return;
    }
    memcpy(&loader.GetInstanceProcAddr, &symbol, sizeof symbol);
#define SL_VK_LOAD(name)                                                                                     \
    loader.name = (PFN_vk##name)loader.GetInstanceProcAddr(VK_NULL_HANDLE, "vk" #name);                      \
    if (!loader.name) snprintf(loader_problem, sizeof loader_problem, "libvulkan.so.1 has no vk" #name);
    SL_VK_GLOBAL_FUNCTIONS(SL_VK_LOAD)
#undef SL_VK_LOAD
}

static const char *result_name(VkResult result)
{
    switch (result) {
#define SL_VK_CASE(name)                                                                                     \
    case name:                                                                                               \
        return #name;
        SL_VK_CASE(VK_NOT_READY)
        SL_VK_CASE(VK_TIMEOUT)
        SL_VK_CASE(VK_INCOMPLETE)
        SL_VK_CASE(VK_ERROR_OUT_OF_HOST_MEMORY)
        SL_VK_CASE(VK_ERROR_OUT_OF_DEVICE_MEMORY)
        SL_VK_CASE(VK_ERROR_INITIALIZATION_FAILED)
        SL_VK_CASE(VK_ERROR_DEVICE_LOST)
        SL_VK_CASE(VK_ERROR_MEMORY_MAP_FAILED)
        SL_VK_CASE(VK_ERROR_LAYER_NOT_PRESENT)
        SL_VK_CASE(VK_ERROR_EXTENSION_NOT_PRESENT)
        SL_VK_CASE(VK_ERROR_FEATURE_NOT_PRESENT)
        SL_VK_CASE(VK_ERROR_INCOMPATIBLE_DRIVER)
        SL_VK_CASE(VK_ERROR_TOO_MANY_OBJECTS)
        SL_VK_CASE(VK_ERROR_OUT_OF_POOL_MEMORY)
        SL_VK_CASE(VK_ERROR_INVALID_EXTERNAL_HANDLE)
        SL_VK_CASE(VK_ERROR_FRAGMENTATION)
        SL_VK_CASE(VK_ERROR_VALIDATION_FAILED_EXT)
        SL_VK_CASE(VK_ERROR_INVALID_SHADER_NV)
#undef SL_VK_CASE
    default:
        return "another error";
    }
}

static sl_status status_of(VkResult result)
{
    switch (result) {
    case VK_SUCCESS:
        return SL_OK;
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return SL_ERR_NO_MEMORY;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_FRAGMENTATION:
    case VK_ERROR_MEMORY_MAP_FAILED:
        return SL_ERR_DEVICE_MEMORY;
    case VK_ERROR_DEVICE_LOST:
        return SL_ERR_DEVICE_LOST;
    case VK_TIMEOUT:
        return SL_ERR_TIMEOUT;
    case VK_NOT_READY:
        return SL_ERR_BUSY;
    case VK_ERROR_INITIALIZATION_FAILED:
    case VK_ERROR_LAYER_NOT_PRESENT:
    case VK_ERROR_EXTENSION_NOT_PRESENT:
    case VK_ERROR_FEATURE_NOT_PRESENT:
    case VK_ERROR_INCOMPATIBLE_DRIVER:
    case VK_ERROR_INVALID_EXTERNAL_HANDLE:
    case VK_ERROR_INVALID_SHADER_NV:
        return SL_ERR_UNSUPPORTED;
    default:
        return SL_ERR_INTERNAL;
    }
}

sl_status sl_vk_fail_at(_Atomic bool *lost, VkResult result, sl_diag *diag, const char *file, int line,
                        const char *what)
{
    const sl_status st = status_of(result);
    if (st == SL_ERR_DEVICE_LOST && lost) atomic_store(lost, true);
    return sl_fail_at(diag, st, 0, file, line, "%s: %s (%d)", what, result_name(result), (int)result);
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)severity, (void)types, (void)user;
    atomic_fetch_add(&validation_messages, 1);
    char line[1024];
    size_t n = 0;
    for (const char *c = data->pMessage ? data->pMessage : ""; *c && n + 1 < sizeof line; c++)
        line[n++] = *c == '\n' || *c == '\r' ? ' ' : *c;
    line[n] = 0;
    sl_log(SL_LOG_ERROR, "Vulkan validation: %s", line);
    return VK_FALSE;
}

static const VkDebugUtilsMessengerCreateInfoEXT messenger_info = {
    .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
    .messageSeverity =
        VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
    .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
    .pfnUserCallback = on_message,
};

/* Whether the loader (layer NULL) or a layer offers an instance extension. */
static sl_status find_extension(const char *layer, const char *name, bool *out, sl_diag *diag)
{
    uint32_t count = 0;
    *out = false;
    if (loader.EnumerateInstanceExtensionProperties(layer, &count, NULL) != VK_SUCCESS || count == 0)
        return SL_OK;
    VkExtensionProperties *list = sl_calloc(count, sizeof *list);
    if (!list) return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a list of %u extensions", count);
    if (loader.EnumerateInstanceExtensionProperties(layer, &count, list) >= VK_SUCCESS)
        for (uint32_t i = 0; i < count && !*out; i++)
            *out = strcmp(list[i].extensionName, name) == 0;
    sl_free(list);
    return SL_OK;
}

static sl_status find_validation_layer(bool *out, sl_diag *diag)
{
    uint32_t count = 0;
    *out = false;
    if (loader.EnumerateInstanceLayerProperties(&count, NULL) != VK_SUCCESS || count == 0) return SL_OK;
    VkLayerProperties *list = sl_calloc(count, sizeof *list);
    if (!list) return sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a list of %u layers", count);
    if (loader.EnumerateInstanceLayerProperties(&count, list) >= VK_SUCCESS)
        for (uint32_t i = 0; i < count && !*out; i++)
            *out = strcmp(list[i].layerName, VALIDATION_LAYER) == 0;
    sl_free(list);
    return SL_OK;
}

/* What vkCreateInstance is given to turn validation on; lives until that call. */
typedef struct validation_setup {
    VkDebugUtilsMessengerCreateInfoEXT messenger;
    VkValidationFeaturesEXT features;
    VkValidationFeatureEnableEXT enable;
#ifdef VK_EXT_layer_settings
    VkLayerSettingsCreateInfoEXT settings;
    VkLayerSettingEXT setting[2];
    VkBool32 yes;
#endif
} validation_setup;

/* Synchronization validation is set by VK_EXT_layer_settings where the layer has it, which also allows the
 * heuristic for shader accesses; older layers know VK_EXT_validation_features. Fills the chain that begins at
 * setup->messenger, and the extension it needs (NULL: none). */
static sl_status validation_chain(validation_setup *setup, const char **out_extension, sl_diag *diag)
{
    sl_status st = SL_OK;
    bool there = false;
    *setup = (validation_setup){.messenger = messenger_info};
    *out_extension = NULL;
#ifdef VK_EXT_layer_settings
    SL_TRY(find_extension(VALIDATION_LAYER, VK_EXT_LAYER_SETTINGS_EXTENSION_NAME, &there, diag));
    if (there) {
        setup->yes = VK_TRUE;
        setup->setting[0] = (VkLayerSettingEXT){VALIDATION_LAYER, "validate_sync",
                                                VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &setup->yes};
        setup->setting[1] = (VkLayerSettingEXT){VALIDATION_LAYER, "syncval_shader_accesses_heuristic",
                                                VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &setup->yes};
        setup->settings = (VkLayerSettingsCreateInfoEXT){
            .sType = VK_STRUCTURE_TYPE_LAYER_SETTINGS_CREATE_INFO_EXT,
            .settingCount = 2,
            .pSettings = setup->setting,
        };
        setup->messenger.pNext = &setup->settings;
        *out_extension = VK_EXT_LAYER_SETTINGS_EXTENSION_NAME;
        goto cleanup;
    }
#endif
    SL_TRY(find_extension(VALIDATION_LAYER, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME, &there, diag));
    if (there) {
        setup->enable = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
        setup->features = (VkValidationFeaturesEXT){
            .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
            .enabledValidationFeatureCount = 1,
            .pEnabledValidationFeatures = &setup->enable,
        };
        setup->messenger.pNext = &setup->features;
        *out_extension = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
    }
cleanup:
    return st;
}

/* Everything that vkCreateInstance is told. */
typedef struct instance_plan {
    validation_setup setup;
    const void *chain;
    const char *extensions[4];
    uint32_t extension_count;
    bool portability;
} instance_plan;

static sl_status plan_instance(bool validation, instance_plan *plan, bool *out_debug_utils, sl_diag *diag)
{
    sl_status st = SL_OK;
    bool layer = false;
    const char *extension = NULL;
    *plan = (instance_plan){0};
    if (validation) {
        SL_TRY(find_validation_layer(&layer, diag));
        if (!layer) {
            st = sl_fail(diag, SL_ERR_UNSUPPORTED,
                         "validation was asked for, but the layer " VALIDATION_LAYER " is not installed");
            goto cleanup;
        }
    }
    SL_TRY(find_extension(NULL, VK_EXT_DEBUG_UTILS_EXTENSION_NAME, out_debug_utils, diag));
    if (validation && !*out_debug_utils)
        SL_TRY(find_extension(VALIDATION_LAYER, VK_EXT_DEBUG_UTILS_EXTENSION_NAME, out_debug_utils, diag));
    if (*out_debug_utils) plan->extensions[plan->extension_count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    if (validation) {
        if (!*out_debug_utils) {
            st = sl_fail(diag, SL_ERR_UNSUPPORTED, "validation needs VK_EXT_debug_utils");
            goto cleanup;
        }
        SL_TRY(validation_chain(&plan->setup, &extension, diag));
        plan->chain = &plan->setup.messenger;
        if (extension) plan->extensions[plan->extension_count++] = extension;
    }
    SL_TRY(find_extension(NULL, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME, &plan->portability, diag));
    if (plan->portability)
        plan->extensions[plan->extension_count++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
cleanup:
    return st;
}

static sl_status load_instance(sl_vk_instance *instance, sl_diag *diag)
{
    sl_vk_instance_fn *fn = &instance->fn;
    const char *missing = NULL;
#define SL_VK_LOAD(name) fn->name = (PFN_vk##name)loader.GetInstanceProcAddr(instance->handle, "vk" #name);
#define SL_VK_NEED(name)                                                                                     \
    SL_VK_LOAD(name)                                                                                         \
    if (!fn->name) missing = "vk" #name;
    SL_VK_INSTANCE_FUNCTIONS(SL_VK_NEED)
    SL_VK_INSTANCE_OPTIONAL(SL_VK_LOAD)
#undef SL_VK_NEED
#undef SL_VK_LOAD
    if (!fn->GetPhysicalDeviceCalibrateableTimeDomainsEXT)
        fn->GetPhysicalDeviceCalibrateableTimeDomainsEXT =
            (PFN_vkGetPhysicalDeviceCalibrateableTimeDomainsEXT)loader.GetInstanceProcAddr(
                instance->handle, "vkGetPhysicalDeviceCalibrateableTimeDomainsKHR");
    if (missing) return sl_fail(diag, SL_ERR_UNSUPPORTED, "the Vulkan loader has no %s", missing);
    return SL_OK;
}

static sl_status check_loader(bool *out_absent, sl_diag *diag)
{
    pthread_once(&loader_once, loader_open);
    *out_absent = true;
    if (loader_problem[0]) return sl_fail(diag, SL_ERR_NOT_FOUND, "%s", loader_problem);
    uint32_t version = 0;
    if (loader.EnumerateInstanceVersion(&version) != VK_SUCCESS || version < VK_API_VERSION_1_2)
        return sl_fail(diag, SL_ERR_NOT_FOUND, "the Vulkan loader is of version %u.%u; 1.2 is needed",
                       VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
    *out_absent = false;
    return SL_OK;
}

static sl_status instance_make(bool validation, sl_vk_instance *out, bool *out_absent, sl_diag *diag)
{
    sl_status st = SL_OK;
    const char *layers[] = {VALIDATION_LAYER};
    instance_plan plan;
    *out = (sl_vk_instance){0};
    SL_TRY(check_loader(out_absent, diag));
    SL_TRY(plan_instance(validation, &plan, &out->debug_utils, diag));
    const VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "sluice",
        .pEngineName = "sluice",
        .apiVersion = VK_API_VERSION_1_3,
    };
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = plan.chain,
        .flags = plan.portability ? VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR : 0,
        .pApplicationInfo = &application,
        .enabledLayerCount = validation ? 1 : 0,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = plan.extension_count,
        .ppEnabledExtensionNames = plan.extensions,
    };
    VkResult r = loader.CreateInstance(&info, NULL, &out->handle);
    if (r != VK_SUCCESS) {
        out->handle = VK_NULL_HANDLE;
        *out_absent = r == VK_ERROR_INCOMPATIBLE_DRIVER;
        st = *out_absent ? sl_fail(diag, SL_ERR_NOT_FOUND, "the Vulkan loader found no driver")
                         : sl_vk_fail(NULL, r, diag, "vkCreateInstance");
        goto cleanup;
    }
    SL_TRY(load_instance(out, diag));
    if (validation) {
        r = out->fn.CreateDebugUtilsMessengerEXT(out->handle, &messenger_info, NULL, &out->messenger);
        if (r != VK_SUCCESS) {
            out->messenger = VK_NULL_HANDLE;
            st = sl_vk_fail(NULL, r, diag, "vkCreateDebugUtilsMessengerEXT");
        }
    }
cleanup:
    if (st != SL_OK) sl_vk_instance_release(out);
    return st;
}

sl_status sl_vk_instance_acquire(bool validation, sl_vk_instance *out, bool *out_absent, sl_diag *diag)
{
    sl_status st = SL_OK;
    *out_absent = false;
    *out = (sl_vk_instance){0};
    pthread_mutex_lock(&shared_lock);
    if (!shared.handle) st = instance_make(false, &shared, out_absent, diag);
    if (st == SL_OK && !validation) {
        *out = shared;
        out->shared = true;
    }
    pthread_mutex_unlock(&shared_lock);
    return st == SL_OK && validation ? instance_make(true, out, out_absent, diag) : st;
}

void sl_vk_instance_release(sl_vk_instance *instance)
{
    if (!instance || !instance->handle || instance->shared) return;
    if (instance->messenger)
        instance->fn.DestroyDebugUtilsMessengerEXT(instance->handle, instance->messenger, NULL);
    if (instance->fn.DestroyInstance) instance->fn.DestroyInstance(instance->handle, NULL);
    *instance = (sl_vk_instance){0};
}

sl_status sl_vk_physical_devices(const sl_vk_instance *instance, VkPhysicalDevice **out_devices,
                                 uint32_t *out_count, sl_diag *diag)
{
    sl_status st = SL_OK;
    VkPhysicalDevice *list = NULL;
    uint32_t count = 0;
    VkResult r = instance->fn.EnumeratePhysicalDevices(instance->handle, &count, NULL);
    if (r == VK_ERROR_INITIALIZATION_FAILED) r = VK_SUCCESS, count = 0; /* drivers, but no device of theirs */
    if (r == VK_SUCCESS && count) {
        list = sl_calloc(count, sizeof *list);
        if (!list) {
            st = sl_fail(diag, SL_ERR_NO_MEMORY, "no memory for a list of %u devices", count);
            goto cleanup;
        }
        r = instance->fn.EnumeratePhysicalDevices(instance->handle, &count, list);
    }
    if (r < VK_SUCCESS) {
        st = sl_vk_fail(NULL, r, diag, "vkEnumeratePhysicalDevices");
        goto cleanup;
    }
    *out_devices = list;
    *out_count = count;
    list = NULL;
cleanup:
    sl_free(list);
    return st;
}
