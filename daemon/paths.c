/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "endpoint.h"
#include "paths.h"
#include "util.h"

#define CONFIG_SYSTEM "/etc/shimport/shimport.conf"

__attribute__((format(printf, 2, 3))) static int path_format(char **ret_path, const char *format, ...) {
        va_list arguments;
        char *path;
        int n;

        va_start(arguments, format);
        n = vasprintf(&path, format, arguments);
        va_end(arguments);
        if (n < 0)
                return -ENOMEM;
        *ret_path = path;
        return 0;
}

int paths_socket(bool system, char **ret_path) {
        const char *runtime = secure_getenv("XDG_RUNTIME_DIR");

        if (system)
                return path_format(ret_path, "%s", ENDPOINT_SYSTEM);
        if (!runtime || *runtime != '/')
                return -ENOENT;
        return path_format(ret_path, "%s/shimport/socket", runtime);
}

int paths_config(bool system, char **ret_path) {
        const char *config = secure_getenv("XDG_CONFIG_HOME");
        const char *home = secure_getenv("HOME");

        if (system)
                return path_format(ret_path, "%s", CONFIG_SYSTEM);
        if (config && *config == '/')
                return path_format(ret_path, "%s/shimport/shimport.conf", config);
        if (home && *home == '/')
                return path_format(ret_path, "%s/.config/shimport/shimport.conf", home);
        return -ENOENT;
}

/* The directory of the running binary, without a slash at its end. */
static int paths_here(char buffer[static PATH_MAX]) {
        ssize_t size = readlink("/proc/self/exe", buffer, PATH_MAX);
        char *slash;

        if (size < 0)
                return -errno;
        if (size >= PATH_MAX)
                return -ENAMETOOLONG;
        buffer[size] = '\0';
        slash = strrchr(buffer, '/');
        if (!slash)
                return -ENOENT;
        *slash = '\0';
        return 0;
}

/* What lies at PLACE beside the directory of the running binary, if FILE is there in it. */
static int paths_beside(const char *const *places, size_t n_places, const char *file, char **ret_path) {
        char here[PATH_MAX];
        char *slash;
        int r;

        r = paths_here(here);
        if (r < 0)
                return r;
        slash = strrchr(here, '/');
        if (!slash)
                return -ENOENT;
        *slash = '\0';
        for (size_t i = 0; i < n_places; i++) {
                _cleanup_free_ char *path = NULL;
                _cleanup_free_ char *found = NULL;

                r = path_format(&path, "%s/%s", here, places[i]);
                if (r >= 0)
                        r = path_format(&found, "%s%s", path, file);
                if (r < 0)
                        return r;
                if (access(found, F_OK) == 0) {
                        *ret_path = steal_pointer(&path);
                        return 0;
                }
        }
        return -ENOENT;
}

int paths_client(char **ret_path) {
        static const char *const places[] = { "python", "lib/shimport/python" };

        return paths_beside(places, ELEMENTSOF(places), "/shimport", ret_path);
}

int paths_builder(char **ret_path) {
        static const char *const places[] = { "bin/shimport-builder", "lib/shimport/bin/shimport-builder" };

        return paths_beside(places, ELEMENTSOF(places), "", ret_path);
}

bool paths_are_public(const char *path) {
        char part[PATH_MAX];
        struct stat st;

        if (strlen(path) >= sizeof(part) || stat(path, &st) < 0 || !(st.st_mode & S_IROTH))
                return false;
        for (size_t i = 0; path[i]; i++) {
                memcpy(part, path, i + 1);
                part[i + 1] = '\0';
                if ((path[i] == '/' || !path[i + 1]) && (stat(part, &st) < 0 || !(st.st_mode & S_IXOTH)))
                        return false;
        }
        return true;
}

int paths_program(const char *name, char **ret_path) {
        char here[PATH_MAX];
        int r;

        r = paths_here(here);
        if (r < 0)
                return r;
        return path_format(ret_path, "%s/%s", here, name);
}
