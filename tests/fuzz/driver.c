/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.c - runs a fuzz target once over every file given, and over every file of a folder given.
 *
 * So the seeds, among them each input that ever broke a target, are tried in the normal build,
 * without libFuzzer. Finding new inputs is libFuzzer's work: meson setup -Dfuzz=true with clang.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { INPUT_BYTES_MAX = 1 << 20, PATH_BYTES_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The target gets an exact-size copy, so that a read past its end is seen under ASan. */
static int run_bytes(const uint8_t *bytes, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact) {
        return 1;
    }
    for (size_t i = 0; i < size; i++) {
        exact[i] = bytes[i];
    }
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 0;
}

static int run_file(const char *path)
{
    static uint8_t bytes[INPUT_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return run_bytes(bytes, size);
}

static int run_folder(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder) {
        perror(path);
        return 1;
    }
    int failed = 0;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        char name[PATH_BYTES_MAX];
        int len = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && len > 0 && (size_t)len < sizeof name) {
            failed |= run_file(name);
        }
    }
    closedir(folder);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        struct stat about;
        if (stat(argv[i], &about)) {
            perror(argv[i]);
            failed = 1;
        } else {
            failed |= S_ISDIR(about.st_mode) ? run_folder(argv[i]) : run_file(argv[i]);
        }
    }
    return failed;
}
