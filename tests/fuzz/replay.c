/* SPDX-License-Identifier: MIT */

/*
 * Tries inputs that were kept: files, and all files of directories. The last line says how many; a failing one is the
 * last that was named with --verbose.
 */

#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv) {
        (void)argc;
        (void)argv;
        return 0;
}

static bool verbose;
static unsigned tried;

static void try_file(const char *path) {
        FILE *file = fopen(path, "re");
        struct stat st;
        uint8_t *data;

        FUZZ_CHECK(file && fstat(fileno(file), &st) == 0);
        data = malloc((size_t)st.st_size + 1);
        FUZZ_CHECK(data && fread(data, 1, (size_t)st.st_size, file) == (size_t)st.st_size);
        fclose(file);
        if (verbose)
                fprintf(stderr, "%s\n", path);
        LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
        free(data);
        tried++;
}

static void try_path(const char *path) {
        DIR *directory = opendir(path);
        struct dirent *entry;
        char inner[4096];

        if (!directory) {
                try_file(path);
                return;
        }
        while ((entry = readdir(directory))) {
                if (*entry->d_name == '.')
                        continue;
                snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
                try_path(inner);
        }
        closedir(directory);
}

int main(int argc, char **argv) {
        LLVMFuzzerInitialize(&argc, &argv);
        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--verbose") == 0)
                        verbose = true;
                else
                        try_path(argv[i]);
        }
        printf("%u inputs\n", tried);
        return tried ? EXIT_SUCCESS : EXIT_FAILURE;
}
