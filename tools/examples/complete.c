/* complete.c - the smallest program that uses libsluice: completes the text of its second argument.
 *
 *     cc complete.c $(pkg-config --cflags --libs sluice) -o complete && ./complete model.gguf "Once upon a
 * time"
 */
#include <sluice.h>

#include <stdio.h>
#include <string.h>

static bool print(void *user, const char *bytes, size_t length)
{
    (void)user;
    return fwrite(bytes, 1, length, stdout) == length && fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: complete MODEL TEXT\n");
        return 2;
    }
    sl_diag diag = {0};
    sl_engine *engine = NULL;
    sl_session *session = NULL;
    sl_generation generation = {0};
    uint32_t prompt[512];
    size_t count = 0;
    const size_t room = sizeof prompt / sizeof prompt[0];
    const sl_engine_options options = {.model_path = argv[1]};
    const sl_sampling sampling = {.temperature = 0.7f, .top_k = 40, .seed = 1};
    const sl_generate_options generate = {.max_tokens = 64, .text = print};

    sl_status st = sl_engine_open(&options, &engine, &diag);
    if (st == SL_OK)
        st = sl_engine_tokenize(engine, argv[2], strlen(argv[2]), SL_TOKENIZE_ADD_BOS, prompt, room, &count,
                                &diag);
    if (st == SL_OK) st = sl_session_create(engine, &sampling, &session, &diag);
    if (st == SL_OK)
        st = sl_session_generate(session, prompt, count < room ? count : room, &generate, &generation, &diag);
    if (st == SL_OK) printf("\n");
    if (st != SL_OK) fprintf(stderr, "complete: %s\n", diag.message);

    sl_generation_clear(&generation);
    sl_session_destroy(session);
    sl_engine_close(engine);
    return st != SL_OK;
}
