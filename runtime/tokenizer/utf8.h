/* utf8.h - UTF-8 as Unicode defines it (table 3-7: nothing overlong, no surrogates, at most U+10FFFF), and a
 * stream that lets only whole characters through.
 *
 * Threads: a stream belongs to one. No allocation. */
#ifndef SL_RUNTIME_TOKENIZER_UTF8_H
#define SL_RUNTIME_TOKENIZER_UTF8_H

#include <stddef.h>

/* Bytes of the well-formed character at `text`, or 0 when none starts there within `left` bytes. */
size_t sl_utf8_length(const char *text, size_t left);

/* As sl_utf8_length; where none starts, *out_broken becomes the bytes of the longest proper beginning of a
 * character (at least 1), and *out_cut tells whether that beginning reaches the end of the text: more bytes
 * may complete it. */
size_t sl_utf8_scan(const char *text, size_t left, size_t *out_broken, int *out_cut);

typedef struct sl_utf8_stream {
    char pending[4]; /* the beginning of a character */
    size_t count;
} sl_utf8_stream;

/* Room that push and flush need for `n` new bytes. */
#define SL_UTF8_STREAM_BYTES(n) (3 * ((n) + 4))

/* Takes `n` bytes and writes what is complete to `out`, whose size is at least SL_UTF8_STREAM_BYTES(n); each
 * broken sequence becomes one U+FFFD. Gives the number of bytes written. Start with a zeroed stream. */
size_t sl_utf8_stream_push(sl_utf8_stream *stream, const char *bytes, size_t n, char *out);

/* The end: a beginning that was never completed becomes U+FFFD. Gives the bytes written (0 or 3); the stream
 * is as new. */
size_t sl_utf8_stream_flush(sl_utf8_stream *stream, char *out);

#endif
