/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kept.h"
#include "paths.h"
#include "recheck.h"
#include "root_parts.h"
#include "store.h"
#include "util.h"

/* Watch again what an image from before a restart depends on, and mark what has changed. Return: NULL, or why it
 * cannot be served. */
static const char *root_recheck(Root *root, ImageFile *file) {
        Recheck recheck = {
                .image = &file->image,
                .image_fd = file->fd,
                .staleness = &file->state,
                .watch = root_watch_directory,
                .userdata = root,
        };
        _cleanup_close_ int fd = -1;
        int r;

        r = root->validate == VALIDATE_NEVER ? 0 : recheck_is_needed(&file->image);
        if (r <= 0)
                return r < 0 ? strerror(-r) : NULL;
        fd = root_reopen(root);
        if (fd < 0)
                return fd == -ESTALE ? "another directory is at its path" : strerror(-fd);
        recheck.root_fd = fd;
        r = recheck_run(&recheck);
        if (r == RECHECK_E_UNSEEN)
                return "its directories cannot be watched any more";
        if (r == RECHECK_E_IMAGE)
                return "it lies about its records";
        return r < 0 ? strerror(-r) : NULL;
}

int root_adopt(Root *root, ImageFile *file, const Staleness *state, const KeptNote *note,
               const char **ret_reason) {
        Store *store = root->store;
        int r;

        r = root_configure(root);
        if (r < 0)
                return r;
        if (root->validate != (Validate)note->validate || kept_preload(root) != note->preload) {
                *ret_reason = "Validate= or Preload= has been changed";
                return IMAGE_FILE_E_REFUSED;
        }
        r = root_set_executable(root, note->executable, strlen(note->executable), note->options);
        if (r >= 0)
                r = image_file_vouch(file, kept_note_size(root));
        if (r < 0)
                return r;
        staleness_copy(&file->state, state);
        *ret_reason = root_recheck(root, file);
        if (*ret_reason)
                return IMAGE_FILE_E_REFUSED;
        watch_drain(store_watch(store));
        change_log_replay(&root->changes, &file->image, &file->state);
        change_log_clear(&root->changes);
        root->image = *file;
        *file = IMAGE_FILE_NONE;
        watch_set_move(&root->watched, &root->watching);
        store_account(store, &root->image, root->user);
        store_set_generation(store, root, root->image.image.header->generation);
        root->texts_when_whole = note->texts_when_whole;
        root->declined = note->declined;
        root->is_public = paths_are_public(root_path(root));
        root->learns = note->learns;
        if (root->learns) /* without memory it is only learnt again */
                (void)wanted_add_image(&root->wanted, &root->image.image, (uint64_t)time(NULL));
        root->built_ms = note->built_ms;
        root->built_at = note->built_at;
        root->last_attach = note->last_attach;
        root->attaches = note->attaches;
        memcpy(root->validated, note->validated, sizeof(root->validated));
        if (staleness_count(&root->image.state)) {
                snprintf(root->reason, sizeof(root->reason), "changed before the daemon was started again");
                root_enter(root, ROOT_STALE);
        } else if (note->patient) {
                root_enter_stale_patiently(root, AGAIN_PAUSE_MS);
        } else {
                root_enter(root, ROOT_SERVED);
        }
        kept_note_write(root);
        kept_add(&root->image);
        return 0;
}
