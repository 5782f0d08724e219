/* gguf.h - reads the header of a GGUF file (versions 2 and 3, little-endian, one file or split into parts):
 * metadata and the table of tensors. Weights are never read here: a tensor is {file, offset, size}, for io/.
 *
 * Owns: the sl_gguf owns everything it hands out; strings, arrays and tensors live until sl_gguf_close.
 * Errors: every malformed file ends in a typed error whose message names file, field and value. Counts and
 * lengths of the file are checked against the bytes that are left before memory is had for them; a header
 * above SL_GGUF_HEADER_MAX_BYTES is refused. SL_ERR_FORMAT malformed; SL_ERR_TRUNCATED the file ends too
 * early; SL_ERR_OVERFLOW sizes beyond 64 bits; SL_ERR_UNSUPPORTED another version, byte order or tensor type;
 * SL_ERR_IO, SL_ERR_NOT_FOUND, SL_ERR_NO_MEMORY. Threads: immutable after open, so any number may read.
 * Source: docs/gguf.md of the ggml project. */
#ifndef SL_RUNTIME_GGUF_GGUF_H
#define SL_RUNTIME_GGUF_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hal/base/diag.h"
#include "runtime/gguf/ggml_type.h"

#define SL_GGUF_HEADER_MAX_BYTES    (512u << 20)
#define SL_GGUF_ALIGNMENT_MAX_BYTES (1u << 20)
#define SL_GGUF_DIMS_MAX            4
#define SL_GGUF_NAME_MAX_BYTES      255
#define SL_GGUF_PARTS_MAX           1024
#define SL_GGUF_KV_MAX              65536
#define SL_GGUF_TENSORS_MAX         (1u << 20)

typedef struct sl_gguf sl_gguf;

/* Types of metadata values: the numbers of the file. */
typedef enum sl_gguf_type {
    SL_GGUF_U8 = 0,
    SL_GGUF_I8 = 1,
    SL_GGUF_U16 = 2,
    SL_GGUF_I16 = 3,
    SL_GGUF_U32 = 4,
    SL_GGUF_I32 = 5,
    SL_GGUF_F32 = 6,
    SL_GGUF_BOOL = 7,
    SL_GGUF_STRING = 8,
    SL_GGUF_ARRAY = 9,
    SL_GGUF_U64 = 10,
    SL_GGUF_I64 = 11,
    SL_GGUF_F64 = 12,
    SL_GGUF_TYPE_COUNT
} sl_gguf_type;

/* Bytes, not necessarily UTF-8, may hold NUL bytes inside. */
typedef struct sl_gguf_string {
    const char *data;
    size_t length;
} sl_gguf_string;

/* An array of scalars or strings (arrays of arrays are refused). Read it through the functions below. */
typedef struct sl_gguf_array {
    sl_gguf_type type; /* of the elements */
    size_t count;
    const unsigned char *data;      /* elements as in the file: packed, unaligned, little-endian */
    const uint32_t *string_offsets; /* strings only: from `data` to the length word of each */
} sl_gguf_array;

/* One metadata pair. `key` and a scalar string are NUL-terminated as well. */
typedef struct sl_gguf_kv {
    const char *key;
    uint32_t key_length;
    sl_gguf_type type;
    union {
        uint64_t u; /* U8 U16 U32 U64 BOOL */
        int64_t i;  /* I8 I16 I32 I64 */
        double f;   /* F32 F64 */
        sl_gguf_string string;
        sl_gguf_array array;
    } value;
} sl_gguf_kv;

typedef struct sl_gguf_tensor {
    const char *name; /* NUL-terminated, printable ASCII */
    uint32_t name_length;
    sl_ggml_type type;
    uint32_t n_dims;                 /* 1..4 */
    uint64_t dims[SL_GGUF_DIMS_MAX]; /* dims[0] is the contiguous one (a row); 1 beyond n_dims; never 0 */
    uint64_t n_weights;              /* product of dims */
    uint64_t row_bytes;              /* bytes of dims[0] weights */
    uint32_t file_index;             /* which part */
    uint64_t offset_bytes;           /* from the start of that file */
    uint64_t size_bytes;             /* > 0; offset + size is inside the file as it was at open */
} sl_gguf_tensor;

/* One part, and what identified it at open: whoever opens the path again can see that it was replaced. */
typedef struct sl_gguf_file {
    const char *path; /* as opened (for memory: the name given) */
    uint64_t size_bytes;
    uint64_t data_offset_bytes; /* where tensor data begin */
    uint64_t device, inode;     /* 0 for memory */
    int64_t mtime_ns;           /* 0 for memory */
} sl_gguf_file;

/* Opens `path`, and the other parts beside it when its name ends in -00001-of-0000N.gguf and split.count says
 * so. Metadata are those of the first part; opening a later part by name is an error that names the first. */
sl_status sl_gguf_open(const char *path, sl_gguf **out, sl_diag *diag) SL_NODISCARD;

/* The same from bytes in memory, which may go away afterwards; `name` stands for the path in messages. */
sl_status sl_gguf_open_memory(const void *bytes, size_t size, const char *name, sl_gguf **out,
                              sl_diag *diag) SL_NODISCARD;

void sl_gguf_close(sl_gguf *gguf); /* NULL is fine */

const char *sl_gguf_path(const sl_gguf *gguf); /* of the first part */
uint32_t sl_gguf_version(const sl_gguf *gguf);
uint32_t sl_gguf_alignment_bytes(const sl_gguf *gguf);

uint32_t sl_gguf_file_count(const sl_gguf *gguf);
const sl_gguf_file *sl_gguf_file_at(const sl_gguf *gguf, uint32_t index); /* NULL beyond the end */

/* Iteration, in file order; the later parts' own metadata are not listed. NULL beyond the end. */
size_t sl_gguf_kv_count(const sl_gguf *gguf);
const sl_gguf_kv *sl_gguf_kv_at(const sl_gguf *gguf, size_t index);
size_t sl_gguf_tensor_count(const sl_gguf *gguf);
const sl_gguf_tensor *sl_gguf_tensor_at(const sl_gguf *gguf, size_t index);

/* By name; NULL when there is none. */
const sl_gguf_kv *sl_gguf_find(const sl_gguf *gguf, const char *key);
const sl_gguf_tensor *sl_gguf_find_tensor(const sl_gguf *gguf, const char *name);

/* A tensor that must exist: SL_ERR_NOT_FOUND names file and tensor. */
sl_status sl_gguf_get_tensor(const sl_gguf *gguf, const char *name, const sl_gguf_tensor **out,
                             sl_diag *diag) SL_NODISCARD;

/* Typed getters. Absent: SL_ERR_NOT_FOUND. Integers convert between all integer types when the value fits,
 * f32 also takes f64 and integers; anything else, or a value out of range, is SL_ERR_FORMAT naming file, key,
 * type, value. */
sl_status sl_gguf_get_u32(const sl_gguf *gguf, const char *key, uint32_t *out, sl_diag *diag) SL_NODISCARD;
sl_status sl_gguf_get_u64(const sl_gguf *gguf, const char *key, uint64_t *out, sl_diag *diag) SL_NODISCARD;
sl_status sl_gguf_get_f32(const sl_gguf *gguf, const char *key, float *out, sl_diag *diag) SL_NODISCARD;
sl_status sl_gguf_get_bool(const sl_gguf *gguf, const char *key, bool *out, sl_diag *diag) SL_NODISCARD;
sl_status sl_gguf_get_string(const sl_gguf *gguf, const char *key, sl_gguf_string *out,
                             sl_diag *diag) SL_NODISCARD;
/* `type` is what the elements must be, exactly; SL_GGUF_TYPE_COUNT takes any. */
sl_status sl_gguf_get_array(const sl_gguf *gguf, const char *key, sl_gguf_type type, sl_gguf_array *out,
                            sl_diag *diag) SL_NODISCARD;

/* The same with a default for an absent key; a key of the wrong type is still an error. A string default is a
 * C string and may be NULL ({NULL, 0}). An absent array has count 0. */
sl_status sl_gguf_get_u32_or(const sl_gguf *gguf, const char *key, uint32_t fallback, uint32_t *out,
                             sl_diag *diag) SL_NODISCARD;
sl_status sl_gguf_get_u64_or(const sl_gguf *gguf, const char *key, uint64_t fallback, uint64_t *out,
                             sl_diag *diag) SL_NODISCARD;
sl_status sl_gguf_get_f32_or(const sl_gguf *gguf, const char *key, float fallback, float *out,
                             sl_diag *diag) SL_NODISCARD;
sl_status sl_gguf_get_bool_or(const sl_gguf *gguf, const char *key, bool fallback, bool *out,
                              sl_diag *diag) SL_NODISCARD;
sl_status sl_gguf_get_string_or(const sl_gguf *gguf, const char *key, const char *fallback,
                                sl_gguf_string *out, sl_diag *diag) SL_NODISCARD;
sl_status sl_gguf_get_array_or_empty(const sl_gguf *gguf, const char *key, sl_gguf_type type,
                                     sl_gguf_array *out, sl_diag *diag) SL_NODISCARD;

/* For keys that are one number, or one number a layer: the scalar, or element `index` of the array (an index
 * beyond its end is SL_ERR_FORMAT). */
sl_status sl_gguf_get_u32_at(const sl_gguf *gguf, const char *key, size_t index, uint32_t *out,
                             sl_diag *diag) SL_NODISCARD;

/* Elements. `index` < count is the caller's duty. The string one wants a string array; the integer one gives
 * false for a value that does not fit or an array of another kind; the float one takes F32 and F64. */
sl_gguf_string sl_gguf_array_string(const sl_gguf_array *array, size_t index);
bool sl_gguf_array_i64(const sl_gguf_array *array, size_t index, int64_t *out);
bool sl_gguf_array_f32(const sl_gguf_array *array, size_t index, float *out);

/* Writes the value for people into `text` (always NUL-terminated, cut at `capacity`, bytes that are not
 * printable ASCII escaped): a number, true or false, a quoted string, "[u32 x 7]" for an array. Gives `text`.
 */
const char *sl_gguf_value_text(const sl_gguf_kv *kv, char *text, size_t capacity);

/* "u32", "string", ...; "?" for an unknown number. Static storage. */
const char *sl_gguf_type_name(uint32_t type);

#endif
