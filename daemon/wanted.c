/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memfd.h"
#include "util.h"
#include "wanted.h"

/* Nobody's: what a daemon finds in an image from before it was started. */
#define USER_NOBODY ((uid_t)-1)

typedef struct WantedName {
        List link; /* in its user's */
        uint64_t asked;
        uint32_t user;
        uint32_t size;
        bool is_new;
        char name[];
} WantedName;

static int name_compare(const void *a, const void *b) {
        return strcmp(((const WantedName *)a)->name, ((const WantedName *)b)->name);
}

void wanted_init(WantedSet *set, WantedTotal *total) {
        *set = (WantedSet){ .total = total };
        for (size_t i = 0; i < WANTED_USERS; i++)
                list_init(&set->users[i].names);
}

static void name_remove(WantedSet *set, WantedName *name) {
        WantedUser *user = &set->users[name->user];

        tdelete(name, &set->tree, name_compare);
        list_unlink(&name->link);
        user->n--;
        user->bytes -= name->size;
        set->n--;
        set->bytes -= name->size;
        set->n_new -= name->is_new;
        set->total->n--;
        set->total->by_user[name->user]--;
        free(name);
}

void wanted_clear(WantedSet *set) {
        for (size_t i = 0; i < WANTED_USERS; i++)
                list_for_each(link, &set->users[i].names) {
                        name_remove(set, list_entry(link, WantedName, link));
                }
}

/* "a.b.c" is what c is in a/b. The path is made in place. Return: the entry of a source, or NULL. */
static const ImageEntry *name_entry(const Image *image, char *name, size_t size) {
        char *dot = memrchr(name, '.', size);
        const char *tail = dot ? dot + 1 : name;
        const ImageEntry *entry;
        uint32_t directory, number;

        for (char *at = name; dot && at < dot; at++)
                if (*at == '.')
                        *at = '/';
        directory = dot ? image_walk(image, name, (size_t)(dot - name)) : 0;
        if (directory == IMAGE_NONE)
                return NULL;
        number = image_find(image, directory, tail, size - (size_t)(tail - name));
        entry = number == IMAGE_NONE ? NULL : image_entry(image, number);
        return entry && entry->kind == IMAGE_KIND_SOURCE ? entry : NULL;
}

static bool name_is_there(const Image *image, const char *name, size_t size) {
        char path[WANTED_NAME_MAX];

        memcpy(path, name, size);
        return name_entry(image, path, size) != NULL;
}

static WantedName *user_oldest(WantedUser *user) {
        List *link = list_first(&user->names);

        return link ? list_entry(link, WantedName, link) : NULL;
}

/* Who has the most makes room, so that who has little keeps it. */
static WantedUser *set_heaviest(WantedSet *set) {
        WantedUser *heaviest = &set->users[0];

        for (size_t i = 1; i < WANTED_USERS; i++)
                if (set->users[i].bytes > heaviest->bytes)
                        heaviest = &set->users[i];
        return heaviest;
}

/* Return: whether there was one. */
static bool user_forget_oldest(WantedSet *set, WantedUser *user) {
        WantedName *oldest = user_oldest(user);

        if (oldest)
                name_remove(set, oldest);
        return oldest;
}

/* Return: whether there is room for one more of the user's in all. */
static bool set_make_room(WantedSet *set, uint32_t number, size_t size) {
        WantedUser *user = &set->users[number];

        if (set->total->by_user[number] >= WANTED_ALL_MAX / 2 || set->total->n >= WANTED_ALL_MAX)
                return false;
        while (user->n >= WANTED_MAX / 2 || user->bytes + size > WANTED_BYTES_MAX / 2)
                if (!user_forget_oldest(set, user))
                        return false;
        while (set->n >= WANTED_MAX || set->bytes + size > WANTED_BYTES_MAX)
                if (!user_forget_oldest(set, set_heaviest(set)))
                        return false;
        return true;
}

static int set_add(WantedSet *set, uint32_t number, const char *name, size_t size, bool is_new,
                   uint64_t now) {
        _cleanup_free_ WantedName *added = calloc(1, sizeof(*added) + size + 1);
        WantedName **found, *known;
        WantedUser *user = &set->users[number];

        if (!added)
                return -ENOMEM;
        memcpy(added->name, name, size);
        found = tfind(added, &set->tree, name_compare);
        if (found) { /* its user's still: another could take it over only to lose it */
                known = *found;
                known->asked = now;
                list_unlink(&known->link);
                list_append(&set->users[known->user].names, &known->link);
                return 0;
        }
        added->asked = now;
        added->user = number;
        added->size = (uint32_t)size + 1;
        added->is_new = is_new;
        if (!set_make_room(set, number, added->size))
                return 0;
        if (!tsearch(added, &set->tree, name_compare))
                return -ENOMEM;
        list_init(&added->link);
        list_append(&user->names, &added->link);
        user->n++;
        user->bytes += added->size;
        set->n++;
        set->bytes += added->size;
        set->n_new += is_new;
        set->total->n++;
        set->total->by_user[number]++;
        steal_pointer(&added);
        return 0;
}

int wanted_add(WantedSet *set, const Image *image, uid_t uid, const void *name, size_t size, uint64_t now) {
        if (size == 0 || size >= WANTED_NAME_MAX || memchr(name, '\0', size) || memchr(name, '/', size) ||
            memmem(name, size, "..", 2) || !name_is_there(image, name, size))
                return 0;
        return set_add(set, uid % WANTED_USERS, name, size, true, now);
}

int wanted_add_image(WantedSet *set, const Image *image, uint64_t now) {
        for (uint32_t i = 0; i < image->header->entry_count; i++) {
                const ImageEntry *entry = image_entry(image, i);
                const ImageDirectory *directory = entry ? image_directory(image, entry->directory) : NULL;
                const char *path = directory ? image_string(image, directory->path, NULL) : NULL;
                const char *tail = entry ? image_string(image, entry->name, NULL) : NULL;
                char name[WANTED_NAME_MAX];
                int n, r;

                if (!path || !tail || entry->kind != IMAGE_KIND_SOURCE || !entry->code_size)
                        continue;
                n = snprintf(name, sizeof(name), "%s%s%s", path, *path ? "." : "", tail);
                if (n >= (int)sizeof(name))
                        continue;
                for (char *at = name; *at; at++)
                        if (*at == '/')
                                *at = '.';
                r = set_add(set, USER_NOBODY % WANTED_USERS, name, (size_t)n, false, now);
                if (r < 0)
                        return r;
        }
        return 0;
}

bool wanted_forget(WantedSet *set, uint64_t then) {
        size_t before = set->n;

        for (size_t i = 0; i < WANTED_USERS; i++) {
                WantedName *name;

                while ((name = user_oldest(&set->users[i])) && name->asked < then)
                        name_remove(set, name);
        }
        return set->n < before;
}

int wanted_write(WantedSet *set, int *ret_fd) {
        _cleanup_free_ char *names = malloc(set->bytes + 1);
        _cleanup_close_ int fd = -1;
        size_t size = 0;
        int r;

        if (!names)
                return -ENOMEM;
        for (size_t i = 0; i < WANTED_USERS; i++)
                list_for_each(link, &set->users[i].names) {
                        WantedName *name = list_entry(link, WantedName, link);

                        memcpy(names + size, name->name, name->size);
                        size += name->size;
                        name->is_new = false;
                }
        set->n_new = 0;
        r = memfd_new("shimport-wanted", &fd);
        if (r >= 0)
                r = memfd_resize(fd, size);
        if (r >= 0 && size)
                r = memfd_write(fd, 0, names, size);
        if (r >= 0)
                r = memfd_seal(fd);
        if (r < 0)
                return r;
        *ret_fd = steal_fd(&fd);
        return 0;
}
