/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "root_parts.h"
#include "store.h"

/* What processes ask for first is built at once. What others ask for later waits, the longer the more often that has
 * happened of late: one build does for many. */
#define SUPPLEMENT_PAUSE_MS 100
#define SUPPLEMENT_DOUBLINGS_MAX 9
#define SUPPLEMENT_FORGOTTEN_MS 120000

int root_configure(Root *root) {
        const Config *config = store_config(root->store);
        Validate validate = config_validate(config, root_path(root));
        const char *words = config_preload(config, root_path(root));
        char *preload;

        /* an image that is only supplemented stays what it is */
        if (validate != root->validate || !root->preload || strcmp(words, root->preload) != 0)
                root->supplement = false;
        preload = strdup(words);
        if (!preload)
                return -ENOMEM;
        free(root->preload);
        root->preload = preload;
        root->validate = validate;
        return 0;
}

void root_check_preload(Root *root) {
        const char *preload = config_preload(store_config(root->store), root_path(root));

        if (root->state != ROOT_SERVED || strcmp(preload, root->preload) == 0)
                return;
        snprintf(root->reason, sizeof(root->reason), "Preload= has been changed");
        root_enter_stale_patiently(root, STALE_PAUSE_MS);
}

void root_enter_supplement(Root *root) {
        uint64_t now = store_now(root->store);

        if (now > root->supplement_at + SUPPLEMENT_FORGOTTEN_MS)
                root->supplements = 0;
        snprintf(root->reason, sizeof(root->reason), "processes have asked for %zu modules more",
                 root->wanted.n_new);
        root_enter_stale_patiently(
                root, root_pause(SUPPLEMENT_PAUSE_MS, root->supplements++, SUPPLEMENT_DOUBLINGS_MAX));
        root->supplement_at = root->due;
        root->supplement = true;
}

void root_want(Root *root, uid_t uid, const ProtobufCBinaryData *names, size_t n) {
        uint64_t now = (uint64_t)time(NULL);

        if (!root->learns || !root_is_served(root))
                return;
        for (size_t i = 0; i < n && i < ROOT_WANTED_MAX; i++)
                if (wanted_add(&root->wanted, &root->image.image, uid, names[i].data, names[i].len, now) < 0)
                        return;
        if (root->wanted.n_new && root->state == ROOT_SERVED)
                root_enter_supplement(root);
}
