/* Generation: the text is the tokens' bytes as whole characters; stop strings end it wherever they lie; what
 * was shown never has to be taken back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/test_device.h"
#include "tests/support/test_engine.h"

#include "hal/base/checked.h"
#include "runtime/tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 60, TEXT_MAX = 4096, CONTEXT = 96 };

static sl_engine *engine;
static const uint32_t prompt[] = {3, 99, 41, 7};
/* set_up finds a seed whose text has no NUL in it, so that all of it can be a stop string. */
static sl_sampling lively = {.temperature = 1.8f, .top_k = 200};

/* What a callback was given. */
typedef struct shown {
    char text[TEXT_MAX];
    size_t length, calls, stop_after;
} shown;

static bool show(void *user, const char *bytes, size_t length)
{
    shown *s = user;
    assert_true(s->length + length < TEXT_MAX);
    for (size_t at = 0; at < length;) { /* whole characters only */
        const size_t n = sl_utf8_length(bytes + at, length - at);
        assert_true(n > 0);
        at += n;
    }
    memcpy(s->text + s->length, bytes, length);
    s->length += length;
    s->text[s->length] = '\0';
    return ++s->calls != s->stop_after;
}

static sl_generation generate(const sl_sampling *sampling, const sl_generate_options *options)
{
    sl_generation g;
    sl_diag diag;
    sl_session *session = sl_test_session(engine, sampling);
    EXPECT_OK(sl_session_generate(session, prompt, SL_COUNTOF(prompt), options, &g, &diag));
    assert_int_equal(g.text[g.text_length], 0);
    sl_session_destroy(session);
    return g;
}

static int set_up(void **state)
{
    (void)state;
    const sl_engine_options options = {.context_tokens = CONTEXT, .batch_tokens = 16};
    engine = sl_test_engine_open(sl_test_golden_path("tiny-qwen3.gguf"), &options);
    for (bool nul = true; nul; lively.seed += nul) {
        sl_generation g = generate(&lively, &(sl_generate_options){.max_tokens = TOKENS, .ignore_end = true});
        nul = strlen(g.text) < g.text_length;
        sl_generation_clear(&g);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_engine_close(engine);
    return 0;
}

/* Text of tokens by the tokenizer's pieces, made whole. */
static size_t text_of(const uint32_t *tokens, size_t count, char *out)
{
    sl_utf8_stream stream = {0};
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        size_t n;
        const char *piece = sl_engine_piece(engine, tokens[i], false, &n);
        assert_true(length + SL_UTF8_STREAM_BYTES(n) < TEXT_MAX);
        length += sl_utf8_stream_push(&stream, piece, n, out + length);
    }
    length += sl_utf8_stream_flush(&stream, out + length);
    out[length] = '\0';
    return length;
}

static void test_text(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        sl_sampling sampling = lively;
        char wanted[TEXT_MAX];
        shown s = {0};
        sampling.seed = seed;
        sl_generation g = generate(
            &sampling,
            &(sl_generate_options){.max_tokens = TOKENS, .ignore_end = true, .text = show, .user = &s});
        assert_int_equal(g.token_count, TOKENS);
        assert_int_equal(g.finish, SL_FINISH_LENGTH);
        assert_int_equal(text_of(g.tokens, g.token_count, wanted), g.text_length);
        assert_memory_equal(g.text, wanted, g.text_length);
        assert_int_equal(s.length, g.text_length);
        assert_memory_equal(s.text, wanted, s.length);
        assert_true(g.ttft_ms > 0 && g.tpot_ms > 0 && g.decode_steps == TOKENS - 1);
        sl_generation_clear(&g);
    }
}

/* Every piece of the text, at every place, of 1 to 5 characters, as a stop string beside others. */
static void test_stop_strings(void **state)
{
    (void)state;
    sl_generation whole = generate(&lively, &(sl_generate_options){.max_tokens = TOKENS, .ignore_end = true});
    uint32_t checked = 0, across = 0;
    for (size_t at = 0; at + 8 < whole.text_length; at += 3) {
        while ((whole.text[at] & 0xC0) == 0x80)
            at++;
        const size_t length = 1 + at % 5 * 2;
        char stop[16] = "";
        size_t n = 0;
        while (n < length) {
            const size_t step = sl_utf8_length(whole.text + at + n, whole.text_length - at - n);
            if (!step || n + step >= sizeof stop) break;
            n += step;
        }
        if (!n) break;
        memcpy(stop, whole.text + at, n);
        const size_t first = (size_t)(strstr(whole.text, stop) - whole.text);
        const char *stops[] = {"", "never comes", stop};
        shown s = {0};
        sl_generation g = generate(&lively, &(sl_generate_options){.max_tokens = TOKENS,
                                                                   .ignore_end = true,
                                                                   .stops = stops,
                                                                   .stop_count = 3,
                                                                   .text = show,
                                                                   .user = &s});
        assert_int_equal(g.finish, SL_FINISH_STOP_STRING);
        assert_int_equal(g.text_length, first);
        assert_memory_equal(g.text, whole.text, first);
        assert_int_equal(s.length, first);
        assert_memory_equal(s.text, whole.text, first);
        assert_true(g.token_count <= whole.token_count);
        size_t piece;
        sl_engine_piece(engine, g.tokens[g.token_count - 1], false, &piece);
        across += piece < n; /* it began in an earlier token */
        checked++;
        sl_generation_clear(&g);
    }
    sl_generation_clear(&whole);
    assert_true(checked > 15);
    assert_true(across > 5);
}

/* The beginning of a stop string is held back, and given when the rest does not come. */
static void test_held_back(void **state)
{
    (void)state;
    sl_generation whole = generate(&lively, &(sl_generate_options){.max_tokens = TOKENS, .ignore_end = true});
    char stop[TEXT_MAX + 2];
    snprintf(stop, sizeof stop, "%s~", whole.text); /* everything, and something that does not come */
    const char *stops[] = {stop};
    shown s = {0};
    sl_generation g = generate(&lively, &(sl_generate_options){.max_tokens = TOKENS,
                                                               .ignore_end = true,
                                                               .stops = stops,
                                                               .stop_count = 1,
                                                               .text = show,
                                                               .user = &s});
    assert_int_equal(g.finish, SL_FINISH_LENGTH);
    assert_string_equal(g.text, whole.text);
    assert_string_equal(s.text, whole.text);
    assert_int_equal(s.calls, 1); /* all of it was held back until the end */
    sl_generation_clear(&g);
    sl_generation_clear(&whole);
}

static void test_cancel(void **state)
{
    (void)state;
    shown s = {.stop_after = 3};
    sl_generation g = generate(
        &lively, &(sl_generate_options){.max_tokens = TOKENS, .ignore_end = true, .text = show, .user = &s});
    assert_int_equal(g.finish, SL_FINISH_CANCELLED);
    assert_int_equal(s.calls, 3);
    assert_true(g.token_count < TOKENS && g.token_count >= 3);
    assert_memory_equal(g.text, s.text, s.length);
    sl_generation_clear(&g);
}

static void test_context_and_length(void **state)
{
    (void)state;
    sl_generation g = generate(NULL, &(sl_generate_options){.ignore_end = true});
    assert_int_equal(g.finish, SL_FINISH_CONTEXT);
    /* The last token sampled needs no place in the context. */
    assert_int_equal(g.token_count, CONTEXT - SL_COUNTOF(prompt) + 1);
    sl_generation_clear(&g);
    g = generate(NULL, &(sl_generate_options){.max_tokens = 1, .ignore_end = true});
    assert_int_equal(g.token_count, 1);
    assert_int_equal(g.decode_steps, 0);
    sl_generation_clear(&g);
    static const sl_finish finishes[] = {SL_FINISH_LENGTH, SL_FINISH_END_TOKEN, SL_FINISH_STOP_STRING,
                                         SL_FINISH_CONTEXT, SL_FINISH_CANCELLED};
    static const char *const names[] = {"length", "end", "stop", "context", "cancelled"};
    for (size_t i = 0; i < SL_COUNTOF(names); i++)
        assert_string_equal(sl_finish_name(finishes[i]), names[i]);
}

/* The end token ends the text and is not part of it: made likely by letting nothing else be left over. */
static void test_end_token(void **state)
{
    (void)state;
    bool ended = false;
    for (uint64_t seed = 0; seed < 200 && !ended; seed++) {
        sl_sampling sampling = {.temperature = 30, .seed = seed};
        sl_generation g = generate(&sampling, NULL);
        char wanted[TEXT_MAX];
        for (size_t i = 0; i + 1 < g.token_count; i++)
            assert_false(sl_engine_is_end(engine, g.tokens[i]));
        ended = g.finish == SL_FINISH_END_TOKEN;
        assert_int_equal(sl_engine_is_end(engine, g.tokens[g.token_count - 1]), ended);
        assert_int_equal(text_of(g.tokens, g.token_count - ended, wanted), g.text_length);
        assert_memory_equal(g.text, wanted, g.text_length);
        sl_generation_clear(&g);
    }
    assert_true(ended);
}

static void test_errors(void **state)
{
    (void)state;
    sl_diag diag;
    sl_generation g;
    sl_session *session = sl_test_session(engine, NULL);
    const uint32_t wrong[] = {1, 100000};
    uint32_t many[CONTEXT + 1] = {0};
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_session_generate(session, wrong, 2, NULL, &g, &diag));
    sl_generation_clear(&g);
    EXPECT_STATUS(SL_ERR_ARGUMENT, sl_session_generate(session, prompt, 0, NULL, &g, &diag));
    sl_generation_clear(&g);
    EXPECT_STATUS(SL_ERR_CONTEXT_FULL, sl_session_generate(session, many, CONTEXT + 1, NULL, &g, &diag));
    assert_int_equal(g.token_count, 0);
    sl_generation_clear(&g);
    assert_int_equal(sl_session_length(session), 0);
    sl_session_destroy(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_held_back),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_context_and_length),
        cmocka_unit_test(test_end_token),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
