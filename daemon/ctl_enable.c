/* SPDX-License-Identifier: MIT */

/*
 * What is enabled is a copy of the client in the interpreter's site directory: the extension, the Python package,
 * and the file that has site load the extension. A manifest in the package names them, so that they can be taken
 * out again, and nothing else. Every file is written aside and renamed into place: an interpreter that starts
 * meanwhile sees the old one or the new one. The file that activates comes last, and goes first.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl_python.h"
#include "util.h"

#define PACKAGE "shimport"
#define MANIFEST PACKAGE "/.enabled"
#define FILES_MAX 64
#define FILE_SIZE_MAX (64u << 20)

/* A file below the site directory. */
typedef struct SiteFile {
        char *name;
        char *content;
        size_t size;
        mode_t mode;
} SiteFile;

typedef struct SiteFiles {
        SiteFile list[FILES_MAX];
        size_t n;
} SiteFiles;

static void files_add(SiteFiles *files, char *name, char *content, size_t size) {
        if (files->n < FILES_MAX)
                files->list[files->n++] = (SiteFile){ .name = name, .content = content, .size = size };
}

static bool files_have(const SiteFiles *files, const char *name) {
        for (size_t i = 0; i < files->n; i++)
                if (strcmp(files->list[i].name, name) == 0)
                        return true;
        return false;
}

/* The whole of a file. Return: 0 or a negative errno. */
static int file_read(int directory, const char *name, char **ret_content, size_t *ret_size) {
        _cleanup_close_ int fd = -1;
        size_t size = 0;
        struct stat st;
        char *content;

        fd = syscalls_openat(directory, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size > FILE_SIZE_MAX)
                return -EFBIG;
        content = ctl_alloc((size_t)st.st_size + 1);
        while (size < (size_t)st.st_size) {
                ssize_t got = read(fd, content + size, (size_t)st.st_size - size);

                if (got < 0)
                        return -errno;
                if (got == 0)
                        break;
                size += (size_t)got;
        }
        *ret_content = content;
        *ret_size = size;
        return 0;
}

static bool file_is(int directory, const SiteFile *file) {
        char *content;
        size_t size;

        return file_read(directory, file->name, &content, &size) == 0 && size == file->size &&
               memcmp(content, file->content, size) == 0;
}

static int file_write(int directory, const SiteFile *file) {
        char *aside = ctl_format("%s.%d~", file->name, (int)getpid());
        _cleanup_close_ int fd = -1;
        size_t size = 0;
        int r = 0;

        fd = openat(directory, aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0)
                return -errno;
        if (fchmod(fd, 0644) < 0)
                r = -errno;
        while (r == 0 && size < file->size) {
                ssize_t written = write(fd, file->content + size, file->size - size);

                if (written < 0)
                        r = -errno;
                else
                        size += (size_t)written;
        }
        if (r == 0 && renameat(directory, aside, directory, file->name) < 0)
                r = -errno;
        if (r < 0)
                (void)unlinkat(directory, aside, 0);
        return r;
}

/* The names in the manifest; no manifest, no names. */
static void manifest_read(int directory, SiteFiles *files) {
        char *content = NULL, *line, *rest;
        size_t size;

        if (file_read(directory, MANIFEST, &content, &size) < 0)
                return;
        rest = content;
        while ((line = strsep(&rest, "\n")))
                if (*line && *line != '/' && !strstr(line, ".."))
                        files_add(files, line, NULL, 0);
}

static SiteFile manifest_make(const SiteFiles *files) {
        char *content = ctl_format("%s", "");

        for (size_t i = 0; i < files->n; i++)
                content = ctl_format("%s%s\n", content, files->list[i].name);
        return (SiteFile){ .name = (char *)MANIFEST, .content = content, .size = strlen(content) };
}

/* The bytecode that interpreters have kept of a module of ours, in time. */
static void remove_bytecode(int directory, const char *name) {
        const char *base = strrchr(name, '/');
        DIR *listing;
        size_t stem;
        int fd;

        if (strncmp(name, PACKAGE "/", strlen(PACKAGE "/")) != 0 || !strstr(name, ".py"))
                return;
        stem = strlen(++base) - strlen("py");
        fd = syscalls_openat(directory, PACKAGE "/__pycache__",
                             O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        listing = fd < 0 ? NULL : fdopendir(fd);
        if (!listing)
                return;
        for (struct dirent *entry; (entry = readdir(listing));)
                if (strncmp(entry->d_name, base, stem) == 0)
                        (void)unlinkat(fd, entry->d_name, 0);
        closedir(listing);
}

static bool files_add_copy(SiteFiles *files, char *name, const char *source) {
        char *content = NULL;
        size_t size = 0;
        int r;

        r = file_read(AT_FDCWD, source, &content, &size);
        if (r < 0) {
                ctl_fail("%s: %s", source, strerror(-r));
                return false;
        }
        files_add(files, name, content, size);
        return true;
}

/* What enable would put there. Return: whether it could all be read; if not, why has been said. */
static bool files_wanted(const Python *python, SiteFiles *files) {
        const json_t *activation = json_object_get(python->description, "activation");
        const char *name = json_string_value(json_array_get(activation, 0));
        const char *content = json_string_value(json_array_get(activation, 1));
        const char *extension = python_string(python, "extension");
        char *client = ctl_client_path();
        DIR *package;
        bool whole;

        if (!client)
                return false;
        if (!name || !content || !extension || *extension != '/' || strchr(name, '/')) {
                ctl_fail("%s does not say how it is activated", python->name);
                return false;
        }
        package = opendir(ctl_format("%s/" PACKAGE, client));
        if (!package) {
                ctl_fail("%s/" PACKAGE ": %s", client, strerror(errno));
                return false;
        }
        whole = files_add_copy(files, ctl_format("%s", strrchr(extension, '/') + 1), extension);
        for (struct dirent *entry; whole && (entry = readdir(package));) {
                const char *suffix = strrchr(entry->d_name, '.');

                if (suffix && strcmp(suffix, ".py") == 0)
                        whole = files_add_copy(files, ctl_format(PACKAGE "/%s", entry->d_name),
                                               ctl_format("%s/" PACKAGE "/%s", client, entry->d_name));
        }
        closedir(package);
        files_add(files, ctl_format("%s", name), ctl_format("%s", content), strlen(content));
        return whole;
}

/* Put the files there. Return: how many were written, or a negative errno with the name of the culprit. */
static int files_write(int directory, const SiteFiles *files, const char **ret_culprit) {
        int written = 0, r;

        *ret_culprit = PACKAGE;
        if (mkdirat(directory, PACKAGE, 0755) < 0 && errno != EEXIST)
                return -errno;
        for (size_t i = 0; i < files->n; i++) {
                if (file_is(directory, &files->list[i]))
                        continue;
                *ret_culprit = files->list[i].name;
                r = file_write(directory, &files->list[i]);
                if (r < 0)
                        return r;
                written++;
        }
        return written;
}

/* Take out the files but those that are kept, the last first. Return: 0 or a negative errno. */
static int files_remove(int directory, const SiteFiles *files, const SiteFiles *keep,
                        const char **ret_culprit) {
        for (size_t i = files->n; i-- > 0;) {
                const char *name = files->list[i].name;

                if (keep && files_have(keep, name))
                        continue;
                *ret_culprit = name;
                if (unlinkat(directory, name, 0) < 0 && errno != ENOENT)
                        return -errno;
                remove_bytecode(directory, name);
        }
        return 0;
}

static const char *first_foreign(int directory, const SiteFiles *wanted, const SiteFiles *had) {
        for (size_t i = 0; i < wanted->n; i++)
                if (!files_have(had, wanted->list[i].name) &&
                    faccessat(directory, wanted->list[i].name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                        return wanted->list[i].name;
        return NULL;
}

/* Return: its path, or NULL, which has been said. */
static const char *site_open(const Python *python, int *ret_fd) {
        const char *path = python_string(python, "site_dir");
        int fd;

        fd = path ? syscalls_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -ENOENT;
        if (fd < 0) {
                ctl_fail("%s: its site directory %s: %s", python->name, path ?: "is not known",
                         strerror(-fd));
                return NULL;
        }
        *ret_fd = fd;
        return path;
}

static int cannot_write(const Python *python, const char *path, const char *culprit, int r) {
        return ctl_fail("%s: %s/%s: %s%s", python->name, path, culprit, strerror(-r),
                        r == -EACCES || r == -EROFS ? "; become its owner, or use a virtual environment"
                                                    : "");
}

static int enable(const Python *python) {
        static SiteFiles wanted, had, manifest;
        _cleanup_close_ int directory = -1;
        const char *path, *culprit;
        int written, r;

        wanted.n = had.n = manifest.n = 0;
        if (python_check_extension(python))
                return CTL_FAILED;
        path = site_open(python, &directory);
        if (!path || !files_wanted(python, &wanted))
                return CTL_FAILED;
        manifest_read(directory, &had);
        culprit = first_foreign(directory, &wanted, &had);
        if (culprit)
                return ctl_fail("%s: %s/%s is there, and was not put there by enable", python->name, path,
                                culprit);

        /* the manifest first, so that what an interrupted enable leaves can be disabled */
        manifest.list[manifest.n++] = manifest_make(&wanted);
        r = files_write(directory, &manifest, &culprit);
        if (r >= 0)
                r = written = files_write(directory, &wanted, &culprit);
        if (r >= 0)
                r = files_remove(directory, &had, &wanted, &culprit);
        if (r < 0)
                return cannot_write(python, path, culprit, r);
        printf("%s: Python %s: %s in %s\n", python->name, python->version,
               written ? "enabled" : "enabled already", path);
        return CTL_OK;
}

static int disable(const Python *python) {
        static SiteFiles had;
        _cleanup_close_ int directory = -1;
        const char *path, *culprit = MANIFEST;
        int r;

        had.n = 0;
        path = site_open(python, &directory);
        if (!path)
                return CTL_FAILED;
        manifest_read(directory, &had);
        if (!had.n) {
                printf("%s: Python %s: not enabled in %s\n", python->name, python->version, path);
                return CTL_OK;
        }
        r = files_remove(directory, &had, NULL, &culprit);
        if (r == 0 && unlinkat(directory, MANIFEST, 0) < 0) {
                culprit = MANIFEST;
                r = -errno;
        }
        if (r < 0)
                return cannot_write(python, path, culprit, r);
        (void)unlinkat(directory, PACKAGE "/__pycache__", AT_REMOVEDIR);
        (void)unlinkat(directory, PACKAGE, AT_REMOVEDIR);
        printf("%s: Python %s: disabled in %s\n", python->name, python->version, path);
        return CTL_OK;
}

static int for_each_python(const CtlCommand *command, int argc, char **argv,
                           int (*act)(const Python *python)) {
        const char **names;
        size_t n;
        int status;

        status = python_options(command, argc, argv, &names, &n);
        if (status >= 0)
                return status;
        if (optind < argc)
                return ctl_usage(command, "unexpected argument '%s'", argv[optind]);
        status = CTL_OK;
        for (size_t i = 0; i < n; i++) {
                Python python;

                if (python_describe(names[i], &python) || act(&python))
                        status = CTL_FAILED;
        }
        return status;
}

int ctl_enable(const Ctl *ctl, const CtlCommand *command, int argc, char **argv) {
        (void)ctl;
        return for_each_python(command, argc, argv, enable);
}

int ctl_disable(const Ctl *ctl, const CtlCommand *command, int argc, char **argv) {
        (void)ctl;
        return for_each_python(command, argc, argv, disable);
}
