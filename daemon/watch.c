/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "log.h"
#include "mounts.h"
#include "util.h"
#include "watch.h"

/* IN_CLOSE_WRITE for writers through a mapping, which make no other event. */
#define NAME_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define CONTENT_EVENTS (IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE)
#define WATCH_MASK (NAME_EVENTS | CONTENT_EVENTS | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/* Of a directory above a root. Added to what else the kernel is to tell of it. */
#define ABOVE_MASK (IN_MOVE_SELF | IN_ONLYDIR | IN_MASK_ADD)
#define ABOVE_MAX 128

#define EVENT_SIZE_MAX (sizeof(struct inotify_event) + NAME_MAX + 1)

/* One drain reads so often at most: what a queue of the default 16,384 events needs, and some. A writer that
 * keeps on making events meanwhile is taken for an overflow. */
#define DRAIN_READS_MAX 128

#define LIMIT_FILE "/proc/sys/fs/inotify/max_user_watches"
#define LIMIT_FALLBACK 8192

typedef struct WatchDirectory {
        int wd;
        List claims;
} WatchDirectory;

typedef struct WatchClaim {
        WatchDirectory *directory; /* NULL: the kernel has ended the watch */
        WatchSet *set;
        List in_directory, in_set;
        bool above; /* only a move of it matters */
        char name[];
} WatchClaim;

struct Watch {
        uv_poll_t poll, mounts_poll;
        int fd;
        Mounts *mounts;
        unsigned open_handles;
        void *directories; /* tsearch(3) tree of WatchDirectory */
        size_t count, limit;
        List sets;
};

static int directory_compare(const void *a, const void *b) {
        int left = ((const WatchDirectory *)a)->wd, right = ((const WatchDirectory *)b)->wd;

        return left < right ? -1 : left > right;
}

static WatchDirectory *directory_find(Watch *watch, int wd) {
        WatchDirectory key = { .wd = wd };
        WatchDirectory **found = tfind(&key, &watch->directories, directory_compare);

        return found ? *found : NULL;
}

static void directory_free(Watch *watch, WatchDirectory *directory) {
        tdelete(directory, &watch->directories, directory_compare);
        watch->count--;
        free(directory);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
        (void)status;
        (void)events;
        watch_drain(poll->data);
}

static void on_close(uv_handle_t *handle) {
        Watch *watch = handle->data;

        if (--watch->open_handles)
                return;
        fd_close(watch->fd);
        mounts_free(watch->mounts);
        free(watch);
}

static int watch_poll(Watch *watch, uv_loop_t *loop, uv_poll_t *poll, int fd, int events) {
        int r = uv_poll_init(loop, poll, fd);

        if (r < 0)
                return r;
        poll->data = watch;
        watch->open_handles++;
        return uv_poll_start(poll, events, on_readable);
}

int watch_new(uv_loop_t *loop, Watch **ret_watch) {
        Watch *watch = calloc(1, sizeof(*watch));
        int r;

        if (!watch)
                return -ENOMEM;
        list_init(&watch->sets);
        watch_set_limit(watch, 0);
        watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        r = watch->fd < 0 ? -errno : watch_poll(watch, loop, &watch->poll, watch->fd, UV_READABLE);
        if (r >= 0)
                r = mounts_new(&watch->mounts);
        if (r >= 0)
                r = watch_poll(watch, loop, &watch->mounts_poll, mounts_wake_fd(watch->mounts),
                               UV_PRIORITIZED);
        if (r < 0) {
                watch_free(watch);
                return r;
        }
        *ret_watch = watch;
        return 0;
}

static void watch_close(Watch *watch, uv_poll_t *poll) {
        if (poll->data == watch)
                uv_close((uv_handle_t *)poll, on_close);
}

Watch *watch_free(Watch *watch) {
        if (!watch)
                return NULL;
        if (!watch->open_handles) {
                fd_close(watch->fd);
                free(watch);
                return NULL;
        }
        watch_close(watch, &watch->poll);
        watch_close(watch, &watch->mounts_poll);
        return NULL;
}

void watch_set_limit(Watch *watch, size_t limit) {
        size_t most = LIMIT_FALLBACK;
        FILE *file;

        if (limit == 0) {
                file = fopen(LIMIT_FILE, "re");
                if (file) {
                        if (fscanf(file, "%zu", &most) != 1)
                                most = LIMIT_FALLBACK;
                        fclose(file);
                }
                limit = most / 4 * 3;
        }
        watch->limit = limit;
}

size_t watch_count(const Watch *watch) {
        return watch->count;
}

size_t watch_limit(const Watch *watch) {
        return watch->limit;
}

static bool name_is_of_code(const char *name) {
        static const char *const suffixes[] = { ".py", ".pyc", ".so" };
        size_t length = strlen(name);

        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                size_t suffix = strlen(suffixes[i]);

                if (length >= suffix && strcmp(name + length - suffix, suffixes[i]) == 0)
                        return true;
        }
        return false;
}

static bool name_is_metadata(const char *name) {
        return image_name_is_metadata(name, strlen(name));
}

bool watch_name_matters(const char *directory, const char *name) {
        if (name_is_metadata(directory) || name_is_metadata(name))
                return true;
        if (strcmp(name, "__pycache__") == 0)
                return false;
        /* without a dot: a package, a namespace portion, or a link to one */
        return !strchr(name, '.') || name_is_of_code(name);
}

/* Could it change what an import or importlib.metadata finds? What is written into another file could not. */
static bool event_matters(const WatchClaim *claim, const struct inotify_event *event) {
        if (claim->above)
                return event->mask & IN_MOVE_SELF;
        if (!event->len || !*event->name)
                return true;
        if (event->mask & (NAME_EVENTS | IN_ISDIR))
                return watch_name_matters(claim->name, event->name);
        return name_is_of_code(event->name) || name_is_metadata(claim->name) || name_is_metadata(event->name);
}

static void tell_all(Watch *watch) {
        WatchEvent event = { .name = "", .mask = IN_Q_OVERFLOW };

        log_warning("the queue of changes ran over: every image is stale until it is built again");
        list_for_each(link, &watch->sets) {
                WatchSet *set = list_entry(link, WatchSet, link);

                set->handler(set, &event);
        }
}

static void tell(Watch *watch, const struct inotify_event *event) {
        WatchEvent told = { .name = event->len ? event->name : "", .mask = event->mask };
        WatchDirectory *directory;

        if (event->mask & IN_Q_OVERFLOW) {
                tell_all(watch);
                return;
        }
        directory = directory_find(watch, event->wd);
        if (!directory) /* given up since */
                return;
        list_for_each(link, &directory->claims) {
                WatchClaim *claim = list_entry(link, WatchClaim, in_directory);

                if (!event_matters(claim, event))
                        continue;
                told.directory = claim->name;
                claim->set->handler(claim->set, &told);
        }
        if (event->mask & IN_IGNORED) { /* deleted or unmounted */
                list_for_each(link, &directory->claims) {
                        list_entry(link, WatchClaim, in_directory)->directory = NULL;
                        list_unlink(link);
                }
                directory_free(watch, directory);
        }
}

static bool path_is_below(const char *path, const char *top, size_t length) {
        return strncmp(path, top, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Something else is at a path than was before. */
static void on_mount(void *userdata, const char *path) {
        Watch *watch = userdata;
        size_t length = strcmp(path, "/") == 0 ? 0 : strlen(path);

        list_for_each(link, &watch->sets) {
                WatchSet *set = list_entry(link, WatchSet, link);
                WatchEvent event = { .directory = "", .name = "", .mask = IN_UNMOUNT };
                size_t root = set->root ? strlen(set->root) : 0;

                if (!set->root)
                        continue;
                while (root > 0 && set->root[root - 1] == '/')
                        root--;
                if (path_is_below(path, set->root, root) && path[root] == '/')
                        event.directory = path + root + 1;
                else if (!path_is_below(set->root, path, length))
                        continue;
                set->handler(set, &event);
        }
}

static void inotify_drain(Watch *watch) {
        _Alignas(struct inotify_event) char buffer[64 * 1024];

        for (unsigned reads = 0; reads < DRAIN_READS_MAX; reads++) {
                const char *at = buffer;
                ssize_t size = read(watch->fd, buffer, sizeof(buffer));

                if (size < 0 && errno == EINTR)
                        continue;
                if (size <= 0) {
                        if (size < 0 && errno != EAGAIN)
                                tell_all(watch);
                        return;
                }
                while (at < buffer + size) {
                        const struct inotify_event *event = (const void *)at;

                        tell(watch, event);
                        at += sizeof(*event) + event->len;
                }
                if ((size_t)size + EVENT_SIZE_MAX <= sizeof(buffer)) /* one more would have fitted */
                        return;
        }
        tell_all(watch);
}

void watch_drain(Watch *watch) {
        mounts_drain(watch->mounts, on_mount, watch);
        inotify_drain(watch);
}

void watch_set_init(WatchSet *set, Watch *watch, WatchHandler handler, const char *root) {
        *set = (WatchSet){ .watch = watch, .handler = handler, .root = root };
        list_init(&set->claims);
        list_init(&set->link);
        list_append(&watch->sets, &set->link);
}

static void claim_free(WatchSet *set, WatchClaim *claim) {
        WatchDirectory *directory = claim->directory;

        list_unlink(&claim->in_set);
        list_unlink(&claim->in_directory);
        free(claim);
        if (directory && list_is_empty(&directory->claims)) {
                inotify_rm_watch(set->watch->fd, directory->wd);
                directory_free(set->watch, directory);
        }
}

void watch_set_clear(WatchSet *set) {
        list_for_each(link, &set->claims) {
                claim_free(set, list_entry(link, WatchClaim, in_set));
        }
}

void watch_set_done(WatchSet *set) {
        watch_set_clear(set);
        list_unlink(&set->link);
}

void watch_set_move(WatchSet *to, WatchSet *from) {
        watch_set_clear(to);
        list_for_each(link, &from->claims) {
                list_entry(link, WatchClaim, in_set)->set = to;
                list_unlink(link);
                list_append(&to->claims, link);
        }
}

/* Find or make the record of a directory that the kernel watches. */
static int directory_get(Watch *watch, int wd, WatchDirectory **ret_directory) {
        WatchDirectory *directory = directory_find(watch, wd);

        if (!directory) {
                if (watch->count >= watch->limit)
                        return WATCH_E_LIMIT;
                directory = calloc(1, sizeof(*directory));
                if (!directory)
                        return -ENOMEM;
                directory->wd = wd;
                list_init(&directory->claims);
                if (!tsearch(directory, &watch->directories, directory_compare)) {
                        free(directory);
                        return -ENOMEM;
                }
                watch->count++;
        }
        *ret_directory = directory;
        return 0;
}

static int claim_new(WatchSet *set, int fd, const void *name, size_t name_size, bool above) {
        _cleanup_free_ WatchClaim *claim = calloc(1, sizeof(*claim) + name_size + 1);
        Watch *watch = set->watch;
        char path[sizeof("/proc/self/fd/") + 3 * sizeof(fd)];
        int wd, r;

        if (!claim)
                return -ENOMEM;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        wd = inotify_add_watch(watch->fd, path, above ? ABOVE_MASK : WATCH_MASK);
        if (wd < 0)
                return errno == ENOSPC ? WATCH_E_KERNEL : -errno;
        r = directory_get(watch, wd, &claim->directory);
        if (r) {
                inotify_rm_watch(watch->fd, wd);
                return r;
        }
        if (name_size)
                memcpy(claim->name, name, name_size);
        claim->set = set;
        claim->above = above;
        list_init(&claim->in_directory);
        list_init(&claim->in_set);
        list_append(&claim->directory->claims, &claim->in_directory);
        list_append(&set->claims, &claim->in_set);
        steal_pointer(&claim);
        return 0;
}

int watch_set_add(WatchSet *set, int fd, const void *name, size_t name_size) {
        return claim_new(set, fd, name, name_size, false);
}

void watch_set_add_above(WatchSet *set, int fd) {
        _cleanup_close_ int at = -1;
        struct stat st, last;

        if (syscalls_fstat(fd, &last) < 0)
                return;
        for (unsigned i = 0; i < ABOVE_MAX; i++) {
                int above = syscalls_openat(at >= 0 ? at : fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

                fd_close(at);
                at = above;
                if (at < 0 || syscalls_fstat(at, &st) < 0 ||
                    (st.st_dev == last.st_dev && st.st_ino == last.st_ino))
                        return;
                last = st;
                (void)claim_new(set, at, "", 0, true);
        }
}
