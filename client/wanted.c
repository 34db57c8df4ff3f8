/* SPDX-License-Identifier: MIT */

#include "wanted.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

/* Of one root, however many images of it there were. */
struct WantedRoot {
        WantedRoot *next;
        uint64_t dev, ino;
        char *path;
        size_t size, room, n;
        char *names; /* each with a NUL behind it */
};

static WantedRoot *root_free(WantedRoot *root) {
        if (root) {
                free(root->path);
                free(root->names);
                free(root);
        }
        return NULL;
}

void wanted_clear(Wanted *wanted) {
        while (wanted->roots) {
                WantedRoot *root = wanted->roots;

                wanted->roots = root->next;
                root_free(root);
        }
        wanted->size = 0;
}

/* The root that an image is of. Return: NULL without memory, or if the image lies. */
static WantedRoot *wanted_root(Wanted *wanted, const Image *image) {
        const ImageHeader *header = image->header;
        const char *path = image_string(image, header->root_path, NULL);
        WantedRoot *root;

        if (!path)
                return NULL;
        for (root = wanted->roots; root; root = root->next)
                if (root->ino == header->root_ino && root->dev == header->root_dev &&
                    strcmp(root->path, path) == 0)
                        return root;
        root = calloc(1, sizeof(*root));
        if (root)
                root->path = strdup(path);
        if (!root || !root->path)
                return root_free(root);
        root->dev = header->root_dev;
        root->ino = header->root_ino;
        root->next = wanted->roots;
        wanted->roots = root;
        return root;
}

static char *root_reserve(WantedRoot *root, size_t more) {
        size_t room = root->room ? root->room : 1024;
        char *names;

        while (room < root->size + more)
                room *= 2;
        if (room > root->room) {
                names = realloc(root->names, room);
                if (!names)
                        return NULL;
                root->names = names;
                root->room = room;
        }
        return root->names + root->size;
}

int wanted_note(Wanted *wanted, const Image *image, const ImageEntry *entry) {
        const ImageDirectory *directory = image_directory(image, entry->directory);
        size_t path_length = 0, length = 0, size;
        const char *path, *name;
        WantedRoot *root;
        char *at;

        path = directory ? image_string(image, directory->path, &path_length) : NULL;
        name = path ? image_string(image, entry->name, &length) : NULL;
        if (!name)
                return 0;
        size = path_length + (path_length > 0) + length + 1;
        if (wanted->size + size > WANTED_SIZE_MAX)
                return wanted->size ? WANTED_E_FULL : 0;
        root = wanted_root(wanted, image);
        at = root ? root_reserve(root, size) : NULL;
        if (!at)
                return -ENOMEM;
        for (size_t i = 0; i < path_length; i++)
                *at++ = path[i] == '/' ? '.' : path[i];
        if (path_length)
                *at++ = '.';
        memcpy(at, name, length + 1);
        root->size += size;
        root->n++;
        wanted->size += size;
        return 0;
}

static Shimport__Wanted *part_new(const WantedRoot *root) {
        _cleanup_free_ ProtobufCBinaryData *names = calloc(root->n, sizeof(*names));
        Shimport__Wanted *part = malloc(sizeof(*part));
        char *at = root->names;

        if (!names || !part) {
                free(part);
                return NULL;
        }
        shimport__wanted__init(part);
        part->path = (ProtobufCBinaryData){ strlen(root->path), (uint8_t *)root->path };
        part->dev = root->dev;
        part->ino = root->ino;
        for (size_t i = 0; i < root->n; i++) {
                names[i] = (ProtobufCBinaryData){ strlen(at), (uint8_t *)at };
                at += names[i].len + 1;
        }
        part->n_names = root->n;
        part->names = steal_pointer(&names);
        return part;
}

size_t wanted_report(const Wanted *wanted, Shimport__Wanted ***ret_parts) {
        Shimport__Wanted **parts;
        size_t n = 0;

        for (const WantedRoot *root = wanted->roots; root; root = root->next)
                n++;
        parts = n ? calloc(n, sizeof(*parts)) : NULL;
        *ret_parts = parts;
        if (!parts)
                return 0;
        n = 0;
        for (const WantedRoot *root = wanted->roots; root; root = root->next)
                if (root->n && (parts[n] = part_new(root)))
                        n++;
        return n;
}

void wanted_report_free(Shimport__Wanted **parts, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(parts[i]->names);
                free(parts[i]);
        }
        free(parts);
}
