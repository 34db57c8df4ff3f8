/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kept.h"
#include "linger.h"
#include "log.h"
#include "memfd.h"
#include "store.h"
#include "util.h"

/* "image-17", by the generation. */
#define NAME_PREFIX "image-"
#define NAME_MAX_SIZE 32

/* What comes back under one name. */
typedef struct Kept {
        const char *name;
        int image_fd, state_fd;
        size_t n; /* descriptors of that name */
} Kept;

static void kept_name(const ImageFile *file, char buffer[static NAME_MAX_SIZE]) {
        snprintf(buffer, NAME_MAX_SIZE, NAME_PREFIX "%" PRIu64, file->image.header->generation);
}

uint32_t kept_note_size(const Root *root) {
        return (uint32_t)(sizeof(KeptNote) + strlen(root->executable) + 1);
}

uint64_t kept_preload(const Root *root) {
        return image_hash(0, 0, root->preload, strlen(root->preload));
}

void kept_note_write(const Root *root) {
        KeptNote *note = root->image.state.note;

        note->version = KEPT_NOTE_VERSION;
        note->owner = root->owner;
        note->validate = root->validate;
        note->declined = root->declined;
        note->texts_when_whole = root->texts_when_whole;
        note->built_ms = root->built_ms;
        note->built_at = root->built_at;
        note->patient = root->state == ROOT_STALE && root->patient;
        note->learns = root->learns;
        note->preload = kept_preload(root);
        memcpy(note->options, root->options, sizeof(note->options));
        memcpy(note->validated, root->validated, sizeof(note->validated));
        strcpy(note->executable, root->executable);
        kept_note_touch(root);
}

void kept_note_touch(const Root *root) {
        KeptNote *note = root->image.state.note;

        note->last_attach = root->last_attach;
        note->attaches = root->attaches;
}

void kept_add(const ImageFile *file) {
        const int fds[] = { file->fd, file->state_fd };
        char name[NAME_MAX_SIZE];

        if (!manager_is_there())
                return;
        kept_name(file, name);
        manager_keep(name, fds, ELEMENTSOF(fds));
}

void kept_remove(const ImageFile *file) {
        char name[NAME_MAX_SIZE];

        if (!manager_is_there())
                return;
        kept_name(file, name);
        manager_drop(name);
}

/* ---- coming back ---- */

/* Return: NULL, or why the note is of no use. */
static const char *note_check(const Staleness *state, const KeptNote **ret_note) {
        const KeptNote *note = state->note;
        uint32_t size = state->header->note_size;

        if (size <= sizeof(*note) || note->version != KEPT_NOTE_VERSION)
                return "it was kept by another version of the daemon";
        if (!memchr(note->executable, '\0', size - sizeof(*note)) ||
            !memchr(note->options, '\0', sizeof(note->options)) ||
            !memchr(note->validated, '\0', sizeof(note->validated)) || note->validate >= _VALIDATE_N)
                return "what is noted of it makes no sense";
        *ret_note = note;
        return NULL;
}

/* The image's own word for what it is of; its builder's user is checked once the owner is known. */
static int image_take(Kept *kept, ImageFile *ret_file, const char **ret_reason) {
        ImageExpected expected = { .any = true };

        return image_file_open_consume(steal_fd(&kept->image_fd), &expected, ret_file, ret_reason);
}

/* Return: 0, IMAGE_FILE_E_REFUSED, or a negative errno. */
static int state_look(const Kept *kept, const Image *image, Staleness *ret_state, const KeptNote **ret_note,
                      const char **ret_reason) {
        const ImageHeader *header = image->header;
        int r;

        r = staleness_map(kept->state_fd, header->generation, header->directory_count, header->entry_count,
                          ret_state);
        if (r < 0)
                return r;
        *ret_reason = r > 0                                ? "its state is of another image or version"
                      : staleness_is_superseded(ret_state) ? "there was a newer one"
                                                           : note_check(ret_state, ret_note);
        return *ret_reason ? IMAGE_FILE_E_REFUSED : 0;
}

static bool executable_is_gone(const char *path) {
        return access(path, X_OK) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* Return: 0, IMAGE_FILE_E_REFUSED, or a negative errno. */
static int kept_take(Store *store, Kept *kept, ImageFile *file, const char **ret_reason) {
        _cleanup_(staleness_done) Staleness state = { 0 };
        const KeptNote *note;
        int r;

        if (kept->n != 2 || kept->image_fd < 0 || kept->state_fd < 0) {
                *ret_reason = "not an image and its state";
                return IMAGE_FILE_E_REFUSED;
        }
        r = image_take(kept, file, ret_reason);
        if (r)
                return r;
        r = state_look(kept, &file->image, &state, &note, ret_reason);
        if (r)
                return r;
        r = linger_open(kept->state_fd);
        file->former_fd = r < 0 ? -1 : r;
        if (file->owner != store_builder_uid(store, note->owner))
                *ret_reason = "it was made by another user than would make it now";
        else if (executable_is_gone(note->executable))
                *ret_reason = "its interpreter is gone";
        if (*ret_reason)
                return IMAGE_FILE_E_REFUSED;
        manager_drop(kept->name); /* another state will be kept with it, under the same name */
        return store_adopt(store, file, &state, note, ret_reason);
}

static void kept_forget(const Kept *kept, const char *root, const char *reason) {
        log_about(&(LogAbout){ .root = root, .reason = reason }, LOG_LEVEL_NOTICE,
                  "kept by the service manager as '%s'%s%s: dropped: %s", kept->name, root ? ", of " : "",
                  root ?: "", reason);
        manager_drop(kept->name);
}

static void kept_try(Store *store, Kept *kept) {
        _cleanup_(image_file_done) ImageFile file = IMAGE_FILE_NONE;
        const char *reason = NULL;
        int r;

        r = kept_take(store, kept, &file, &reason);
        if (r)
                kept_forget(kept,
                            file.image.header ? image_string(&file.image, file.image.header->root_path, NULL)
                                              : NULL,
                            r < 0 ? strerror(-r) : reason);
        fd_close(kept->image_fd);
        fd_close(kept->state_fd);
}

/* All that is handed over under the name of fds[from], which is taken. */
static Kept kept_gather(ManagerFds *fds, size_t from) {
        Kept kept = { .name = fds->fds[from].name, .image_fd = -1, .state_fd = -1 };

        for (size_t i = from; i < fds->n; i++) {
                ManagerFd *handed = &fds->fds[i];
                MemfdInfo info;
                int *place;

                if (handed->fd < 0 || strcmp(handed->name, kept.name) != 0)
                        continue;
                kept.n++;
                place = memfd_check(handed->fd, 0, &info) == 0 ? &kept.image_fd : &kept.state_fd;
                if (*place < 0)
                        *place = steal_fd(&handed->fd);
                else
                        handed->fd = fd_close(handed->fd);
        }
        return kept;
}

size_t kept_restore(Store *store, ManagerFds *fds) {
        for (size_t i = 0; i < fds->n; i++)
                if (fds->fds[i].fd >= 0) {
                        Kept kept = kept_gather(fds, i);

                        kept_try(store, &kept);
                }
        manager_fds_done(fds);
        (void)store_make_room(store, NULL, 0);
        return store_status(store)->images;
}
