/* SPDX-License-Identifier: MIT */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>

#include "change.h"
#include "recheck.h"
#include "util.h"

/* Time stamps are those of the last tick of the clock, or of whole seconds, two of them at worst. */
#define TICK_NS (UINT64_C(100) * 1000000)
#define COARSE_NS (UINT64_C(2) * 1000000000)

/* Where rename(2) sets the ctime of what is renamed, by statfs(2): ext2 to ext4, XFS, Btrfs, tmpfs, F2FS, ZFS, bcachefs. */
static const unsigned renames_show[] = { 0xef53,     0x58465342, 0x9123683e, 0x01021994,
                                         0xf2f52010, 0x2fc12fc1, 0xca451a4e };

/* What is to be done for a directory. */
typedef struct RecheckDirectory {
        bool watched;   /* something in it is believed without a stat */
        uint32_t entry; /* the one that stands for it in the directory above, or IMAGE_NONE */
} RecheckDirectory;

static uint64_t nanoseconds(const struct timespec *time) {
        return (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
}

/* Is it looked up by stat alone? */
static bool entry_is_validated(const ImageEntry *entry) {
        return entry->kind == IMAGE_KIND_STOCK || (entry->flags & IMAGE_ENTRY_VALIDATE);
}

/* Is there more to know of it than its name, and what its directory says? */
static bool entry_has_file(const ImageEntry *entry) {
        return entry->kind == IMAGE_KIND_FILE ? entry->flags & IMAGE_ENTRY_TEXT
                                              : entry->kind != IMAGE_KIND_METADATA;
}

/**
 * directories_new() - which directories something depends on
 *
 * Return: 0, RECHECK_E_IMAGE or -ENOMEM.
 */
static int directories_new(const Image *image, RecheckDirectory **ret_directories) {
        uint32_t n = image->header->directory_count;
        _cleanup_free_ RecheckDirectory *directories = calloc(n, sizeof(*directories));

        if (!directories)
                return -ENOMEM;
        for (uint32_t i = 0; i < n; i++) {
                const ImageDirectory *directory = image_directory(image, i);

                if (!directory)
                        return RECHECK_E_IMAGE;
                directories[i].watched = !(directory->flags & IMAGE_DIRECTORY_VALIDATE);
                directories[i].entry = IMAGE_NONE;
        }
        for (uint32_t i = 0; i < image->header->entry_count; i++) {
                const ImageEntry *entry = image_entry(image, i);
                uint32_t where = entry ? entry->directory : IMAGE_NONE;

                if (where >= n)
                        return RECHECK_E_IMAGE;
                if (entry->child < n) {
                        directories[entry->child].entry = i;
                        where = entry->child; /* where its file lies */
                }
                if (!entry_is_validated(entry))
                        directories[where].watched = true;
        }
        *ret_directories = steal_pointer(&directories);
        return 0;
}

int recheck_is_needed(const Image *image) {
        _cleanup_free_ RecheckDirectory *directories = NULL;
        int r;

        r = directories_new(image, &directories);
        if (r)
                return r < 0 ? r : 1;
        for (uint32_t i = 0; i < image->header->directory_count; i++)
                if (directories[i].watched)
                        return 1;
        return 0;
}

/* Return: whether it has been what it is since before the image was made. */
static bool is_older(const struct stat *st, uint64_t made) {
        uint64_t grain = st->st_ctim.tv_nsec ? TICK_NS : COARSE_NS;

        return nanoseconds(&st->st_ctim) + grain < made;
}

static void mark_changed(const Recheck *recheck, const RecheckDirectory *directory, uint32_t number) {
        staleness_mark_directory(recheck->staleness, number);
        if (directory->entry != IMAGE_NONE) /* its __init__ may be another */
                staleness_mark_entry(recheck->staleness, directory->entry);
}

static void dir_closep(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

/* Is it a directory as the image knows it, or one that stock looks at anyway? */
static bool is_known_directory(const Image *image, uint32_t number, const char *name, const struct stat *st) {
        uint32_t found = image_find(image, number, name, strlen(name));
        const ImageEntry *entry = found == IMAGE_NONE ? NULL : image_entry(image, found);
        const ImageDirectory *child = entry ? image_directory(image, entry->child) : NULL;

        return entry && (entry->kind == IMAGE_KIND_STOCK || entry->kind == IMAGE_KIND_FILE ||
                         (child && child->ino == st->st_ino));
}

/**
 * check_names() - what has come into a directory that is not as it was
 *
 * Return: whether something has, so that there is no need to look for another reason.
 */
static bool check_names(const Recheck *recheck, uint32_t number, const char *path, int fd, uint64_t made) {
        _cleanup_(dir_closep) DIR *dir = NULL;
        bool explained = false;
        int again = syscalls_openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (again >= 0 && !(dir = fdopendir(again)))
                fd_close(again);
        if (!dir)
                return false;
        for (const struct dirent *found; (found = readdir(dir));) {
                WatchEvent event = { .directory = path, .name = found->d_name, .mask = IN_CREATE };
                struct stat st;

                if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0)
                        continue;
                if (fstatat(fd, found->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_older(&st, made))
                        continue;
                if (!watch_name_matters(path, found->d_name)) {
                        explained = true;
                        continue;
                }
                if (S_ISDIR(st.st_mode)) {
                        if (is_known_directory(recheck->image, number, found->d_name, &st))
                                continue; /* what is in it has changed, if anything */
                        event.mask |= IN_ISDIR;
                }
                change_mark(&event, recheck->image, recheck->staleness);
                explained = true;
        }
        return explained;
}

static bool renames_are_seen(int fd) {
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return false;
        for (size_t i = 0; i < ELEMENTSOF(renames_show); i++)
                if (renames_show[i] == (unsigned)fs.f_type)
                        return true;
        return false;
}

/* Return: 0 or RECHECK_E_*. */
static int check_directory(const Recheck *recheck, const RecheckDirectory *known, uint32_t number,
                           uint64_t made) {
        const ImageDirectory *directory = image_directory(recheck->image, number);
        bool linked = directory->flags & IMAGE_DIRECTORY_VALIDATE; /* by a link, which processes look at */
        _cleanup_close_ int fd = -1;
        const char *path;
        struct stat st;
        size_t length;

        path = image_string(recheck->image, directory->path, &length);
        if (!path)
                return RECHECK_E_IMAGE;
        fd = syscalls_openat(recheck->root_fd, length ? path : ".",
                             O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK | (linked ? 0 : O_NOFOLLOW));
        if (fd < 0) { /* its files will be missed as well */
                mark_changed(recheck, known, number);
                return 0;
        }
        if (!recheck->watch(recheck->userdata, fd, path, length))
                return RECHECK_E_UNSEEN;
        if (syscalls_fstat(fd, &st) < 0 || st.st_ino != directory->ino ||
            ((nanoseconds(&st.st_mtim) != directory->mtime || !is_older(&st, made)) &&
             !(renames_are_seen(fd) && check_names(recheck, number, path, fd, made))))
                mark_changed(recheck, known, number);
        return 0;
}

/* Return: 0 or RECHECK_E_IMAGE. */
static int check_entry(const Recheck *recheck, uint32_t number, uint64_t made) {
        const ImageEntry *entry = image_entry(recheck->image, number);
        const ImageDirectory *directory = image_directory(recheck->image, entry->directory);
        const char *file, *where;
        char path[PATH_MAX];
        struct stat st;

        if (entry_is_validated(entry) || !entry_has_file(entry))
                return 0;
        file = image_string(recheck->image, entry->file, NULL);
        where = image_string(recheck->image, directory->path, NULL);
        if (!file || !where)
                return RECHECK_E_IMAGE;
        if ((size_t)snprintf(path, sizeof(path), "%s%s%s", where, *where ? "/" : "", file) >= sizeof(path) ||
            fstatat(recheck->root_fd, path, &st, 0) < 0 || !S_ISREG(st.st_mode))
                staleness_mark_entry(recheck->staleness, number);
        else if (entry->kind != IMAGE_KIND_SOURCE && entry->kind != IMAGE_KIND_FILE)
                return 0; /* of the others only the name is known */
        else if ((uint64_t)st.st_size != entry->file_size || nanoseconds(&st.st_mtim) != entry->file_mtime ||
                 st.st_ino != entry->file_ino || !is_older(&st, made))
                staleness_mark_entry(recheck->staleness, number);
        return 0;
}

int recheck_run(const Recheck *recheck) {
        const ImageHeader *header = recheck->image->header;
        _cleanup_free_ RecheckDirectory *directories = NULL;
        struct stat st;
        uint64_t made;
        int r;

        r = syscalls_fstat(recheck->image_fd, &st);
        if (r < 0)
                return r;
        made = nanoseconds(&st.st_mtim);
        r = directories_new(recheck->image, &directories);
        for (uint32_t i = 0; i < header->directory_count && r == 0; i++)
                if (directories[i].watched)
                        r = check_directory(recheck, &directories[i], i, made);
        for (uint32_t i = 0; i < header->entry_count && r == 0; i++)
                r = check_entry(recheck, i, made);
        return r;
}
