/* SPDX-License-Identifier: MIT */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "change.h"
#include "util.h"

#define NAME_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)

static void mark_all_in(const Image *image, Staleness *staleness, uint32_t number) {
        const ImageDirectory *directory = image_directory(image, number);
        uint32_t count;

        staleness_mark_directory(staleness, number);
        if (!directory)
                return;
        count = directory->entry_count < image->header->entry_count ? directory->entry_count
                                                                    : image->header->entry_count;
        for (uint32_t i = 0; i < count; i++)
                staleness_mark_entry(staleness, directory->first_entry + i);
}

/* A directory of the image and all below it. */
static void mark_below(const Image *image, Staleness *staleness, const char *top, size_t top_length) {
        for (uint32_t i = 0; i < image->header->directory_count; i++) {
                const ImageDirectory *directory = image_directory(image, i);
                size_t length;
                const char *path = directory ? image_string(image, directory->path, &length) : NULL;

                if (path && (!top_length || (length >= top_length && memcmp(path, top, top_length) == 0 &&
                                             (length == top_length || path[top_length] == '/'))))
                        mark_all_in(image, staleness, i);
        }
}

/* The entry that a package's directory has in the directory above. */
static void mark_package(const Image *image, Staleness *staleness, const char *path) {
        const char *slash = strrchr(path, '/');
        size_t above = slash ? (size_t)(slash - path) : 0;
        const char *name = slash ? slash + 1 : path;
        uint32_t directory, entry;

        if (!*name) /* the root is nobody's package */
                return;
        directory = image_walk(image, path, above);
        if (directory == IMAGE_NONE)
                return;
        entry = image_find(image, directory, name, strlen(name));
        if (entry == IMAGE_NONE)
                staleness_mark_directory(staleness, directory);
        else
                staleness_mark_entry(staleness, entry);
}

/* How much of a file's name is that of its entry: no module's holds a dot, and some suffixes two. */
static size_t stem_of(const char *directory, const char *name) {
        size_t length = strlen(name);

        if (image_name_is_metadata(directory, strlen(directory)) || image_name_is_metadata(name, length))
                return length;
        return strcspn(name, ".");
}

static void mark_name(const Image *image, Staleness *staleness, const WatchEvent *event) {
        size_t stem = stem_of(event->directory, event->name);
        const ImageEntry *entry = NULL;
        uint32_t directory, number;

        if (stem == strlen("__init__") && memcmp(event->name, "__init__", stem) == 0)
                mark_package(image, staleness, event->directory);
        directory = image_walk(image, event->directory, strlen(event->directory));
        if (directory == IMAGE_NONE) /* listed, and then left out: its name is stock's */
                return;
        number = image_find(image, directory, event->name, stem);
        if (number != IMAGE_NONE) {
                staleness_mark_entry(staleness, number);
                entry = image_entry(image, number);
        }
        if (number == IMAGE_NONE || (event->mask & NAME_EVENTS))
                staleness_mark_directory(staleness, directory);
        if (entry && (event->mask & IN_ISDIR)) {
                const ImageDirectory *child = image_directory(image, entry->child);
                size_t length;
                const char *path = child ? image_string(image, child->path, &length) : NULL;

                if (path)
                        mark_below(image, staleness, path, length);
        }
}

void change_mark(const WatchEvent *event, const Image *image, Staleness *staleness) {
        if (event->mask & IN_Q_OVERFLOW) {
                staleness_mark_all(staleness);
        } else if (!*event->name) {
                mark_package(image, staleness, event->directory);
                mark_below(image, staleness, event->directory, strlen(event->directory));
        } else {
                mark_name(image, staleness, event);
        }
}

static bool log_reserve(ChangeLog *log, size_t more) {
        char *bytes;
        size_t room;

        if (log->size + more <= log->room)
                return true;
        room = (log->size + more) * 2;
        if (room > CHANGE_LOG_SIZE_MAX)
                room = CHANGE_LOG_SIZE_MAX;
        if (log->size + more > room)
                return false;
        bytes = realloc(log->bytes, room);
        if (!bytes)
                return false;
        log->bytes = bytes;
        log->room = room;
        return true;
}

void change_log_add(ChangeLog *log, const WatchEvent *event) {
        size_t directory, name, size;
        char *at;

        if (log->overflow)
                return;
        if (event->mask & IN_Q_OVERFLOW) {
                log->overflow = true;
                return;
        }
        directory = strlen(event->directory) + 1;
        name = strlen(event->name) + 1;
        size = sizeof(event->mask) + directory + name;
        if (!log_reserve(log, size)) {
                log->overflow = true;
                return;
        }
        at = log->bytes + log->size;
        memcpy(at, &event->mask, sizeof(event->mask));
        memcpy(at + sizeof(event->mask), event->directory, directory);
        memcpy(at + sizeof(event->mask) + directory, event->name, name);
        if (log->size && log->size - log->last == size && memcmp(log->bytes + log->last, at, size) == 0)
                return;
        log->last = log->size;
        log->size += size;
}

void change_log_replay(const ChangeLog *log, const Image *image, Staleness *staleness) {
        const char *at = log->bytes, *end;

        if (log->overflow) {
                staleness_mark_all(staleness);
                return;
        }
        if (!at)
                return;
        end = at + log->size;
        while (at < end) {
                WatchEvent event = { .directory = at + sizeof(event.mask) };

                memcpy(&event.mask, at, sizeof(event.mask));
                event.name = event.directory + strlen(event.directory) + 1;
                change_mark(&event, image, staleness);
                at = event.name + strlen(event.name) + 1;
        }
}

void change_log_clear(ChangeLog *log) {
        free(log->bytes);
        *log = (ChangeLog){ 0 };
}

void change_describe(const WatchEvent *event, char *buffer, size_t size) {
        if (event->mask & IN_Q_OVERFLOW)
                snprintf(buffer, size, "more changes than the kernel could queue");
        else
                snprintf(buffer, size, "changed: %s%s%s", event->directory,
                         *event->directory && *event->name ? "/" : "",
                         *event->directory || *event->name ? event->name : "the directory itself");
}
