#include "runtime/tokenizer/utf8.h"

#include <string.h>

/* Length of a character by its first byte, and the range of its second byte; 0 for a byte that cannot be
 * first. */
static size_t first_byte(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (c < 0x80) return 1;
    if (c < 0xc2) return 0;
    if (c < 0xe0) return 2;
    if (c < 0xf0) {
        if (c == 0xe0) *low = 0xa0;
        if (c == 0xed) *high = 0x9f;
        return 3;
    }
    if (c > 0xf4) return 0;
    if (c == 0xf0) *low = 0x90;
    if (c == 0xf4) *high = 0x8f;
    return 4;
}

size_t sl_utf8_scan(const char *text, size_t left, size_t *out_broken, int *out_cut)
{
    const unsigned char *p = (const unsigned char *)text;
    unsigned char low, high;
    *out_broken = 1;
    *out_cut = 0;
    if (left == 0) return 0;
    const size_t length = first_byte(p[0], &low, &high);
    if (length <= 1) return length;
    for (size_t i = 1; i < length; i++) {
        *out_broken = i;
        if (i == left) {
            *out_cut = 1;
            return 0;
        }
        if (p[i] < low || p[i] > high) return 0;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

size_t sl_utf8_length(const char *text, size_t left)
{
    size_t broken;
    int cut;
    return sl_utf8_scan(text, left, &broken, &cut);
}

static size_t put_replacement(char *out)
{
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

size_t sl_utf8_stream_push(sl_utf8_stream *stream, const char *bytes, size_t n, char *out)
{
    size_t written = 0, at = 0;
    /* First the pending beginning, one byte at a time: at most three more complete or break it. */
    while (stream->count && at < n) {
        size_t broken;
        int cut;
        stream->pending[stream->count++] = bytes[at++];
        const size_t length = sl_utf8_scan(stream->pending, stream->count, &broken, &cut);
        if (length) {
            memcpy(out + written, stream->pending, length);
            written += length;
            stream->count = 0;
        } else if (!cut) {
            written += put_replacement(out + written);
            at--; /* the byte that broke it may begin a character */
            stream->count = 0;
        }
    }
    while (at < n) {
        size_t broken;
        int cut;
        const size_t length = sl_utf8_scan(bytes + at, n - at, &broken, &cut);
        if (length) {
            memcpy(out + written, bytes + at, length);
            written += length;
            at += length;
        } else if (cut) {
            memcpy(stream->pending, bytes + at, n - at);
            stream->count = n - at;
            at = n;
        } else {
            written += put_replacement(out + written);
            at += broken;
        }
    }
    return written;
}

size_t sl_utf8_stream_flush(sl_utf8_stream *stream, char *out)
{
    const size_t written = stream->count ? put_replacement(out) : 0;
    stream->count = 0;
    return written;
}
