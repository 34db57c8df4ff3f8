/* SPDX-License-Identifier: MIT */

#include "regex_loaded.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lookup.h"
#include "root.h"
#include "util.h"

/* What changed less than that before the process began may have changed after: times are rounded. */
#define MARGIN_NS 2000000000

static int64_t clock_ns(clockid_t clock) {
        struct timespec now;

        clock_gettime(clock, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* When this process began, in nanoseconds since the epoch; 0: it cannot be told. See proc_pid_stat(5). */
static int64_t process_began(void) {
        unsigned long long ticks;
        long per_second = sysconf(_SC_CLK_TCK);
        char text[1024];
        const char *after;
        ssize_t size;
        int fd;

        fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        size = read(fd, text, sizeof(text) - 1);
        close(fd);
        if (size <= 0 || per_second <= 0)
                return 0;
        text[size] = '\0';
        after = strrchr(text, ')'); /* the name may hold anything */
        if (!after ||
            sscanf(after + 1,
                   " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
                   &ticks) != 1)
                return 0;
        return clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME) +
               (int64_t)(ticks * (1000000000ull / (unsigned long)per_second));
}

/* The part of a path before its last slash, and the stem of what follows. */
static bool path_split(const char *path, size_t length, size_t *ret_directory, const char **ret_stem,
                       size_t *ret_stem_length) {
        const char *slash = memrchr(path, '/', length);

        if (!slash || length < 4 || memcmp(path + length - 3, ".py", 3) != 0)
                return false;
        *ret_directory = (size_t)(slash - path);
        *ret_stem = slash + 1;
        *ret_stem_length = (size_t)(path + length - 3 - *ret_stem);
        return true;
}

/* Return: the image of a module that has been loaded from what the image holds, or NULL. */
static const Image *module_image(ModuleState *state, PyObject *module, int64_t began) {
        PyObject *file = PyDict_GetItemWithError(PyModule_GetDict(module), state->names.__file__);
        const char *path, *stem;
        size_t directory_length, stem_length;
        uint32_t directory, number;
        const ImageEntry *entry;
        Py_ssize_t length;
        struct stat st;
        Root *root;

        path = file && PyUnicode_CheckExact(file) ? PyUnicode_AsUTF8AndSize(file, &length) : NULL;
        if (!path || strlen(path) != (size_t)length ||
            !path_split(path, (size_t)length, &directory_length, &stem, &stem_length))
                return NULL;
        root = root_find(state, path, directory_length, &directory);
        if (!root || !root->mapping || directory == IMAGE_NONE || !mapping_is_live(root->mapping) ||
            staleness_directory(&root->mapping->staleness, directory))
                return NULL;
        number = image_find(&root->mapping->image, directory, stem, stem_length);
        entry = number == IMAGE_NONE ? NULL : image_entry(&root->mapping->image, number);
        if (!entry || entry->kind != IMAGE_KIND_SOURCE ||
            staleness_entry(&root->mapping->staleness, number) || stat(path, &st) < 0)
                return NULL;
        if ((uint64_t)st.st_size != entry->file_size || st.st_ino != entry->file_ino ||
            (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec != entry->file_mtime ||
            (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec > began - MARGIN_NS)
                return NULL;
        return &root->mapping->image;
}

uint64_t regex_loaded_compiler(ModuleState *state) {
        static const char *const names[] = { "re._constants", "re._casefix", "re._parser", "re._compiler" };
        int64_t began = process_began();
        const Image *image = NULL;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                PyObject *module = lookup_module(names[i]);
                const Image *found =
                        module && PyModule_Check(module) ? module_image(state, module, began) : NULL;

                PyErr_Clear();
                if (!found || (image && found != image))
                        return 0;
                image = found;
        }
        return image->header->flags & IMAGE_HAS_COMPILER ? image->header->pattern_compiler : 0;
}
