/* protobuf.h - the wire format of protobuf, as far as it takes to write messages.
 *
 * A message inside a message has its length before it: sl_pb_open leaves no room for one, sl_pb_close moves
 * the contents up by the bytes that it needs. Memory that is out sets `failed`, and later calls do nothing.
 * Source: protobuf.dev/programming-guides/encoding. Threads: one at a time.
 */
#ifndef SL_RUNTIME_TRACE_PROTOBUF_H
#define SL_RUNTIME_TRACE_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sl_pb {
    uint8_t *bytes;
    size_t length, capacity;
    bool failed;
} sl_pb;

void sl_pb_clear(sl_pb *pb);

void sl_pb_uint(sl_pb *pb, uint32_t field, uint64_t value); /* uint32, uint64, bool, enum */
void sl_pb_int(sl_pb *pb, uint32_t field, int64_t value);   /* int32, int64: negative ones take ten bytes */
void sl_pb_fixed64(sl_pb *pb, uint32_t field, uint64_t value);
void sl_pb_double(sl_pb *pb, uint32_t field, double value);
void sl_pb_text(sl_pb *pb, uint32_t field, const char *text);

/* Everything between is one message in `field`. Returns the mark that close wants. */
size_t sl_pb_open(sl_pb *pb, uint32_t field);
void sl_pb_close(sl_pb *pb, size_t mark);

#endif
