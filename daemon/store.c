/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "allowance.h"
#include "filesystem.h"
#include "identity.h"
#include "kept.h"
#include "linger.h"
#include "log.h"
#include "store.h"
#include "util.h"

/* A root that is due while the queue is full. */
#define QUEUE_FULL_PAUSE_MS 1000

/* How often to look whether what lingers has gone. Whoever wants to know looks at once. */
#define SWEEP_MS 60000

/* A report names as many generations as it likes: what is found by walking is a few of them, and not all. */
#define GENERATIONS 1024

struct Store {
        uv_loop_t *loop;
        uv_timer_t timer; /* until the next stale root is due */
        uv_timer_t sweep; /* runs while something lingers, or there is no room */
        unsigned open_handles;
        Watch *watch;
        Queue *queue;
        Users *users;
        User *own; /* for what nobody asks for */
        const Config *config;
        const char *client_path;
        void *tree; /* tsearch(3) tree of Root */
        List roots;
        List generations[GENERATIONS]; /* the roots that have an image, by its generation */
        size_t n_roots, n_images;
        uint64_t memory; /* of the images that are handed out */
        WantedTotal wanted_total;
        Lingers lingers;
        uint64_t wanted; /* the least that there was no room for */
        uint64_t generation;
        Allowances allowances; /* for patterns */
        bool leaving;          /* the service manager keeps the images for the next daemon */
        StoreStatus status;
        char roots_text[96], builds_text[96]; /* why a user is refused */
};

struct StoreEmployer {
        Store *store;
        User *user;
};

static void on_due(uv_timer_t *timer);
static void on_sweep(uv_timer_t *timer);

static int root_compare(const void *a, const void *b) {
        const RootKey *left = &((const Root *)a)->key, *right = &((const Root *)b)->key;
        int r;

        if (left->ino != right->ino)
                return left->ino < right->ino ? -1 : 1;
        if (left->dev != right->dev)
                return left->dev < right->dev ? -1 : 1;
        if (left->tag_size != right->tag_size)
                return left->tag_size < right->tag_size ? -1 : 1;
        if (left->path_size != right->path_size)
                return left->path_size < right->path_size ? -1 : 1;
        r = memcmp(left->tag, right->tag, left->tag_size);
        return r ? r : memcmp(left->path, right->path, left->path_size);
}

int store_new(uv_loop_t *loop, Watch *watch, Queue *queue, Users *users, const Config *config,
              const char *client_path, Store **ret_store) {
        Store *store = calloc(1, sizeof(*store));

        if (!store || users_get(users, geteuid(), &store->own) < 0) {
                free(store);
                return -ENOMEM;
        }
        store->users = users;
        store->loop = loop;
        store->watch = watch;
        store->queue = queue;
        store->config = config;
        store->client_path = client_path;
        list_init(&store->roots);
        for (size_t i = 0; i < GENERATIONS; i++)
                list_init(&store->generations[i]);
        lingers_init(&store->lingers, users);
        uv_timer_init(loop, &store->timer);
        uv_timer_init(loop, &store->sweep);
        store->timer.data = store->sweep.data = store;
        store->open_handles = 2;
        *ret_store = store;
        return 0;
}

static void on_close(uv_handle_t *handle) {
        Store *store = handle->data;

        if (--store->open_handles)
                return;
        users_put(store->users, store->own);
        free(store);
}

Store *store_free(Store *store) {
        if (!store)
                return NULL;
        store_drop(store);
        lingers_clear(&store->lingers);
        uv_close((uv_handle_t *)&store->timer, on_close);
        uv_close((uv_handle_t *)&store->sweep, on_close);
        return NULL;
}

uv_loop_t *store_loop(const Store *store) {
        return store->loop;
}

uint64_t store_now(const Store *store) {
        return uv_now(store->loop);
}

Watch *store_watch(const Store *store) {
        return store->watch;
}

Queue *store_queue(const Store *store) {
        return store->queue;
}

Users *store_users(const Store *store) {
        return store->users;
}

const Config *store_config(const Store *store) {
        return store->config;
}

const char *store_client_path(const Store *store) {
        return store->client_path;
}

WantedTotal *store_wanted_total(Store *store) {
        return &store->wanted_total;
}

const List *store_roots(const Store *store) {
        return &store->roots;
}

uint64_t store_next_generation(Store *store) {
        return ++store->generation;
}

uid_t store_builder_uid(const Store *store, uid_t owner) {
        return store->config->system ? owner : geteuid();
}

void store_account(Store *store, ImageFile *image, User *user) {
        image->user = user_hold(user);
        user->memory += image->image.size;
        store->memory += image->image.size;
        store->n_images++;
}

static void store_watch_lingering(Store *store) {
        if (!uv_is_active((uv_handle_t *)&store->sweep) && (store->lingers.n || store->status.full))
                uv_timer_start(&store->sweep, on_sweep, SWEEP_MS, 0);
}

void store_withdraw(Store *store, ImageFile *image) {
        if (image->fd < 0)
                return;
        store->memory -= image->image.size;
        store->n_images--;
        if (!store->leaving && image_file_is_mapped(image)) {
                lingers_add_consume(&store->lingers, steal_fd(&image->handed_fd), steal_fd(&image->former_fd),
                                    image->image.size, steal_pointer(&image->user));
                store_watch_lingering(store);
        } else {
                image->user->memory -= image->image.size;
                image->user = users_put(store->users, image->user);
        }
        if (store->leaving) {
                image_file_leave(image);
                return;
        }
        kept_remove(image);
        image_file_done(image);
}

void store_count_build(Store *store, const Root *root, bool built) {
        if (built) {
                store->status.builds++;
                return;
        }
        store->status.builds_failed++;
        snprintf(store->status.last_error, sizeof(store->status.last_error), "%s: %s",
                 (const char *)root->key.path, root->reason);
}

StoreEmployer *store_employ(Store *store, User *user) {
        StoreEmployer *employer = malloc(sizeof(*employer));

        if (employer)
                *employer = (StoreEmployer){ .store = store, .user = user_hold(user) };
        return employer;
}

void store_dismiss(StoreEmployer *employer) {
        users_put(employer->store->users, employer->user);
        free(employer);
}

void store_builder_gone(void *userdata) {
        StoreEmployer *employer = userdata;
        Queue *queue = employer->store->queue;
        User *user = employer->user;

        queue_leave(queue, user); /* which may end the daemon: so it is held until then */
        store_dismiss(employer);
}

Root *store_find(Store *store, const RootKey *key) {
        Root wanted = { .key = *key };
        Root **found = tfind(&wanted, &store->tree, root_compare);

        return found ? *found : NULL;
}

void store_set_generation(Store *store, Root *root, uint64_t generation) {
        root->generation = generation;
        list_unlink(&root->same_generation);
        list_append(&store->generations[generation % GENERATIONS], &root->same_generation);
}

/* Return: the root whose image is of that generation, or NULL. */
static Root *store_find_generation(const Store *store, uint64_t generation) {
        list_for_each(link, &store->generations[generation % GENERATIONS]) {
                Root *root = list_entry(link, Root, same_generation);

                if (root->generation == generation)
                        return root;
        }
        return NULL;
}

void store_outdated(Store *store, uint64_t generation) {
        Root *root = store_find_generation(store, generation);

        if (root)
                root_outdated(root);
}

void store_learn(Store *store, uid_t uid, Shimport__Pattern *const *patterns, size_t n) {
        Root *root = NULL;
        PatternNews news;

        for (size_t i = 0; i < n; i++) {
                if (!root || root->generation != patterns[i]->generation)
                        root = store_find_generation(store, patterns[i]->generation);
                news = root ? root_look_pattern(root, patterns[i]) : PATTERN_KNOWN;
                if (news == PATTERN_KNOWN)
                        continue;
                if (!allowance_take(&store->allowances, uid, news == PATTERN_SEEN ? patterns[i]->text.len : 0,
                                    uv_now(store->loop)))
                        return;
                root_add_pattern(root, patterns[i], news);
        }
}

void store_want(Store *store, const RootKey *key, uid_t uid, const ProtobufCBinaryData *names, size_t n) {
        Root *root = store_find(store, key);

        if (root)
                root_want(root, uid, names, n);
}

static void store_remove(Store *store, Root *root) {
        tdelete(root, &store->tree, root_compare);
        list_unlink(&root->link);
        store->n_roots--;
        root_free(root);
}

void store_drop(Store *store) {
        list_for_each(link, &store->roots) {
                store_remove(store, list_entry(link, Root, link));
        }
}

void store_leave(Store *store) {
        store->leaving = manager_is_there();
        store_drop(store);
}

void store_reconfigure(Store *store, const char *client_path) {
        store->client_path = client_path;
        list_for_each(link, &store->roots) {
                root_reconfigure(list_entry(link, Root, link));
        }
        store_make_room(store, NULL, 0);
        store_watch_lingering(store);
}

/* Would an image more fit, if `freed` bytes of the others went? */
static bool store_fits(const Store *store, uint64_t size, uint64_t freed) {
        uint64_t taken = store->memory + store->lingers.memory;

        taken -= freed < taken ? freed : taken;
        return size <= store->config->memory_max && taken <= store->config->memory_max - size;
}

static void store_set_full(Store *store, bool full, uint64_t wanted) {
        StoreStatus *status = &store->status;
        uint64_t taken = store->memory + store->lingers.memory;

        if (full) {
                snprintf(status->full_reason, sizeof(status->full_reason),
                         "processes have mapped %llu bytes of images, and MemoryMax= is %llu",
                         (unsigned long long)taken, (unsigned long long)store->config->memory_max);
                store->wanted = status->full && store->wanted < wanted ? store->wanted : wanted;
        }
        if (full == status->full)
                return;
        status->full = full;
        if (full) {
                log_error("FULL: %s: what is not served by now is left to stock until some of them end",
                          status->full_reason);
        } else {
                log_notice("there is room for images again");
                list_for_each(link, &store->roots) {
                        root_retry(list_entry(link, Root, link));
                }
        }
        store_watch_lingering(store);
}

bool store_make_room(Store *store, Root *root, uint64_t size) {
        bool replaces = root && root_is_served(root);
        uint64_t freed = replaces && !image_file_is_mapped(&root->image) ? root_size(root) : 0;
        bool fits;

        lingers_sweep(&store->lingers);
        list_for_each(link, &store->roots) {
                Root *other = list_entry(link, Root, link);

                if (store_fits(store, size, freed) &&
                    store->n_images + (size && !replaces) <= STORE_IMAGES_MAX)
                        break;
                if (other != root && root_is_served(other) && !image_file_is_mapped(&other->image))
                        root_evict(other, "MemoryMax=", store->config->memory_max);
        }
        fits = store_fits(store, size, freed) && store->n_images + (size && !replaces) <= STORE_IMAGES_MAX &&
               store->lingers.n < LINGERS_MAX;
        if (!fits)
                store_set_full(store, true, size);
        return fits;
}

uint64_t store_user_memory_max(const Store *store) {
        const Config *config = store->config;

        return config->memory_max_per_user ? config->memory_max_per_user : config->memory_max / 2;
}

bool store_make_user_room(Store *store, Root *root, uint64_t size) {
        User *user = root->user;
        uint64_t most = store_user_memory_max(store);
        uint64_t freed = 0;

        if (!user_is_limited(user) || user->memory + size <= most)
                return true;
        lingers_sweep(&store->lingers);
        if (root_is_served(root) && !image_file_is_mapped(&root->image))
                freed = root_size(root);
        list_for_each(link, &store->roots) {
                Root *other = list_entry(link, Root, link);

                if (user->memory - freed + size <= most)
                        break;
                if (other != root && other->user == user && root_is_served(other) &&
                    !image_file_is_mapped(&other->image))
                        root_evict(other, "MemoryMaxPerUser=", most);
        }
        return user->memory - freed + size <= most;
}

/* What lingered may have gone, and what is mapped may be no more. */
static void store_look_again(Store *store) {
        uint64_t free_to_go = 0;

        lingers_sweep(&store->lingers);
        if (!store->status.full)
                return;
        list_for_each(link, &store->roots) {
                Root *root = list_entry(link, Root, link);

                if (root_is_served(root) && !image_file_is_mapped(&root->image))
                        free_to_go += root_size(root);
        }
        if (store_fits(store, store->wanted, free_to_go) && store->lingers.n < LINGERS_MAX)
                store_set_full(store, false, 0);
}

static void on_sweep(uv_timer_t *timer) {
        Store *store = timer->data;

        store_look_again(store);
        store_watch_lingering(store);
}

const StoreStatus *store_status(Store *store) {
        store_look_again(store);
        store->status.memory = store->memory + store->lingers.memory;
        store->status.memory_lingering = store->lingers.memory;
        store->status.images = store->n_images;
        store->status.lingering = store->lingers.n;
        return &store->status;
}

/* Make a record less, of those that cost nothing to make again, and of this user's if there is one. Return: whether
 * there was one. */
static bool store_forget_one(Store *store, const User *user) {
        list_for_each(link, &store->roots) {
                Root *root = list_entry(link, Root, link);

                if ((!user || root->user == user) &&
                    (root->state == ROOT_SEEN || root->state == ROOT_FAILED)) {
                        store_remove(store, root);
                        return true;
                }
        }
        return false;
}

static int store_add(Store *store, const RootKey *key, uid_t owner, User *user, Root **ret_root) {
        Root *root;
        int r;

        r = root_new(store, key, owner, user, &root);
        if (r < 0)
                return r;
        if (!tsearch(root, &store->tree, root_compare)) {
                root_free(root);
                return -ENOMEM;
        }
        list_append(&store->roots, &root->link);
        store->n_roots++;
        *ret_root = root;
        return 0;
}

void store_schedule(Store *store, const Root *root) {
        uint64_t now = uv_now(store->loop);
        uint64_t pause = root->due > now ? root->due - now : 0;

        if (!uv_is_active((uv_handle_t *)&store->timer) || uv_timer_get_due_in(&store->timer) > pause)
                uv_timer_start(&store->timer, on_due, pause, 0);
}

/* The pause of a stale root is over. Return: false if there is nothing more to do for it. */
static bool store_build_again(Store *store, Root *root) {
        int fd;

        if (!queue_has_room(store->queue, root->user)) {
                root->due = uv_now(store->loop) + QUEUE_FULL_PAUSE_MS;
                return true;
        }
        fd = root_reopen(root);
        if (fd < 0) { /* the next attach brings what is there now */
                log_about(&(LogAbout){ .root = root->key.path, .image = root->generation }, LOG_LEVEL_NOTICE,
                          "%s: withdrawn: %s", (const char *)root->key.path, strerror(-fd));
                store_remove(store, root);
                return false;
        }
        if (root_build_consume(root, fd, root->user) != 0) {
                root->due = uv_now(store->loop) + QUEUE_FULL_PAUSE_MS;
                return true;
        }
        return false;
}

static void on_due(uv_timer_t *timer) {
        Store *store = timer->data;

        list_for_each(link, &store->roots) {
                Root *root = list_entry(link, Root, link);

                if ((root->state == ROOT_STALE || root->lesson_due) &&
                    (root->due > uv_now(store->loop) || store_build_again(store, root)))
                        store_schedule(store, root);
        }
}

/* May this be built at all? Return: NULL, or why not. */
static const char *store_refusal(const Store *store, const StoreQuestion *question) {
        if (!identity_is_known(question->owner))
                return "the directory's owner has no number in the daemon's user namespace";
        if (!store->config->system && question->owner != 0 && question->owner != geteuid())
                return "the directory belongs to another user, and this daemon runs for one";
        if (filesystem_is_pseudo(question->fd))
                return "it is on a file system of the kernel's own, where no modules are";
        if (!question->executable_size)
                return "there is no image, and no interpreter was named to build one with";
        return NULL;
}

/* Is it time to build what is not served? */
static bool store_wants_build(const Store *store, const Root *root, const StoreQuestion *question) {
        switch (root->state) {
        case ROOT_SEEN:
        case ROOT_REFUSED:
                return true;
        case ROOT_FAILED: /* with another interpreter it may go well: nobody can spoil a root for others */
                return question->asking == STORE_WARM || uv_now(store->loop) >= root->due ||
                       !root_executable_is(root, question->executable, question->executable_size);
        case ROOT_STALE:
                return question->asking == STORE_WARM;
        case ROOT_SERVED: /* programs for patterns that have been reported meanwhile */
                return question->asking == STORE_WARM && patterns_are_waiting(&root->patterns);
        case ROOT_BUILDING:
        case ROOT_REBUILDING:
                return false;
        }
        return false;
}

static int store_build(Store *store, Root *root, const StoreQuestion *question, StoreAnswer *answer) {
        int fd, r;

        if (!root_executable_is(root, question->executable, question->executable_size)) {
                r = root_set_executable(root, question->executable, question->executable_size,
                                        question->options);
                if (r < 0)
                        return r;
        }
        fd = syscalls_dup(question->fd);
        if (fd < 0)
                return fd;
        r = root_build_consume(root, fd, question->user);
        if (r == QUEUE_E_FULL)
                answer->reason = "too many builds wait";
        if (r == QUEUE_E_USER) {
                snprintf(store->builds_text, sizeof(store->builds_text),
                         "too many builds of this user wait: MaxQueuedPerUser= is %llu",
                         (unsigned long long)store->config->max_queued_per_user);
                answer->reason = store->builds_text;
                answer->limited = true;
        }
        answer->state = root->state;
        return 0;
}

int store_adopt(Store *store, ImageFile *file, const Staleness *state, const KeptNote *note,
                const char **ret_reason) {
        const ImageHeader *header = file->image.header;
        RootKey key = { .dev = header->root_dev, .ino = header->root_ino };
        Root *root;
        int r;

        key.path = image_string(&file->image, header->root_path, &key.path_size);
        key.tag = image_string(&file->image, header->tag, &key.tag_size);
        if (!key.path || *(const char *)key.path != '/' || !key.tag || store_find(store, &key)) {
                *ret_reason = "it is of no root, or not the only one";
                return IMAGE_FILE_E_REFUSED;
        }
        r = store_add(store, &key, note->owner, store->own, &root);
        if (r < 0)
                return r;
        if (store->generation < header->generation)
                store->generation = header->generation;
        r = root_adopt(root, file, state, note, ret_reason);
        if (r)
                store_remove(store, root);
        return r;
}

static void store_touch(Store *store, Root *root) {
        root->attaches++;
        root->last_attach = (uint64_t)time(NULL);
        kept_note_touch(root);
        list_unlink(&root->link);
        list_append(&store->roots, &root->link);
}

/* May there be another root of this user? */
static bool store_lets_add(Store *store, const User *user, const char **ret_reason) {
        if (user_is_limited(user) && user->roots >= store->config->max_roots_per_user &&
            !store_forget_one(store, user)) {
                snprintf(store->roots_text, sizeof(store->roots_text),
                         "too many roots of this user: MaxRootsPerUser= is %llu",
                         (unsigned long long)store->config->max_roots_per_user);
                *ret_reason = store->roots_text;
                return false;
        }
        if (store->n_roots >= STORE_ROOTS_MAX && !store_forget_one(store, NULL)) {
                *ret_reason = "too many roots";
                return false;
        }
        return true;
}

int store_ask(Store *store, const StoreQuestion *question, StoreAnswer *ret_answer) {
        StoreAnswer answer = { .state = ROOT_REFUSED };
        bool is_new = false;
        int r;

        answer.root = store_find(store, &question->key);
        if (!answer.root) {
                answer.reason = store_refusal(store, question);
                if (!answer.reason)
                        answer.limited = !store_lets_add(store, question->user, &answer.reason);
                if (answer.reason) {
                        *ret_answer = answer;
                        return 0;
                }
                r = store_add(store, &question->key, question->owner, question->user, &answer.root);
                if (r < 0)
                        return r;
                is_new = true;
        }
        answer.state = answer.root->state;
        answer.reason = answer.root->reason;
        root_hurry(answer.root, question->user);
        if (root_is_served(answer.root) && question->asking != STORE_WARM)
                store_touch(store, answer.root);
        if (!(is_new && question->asking == STORE_LATE) && store_wants_build(store, answer.root, question) &&
            !store_refusal(store, question)) {
                r = store_build(store, answer.root, question, &answer);
                if (r < 0)
                        return r;
        }
        *ret_answer = answer;
        return 0;
}
