/* sluice tokenize: text to token ids. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static void print_plain(const sl_vocabulary *v, const uint32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t n;
        const char *piece = sl_vocabulary_piece(v, ids[i], true, &n);
        printf("%6u  '", ids[i]);
        for (size_t k = 0; k < n; k++) {
            const unsigned char c = (unsigned char)piece[k];
            if (c < 0x20 || c == 0x7f)
                printf("\\x%02x", c);
            else
                putchar(c);
        }
        printf("'\n");
    }
}

static void print_ids(const uint32_t *ids, size_t count, bool json)
{
    if (json) putchar('[');
    for (size_t i = 0; i < count; i++)
        printf("%s%u", i ? (json ? "," : " ") : "", ids[i]);
    puts(json ? "]" : "");
}

static int run(int argc, char **argv)
{
    const char *given = NULL, *prompt = NULL, *file = NULL;
    bool json = false, ids_only = false, special = false, no_bos = false;
    const option_spec specs[] = {
        {'m', "model", "FILE", OPTION_STRING, &given,
         "GGUF file (default: $SLUICE_MODEL, else the default model)"},
        {'p', "prompt", "TEXT", OPTION_STRING, &prompt, "the text"},
        {'f', "file", "FILE", OPTION_STRING, &file,
         "read the text from a file; without -p and -f: from standard input"},
        {0, "special", NULL, OPTION_FLAG, &special, "text like <|im_start|> means the control token"},
        {0, "no-bos", NULL, OPTION_FLAG, &no_bos, "without the model's begin token"},
        {0, "ids", NULL, OPTION_FLAG, &ids_only, "only the ids, on one line"},
        {0, "json", NULL, OPTION_FLAG, &json, "the ids as a JSON array"},
        {0, NULL, NULL, OPTION_FLAG, NULL, NULL},
    };
    const int code = cli_parse(&command_tokenize, specs, &argc, argv);
    if (code >= 0) return code;
    if (argc > 1) return cli_usage_error(&command_tokenize, "unexpected argument \"%s\"", argv[1]);
    if (prompt && file) return cli_usage_error(&command_tokenize, "give -p or -f, not both");
    const char *path = cli_model(given);
    if (!path) return cli_usage_error(&command_tokenize, "no model: give -m FILE or set SLUICE_MODEL");

    sl_diag diag = {0};
    sl_vocabulary *v = NULL;
    char *text = NULL;
    uint32_t *ids = NULL;
    size_t length = 0, count = 0;
    const unsigned flags = (no_bos ? 0u : SL_TOKENIZE_ADD_BOS) | (special ? SL_TOKENIZE_SPECIAL : 0u);
    sl_status st = SL_OK;
    if (!prompt) st = cli_read_file(file ? file : "-", &text, &length, &diag);
    const char *bytes = prompt ? prompt : text;
    if (prompt) length = strlen(prompt);
    if (st == SL_OK) st = sl_vocabulary_open(path, &v, &diag);
    if (st == SL_OK) st = sl_vocabulary_tokenize(v, bytes, length, flags, NULL, 0, &count, &diag);
    if (st == SL_OK && !(ids = calloc(count + 1, sizeof *ids))) st = SL_ERR_NO_MEMORY;
    if (st == SL_OK) st = sl_vocabulary_tokenize(v, bytes, length, flags, ids, count, &count, &diag);
    if (st == SL_OK && (json || ids_only))
        print_ids(ids, count, json);
    else if (st == SL_OK)
        print_plain(v, ids, count);
    diag.code = st;
    const int result = st == SL_OK ? EXIT_OK : cli_fail(&diag);
    free(ids);
    free(text);
    sl_vocabulary_close(v);
    return result;
}

const command command_tokenize = {"tokenize", "[-m FILE] [-p TEXT | -f FILE] [OPTIONS]",
                                  "show the tokens of a text", run};
