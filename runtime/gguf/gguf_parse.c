/* Parses the header of one part. The parser is a plain function over the bytes that have been read so far:
 * when they end early it says how many it wants, and the driver at the end of this file reads twice as many
 * and starts again. So no pointer into the buffer ever moves under the parser, and a header costs at most
 * twice its length. */
#include "runtime/gguf/gguf_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#define FIRST_READ_BYTES  (1u << 20)
#define KEY_MAX_BYTES     65535u
#define KV_MIN_BYTES      14u /* length, one byte of key, type, one byte of value */
#define TENSOR_MIN_BYTES  33u /* length, one byte of name, n_dims, one dim, type, offset */
#define DEFAULT_ALIGNMENT 32u

typedef struct parser {
    sl_gguf_part *part;
    const unsigned char *bytes;
    uint64_t have; /* bytes that are in memory */
    uint64_t size; /* bytes that the file has */
    uint64_t pos;
    uint64_t want; /* not 0: stopped, because this many bytes must be in memory */
    char where[128];
    size_t element; /* of the string array that is walked, or NO_ELEMENT */
    sl_diag *diag;
} parser;

#define NO_ELEMENT SIZE_MAX

#define FAIL(p, code, ...) ((void)fail_in((p), (code), __LINE__, __VA_ARGS__), (code))
#define QUOTE_BYTES        72

static sl_status fail_in(parser *p, sl_status code, int line, const char *format, ...) SL_PRINTF(4, 5);

static sl_status fail_in(parser *p, sl_status code, int line, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char element[32] = "";
    if (p->element != NO_ELEMENT) snprintf(element, sizeof element, " element %zu", p->element);
    return sl_fail_at(p->diag, code, 0, __FILE__, line, "%s: %s%s: %s", p->part->label, p->where, element,
                      text);
}

/* Are there `n` more bytes in the file, and may a header be that long? */
static sl_status check_left(parser *p, uint64_t n, const char *what)
{
    if (n > p->size - p->pos) {
        return FAIL(p, SL_ERR_TRUNCATED,
                    "%s takes %" PRIu64 " bytes at offset %" PRIu64 ", the file has %" PRIu64 " left", what,
                    n, p->pos, p->size - p->pos);
    }
    if (n > SL_GGUF_HEADER_MAX_BYTES - p->pos) {
        return FAIL(p, SL_ERR_FORMAT, "%s takes %" PRIu64 " bytes: the header would exceed %u bytes", what, n,
                    SL_GGUF_HEADER_MAX_BYTES);
    }
    return SL_OK;
}

static sl_status take(parser *p, uint64_t n, const char *what, const unsigned char **out)
{
    sl_status st = check_left(p, n, what);
    if (st != SL_OK) return st;
    if (n > p->have - p->pos) {
        p->want = p->pos + n;
        return SL_ERR_TRUNCATED; /* not a failure yet: parse_again looks at `want` first */
    }
    *out = p->bytes + p->pos;
    p->pos += n;
    return SL_OK;
}

static sl_status take_number(parser *p, size_t bytes, const char *what, uint64_t *out)
{
    const unsigned char *at;
    sl_status st = take(p, bytes, what, &at);
    if (st == SL_OK) *out = sl_gguf_load(at, bytes);
    return st;
}

/* A key or a tensor name: length word, then printable ASCII. */
static sl_status take_name(parser *p, uint64_t max, const char *what, const char **out, uint32_t *out_length)
{
    uint64_t length;
    const unsigned char *at;
    sl_status st = take_number(p, 8, what, &length);
    if (st != SL_OK) return st;
    if (length == 0) return FAIL(p, SL_ERR_FORMAT, "%s is empty", what);
    if (length > max)
        return FAIL(p, SL_ERR_FORMAT, "%s has %" PRIu64 " bytes, at most %" PRIu64, what, length, max);
    if ((st = take(p, length, what, &at)) != SL_OK) return st;
    for (uint64_t i = 0; i < length; i++) {
        if (at[i] >= 0x20 && at[i] <= 0x7e) continue;
        char quoted[QUOTE_BYTES];
        return FAIL(p, SL_ERR_FORMAT, "%s \"%s\" has byte 0x%02x, only printable ASCII is allowed", what,
                    sl_gguf_escape(at, (size_t)length, quoted, sizeof quoted), at[i]);
    }
    *out = (const char *)at;
    *out_length = (uint32_t)length;
    return SL_OK;
}

static sl_status take_string(parser *p, sl_gguf_string *out)
{
    uint64_t length;
    const unsigned char *at;
    sl_status st = take_number(p, 8, "string length", &length);
    if (st == SL_OK) st = take(p, length, "string", &at);
    if (st != SL_OK) return st;
    *out = (sl_gguf_string){(const char *)at, (size_t)length};
    return SL_OK;
}

/* The offsets are had once the whole array is known to be in memory: a first walk counts, a second one keeps.
 */
static sl_status take_string_array(parser *p, sl_gguf_array *array)
{
    const uint64_t begin = p->pos;
    sl_status st = SL_OK;
    sl_gguf_string string;
    for (size_t i = 0; i < array->count; i++) {
        p->element = i;
        if ((st = take_string(p, &string)) != SL_OK) return st;
    }
    p->element = NO_ELEMENT;
    uint32_t *offsets = sl_realloc(NULL, array->count, sizeof *offsets);
    if (!offsets) return FAIL(p, SL_ERR_NO_MEMORY, "no memory for %zu strings", array->count);
    const uint64_t end = p->pos;
    p->pos = begin;
    for (size_t i = 0; i < array->count && st == SL_OK; i++) {
        offsets[i] = (uint32_t)(p->pos - begin);
        st = take_string(p, &string);
    }
    p->pos = end;
    array->data = p->bytes + begin;
    array->string_offsets = offsets;
    return st;
}

static sl_status take_array(parser *p, sl_gguf_array *array)
{
    uint64_t type, count, bytes;
    sl_status st = take_number(p, 4, "array element type", &type);
    if (st == SL_OK) st = take_number(p, 8, "array length", &count);
    if (st != SL_OK) return st;
    if (type == SL_GGUF_ARRAY)
        return FAIL(p, SL_ERR_FORMAT, "array of arrays (element type 9) is not allowed");
    if (type >= SL_GGUF_TYPE_COUNT)
        return FAIL(p, SL_ERR_FORMAT, "array element type %" PRIu64 " is unknown", type);
    const size_t element = type == SL_GGUF_STRING ? 8 : sl_gguf_scalar_bytes((uint32_t)type);
    if (!sl_checked_mul(count, element, &bytes))
        return FAIL(p, SL_ERR_OVERFLOW, "array of %" PRIu64 " x %s exceeds 64 bits", count,
                    sl_gguf_type_name((uint32_t)type));
    if ((st = check_left(p, bytes, "array")) != SL_OK) return st;
    array->type = (sl_gguf_type)type;
    array->count = (size_t)count;
    if (type == SL_GGUF_STRING) return take_string_array(p, array);
    if ((st = take(p, bytes, "array", &array->data)) != SL_OK) return st;
    for (size_t i = 0; type == SL_GGUF_BOOL && i < count; i++)
        if (array->data[i] > 1)
            return FAIL(p, SL_ERR_FORMAT, "bool element %zu is %u, neither 0 nor 1", i, array->data[i]);
    return SL_OK;
}

static sl_status take_kv(parser *p, sl_gguf_kv *kv)
{
    uint64_t type;
    sl_status st = take_name(p, KEY_MAX_BYTES, "key", &kv->key, &kv->key_length);
    if (st != SL_OK) return st;
    char quoted[QUOTE_BYTES];
    snprintf(p->where, sizeof p->where, "key \"%s\"",
             sl_gguf_escape(kv->key, kv->key_length, quoted, sizeof quoted));
    if ((st = take_number(p, 4, "value type", &type)) != SL_OK) return st;
    if (type >= SL_GGUF_TYPE_COUNT) return FAIL(p, SL_ERR_FORMAT, "value type %" PRIu64 " is unknown", type);
    kv->type = (sl_gguf_type)type;
    if (type == SL_GGUF_STRING) return take_string(p, &kv->value.string);
    if (type == SL_GGUF_ARRAY) return take_array(p, &kv->value.array);
    const unsigned char *at;
    if ((st = take(p, sl_gguf_scalar_bytes((uint32_t)type), "value", &at)) != SL_OK) return st;
    if (!sl_gguf_decode_scalar(kv->type, at, kv))
        return FAIL(p, SL_ERR_FORMAT, "bool value is %u, neither 0 nor 1", at[0]);
    return SL_OK;
}

/* Grows an array that is filled in order; the file's count is only a bound. */
static bool reserve(void **items, size_t *capacity, size_t count, size_t item_bytes)
{
    if (count < *capacity) return true;
    const size_t more = *capacity ? *capacity * 2 : 64;
    void *grown = sl_realloc(*items, more, item_bytes);
    if (!grown) return false;
    *items = grown;
    *capacity = more;
    return true;
}

static sl_status take_kvs(parser *p, uint64_t count)
{
    size_t capacity = 0;
    for (uint64_t i = 0; i < count; i++) {
        snprintf(p->where, sizeof p->where, "metadata pair %" PRIu64 " of %" PRIu64, i, count);
        void *items = p->part->kvs;
        if (!reserve(&items, &capacity, (size_t)i, sizeof(sl_gguf_kv)))
            return FAIL(p, SL_ERR_NO_MEMORY, "no memory for metadata");
        p->part->kvs = items;
        memset(&p->part->kvs[i], 0, sizeof(sl_gguf_kv));
        p->part->kv_count = (size_t)i + 1; /* before it is filled, so that its offsets are freed */
        const sl_status st = take_kv(p, &p->part->kvs[i]);
        if (st != SL_OK) return st;
    }
    return SL_OK;
}

static sl_status index_keys(parser *p)
{
    sl_gguf_part *part = p->part;
    if (!sl_string_map_init(&part->keys, part->kv_count))
        return FAIL(p, SL_ERR_NO_MEMORY, "no memory for metadata");
    for (size_t i = 0; i < part->kv_count; i++) {
        const sl_gguf_kv *kv = &part->kvs[i];
        char quoted[QUOTE_BYTES];
        switch (sl_string_map_add(&part->keys, kv->key, kv->key_length, (uint32_t)i)) {
        case SL_STRING_MAP_ADDED:
            break;
        case SL_STRING_MAP_EXISTS:
            return FAIL(p, SL_ERR_FORMAT, "duplicate key \"%s\"",
                        sl_gguf_escape(kv->key, kv->key_length, quoted, sizeof quoted));
        case SL_STRING_MAP_NO_MEMORY:
            return FAIL(p, SL_ERR_NO_MEMORY, "no memory for metadata");
        }
    }
    return SL_OK;
}

static sl_status find_alignment(parser *p)
{
    p->part->alignment_bytes = DEFAULT_ALIGNMENT;
    const sl_gguf_kv *kv = sl_gguf_part_find(p->part, "general.alignment");
    if (!kv) return SL_OK;
    snprintf(p->where, sizeof p->where, "key \"general.alignment\"");
    if (kv->type != SL_GGUF_U32)
        return FAIL(p, SL_ERR_FORMAT, "type is %s, must be u32", sl_gguf_type_name(kv->type));
    const uint64_t a = kv->value.u;
    if (a == 0 || a % 8 || (a & (a - 1)) || a > SL_GGUF_ALIGNMENT_MAX_BYTES)
        return FAIL(p, SL_ERR_FORMAT, "%" PRIu64 " is not a power of two from 8 to %u", a,
                    SL_GGUF_ALIGNMENT_MAX_BYTES);
    p->part->alignment_bytes = (uint32_t)a;
    return SL_OK;
}

static sl_status size_tensor(parser *p, sl_gguf_tensor *t, uint64_t type)
{
    const sl_ggml_type_info *info = type <= UINT32_MAX ? sl_ggml_type_find((uint32_t)type) : NULL;
    if (!info) return FAIL(p, SL_ERR_UNSUPPORTED, "tensor type %" PRIu64 " is unknown", type);
    t->type = info->type;
    t->n_weights = 1;
    for (uint32_t d = 0; d < SL_GGUF_DIMS_MAX; d++)
        if (!sl_checked_mul(t->n_weights, t->dims[d], &t->n_weights) || t->n_weights > INT64_MAX)
            return FAIL(p, SL_ERR_OVERFLOW,
                        "the product of its dimensions exceeds 63 bits at dimension %u = %" PRIu64, d,
                        t->dims[d]);
    if (t->dims[0] % info->block_weights)
        return FAIL(p, SL_ERR_FORMAT, "a row of %" PRIu64 " weights is no whole number of %s blocks of %u",
                    t->dims[0], info->name, info->block_weights);
    if (!sl_checked_mul(t->dims[0] / info->block_weights, info->block_bytes, &t->row_bytes) ||
        !sl_checked_mul(t->n_weights / info->block_weights, info->block_bytes, &t->size_bytes))
        return FAIL(p, SL_ERR_OVERFLOW, "%" PRIu64 " weights of %s exceed 64 bits of bytes", t->n_weights,
                    info->name);
    return SL_OK;
}

static sl_status take_tensor(parser *p, sl_gguf_tensor *t)
{
    uint64_t n_dims, type;
    sl_status st = take_name(p, SL_GGUF_NAME_MAX_BYTES, "tensor name", &t->name, &t->name_length);
    if (st != SL_OK) return st;
    char quoted[QUOTE_BYTES];
    snprintf(p->where, sizeof p->where, "tensor \"%s\"",
             sl_gguf_escape(t->name, t->name_length, quoted, sizeof quoted));
    if ((st = take_number(p, 4, "n_dims", &n_dims)) != SL_OK) return st;
    if (n_dims == 0 || n_dims > SL_GGUF_DIMS_MAX)
        return FAIL(p, SL_ERR_FORMAT, "n_dims is %" PRIu64 ", must be 1 to %d", n_dims, SL_GGUF_DIMS_MAX);
    t->n_dims = (uint32_t)n_dims;
    for (uint32_t d = 0; d < SL_GGUF_DIMS_MAX; d++) {
        t->dims[d] = 1;
        if (d >= t->n_dims) continue;
        if ((st = take_number(p, 8, "dimension", &t->dims[d])) != SL_OK) return st;
        if (t->dims[d] == 0) return FAIL(p, SL_ERR_FORMAT, "dimension %u is 0", d);
    }
    if ((st = take_number(p, 4, "tensor type", &type)) != SL_OK) return st;
    if ((st = size_tensor(p, t, type)) != SL_OK) return st;
    if ((st = take_number(p, 8, "tensor offset", &t->offset_bytes)) != SL_OK) return st;
    if (t->offset_bytes % p->part->alignment_bytes)
        return FAIL(p, SL_ERR_FORMAT, "offset %" PRIu64 " is no multiple of the alignment %u",
                    t->offset_bytes, p->part->alignment_bytes);
    return SL_OK;
}

static sl_status take_tensors(parser *p, uint64_t count)
{
    size_t capacity = 0;
    for (uint64_t i = 0; i < count; i++) {
        snprintf(p->where, sizeof p->where, "tensor %" PRIu64 " of %" PRIu64, i, count);
        void *items = p->part->tensors;
        if (!reserve(&items, &capacity, (size_t)i, sizeof(sl_gguf_tensor)))
            return FAIL(p, SL_ERR_NO_MEMORY, "no memory for tensor descriptions");
        p->part->tensors = items;
        memset(&p->part->tensors[i], 0, sizeof(sl_gguf_tensor));
        const sl_status st = take_tensor(p, &p->part->tensors[i]);
        if (st != SL_OK) return st;
        p->part->tensor_count = (size_t)i + 1;
    }
    return SL_OK;
}

static int by_offset(const void *a, const void *b)
{
    const sl_gguf_tensor *x = *(const sl_gguf_tensor *const *)a, *y = *(const sl_gguf_tensor *const *)b;
    return (x->offset_bytes > y->offset_bytes) - (x->offset_bytes < y->offset_bytes);
}

static sl_status check_overlap(parser *p)
{
    const size_t n = p->part->tensor_count;
    sl_status st = SL_OK;
    sl_gguf_tensor **order = sl_realloc(NULL, n, sizeof(sl_gguf_tensor *));
    if (!order) return FAIL(p, SL_ERR_NO_MEMORY, "no memory for tensor descriptions");
    for (size_t i = 0; i < n; i++)
        order[i] = &p->part->tensors[i];
    qsort(order, n, sizeof(sl_gguf_tensor *), by_offset);
    for (size_t i = 1; i < n && st == SL_OK; i++) {
        const sl_gguf_tensor *a = order[i - 1], *b = order[i];
        if (a->offset_bytes + a->size_bytes <= b->offset_bytes) continue; /* the sum was checked */
        char first[QUOTE_BYTES], second[QUOTE_BYTES];
        snprintf(p->where, sizeof p->where, "tensor \"%s\"",
                 sl_gguf_escape(b->name, b->name_length, second, sizeof second));
        st = FAIL(p, SL_ERR_FORMAT,
                  "at offset %" PRIu64 " overlaps \"%s\" at %" PRIu64 " of %" PRIu64 " bytes",
                  b->offset_bytes, sl_gguf_escape(a->name, a->name_length, first, sizeof first),
                  a->offset_bytes, a->size_bytes);
    }
    sl_free(order);
    return st;
}

/* Makes offsets absolute and holds them against the size of the file. */
static sl_status place_tensors(parser *p)
{
    uint64_t data;
    if (!sl_checked_align(p->pos, p->part->alignment_bytes, &data))
        return FAIL(p, SL_ERR_OVERFLOW, "the header's end %" PRIu64 " cannot be aligned", p->pos);
    p->part->file.data_offset_bytes = data;
    for (size_t i = 0; i < p->part->tensor_count; i++) {
        sl_gguf_tensor *t = &p->part->tensors[i];
        char quoted[QUOTE_BYTES];
        uint64_t end;
        snprintf(p->where, sizeof p->where, "tensor \"%s\"",
                 sl_gguf_escape(t->name, t->name_length, quoted, sizeof quoted));
        if (!sl_checked_add(t->offset_bytes, data, &t->offset_bytes) ||
            !sl_checked_add(t->offset_bytes, t->size_bytes, &end))
            return FAIL(p, SL_ERR_OVERFLOW, "offset %" PRIu64 " + size %" PRIu64 " exceeds 64 bits",
                        t->offset_bytes, t->size_bytes);
        if (end > p->size)
            return FAIL(p, SL_ERR_TRUNCATED,
                        "bytes %" PRIu64 " to %" PRIu64 " lie beyond the end of the file, %" PRIu64,
                        t->offset_bytes, end, p->size);
    }
    return check_overlap(p);
}

static sl_status check_count(parser *p, const char *what, uint64_t count, uint64_t max, uint64_t min_bytes)
{
    if (count > max)
        return FAIL(p, SL_ERR_FORMAT, "%s is %" PRIu64 ", at most %" PRIu64 " are allowed", what, count, max);
    if (count > (p->size - p->pos) / min_bytes)
        return FAIL(p, SL_ERR_TRUNCATED,
                    "%s is %" PRIu64 ", too many for the %" PRIu64 " bytes that are left", what, count,
                    p->size - p->pos);
    return SL_OK;
}

static sl_status take_preamble(parser *p, uint64_t *n_tensors, uint64_t *n_kv)
{
    const unsigned char *magic;
    uint64_t version;
    sl_status st = take(p, 4, "magic", &magic);
    if (st != SL_OK) return st;
    if (memcmp(magic, "GGUF", 4) != 0) {
        char quoted[QUOTE_BYTES];
        return FAIL(p, SL_ERR_FORMAT, "magic is \"%s\", expected \"GGUF\"",
                    sl_gguf_escape(magic, 4, quoted, sizeof quoted));
    }
    if ((st = take_number(p, 4, "version", &version)) != SL_OK) return st;
    if (version && (version & 0xffff) == 0)
        return FAIL(p, SL_ERR_UNSUPPORTED,
                    "version is 0x%08x: a big-endian file; only little-endian ones can be read",
                    (unsigned)version);
    if (version != 2 && version != 3)
        return FAIL(p, SL_ERR_UNSUPPORTED, "version is %" PRIu64 ", only 2 and 3 can be read", version);
    p->part->version = (uint32_t)version;
    if ((st = take_number(p, 8, "n_tensors", n_tensors)) != SL_OK) return st;
    if ((st = take_number(p, 8, "n_kv", n_kv)) != SL_OK) return st;
    if ((st = check_count(p, "n_tensors", *n_tensors, SL_GGUF_TENSORS_MAX, TENSOR_MIN_BYTES)) != SL_OK)
        return st;
    return check_count(p, "n_kv", *n_kv, SL_GGUF_KV_MAX, KV_MIN_BYTES);
}

static sl_status parse(parser *p)
{
    uint64_t n_tensors = 0, n_kv = 0;
    sl_status st;
    snprintf(p->where, sizeof p->where, "header");
    SL_TRY(take_preamble(p, &n_tensors, &n_kv));
    SL_TRY(take_kvs(p, n_kv));
    snprintf(p->where, sizeof p->where, "metadata");
    SL_TRY(index_keys(p));
    SL_TRY(find_alignment(p));
    SL_TRY(take_tensors(p, n_tensors));
    snprintf(p->where, sizeof p->where, "header");
    SL_TRY(place_tensors(p));
cleanup:
    return st;
}

static void forget(sl_gguf_part *part)
{
    for (size_t i = 0; i < part->kv_count; i++)
        if (part->kvs[i].type == SL_GGUF_ARRAY) sl_free((void *)part->kvs[i].value.array.string_offsets);
    sl_free(part->kvs);
    sl_free(part->tensors);
    sl_string_map_free(&part->keys);
    part->kvs = NULL;
    part->tensors = NULL;
    part->kv_count = part->tensor_count = 0;
}

/* Each key, name and scalar string is followed by something that has been decoded by now (the buffer has one
 * byte more than the file): that byte becomes its NUL. Nothing is put into arrays, whose lengths are still
 * read. */
static void terminate_strings(sl_gguf_part *part)
{
    for (size_t i = 0; i < part->kv_count; i++) {
        sl_gguf_kv *kv = &part->kvs[i];
        ((char *)kv->key)[kv->key_length] = '\0';
        if (kv->type == SL_GGUF_STRING) ((char *)kv->value.string.data)[kv->value.string.length] = '\0';
    }
    for (size_t i = 0; i < part->tensor_count; i++)
        ((char *)part->tensors[i].name)[part->tensors[i].name_length] = '\0';
}

/* Brings bytes [have, have + n) of the source into the buffer. */
static sl_status read_more(sl_gguf_part *part, const sl_gguf_source *source, uint64_t have, uint64_t n,
                           sl_diag *diag)
{
    if (source->fd < 0) {
        if (n) memcpy(part->bytes + have, source->memory + have, n);
        return SL_OK;
    }
    while (n) {
        const ssize_t got = pread(source->fd, part->bytes + have, n, (off_t)have);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return sl_fail_errno(diag, SL_ERR_IO, errno, "%s: header: reading at offset %" PRIu64,
                                 part->label, have);
        if (got == 0)
            return sl_fail(diag, SL_ERR_TRUNCATED,
                           "%s: header: the file ended at offset %" PRIu64 " while it was read", part->label,
                           have);
        have += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return SL_OK;
}

sl_status sl_gguf_part_read(sl_gguf_part *part, const sl_gguf_source *source, sl_diag *diag)
{
    uint64_t have = 0, target = SL_MIN(source->size_bytes, FIRST_READ_BYTES);
    for (;;) {
        unsigned char *grown = sl_realloc(part->bytes, 1, (size_t)target + 1);
        if (!grown)
            return sl_fail(diag, SL_ERR_NO_MEMORY, "%s: header: no memory for %" PRIu64 " bytes", part->label,
                           target);
        part->bytes = grown;
        sl_status st = read_more(part, source, have, target - have, diag);
        if (st != SL_OK) return st;
        have = target;
        parser p = {.part = part,
                    .bytes = part->bytes,
                    .have = have,
                    .size = source->size_bytes,
                    .element = NO_ELEMENT,
                    .diag = diag};
        st = parse(&p);
        if (!p.want) {
            if (st == SL_OK) terminate_strings(part);
            return st;
        }
        forget(part);
        target = SL_MAX(p.want, SL_MIN(have * 2, (uint64_t)SL_GGUF_HEADER_MAX_BYTES));
        target = SL_MIN(target, source->size_bytes); /* p.want is inside the file */
    }
}

void sl_gguf_part_free(sl_gguf_part *part)
{
    if (!part) return;
    forget(part);
    sl_free(part->bytes);
    sl_free(part->path);
    memset(part, 0, sizeof *part);
}
