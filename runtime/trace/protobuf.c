#include "runtime/trace/protobuf.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, VARINT_BYTES_MAX = 10 };

void sl_pb_clear(sl_pb *pb)
{
    sl_free(pb->bytes);
    *pb = (sl_pb){0};
}

static bool room(sl_pb *pb, size_t more)
{
    if (pb->failed) return false;
    if (more <= pb->capacity - pb->length) return true;
    const size_t capacity = SL_MAX(pb->capacity * 2, SL_MAX(pb->length + more, (size_t)256));
    uint8_t *moved = sl_realloc(pb->bytes, capacity, 1);
    pb->failed = !moved;
    if (!moved) return false;
    pb->bytes = moved;
    pb->capacity = capacity;
    return true;
}

/* Seven bits a byte, lowest first; the eighth says that more follow. */
static size_t varint(uint8_t out[VARINT_BYTES_MAX], uint64_t value)
{
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

static void put_varint(sl_pb *pb, uint64_t value)
{
    if (room(pb, VARINT_BYTES_MAX)) pb->length += varint(pb->bytes + pb->length, value);
}

static void put_tag(sl_pb *pb, uint32_t field, unsigned wire)
{
    put_varint(pb, (uint64_t)field << 3 | wire);
}

void sl_pb_uint(sl_pb *pb, uint32_t field, uint64_t value)
{
    put_tag(pb, field, WIRE_VARINT);
    put_varint(pb, value);
}

void sl_pb_int(sl_pb *pb, uint32_t field, int64_t value)
{
    sl_pb_uint(pb, field, (uint64_t)value);
}

void sl_pb_fixed64(sl_pb *pb, uint32_t field, uint64_t value)
{
    put_tag(pb, field, WIRE_FIXED64);
    if (!room(pb, 8)) return;
    for (int i = 0; i < 8; i++)
        pb->bytes[pb->length++] = (uint8_t)(value >> 8 * i);
}

void sl_pb_double(sl_pb *pb, uint32_t field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    sl_pb_fixed64(pb, field, bits);
}

void sl_pb_text(sl_pb *pb, uint32_t field, const char *text)
{
    const size_t length = strlen(text);
    put_tag(pb, field, WIRE_LENGTH);
    put_varint(pb, length);
    if (!room(pb, length)) return;
    memcpy(pb->bytes + pb->length, text, length);
    pb->length += length;
}

size_t sl_pb_open(sl_pb *pb, uint32_t field)
{
    put_tag(pb, field, WIRE_LENGTH);
    return pb->length;
}

void sl_pb_close(sl_pb *pb, size_t mark)
{
    if (pb->failed) return;
    uint8_t prefix[VARINT_BYTES_MAX];
    const size_t length = pb->length - mark, n = varint(prefix, length);
    if (!room(pb, n)) return;
    memmove(pb->bytes + mark + n, pb->bytes + mark, length);
    memcpy(pb->bytes + mark, prefix, n);
    pb->length += n;
}
