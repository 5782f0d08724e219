/* The wire format of protobuf against its specification's examples, and traces read back packet by packet.
 * That Perfetto's own classes read them is tested in tests/e2e. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_device.h"
#include "tests/support/test_engine.h"

#include "hal/base/alloc.h"
#include "hal/base/checked.h"
#include "runtime/trace/perfetto.h"
#include "runtime/trace/protobuf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect_bytes(sl_pb *pb, const char *hex)
{
    char text[128] = "";
    for (size_t i = 0; i < pb->length && i < 40; i++)
        snprintf(text + 3 * i, sizeof text - 3 * i, "%02x ", pb->bytes[i]);
    assert_string_equal(text, hex);
    pb->length = 0;
}

/* protobuf.dev/programming-guides/encoding: "a = 150", "testing", the submessage; then bounds. */
static void test_wire_format(void **state)
{
    (void)state;
    sl_pb pb = {0};
    sl_pb_uint(&pb, 1, 150);
    expect_bytes(&pb, "08 96 01 ");
    sl_pb_text(&pb, 2, "testing");
    expect_bytes(&pb, "12 07 74 65 73 74 69 6e 67 ");
    const size_t mark = sl_pb_open(&pb, 3);
    sl_pb_uint(&pb, 1, 150);
    sl_pb_close(&pb, mark);
    expect_bytes(&pb, "1a 03 08 96 01 ");
    sl_pb_int(&pb, 1, -2);
    expect_bytes(&pb, "08 fe ff ff ff ff ff ff ff ff 01 ");
    sl_pb_uint(&pb, 1, UINT64_MAX);
    expect_bytes(&pb, "08 ff ff ff ff ff ff ff ff ff 01 ");
    sl_pb_uint(&pb, 16, 127);
    expect_bytes(&pb, "80 01 7f ");
    sl_pb_uint(&pb, 15, 128);
    expect_bytes(&pb, "78 80 01 ");
    sl_pb_fixed64(&pb, 47, 0x0102030405060708u);
    expect_bytes(&pb, "f9 02 08 07 06 05 04 03 02 01 ");
    sl_pb_double(&pb, 5, 1.0);
    expect_bytes(&pb, "29 00 00 00 00 00 00 f0 3f ");
    sl_pb_text(&pb, 2, "");
    expect_bytes(&pb, "12 00 ");
    sl_pb_clear(&pb);
}

/* A message's length may need more bytes than the mark had; messages in messages move up twice. */
static void test_lengths(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 127, 128, 16383, 16384, 300000};
    for (size_t i = 0; i < SL_COUNTOF(sizes); i++) {
        sl_pb pb = {0};
        char *text = malloc(sizes[i] + 1);
        assert_non_null(text);
        memset(text, 'x', sizes[i]);
        text[sizes[i]] = '\0';
        const size_t outer = sl_pb_open(&pb, 1), inner = sl_pb_open(&pb, 2);
        sl_pb_text(&pb, 3, text);
        sl_pb_close(&pb, inner);
        sl_pb_uint(&pb, 4, 5);
        sl_pb_close(&pb, outer);
        assert_false(pb.failed);
        const size_t prefix = sizes[i] < 128 ? 1 : sizes[i] < 16384 ? 2 : 3;
        assert_int_equal(pb.bytes[pb.length - 2], 4 << 3);
        assert_int_equal(pb.bytes[pb.length - 1], 5);
        assert_memory_equal(pb.bytes + pb.length - 2 - sizes[i], text, sizes[i]);
        assert_true(pb.length >= sizes[i] + 2 + 3 * (1 + prefix) &&
                    pb.length <= sizes[i] + 2 + 3 * (2 + prefix));
        sl_pb_clear(&pb);
        free(text);
    }
}

/* ---- a small reader ---- */

typedef struct field {
    uint32_t number, wire;
    uint64_t value; /* of varints and fixed64 */
    const uint8_t *bytes;
    size_t length;
} field;

static uint64_t read_varint(const uint8_t **at, const uint8_t *end)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        assert_true(*at < end);
        const uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
    fail_msg("a varint does not end");
    return 0;
}

static bool next_field(const uint8_t **at, const uint8_t *end, field *out)
{
    if (*at == end) return false;
    const uint64_t tag = read_varint(at, end);
    *out = (field){.number = (uint32_t)(tag >> 3), .wire = tag & 7};
    if (out->wire == 0) {
        out->value = read_varint(at, end);
    } else if (out->wire == 1) {
        assert_true(end - *at >= 8);
        memcpy(&out->value, *at, 8);
        *at += 8;
    } else {
        assert_int_equal(out->wire, 2);
        out->length = read_varint(at, end);
        assert_true((size_t)(end - *at) >= out->length);
        out->bytes = *at;
        *at += out->length;
    }
    return true;
}

/* The value of the first field with that number; fields stand in ascending order. */
static bool find(const uint8_t *at, size_t length, uint32_t number, field *out)
{
    const uint8_t *end = at + length;
    uint32_t last = 0;
    while (next_field(&at, end, out)) {
        assert_true(out->number >= last);
        last = out->number;
        if (out->number == number) return true;
    }
    return false;
}

typedef struct file {
    uint8_t bytes[1 << 20];
    size_t length;
} file;

static const char *read_file(file *f, const char *path)
{
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    f->length = fread(f->bytes, 1, sizeof f->bytes, in);
    fclose(in);
    return path;
}

static file contents;

static void test_trace(void **state)
{
    (void)state;
    sl_diag diag;
    sl_perfetto *t = NULL;
    const char *path = sl_test_path("trace");
    EXPECT_OK(sl_perfetto_open(path, &t, &diag));
    const uint64_t process = sl_perfetto_process(t, 77, "sluice");
    const uint64_t track = sl_perfetto_track(t, process, 3, "device");
    const uint64_t counter = sl_perfetto_counter_track(t, process, 4, "rate", "GB/s");
    assert_true(process && track && counter && process != track && track != counter);
    const sl_perfetto_arg args[] = {{.name = "layer", .kind = SL_PERFETTO_UINT, .number = 12},
                                    {.name = "rate", .kind = SL_PERFETTO_DOUBLE, .real = 2.5},
                                    {.name = "variant", .kind = SL_PERFETTO_TEXT, .text = "q4_k"}};
    sl_perfetto_begin(t, track, 1000, "matvec", args, SL_COUNTOF(args), 9);
    sl_perfetto_end(t, track, 1500);
    sl_perfetto_count(t, counter, 1000, 2.5);
    EXPECT_OK(sl_perfetto_close(t, &diag));
    read_file(&contents, path);

    const uint8_t *at = contents.bytes, *end = at + contents.length;
    field packet, event, f, arg;
    uint32_t count = 0, types[8] = {0}, annotations = 0;
    while (next_field(&at, end, &packet)) {
        assert_int_equal(packet.number, 1);
        assert_true(find(packet.bytes, packet.length, 10, &f)); /* who wrote it */
        count++;
        if (!find(packet.bytes, packet.length, 11, &event)) continue;
        assert_true(find(packet.bytes, packet.length, 8, &f));
        assert_true(f.value == 1000 || f.value == 1500);
        assert_true(find(packet.bytes, packet.length, 58, &f) && f.value == 3); /* CLOCK_MONOTONIC */
        assert_true(find(event.bytes, event.length, 9, &f));
        types[f.value & 7]++;
        if (f.value == 4) {
            double value;
            assert_true(find(event.bytes, event.length, 44, &f));
            memcpy(&value, &f.value, sizeof value);
            assert_true(value == 2.5);
        }
        if (types[1] != 1 || types[2]) continue;
        assert_true(find(event.bytes, event.length, 47, &f) && f.value == 9);
        assert_true(find(event.bytes, event.length, 23, &f) && f.length == 6 &&
                    !memcmp(f.bytes, "matvec", 6));
        const uint8_t *inside = event.bytes;
        while (next_field(&inside, event.bytes + event.length, &arg))
            annotations += arg.number == 4;
    }
    assert_int_equal(count, 1 + 3 + 3); /* clocks, tracks, events */
    assert_true(types[1] == 1 && types[2] == 1 && types[4] == 1);
    assert_int_equal(annotations, 3);
}

static void test_errors(void **state)
{
    (void)state;
    sl_diag diag = {0};
    sl_perfetto *t = NULL;
    assert_int_equal(sl_perfetto_open("/nowhere/at/all", &t, &diag), SL_ERR_IO);
    assert_non_null(strstr(diag.message, "/nowhere/at/all"));
    EXPECT_OK(sl_perfetto_open("/dev/full", &t, &diag));
    for (int i = 0; i < 10000; i++)
        sl_perfetto_end(t, 1, 1);
    assert_int_equal(sl_perfetto_close(t, &diag), SL_ERR_IO);
    assert_non_null(strstr(diag.message, "/dev/full"));
    EXPECT_OK(sl_perfetto_close(NULL, &diag));
}

/* Whichever allocation fails, the trace says so at the latest when it is closed. */
static void test_out_of_memory(void **state)
{
    (void)state;
    sl_diag diag;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        sl_perfetto *t = NULL;
        sl_alloc_fail_at(n);
        sl_status st = sl_perfetto_open(sl_test_path("small"), &t, &diag);
        if (st == SL_OK) {
            for (int i = 0; i < 3000; i++)
                sl_perfetto_begin(t, 1, 1, "a name that takes some room", NULL, 0, 0);
            st = sl_perfetto_close(t, &diag);
        }
        sl_alloc_fail_at(0);
        failed = st != SL_OK;
        if (failed) assert_int_equal(st, SL_ERR_NO_MEMORY);
        if (n == 1) assert_true(failed);
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire_format),   cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_trace),         cmocka_unit_test(test_errors),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
