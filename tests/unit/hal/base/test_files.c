/* Folders and files that Sluice keeps for itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hal/base/alloc.h"
#include "hal/base/files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int set_up(void **state)
{
    static char folder[64];
    strcpy(folder, "/tmp/sluice-files-XXXXXX");
    *state = folder;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", (const char *)*state);
    return system(command);
}

static void read_file(const char *path, char out[64])
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    const size_t n = fread(out, 1, 63, f);
    out[n] = 0;
    fclose(f);
}

static unsigned entries(const char *folder)
{
    DIR *dir = opendir(folder);
    unsigned count = 0;
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));)
        count += e->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void test_directories(void **state)
{
    char path[128];
    snprintf(path, sizeof path, "%s/a/b/c", (const char *)*state);
    assert_true(sl_make_directories(path));
    assert_int_equal(access(path, W_OK), 0);
    assert_true(sl_make_directories(path));
    assert_false(sl_make_directories("/proc/no-such-folder/below"));
    assert_int_not_equal(errno, 0);
    assert_false(sl_make_directories(""));
}

static void test_replace(void **state)
{
    char path[128], text[64];
    snprintf(path, sizeof path, "%s/file", (const char *)*state);
    const sl_bytes first[] = {{"one", 3}, {"", 0}, {" two", 4}}, second[] = {{"three", 5}};
    assert_true(sl_replace_file(path, first, 3));
    read_file(path, text);
    assert_string_equal(text, "one two");
    assert_true(sl_replace_file(path, second, 1));
    read_file(path, text);
    assert_string_equal(text, "three");
    assert_int_equal(entries(*state), 1); /* nothing is left beside it */
}

/* What cannot be replaced stays, and nothing is left beside it. */
static void test_replace_fails(void **state)
{
    char path[128], inner[160], text[64];
    const sl_bytes part = {"x", 1};
    snprintf(path, sizeof path, "%s/folder", (const char *)*state);
    snprintf(inner, sizeof inner, "%s/kept", path);
    assert_true(sl_make_directories(path));
    assert_true(sl_replace_file(inner, &part, 1));
    assert_false(sl_replace_file(path, &part, 1)); /* a folder that is not empty */
    read_file(inner, text);
    assert_string_equal(text, "x");
    assert_int_equal(entries(*state), 1);
    assert_false(sl_replace_file("/proc/no-such-folder/file", &part, 1));
    sl_alloc_fail_at(1);
    assert_false(sl_replace_file(inner, &part, 1));
    assert_int_equal(errno, ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_directories, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replace_fails, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
