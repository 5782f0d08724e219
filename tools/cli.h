/* cli.h - what the subcommands share: options, errors, exit codes, sizes.
 *
 * A subcommand is one file with a `command`; its lines below and in main.c make it known. Exit codes: 0 it
 * worked, 1 it failed, 2 it was called wrongly. Results go to standard output, everything else to standard
 * error.
 */
#ifndef SL_TOOLS_CLI_H
#define SL_TOOLS_CLI_H

#include "sluice.h"

#include <stdio.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

typedef enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_STRING, /* const char * */
    OPTION_UINT,   /* uint32_t */
    OPTION_UINT64, /* uint64_t */
    OPTION_FLOAT,  /* float */
    OPTION_SIZE,   /* uint64_t bytes: 512M, 1.5G, 4096 */
    OPTION_LIST,   /* option_list: may be given again and again */
} option_kind;

typedef struct option_list {
    const char **items;
    size_t count;
} option_list;

typedef struct option_spec {
    char letter;       /* 0: none */
    const char *name;  /* "--name" without the dashes */
    const char *value; /* what stands for its value in the help; NULL for flags */
    option_kind kind;
    void *target;
    const char *help;
} option_spec;

typedef struct command {
    const char *name, *arguments, *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the subcommand */
} command;

extern const command command_run, command_devices, command_info, command_tokenize, command_bench,
    command_profile, command_tune;

/* Reads options into their targets. Arguments that are no options are left in argv[1 .. *argc - 1], in order.
 * Returns -1 to go on, else the exit code (after --help, or an error that has been printed). `options` ends
 * with a zeroed one. */
int cli_parse(const command *c, const option_spec *options, int *argc, char **argv);
void cli_list_free(option_list *list);

int cli_fail(const sl_diag *diag); /* "sluice: message" to standard error; EXIT_FAILED */
int cli_usage_error(const command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "1.5 GiB". Returns text. */
const char *cli_bytes(uint64_t bytes, char text[32]);

/* The model to use: -m, else $SLUICE_MODEL, else the default model in the user's cache if it is there. NULL
 * when there is none. */
const char *cli_model(const char *given);

/* Progress bar on standard error for sl_engine_options.progress; silent when standard error is no terminal.
 */
void cli_progress(void *user, uint64_t done, uint64_t total);
/* The same for sl_tune_options.progress. */
void cli_tuning_progress(void *user, uint64_t done, uint64_t total);
/* Takes the bar away, before something is printed; the next call draws it anew. */
void cli_progress_hide(void);

/* All of a file (or of standard input for "-"), NUL-terminated; freed by the caller. */
sl_status cli_read_file(const char *path, char **out, size_t *out_length, sl_diag *diag);

#endif
