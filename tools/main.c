#include "cli.h"

#include <errno.h>
#include <string.h>

static const command *const commands[] = {&command_run,     &command_bench, &command_profile, &command_tune,
                                          &command_devices, &command_info,  &command_tokenize};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *out)
{
    fprintf(out,
            "sluice %s: large language models on any Vulkan device, also larger than it\n\n"
            "Usage: sluice COMMAND [OPTIONS]\n\nCommands:\n",
            SLUICE_VERSION);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "\nsluice COMMAND --help tells more. Exit codes: 0 ok, 1 failed, 2 called wrongly.\n");
}

/* A result that did not reach standard output (a full disk) is a failure, whatever the command said. */
static int finish(int code)
{
    const bool failed = ferror(stdout) != 0;
    if (fflush(stdout) == 0 && !failed) return code;
    fprintf(stderr, "sluice: standard output: %s\n", strerror(errno ? errno : EIO));
    return code == EXIT_OK ? EXIT_FAILED : code;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "-h") || !strcmp(name, "--help") || !strcmp(name, "help")) {
        print_help(stdout);
        return finish(EXIT_OK);
    }
    if (!strcmp(name, "--version") || !strcmp(name, "version")) {
        printf("sluice %s\n", SLUICE_VERSION);
        return finish(EXIT_OK);
    }
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i]->name, name)) return finish(commands[i]->run(argc - 1, argv + 1));
    if (*name) fprintf(stderr, "sluice: there is no command \"%s\"\n\n", name);
    print_help(stderr);
    return EXIT_USAGE;
}
