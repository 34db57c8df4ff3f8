/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "filesystem.h"
#include "kept.h"
#include "log.h"
#include "paths.h"
#include "root_parts.h"
#include "store.h"
#include "util.h"

/* A process that finds something changed by stat makes us build again. Where that does not help, because the builder
 * sees other files than the process does, or because the process lies, the pause is doubled. */
#define OUTDATED_DOUBLINGS_MAX 3
#define OUTDATED_FORGOTTEN_MS 60000

/* Likewise for builds that fail. */
#define FAILED_PAUSE_MS 10000
#define FAILED_DOUBLINGS_MAX 8

/* An image keeps the texts of what it has taken over from, used or not: beyond this, and twice what there was, it is
 * built from nothing again. */
#define TEXTS_SLACK (1u << 20)

static const BuilderEvents root_builder_events;
static bool root_start(QueueTicket *ticket);

static Root *root_of_ticket(QueueTicket *ticket) {
        return list_entry(ticket, Root, ticket);
}

Shimport__RootState root_told_state(const Root *root) {
        if (root->state != ROOT_REBUILDING)
                return (Shimport__RootState)root->state;
        return root->builds_lesson ? SHIMPORT__ROOT_STATE__SERVED : SHIMPORT__ROOT_STATE__STALE;
}

static void root_settle(Root *root, bool served) {
        List *link;

        while ((link = list_first(&root->waiters))) {
                RootWaiter *waiter = list_entry(link, RootWaiter, link);

                list_unlink(link);
                waiter->settled(waiter, served, root->reason);
        }
}

void root_enter(Root *root, RootState state) {
        uint64_t now = store_now(root->store);

        root->state = state;
        root->lesson_due = false;
        switch (state) {
        case ROOT_SEEN:
        case ROOT_REFUSED:
                break;
        case ROOT_BUILDING:
                *root->reason = '\0';
                break;
        case ROOT_REBUILDING:
                break;
        case ROOT_SERVED:
                root->restless = 0;
                *root->reason = '\0';
                root_learn(root);
                break;
        case ROOT_STALE:
                if (root->failures)
                        root->due =
                                now + root_pause(FAILED_PAUSE_MS, root->failures - 1, FAILED_DOUBLINGS_MAX);
                else
                        root->due = now + root_pause(STALE_PAUSE_MS, root->restless, STALE_DOUBLINGS_MAX);
                root->patient = root->supplement = false;
                store_schedule(root->store, root);
                break;
        case ROOT_FAILED:
                root->due = now + root_pause(FAILED_PAUSE_MS, root->failures - 1, FAILED_DOUBLINGS_MAX);
                break;
        }
}

/* Whoever may write to it can make it fail. */
static LogAbout root_about(const Root *root) {
        return (LogAbout){
                .root = root_path(root),
                .interpreter = root->executable,
                .image = root->generation,
                .has_uid = true,
                .uid = root->owner,
        };
}

__attribute__((format(printf, 2, 3))) static void root_fail(Root *root, const char *format, ...) {
        LogAbout about = root_about(root);
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(root->reason, sizeof(root->reason), format, arguments);
        va_end(arguments);
        about.reason = root->reason;
        log_peer(&about, "%s: not built: %s", root_path(root),
                 root->reason); /* who asks for what must fail */
        store_count_build(root->store, root, false);
        watch_set_clear(&root->watching);
        root->failures++;
        root_enter(root, root_is_served(root) ? ROOT_STALE : ROOT_FAILED);
        root_settle(root, false);
}

void root_enter_stale_patiently(Root *root, uint64_t pause) {
        root_enter(root, ROOT_STALE);
        root->due = store_now(root->store) + pause;
        root->patient = true;
}

void root_outdated(Root *root) {
        uint64_t now = store_now(root->store);

        if (root->state != ROOT_SERVED)
                return;
        if (now - root->outdated_at > OUTDATED_FORGOTTEN_MS)
                root->outdated = 0;
        root->outdated_at = now;
        snprintf(root->reason, sizeof(root->reason), "a process found a change by stat");
        root_enter_stale_patiently(root,
                                   root_pause(AGAIN_PAUSE_MS, root->outdated++, OUTDATED_DOUBLINGS_MAX));
}

void root_reconfigure(Root *root) {
        static const WatchEvent everything = { .directory = "", .name = "", .mask = IN_Q_OVERFLOW };
        Validate validate = config_validate(store_config(root->store), root_path(root));

        root_check_preload(root);
        if (validate == root->validate)
                return;
        if (root->builder) /* what comes of it is of no more use than the image there is */
                change_log_add(&root->changes, &everything);
        else if (root->state == ROOT_BUILDING || root->state == ROOT_REBUILDING)
                root->validate = validate;
        if (!root_is_served(root))
                return;
        staleness_mark_all(&root->image.state);
        if (root->state != ROOT_SERVED && !(root->state == ROOT_STALE && root->patient))
                return;
        snprintf(root->reason, sizeof(root->reason), "Validate= has been changed");
        root_enter(root, ROOT_STALE);
}

static void on_watched(WatchSet *set, const WatchEvent *event) {
        Root *root = list_entry(set, Root, watched);

        if (!root_is_served(root)) /* an overflow is told to all */
                return;
        change_mark(event, &root->image.image, &root->image.state);
        if (root->state != ROOT_SERVED && !(root->state == ROOT_STALE && root->patient))
                return;
        change_describe(event, root->reason, sizeof(root->reason));
        root_enter(root, ROOT_STALE);
}

static void on_watching(WatchSet *set, const WatchEvent *event) {
        Root *root = list_entry(set, Root, watching);

        if (change_log_is_empty(&root->changes))
                change_describe(event, root->reason, sizeof(root->reason));
        change_log_add(&root->changes, event);
}

static char *bytes_dup(const void *bytes, size_t size) {
        char *copy = malloc(size + 1);

        if (copy) {
                memcpy(copy, bytes, size);
                copy[size] = '\0';
        }
        return copy;
}

int root_new(Store *store, const RootKey *key, uid_t owner, User *user, Root **ret_root) {
        _cleanup_free_ Root *root = calloc(1, sizeof(*root));
        _cleanup_free_ char *path = bytes_dup(key->path, key->path_size);
        _cleanup_free_ char *tag = bytes_dup(key->tag, key->tag_size);

        if (!root || !path || !tag)
                return -ENOMEM;
        *root = (Root){
                .store = store,
                .key = *key,
                .owner = owner,
                .user = user_hold(user),
                .state = ROOT_SEEN,
                .fd = -1,
        };
        user->roots++;
        root->key.path = steal_pointer(&path);
        root->key.tag = steal_pointer(&tag);
        root->image = IMAGE_FILE_NONE;
        wanted_init(&root->wanted, store_wanted_total(store));
        list_init(&root->link);
        list_init(&root->same_generation);
        list_init(&root->waiters);
        patterns_init(&root->patterns);
        queue_ticket_init(&root->ticket, user_hold(user), root_start);
        watch_set_init(&root->watched, store_watch(store), on_watched, root->key.path);
        watch_set_init(&root->watching, store_watch(store), on_watching, root->key.path);
        *ret_root = steal_pointer(&root);
        return 0;
}

Root *root_free(Root *root) {
        if (!root)
                return NULL;
        queue_remove(store_queue(root->store), &root->ticket);
        if (root->builder)
                builder_abandon(root->builder);
        snprintf(root->reason, sizeof(root->reason), "it was dropped");
        root_settle(root, false);
        watch_set_done(&root->watched);
        watch_set_done(&root->watching);
        change_log_clear(&root->changes);
        patterns_clear(&root->patterns);
        store_withdraw(root->store, &root->image);
        list_unlink(&root->same_generation);
        root->user->roots--;
        users_put(store_users(root->store), root->user);
        users_put(store_users(root->store), root->ticket.user);
        fd_close(root->fd);
        free((void *)root->key.path);
        free((void *)root->key.tag);
        free(root->executable);
        free(root->preload);
        wanted_clear(&root->wanted);
        free(root);
        return NULL;
}

int root_set_executable(Root *root, const void *executable, size_t size, const char *options) {
        char *copy = bytes_dup(executable, size);

        if (!copy)
                return -ENOMEM;
        free(root->executable);
        root->executable = copy;
        snprintf(root->options, sizeof(root->options), "%s", options);
        return 0;
}

bool root_executable_is(const Root *root, const void *executable, size_t size) {
        return root->executable && strlen(root->executable) == size &&
               memcmp(root->executable, executable, size) == 0;
}

/* A ticket that does not wait. */
static void root_set_turn(Root *root, User *user) {
        User *before = root->ticket.user;

        root->ticket.user = user_hold(user);
        users_put(store_users(root->store), before);
}

int root_build_consume(Root *root, int fd_, User *user) {
        _cleanup_close_ int fd = fd_;
        int r;

        if (root->state == ROOT_SERVED) /* for patterns alone */
                root->supplement = true;
        if (root_configure(root) < 0)
                return QUEUE_E_FULL;

        root_set_turn(root, user);
        r = queue_add(store_queue(root->store), &root->ticket);
        if (r)
                return r;
        root->builds_lesson = root->state == ROOT_SERVED;
        if (root->builds_lesson)
                root_count_lesson(root);
        else if (!root->supplement) /* what was refused may be taken now */
                patterns_forget_given(&root->patterns);
        fd_close(root->fd);
        root->fd = steal_fd(&fd);
        change_log_clear(&root->changes);
        *root->unwatched = '\0';
        root_enter(root, root_is_served(root) ? ROOT_REBUILDING : ROOT_BUILDING);
        return 0;
}

void root_hurry(Root *root, User *user) {
        Queue *queue = store_queue(root->store);
        User *before = root->ticket.user;

        if (!queue_ticket_waits(&root->ticket) || user->waiting >= before->waiting)
                return;
        queue_remove(queue, &root->ticket);
        user_hold(before);
        root_set_turn(root, user);
        if (queue_add(queue, &root->ticket) != 0) {
                root_set_turn(root, before);
                (void)queue_add(queue, &root->ticket); /* where it has just been */
        }
        users_put(store_users(root->store), before);
}

void root_evict(Root *root, const char *limit, uint64_t most) {
        LogAbout about = root_about(root);

        snprintf(root->reason, sizeof(root->reason), "withdrawn: it gave way to others, as %s is %llu", limit,
                 (unsigned long long)most);
        log_about(&about, LOG_LEVEL_WARNING, "%s: %s", root_path(root), root->reason);
        queue_remove(store_queue(root->store), &root->ticket);
        if (root->builder)
                builder_abandon(steal_pointer(&root->builder));
        root->fd = fd_close(root->fd);
        watch_set_clear(&root->watching);
        watch_set_clear(&root->watched);
        change_log_clear(&root->changes);
        store_withdraw(root->store, &root->image);
        root_enter(root, ROOT_FAILED);
        root->due = store_now(root->store);
        if (root->evictions++)
                root->due += root_pause(FAILED_PAUSE_MS, root->evictions - 2, FAILED_DOUBLINGS_MAX);
        root_settle(root, false);
}

void root_retry(Root *root) {
        if (!root->roomless)
                return;
        root->roomless = false;
        root->due = store_now(root->store);
        if (root->state == ROOT_STALE)
                store_schedule(root->store, root);
}

int root_reopen(const Root *root) {
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        fd = syscalls_openat(AT_FDCWD, root_path(root), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return fd;
        r = syscalls_fstat(fd, &st);
        if (r < 0)
                return r;
        if (st.st_dev != root->key.dev || st.st_ino != root->key.ino || st.st_uid != root->owner)
                return -ESTALE;
        return steal_fd(&fd);
}

/* May the next image take over what has not changed? */
static bool root_is_reusable(const Root *root) {
        return root_is_served(root) &&
               root->image.image.header->texts.size <= 2 * root->texts_when_whole + TEXTS_SLACK;
}

static int root_spawn(Root *root, uid_t uid) {
        _cleanup_close_ int wanted_fd = -1;
        bool reuse = root_is_reusable(root);
        StoreEmployer *employer;
        int r = 0;

        root->supplement = root->supplement && reuse && !staleness_count(&root->image.state);
        wanted_forget(&root->wanted, (uint64_t)time(NULL) - WANTED_FORGOTTEN_S);
        if (root->wanted.n)
                r = wanted_write(&root->wanted, &wanted_fd);
        if (r < 0)
                return r;

        BuilderJob job = {
                .executable = root->executable,
                .options = root->options,
                .client_path = store_client_path(root->store),
                .uid = uid,
                .root_fd = root->fd,
                .image_fd = reuse ? root->image.fd : -1,
                .state_fd = reuse ? root->image.state_fd : -1,
                .wanted_fd = wanted_fd,
                .preload = root->preload,
                .preload_max = (uint32_t)store_config(root->store)->preload_max,
                .supplement = root->supplement,
                .validate = root->validate,
                .path = root->key.path,
                .path_size = root->key.path_size,
                .generation = root->build_generation = store_next_generation(root->store),
                .shared = store_config(root->store)->system,
                .timeout_ms = store_config(root->store)->build_timeout * 1000,
        };

        root->builds_whole = !reuse;
        root->build_started = store_now(root->store);
        if (!reuse)
                patterns_forget_given(&root->patterns);
        r = patterns_give(&root->patterns, &job.patterns, &job.n_patterns);
        if (r < 0)
                return r;
        employer = store_employ(root->store, root->ticket.user);
        r = employer ? builder_new(store_loop(root->store), &job, &root_builder_events, root, employer,
                                   &root->builder)
                     : -ENOMEM;
        if (r < 0 && employer)
                store_dismiss(employer);
        patterns_given_free(job.patterns, job.n_patterns);
        return r;
}

/* The queue lets us go ahead. */
static bool root_start(QueueTicket *ticket) {
        Root *root = root_of_ticket(ticket);
        _cleanup_close_ int fd = steal_fd(&root->fd);
        uid_t uid = store_builder_uid(root->store, root->owner);
        int r;

        root->fd = fd;
        r = root_spawn(root, uid);
        root->fd = -1;
        if (r == -ECONNREFUSED) {
                root_fail(root, "nobody builds as uid %u: enable shimport-builder@%u.socket", (unsigned)uid,
                          (unsigned)uid);
                return false;
        }
        if (r < 0) {
                root_fail(root, "cannot start a builder: %s", strerror(-r));
                return false;
        }
        return true;
}

/* The first reason is kept. */
__attribute__((format(printf, 2, 3))) static bool root_is_blind(Root *root, const char *format, ...) {
        va_list arguments;

        if (*root->unwatched)
                return false;
        va_start(arguments, format);
        vsnprintf(root->unwatched, sizeof(root->unwatched), format, arguments);
        va_end(arguments);
        return false;
}

bool root_watch_directory(void *userdata, int fd, const void *path, size_t path_size) {
        Root *root = userdata;
        const char *blindness;
        int r;

        if (root->validate == VALIDATE_NEVER)
                return true;
        if (root->validate == VALIDATE_STAT)
                return root_is_blind(root, "Validate=stat is set");
        blindness = root->validate == VALIDATE_AUTO ? filesystem_blindness(fd) : NULL;
        if (blindness)
                return root_is_blind(root, "%s", blindness);
        r = watch_set_add(&root->watching, fd, path, path_size);
        if (r == 0 && path_size == 0)
                watch_set_add_above(&root->watching, fd);
        if (r == 0)
                return true;
        if (r == WATCH_E_LIMIT)
                return root_is_blind(root, "the limit of %zu watched directories is reached",
                                     watch_limit(store_watch(root->store)));
        if (r == WATCH_E_KERNEL)
                return root_is_blind(root, "the kernel lets this user watch no more directories");
        return root_is_blind(root, "a directory cannot be watched: %s", strerror(-r));
}

static void on_progress(void *userdata, uint32_t done, uint32_t total) {
        Root *root = userdata;

        list_for_each(link, &root->waiters) {
                RootWaiter *waiter = list_entry(link, RootWaiter, link);

                waiter->progress(waiter, done, total);
        }
}

/* The one step: from here on the new image is handed out, and who has the old one learns that there is another. */
static void root_publish(Root *root, ImageFile *file, const BuilderOutcome *outcome) {
        Store *store = root->store;
        ImageFile old = root->image;
        uint64_t texts = file->image.header->texts.size;
        bool changed;
        LogAbout about;

        if (root->builds_whole)
                root->texts_when_whole = texts;
        else if (root->supplement && texts > old.image.header->texts.size) /* it grew by what is in use */
                root->texts_when_whole += texts - old.image.header->texts.size;
        if (root->supplement)
                staleness_copy(&file->state, &old.state);
        change_log_replay(&root->changes, &file->image, &file->state);
        root->image = *file;
        *file = IMAGE_FILE_NONE;
        if (!root->supplement) {
                watch_set_move(&root->watched, &root->watching);
                memcpy(root->validated, root->unwatched, sizeof(root->validated));
        }
        changed = !change_log_is_empty(&root->changes) || staleness_count(&root->image.state);
        store_account(store, &root->image, root->user);
        store_withdraw(store, &old);
        root->failures = 0;
        root->roomless = false;
        root->declined = outcome->declined;
        root->is_public = paths_are_public(root_path(root));
        root->learns = outcome->learns;
        if (!root->learns)
                wanted_clear(&root->wanted);
        store_set_generation(store, root, root->build_generation);
        root->built_ms = store_now(store) - root->build_started;
        root->built_at = (uint64_t)time(NULL);
        store_count_build(store, root, true);
        about = root_about(root);
        log_about(&about, LOG_LEVEL_INFO, "%s: built for %s: %u modules, %llu bytes, %llu ms",
                  root_path(root), root->executable, root->image.image.header->module_count,
                  (unsigned long long)root_size(root), (unsigned long long)root->built_ms);
        if (outcome->again) {
                snprintf(root->reason, sizeof(root->reason),
                         "changed a moment ago, and is validated by stat");
                root_enter_stale_patiently(root, AGAIN_PAUSE_MS);
        } else if (!changed) {
                root_enter(root, ROOT_SERVED);
                root_check_preload(root);
                if (root->wanted.n_new && root->state == ROOT_SERVED)
                        root_enter_supplement(root);
        } else {
                change_log_clear(&root->changes);
                root->restless++;
                root_enter(root, ROOT_STALE);
        }
        kept_note_write(root);
        kept_add(&root->image);
        root_settle(root, true);
}

static void on_end(void *userdata, BuilderOutcome *outcome) {
        Root *root = userdata;
        _cleanup_(image_file_done) ImageFile file = IMAGE_FILE_NONE;
        ImageExpected expected = {
                .owner = store_builder_uid(root->store, root->owner),
                .dev = root->key.dev,
                .ino = root->key.ino,
                .tag = root->key.tag,
                .tag_size = root->key.tag_size,
        };
        uint64_t memory_max = store_config(root->store)->memory_max;
        const char *reason;
        int r;

        root->builder = NULL;
        if (root->validate == VALIDATE_WATCH && *root->unwatched) {
                root_fail(root, "%s", root->unwatched);
                return;
        }
        if (outcome->error) {
                root_fail(root, "%s", outcome->error);
                return;
        }
        r = image_file_open_consume(steal_fd(&outcome->image_fd), &expected, &file, &reason);
        if (r) {
                root_fail(root, "%s", r < 0 ? strerror(-r) : reason);
                return;
        }
        if (file.image.size > memory_max) {
                root_fail(root, "the image of %zu bytes is larger than MemoryMax= of %llu", file.image.size,
                          (unsigned long long)memory_max);
                return;
        }
        if (!store_make_user_room(root->store, root, file.image.size)) {
                root_fail(root,
                          "no room for %zu bytes: images of user %u take %llu, and MemoryMaxPerUser= is %llu",
                          file.image.size, (unsigned)root->user->uid, (unsigned long long)root->user->memory,
                          (unsigned long long)store_user_memory_max(root->store));
                return;
        }
        if (!store_make_room(root->store, root, file.image.size)) {
                root->roomless = true;
                root_fail(root, "no room for %zu bytes: %s", file.image.size,
                          store_status(root->store)->full_reason);
                return;
        }
        image_file_populate(&file);
        r = image_file_vouch(&file, kept_note_size(root));
        if (r < 0) {
                root_fail(root, "no state for the image: %s", strerror(-r));
                return;
        }
        watch_drain(store_watch(root->store));
        root_publish(root, &file, outcome);
}

static const BuilderEvents root_builder_events = {
        .scan = root_watch_directory,
        .progress = on_progress,
        .end = on_end,
        .gone = store_builder_gone,
};
