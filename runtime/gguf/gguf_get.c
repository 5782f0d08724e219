/* Metadata by key: typed, converted where the value fits, with errors that name file, key, type and value. */
#include "runtime/gguf/gguf_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "hal/base/checked.h"
#include "hal/base/half.h"

static const struct {
    const char *name;
    size_t bytes;
} types[SL_GGUF_TYPE_COUNT] = {
    [SL_GGUF_U8] = {"u8", 1},       [SL_GGUF_I8] = {"i8", 1},     [SL_GGUF_U16] = {"u16", 2},
    [SL_GGUF_I16] = {"i16", 2},     [SL_GGUF_U32] = {"u32", 4},   [SL_GGUF_I32] = {"i32", 4},
    [SL_GGUF_F32] = {"f32", 4},     [SL_GGUF_BOOL] = {"bool", 1}, [SL_GGUF_STRING] = {"string", 0},
    [SL_GGUF_ARRAY] = {"array", 0}, [SL_GGUF_U64] = {"u64", 8},   [SL_GGUF_I64] = {"i64", 8},
    [SL_GGUF_F64] = {"f64", 8},
};

const char *sl_gguf_type_name(uint32_t type)
{
    return type < SL_GGUF_TYPE_COUNT ? types[type].name : "?";
}

size_t sl_gguf_scalar_bytes(uint32_t type)
{
    return type < SL_GGUF_TYPE_COUNT ? types[type].bytes : 0;
}

bool sl_gguf_decode_scalar(sl_gguf_type type, const unsigned char *p, sl_gguf_kv *kv)
{
    const uint64_t raw = sl_gguf_load(p, sl_gguf_scalar_bytes(type));
    kv->type = type;
    switch (type) {
    case SL_GGUF_I8:
        kv->value.i = (int8_t)raw;
        return true;
    case SL_GGUF_I16:
        kv->value.i = (int16_t)raw;
        return true;
    case SL_GGUF_I32:
        kv->value.i = (int32_t)raw;
        return true;
    case SL_GGUF_I64:
        kv->value.i = (int64_t)raw;
        return true;
    case SL_GGUF_F32:
        kv->value.f = (double)sl_bits_to_float((uint32_t)raw);
        return true;
    case SL_GGUF_F64:
        memcpy(&kv->value.f, &raw, sizeof kv->value.f);
        return true;
    case SL_GGUF_BOOL:
        kv->value.u = raw;
        return raw <= 1;
    default:
        kv->value.u = raw;
        return true;
    }
}

const char *sl_gguf_escape(const void *bytes, size_t length, char *text, size_t capacity)
{
    const unsigned char *p = bytes;
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        if (n + 8 > capacity) { /* room for "...", or for one escape and a NUL */
            n += (size_t)snprintf(text + n, capacity - n, "...");
            break;
        }
        const bool plain = p[i] >= 0x20 && p[i] <= 0x7e && p[i] != '"' && p[i] != '\\';
        n += (size_t)snprintf(text + n, capacity - n, plain ? "%c" : "\\x%02x", p[i]);
    }
    text[SL_MIN(n, capacity - 1)] = '\0';
    return text;
}

const char *sl_gguf_value_text(const sl_gguf_kv *kv, char *text, size_t capacity)
{
    char quoted[128];
    switch (kv->type) {
    case SL_GGUF_I8:
    case SL_GGUF_I16:
    case SL_GGUF_I32:
    case SL_GGUF_I64:
        snprintf(text, capacity, "%" PRId64, kv->value.i);
        break;
    case SL_GGUF_F32:
    case SL_GGUF_F64:
        snprintf(text, capacity, "%g", kv->value.f);
        break;
    case SL_GGUF_BOOL:
        snprintf(text, capacity, "%s", kv->value.u ? "true" : "false");
        break;
    case SL_GGUF_STRING:
        snprintf(text, capacity, "\"%s\"",
                 sl_gguf_escape(kv->value.string.data, kv->value.string.length, quoted, sizeof quoted));
        break;
    case SL_GGUF_ARRAY:
        snprintf(text, capacity, "[%s x %zu]", sl_gguf_type_name(kv->value.array.type),
                 kv->value.array.count);
        break;
    default:
        snprintf(text, capacity, "%" PRIu64, kv->value.u);
        break;
    }
    return text;
}

const sl_gguf_kv *sl_gguf_part_find(const sl_gguf_part *part, const char *key)
{
    uint32_t index;
    return sl_string_map_get(&part->keys, key, strlen(key), &index) ? &part->kvs[index] : NULL;
}

size_t sl_gguf_kv_count(const sl_gguf *g)
{
    return g->parts[0].kv_count;
}

const sl_gguf_kv *sl_gguf_kv_at(const sl_gguf *g, size_t index)
{
    return index < g->parts[0].kv_count ? &g->parts[0].kvs[index] : NULL;
}

const sl_gguf_kv *sl_gguf_find(const sl_gguf *g, const char *key)
{
    return sl_gguf_part_find(&g->parts[0], key);
}

static sl_status require(const sl_gguf_part *part, const char *key, const sl_gguf_kv **out, sl_diag *diag)
{
    *out = sl_gguf_part_find(part, key);
    if (!*out) return sl_fail(diag, SL_ERR_NOT_FOUND, "%s: key \"%s\" is missing", part->label, key);
    return SL_OK;
}

static sl_status wrong(const sl_gguf_part *part, const sl_gguf_kv *kv, const char *expected, sl_diag *diag)
{
    char text[96];
    return sl_fail(diag, SL_ERR_FORMAT, "%s: key \"%.72s\" is %s %s, expected %s", part->label, kv->key,
                   sl_gguf_type_name(kv->type), sl_gguf_value_text(kv, text, sizeof text), expected);
}

static bool is_signed(sl_gguf_type type)
{
    return type == SL_GGUF_I8 || type == SL_GGUF_I16 || type == SL_GGUF_I32 || type == SL_GGUF_I64;
}

static bool is_unsigned(sl_gguf_type type)
{
    return type == SL_GGUF_U8 || type == SL_GGUF_U16 || type == SL_GGUF_U32 || type == SL_GGUF_U64;
}

static bool is_float(sl_gguf_type type)
{
    return type == SL_GGUF_F32 || type == SL_GGUF_F64;
}

sl_status sl_gguf_part_get_u64(const sl_gguf_part *part, const char *key, uint64_t max, uint64_t *out,
                               sl_diag *diag)
{
    const sl_gguf_kv *kv;
    const sl_status st = require(part, key, &kv, diag);
    if (st != SL_OK) return st;
    const bool fits = is_unsigned(kv->type) || (is_signed(kv->type) && kv->value.i >= 0);
    const uint64_t value = is_signed(kv->type) ? (uint64_t)kv->value.i : kv->value.u;
    char expected[64];
    snprintf(expected, sizeof expected, "an integer from 0 to %" PRIu64, max);
    if (!fits || value > max) return wrong(part, kv, expected, diag);
    *out = value;
    return SL_OK;
}

sl_status sl_gguf_get_u32(const sl_gguf *g, const char *key, uint32_t *out, sl_diag *diag)
{
    uint64_t value;
    const sl_status st = sl_gguf_part_get_u64(&g->parts[0], key, UINT32_MAX, &value, diag);
    if (st == SL_OK) *out = (uint32_t)value;
    return st;
}

sl_status sl_gguf_get_u64(const sl_gguf *g, const char *key, uint64_t *out, sl_diag *diag)
{
    return sl_gguf_part_get_u64(&g->parts[0], key, UINT64_MAX, out, diag);
}

sl_status sl_gguf_get_f32(const sl_gguf *g, const char *key, float *out, sl_diag *diag)
{
    const sl_gguf_kv *kv;
    const sl_status st = require(&g->parts[0], key, &kv, diag);
    if (st != SL_OK) return st;
    double value;
    if (is_float(kv->type))
        value = kv->value.f;
    else if (is_signed(kv->type))
        value = (double)kv->value.i;
    else if (is_unsigned(kv->type))
        value = (double)kv->value.u;
    else
        return wrong(&g->parts[0], kv, "a number", diag);
    if (!isfinite(value) || fabs(value) > (double)0x1.fffffep127f)
        return wrong(&g->parts[0], kv, "a finite number that fits f32", diag);
    *out = (float)value;
    return SL_OK;
}

sl_status sl_gguf_get_bool(const sl_gguf *g, const char *key, bool *out, sl_diag *diag)
{
    const sl_gguf_kv *kv;
    const sl_status st = require(&g->parts[0], key, &kv, diag);
    if (st != SL_OK) return st;
    if (kv->type != SL_GGUF_BOOL) return wrong(&g->parts[0], kv, "a bool", diag);
    *out = kv->value.u != 0;
    return SL_OK;
}

sl_status sl_gguf_get_string(const sl_gguf *g, const char *key, sl_gguf_string *out, sl_diag *diag)
{
    const sl_gguf_kv *kv;
    const sl_status st = require(&g->parts[0], key, &kv, diag);
    if (st != SL_OK) return st;
    if (kv->type != SL_GGUF_STRING) return wrong(&g->parts[0], kv, "a string", diag);
    *out = kv->value.string;
    return SL_OK;
}

sl_status sl_gguf_get_array(const sl_gguf *g, const char *key, sl_gguf_type type, sl_gguf_array *out,
                            sl_diag *diag)
{
    const sl_gguf_kv *kv;
    const sl_status st = require(&g->parts[0], key, &kv, diag);
    if (st != SL_OK) return st;
    if (kv->type == SL_GGUF_ARRAY && (type == SL_GGUF_TYPE_COUNT || kv->value.array.type == type)) {
        *out = kv->value.array;
        return SL_OK;
    }
    char expected[64] = "an array";
    if (type != SL_GGUF_TYPE_COUNT)
        snprintf(expected, sizeof expected, "an array of %s", sl_gguf_type_name(type));
    return wrong(&g->parts[0], kv, expected, diag);
}

sl_status sl_gguf_get_u32_or(const sl_gguf *g, const char *key, uint32_t fallback, uint32_t *out,
                             sl_diag *diag)
{
    if (sl_gguf_find(g, key)) return sl_gguf_get_u32(g, key, out, diag);
    *out = fallback;
    return SL_OK;
}

sl_status sl_gguf_get_u64_or(const sl_gguf *g, const char *key, uint64_t fallback, uint64_t *out,
                             sl_diag *diag)
{
    if (sl_gguf_find(g, key)) return sl_gguf_get_u64(g, key, out, diag);
    *out = fallback;
    return SL_OK;
}

sl_status sl_gguf_get_f32_or(const sl_gguf *g, const char *key, float fallback, float *out, sl_diag *diag)
{
    if (sl_gguf_find(g, key)) return sl_gguf_get_f32(g, key, out, diag);
    *out = fallback;
    return SL_OK;
}

sl_status sl_gguf_get_bool_or(const sl_gguf *g, const char *key, bool fallback, bool *out, sl_diag *diag)
{
    if (sl_gguf_find(g, key)) return sl_gguf_get_bool(g, key, out, diag);
    *out = fallback;
    return SL_OK;
}

sl_status sl_gguf_get_string_or(const sl_gguf *g, const char *key, const char *fallback, sl_gguf_string *out,
                                sl_diag *diag)
{
    if (sl_gguf_find(g, key)) return sl_gguf_get_string(g, key, out, diag);
    *out = (sl_gguf_string){fallback, fallback ? strlen(fallback) : 0};
    return SL_OK;
}

sl_status sl_gguf_get_array_or_empty(const sl_gguf *g, const char *key, sl_gguf_type type, sl_gguf_array *out,
                                     sl_diag *diag)
{
    if (sl_gguf_find(g, key)) return sl_gguf_get_array(g, key, type, out, diag);
    *out = (sl_gguf_array){.type = type};
    return SL_OK;
}

sl_status sl_gguf_get_u32_at(const sl_gguf *g, const char *key, size_t index, uint32_t *out, sl_diag *diag)
{
    const sl_gguf_kv *kv;
    const sl_status st = require(&g->parts[0], key, &kv, diag);
    if (st != SL_OK) return st;
    if (kv->type != SL_GGUF_ARRAY) return sl_gguf_get_u32(g, key, out, diag);
    const sl_gguf_array *array = &kv->value.array;
    int64_t value;
    if (index >= array->count)
        return sl_fail(diag, SL_ERR_FORMAT, "%s: key \"%.72s\" is an array of %zu, element %zu is needed",
                       g->parts[0].label, key, array->count, index);
    if (!sl_gguf_array_i64(array, index, &value)) return wrong(&g->parts[0], kv, "integers", diag);
    if (value < 0 || value > UINT32_MAX)
        return sl_fail(diag, SL_ERR_FORMAT, "%s: key \"%.72s\" element %zu is %" PRId64 ", expected 0 to %u",
                       g->parts[0].label, key, index, value, UINT32_MAX);
    *out = (uint32_t)value;
    return SL_OK;
}

sl_gguf_string sl_gguf_array_string(const sl_gguf_array *array, size_t index)
{
    const unsigned char *p = array->data + array->string_offsets[index];
    return (sl_gguf_string){(const char *)p + 8, (size_t)sl_gguf_load(p, 8)};
}

bool sl_gguf_array_i64(const sl_gguf_array *array, size_t index, int64_t *out)
{
    const size_t bytes = sl_gguf_scalar_bytes(array->type);
    sl_gguf_kv kv;
    if (!is_signed(array->type) && !is_unsigned(array->type)) return false;
    sl_gguf_decode_scalar(array->type, array->data + index * bytes, &kv);
    if (is_unsigned(array->type) && kv.value.u > INT64_MAX) return false;
    *out = is_signed(array->type) ? kv.value.i : (int64_t)kv.value.u;
    return true;
}

bool sl_gguf_array_f32(const sl_gguf_array *array, size_t index, float *out)
{
    sl_gguf_kv kv;
    if (!is_float(array->type)) return false;
    sl_gguf_decode_scalar(array->type, array->data + index * sl_gguf_scalar_bytes(array->type), &kv);
    *out = (float)kv.value.f;
    return true;
}
