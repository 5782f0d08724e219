/* Runs a fuzz target over files and folders of inputs: the corpus, in ordinary test runs, without libFuzzer.
 * Usage: PROGRAM PATH... Exit status: 0 all inputs ran, 1 a path could not be read or there were no inputs.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = malloc(size ? size : 1); /* exact, so that ASan sees reads beyond the end */
    const int ok = f && bytes && fread(bytes, 1, size, f) == size;
    if (ok)
        LLVMFuzzerTestOneInput(bytes, size);
    else
        fprintf(stderr, "%s: cannot read\n", path);
    free(bytes);
    if (f) fclose(f);
    return ok ? 0 : 1;
}

static int replay(const char *path, size_t *count)
{
    struct stat info;
    int failed = 0;
    if (stat(path, &info) != 0) {
        fprintf(stderr, "%s: cannot stat\n", path);
        return 1;
    }
    if (!S_ISDIR(info.st_mode)) {
        ++*count;
        return replay_file(path, (size_t)info.st_size);
    }
    DIR *folder = opendir(path);
    if (!folder) {
        fprintf(stderr, "%s: cannot open\n", path);
        return 1;
    }
    for (struct dirent *entry; (entry = readdir(folder));) {
        char name[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        failed |= replay(name, count);
    }
    closedir(folder);
    return failed;
}

int main(int argc, char **argv)
{
    size_t count = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= replay(argv[i], &count);
    printf("%zu inputs replayed\n", count);
    return failed || count == 0;
}
