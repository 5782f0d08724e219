#include "tests/support/gguf_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_TENSORS_AT 8
#define N_KV_AT      16

void sl_gguf_build_bytes(sl_gguf_build *b, const void *bytes, size_t n)
{
    if (b->size + n > b->capacity) {
        b->capacity = (b->size + n) * 2;
        b->bytes = realloc(b->bytes, b->capacity);
        if (!b->bytes) abort();
    }
    if (n) memcpy(b->bytes + b->size, bytes, n);
    b->size += n;
}

static void encode(unsigned char *p, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (unsigned char)(value >> (8 * i));
}

void sl_gguf_build_number(sl_gguf_build *b, uint64_t value, size_t bytes)
{
    unsigned char p[8];
    encode(p, value, bytes);
    sl_gguf_build_bytes(b, p, bytes);
}

void sl_gguf_build_text(sl_gguf_build *b, const void *text, size_t length)
{
    sl_gguf_build_number(b, length, 8);
    sl_gguf_build_bytes(b, text, length);
}

void sl_gguf_build_begin(sl_gguf_build *b, uint32_t version)
{
    memset(b, 0, sizeof *b);
    b->alignment = 32;
    sl_gguf_build_bytes(b, "GGUF", 4);
    sl_gguf_build_number(b, version, 4);
    sl_gguf_build_number(b, 0, 8);
    sl_gguf_build_number(b, 0, 8);
}

void sl_gguf_build_free(sl_gguf_build *b)
{
    free(b->bytes);
    memset(b, 0, sizeof *b);
}

void sl_gguf_build_key(sl_gguf_build *b, const char *key, uint32_t type)
{
    sl_gguf_build_text(b, key, strlen(key));
    sl_gguf_build_number(b, type, 4);
    b->n_kv++;
}

void sl_gguf_build_scalar(sl_gguf_build *b, const char *key, uint32_t type, uint64_t bits, size_t bytes)
{
    sl_gguf_build_key(b, key, type);
    sl_gguf_build_number(b, bits, bytes);
}

void sl_gguf_build_u32(sl_gguf_build *b, const char *key, uint32_t value)
{
    sl_gguf_build_scalar(b, key, 4, value, 4);
}

void sl_gguf_build_f32(sl_gguf_build *b, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    sl_gguf_build_scalar(b, key, 6, bits, 4);
}

void sl_gguf_build_bool(sl_gguf_build *b, const char *key, bool value)
{
    sl_gguf_build_scalar(b, key, 7, value, 1);
}

void sl_gguf_build_string(sl_gguf_build *b, const char *key, const char *value)
{
    sl_gguf_build_key(b, key, 8);
    sl_gguf_build_text(b, value, strlen(value));
}

void sl_gguf_build_array(sl_gguf_build *b, const char *key, uint32_t type, uint64_t count)
{
    sl_gguf_build_key(b, key, 9);
    sl_gguf_build_number(b, type, 4);
    sl_gguf_build_number(b, count, 8);
}

void sl_gguf_build_strings(sl_gguf_build *b, const char *key, const char *const *values, size_t count)
{
    sl_gguf_build_array(b, key, 8, count);
    for (size_t i = 0; i < count; i++)
        sl_gguf_build_text(b, values[i], strlen(values[i]));
}

void sl_gguf_build_i32s(sl_gguf_build *b, const char *key, const int32_t *values, size_t count)
{
    sl_gguf_build_array(b, key, 5, count);
    for (size_t i = 0; i < count; i++)
        sl_gguf_build_number(b, (uint32_t)values[i], 4);
}

void sl_gguf_build_f32s(sl_gguf_build *b, const char *key, const float *values, size_t count)
{
    sl_gguf_build_array(b, key, 6, count);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], 4);
        sl_gguf_build_number(b, bits, 4);
    }
}

void sl_gguf_build_tensor_at(sl_gguf_build *b, const char *name, uint32_t n_dims, const uint64_t *dims,
                             uint32_t type, uint64_t offset)
{
    sl_gguf_build_text(b, name, strlen(name));
    sl_gguf_build_number(b, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++)
        sl_gguf_build_number(b, dims[i], 8);
    sl_gguf_build_number(b, type, 4);
    sl_gguf_build_number(b, offset, 8);
    b->n_tensors++;
}

void sl_gguf_build_tensor(sl_gguf_build *b, const char *name, uint32_t n_dims, const uint64_t *dims,
                          uint32_t type, uint64_t data_bytes)
{
    sl_gguf_build_tensor_at(b, name, n_dims, dims, type, b->data_size);
    b->data_size = (b->data_size + data_bytes + b->alignment - 1) / b->alignment * b->alignment;
}

void sl_gguf_build_end(sl_gguf_build *b)
{
    encode(b->bytes + N_TENSORS_AT, b->n_tensors, 8);
    encode(b->bytes + N_KV_AT, b->n_kv, 8);
    while (b->size % b->alignment)
        sl_gguf_build_number(b, 0, 1);
    for (uint64_t i = 0; i < b->data_size && !b->hole; i++)
        sl_gguf_build_number(b, 0, 1);
}

bool sl_gguf_build_save(const sl_gguf_build *b, const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f) return false;
    const bool written = fwrite(b->bytes, 1, b->size, f) == b->size;
    const bool closed = fclose(f) == 0;
    return written && closed && (!b->hole || truncate(path, (off_t)(b->size + b->data_size)) == 0);
}

bool sl_gguf_build_save_temporary(const sl_gguf_build *b, char *path, size_t capacity)
{
    const char *folder = getenv("TMPDIR");
    const int n = snprintf(path, capacity, "%s/sluice-test-XXXXXX", folder ? folder : "/tmp");
    if (n < 0 || (size_t)n >= capacity) return false;
    const int fd = mkstemp(path);
    if (fd < 0) return false;
    close(fd);
    return sl_gguf_build_save(b, path);
}
