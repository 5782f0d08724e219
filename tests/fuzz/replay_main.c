/* Runs a fuzz target over files: each argument is a file, or a folder of files. Prints TAP, one test a file.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int test_count;
static int failed_count;

static void replay_file(const char *path)
{
    uint8_t *data = NULL;
    long size = -1;
    FILE *file = fopen(path, "rb");
    int ok =
        file && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0;
    /* Exactly as large as the input, so that a read past its end is seen by the address sanitizer. */
    if (ok) data = malloc((size_t)size ? (size_t)size : 1);
    ok = ok && data && fread(data, 1, (size_t)size, file) == (size_t)size;
    if (file) fclose(file);
    printf("# %s\n", path);
    fflush(stdout);
    if (ok) LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    test_count++;
    failed_count += !ok;
    printf("%s %d - %s\n", ok ? "ok" : "not ok", test_count, path);
}

static void replay(const char *path)
{
    char entry_path[4096];
    struct dirent **entries = NULL;
    struct stat info;

    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        replay_file(path);
        return;
    }
    int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        int length = snprintf(entry_path, sizeof(entry_path), "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && length < (int)sizeof(entry_path)) replay(entry_path);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("1..%d\n", test_count);
    return failed_count != 0 || test_count == 0;
}
