#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_MODEL "sluice/models/SmolLM2-135M-Instruct.Q4_1.gguf"
enum { OPTIONS_MAX = 48 };

/* ---- options ---- */

static void print_help(const command *c, const option_spec *options)
{
    printf("Usage: sluice %s %s\n\n%s\n\nOptions:\n", c->name, c->arguments, c->summary);
    for (const option_spec *o = options; o->name; o++) {
        char left[64], letter[8] = "    ";
        if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        printf("  %-28s %s\n", left, o->help);
    }
    printf("  %-28s %s\n", "-h, --help", "this text");
}

static bool parse_size(const char *text, uint64_t *out)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || !(value >= 0)) return false;
    static const char units[] = "KMGT";
    double scale = 1;
    if (*end) {
        const char *unit = strchr(units, *end & ~0x20);
        if (!unit) return false;
        for (const char *u = units; u <= unit; u++)
            scale *= 1024;
        end++;
        if (*end == 'i') end++;
        if (*end == 'B' || *end == 'b') end++;
    }
    if (*end || value * scale >= 0x1p63) return false;
    *out = (uint64_t)(value * scale);
    return true;
}

static bool parse_uint(const char *text, uint64_t most, uint64_t *out)
{
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end || errno || value > most || strchr(text, '-')) return false;
    *out = value;
    return true;
}

static bool parse_float(const char *text, float *out)
{
    char *end;
    *out = strtof(text, &end);
    return end != text && !*end && isfinite(*out);
}

static bool set_option(const option_spec *o, const char *text)
{
    uint64_t number = 0;
    option_list *list = o->target;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)o->target = true;
        return true;
    case OPTION_STRING:
        *(const char **)o->target = text;
        return true;
    case OPTION_UINT:
        if (!parse_uint(text, UINT32_MAX, &number)) return false;
        *(uint32_t *)o->target = (uint32_t)number;
        return true;
    case OPTION_UINT64:
        return parse_uint(text, UINT64_MAX, o->target);
    case OPTION_FLOAT:
        return parse_float(text, o->target);
    case OPTION_SIZE:
        return parse_size(text, o->target);
    case OPTION_LIST: {
        const char **items = realloc(list->items, (list->count + 1) * sizeof *items);
        if (!items) return false;
        list->items = items;
        list->items[list->count++] = text;
        return true;
    }
    }
    return false;
}

void cli_list_free(option_list *list)
{
    free(list->items);
    *list = (option_list){0};
}

int cli_parse(const command *c, const option_spec *options, int *argc, char **argv)
{
    struct option longs[OPTIONS_MAX + 2] = {0};
    char shorts[2 * OPTIONS_MAX + 8] = ":h";
    int n = 0;
    for (; options[n].name && n < OPTIONS_MAX; n++) {
        const int has_value = options[n].value ? required_argument : no_argument;
        longs[n] = (struct option){options[n].name, has_value, NULL, 256 + n};
        const size_t end = strlen(shorts);
        if (options[n].letter)
            snprintf(shorts + end, sizeof shorts - end, "%c%s", options[n].letter, has_value ? ":" : "");
    }
    longs[n] = (struct option){"help", no_argument, NULL, 'h'};
    optind = 1;
    opterr = 0;
    int found;
    while ((found = getopt_long(*argc, argv, shorts, longs, NULL)) != -1) {
        if (found == 'h') {
            print_help(c, options);
            return EXIT_OK;
        }
        if (found == ':') return cli_usage_error(c, "%s needs a value", argv[optind - 1]);
        if (found == '?') return cli_usage_error(c, "unknown option %s", argv[optind - 1]);
        const option_spec *o = options;
        while (o->name && found != 256 + (int)(o - options) && found != o->letter)
            o++;
        if (!set_option(o, optarg))
            return cli_usage_error(c, "--%s: \"%s\" is no %s", o->name, optarg, o->value);
    }
    int left = 1;
    for (int i = optind; i < *argc; i++)
        argv[left++] = argv[i];
    *argc = left;
    return -1;
}

/* ---- messages ---- */

int cli_fail(const sl_diag *diag)
{
    fprintf(stderr, "sluice: %s\n", diag->message[0] ? diag->message : sl_status_name(diag->code));
    return EXIT_FAILED;
}

int cli_usage_error(const command *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "sluice %s: ", c->name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\nTry: sluice %s --help\n", c->name);
    va_end(args);
    return EXIT_USAGE;
}

const char *cli_bytes(uint64_t bytes, char text[32])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

static double seconds_between(const struct timespec *from, const struct timespec *to)
{
    return (double)(to->tv_sec - from->tv_sec) + (double)(to->tv_nsec - from->tv_nsec) / 1e9;
}

static void draw_bar(const char *what, uint64_t done, uint64_t total, const char *note)
{
    char bar[41];
    const int filled = total ? (int)(40.0 * (double)done / (double)total) : 40;
    for (int i = 0; i < 40; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[40] = '\0';
    fprintf(stderr, "\r%s [%s] %s ", what, bar, note);
    if (done >= total) cli_progress_hide();
    fflush(stderr);
}

void cli_progress_hide(void)
{
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

void cli_progress(void *user, uint64_t done, uint64_t total)
{
    static struct timespec last, first;
    (void)user;
    if (!isatty(STDERR_FILENO)) return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!first.tv_sec) first = now;
    if (seconds_between(&last, &now) < 0.05 && done < total) return;
    last = now;
    const double seconds = seconds_between(&first, &now);
    char text[32], note[64];
    snprintf(note, sizeof note, "%s, %.2f GB/s", cli_bytes(done, text),
             seconds > 0 ? (double)done / seconds / 1e9 : 0);
    draw_bar("loading", done, total, note);
}

void cli_tuning_progress(void *user, uint64_t done, uint64_t total)
{
    char note[16];
    (void)user;
    if (!isatty(STDERR_FILENO)) return;
    snprintf(note, sizeof note, "%.0f %%", total ? 100.0 * (double)done / (double)total : 100.0);
    draw_bar("tuning ", done, total, note);
}

/* ---- files ---- */

const char *cli_model(const char *given)
{
    static char path[1024];
    if (given && *given) return given;
    const char *set = getenv("SLUICE_MODEL"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (set && *set) return set;
    if (xdg && *xdg)
        snprintf(path, sizeof path, "%s/" DEFAULT_MODEL, xdg);
    else
        snprintf(path, sizeof path, "%s/.cache/" DEFAULT_MODEL, home ? home : "");
    return access(path, R_OK) == 0 ? path : NULL;
}

sl_status cli_read_file(const char *path, char **out, size_t *out_length, sl_diag *diag)
{
    FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    *diag = (sl_diag){.code = SL_ERR_IO};
    char *text = NULL;
    size_t length = 0, capacity = 0, n = 1;
    while (f && n) {
        if (length + 1 >= capacity) {
            capacity = capacity ? 2 * capacity : 65536;
            char *grown = realloc(text, capacity);
            if (!grown) break;
            text = grown;
        }
        n = fread(text + length, 1, capacity - length - 1, f);
        length += n;
    }
    const bool failed = !f || ferror(f) || n;
    if (failed) {
        snprintf(diag->message, sizeof diag->message, "%s: %s", path, strerror(errno ? errno : ENOMEM));
        free(text);
    } else {
        text[length] = '\0';
        *out = text;
        *out_length = length;
    }
    if (f && f != stdin) fclose(f);
    return failed ? SL_ERR_IO : SL_OK;
}
