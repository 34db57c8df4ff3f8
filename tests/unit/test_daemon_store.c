/* SPDX-License-Identifier: MIT */

/*
 * Roots and their builds: what is served, what becomes of it when it changes, and of builders that go wrong.
 *
 * This program is also the builder: the daemon's part starts the interpreter with .../shimport/builder.py as its
 * last argument, and a copy of this program finds what it is to do wrong in the name of the client directory.
 */

#include <signal.h>
#include <sys/socket.h>

#include "builder.pb-c.h"
#include "builder_command.h"
#include "image_writer.h"
#include "message.h"
#include "packet.h"
#include "scratch.h"
#include "store.h"
#include "util.h"

#define TAG "the tag"

/* ---- the builder ---- */

static Packet packet;

static void send_to_daemon(Shimport__FromBuilder *message, const int *fds, size_t n_fds) {
        static uint8_t bytes[4096];

        if (packet_send(3, bytes, shimport__from_builder__pack(message, bytes), fds, n_fds) < 0)
                _exit(9);
}

static void receive_from_daemon(void) {
        int flags = fcntl(3, F_GETFL);

        fcntl(3, F_SETFL, flags & ~O_NONBLOCK);
        if (recv(3, packet.data, 1, MSG_PEEK) <= 0 || packet_recv(3, &packet) != 0)
                _exit(8);
}

static void scan(int root) {
        Shimport__FromBuilder message = SHIMPORT__FROM_BUILDER__INIT;
        Shimport__BuildScan body = SHIMPORT__BUILD_SCAN__INIT;
        ProtobufCBinaryData path = { 0 };

        body.paths = &path;
        body.n_paths = 1;
        message.body_case = SHIMPORT__FROM_BUILDER__BODY_SCAN;
        message.scan = &body;
        send_to_daemon(&message, &root, 1);
        receive_from_daemon();
}

static int make_image(int root, const char *mode) {
        static uint8_t code[100000];
        ImageWriterEntry entry = {
                .child = IMAGE_NONE,
                .kind = IMAGE_KIND_SOURCE,
                .name = "module",
                .file = "module.py",
                .code = code,
                .code_size = strcmp(mode, "large") == 0 ? sizeof(code) : 100,
        };
        ImageIdentity identity = { .root_path = "", .tag = TAG };
        ImageWriter *writer;
        uint32_t directory;
        struct stat st;

        fstat(root, &st);
        identity.root_dev = st.st_dev;
        identity.root_ino = st.st_ino + (strcmp(mode, "elsewhere") == 0);
        if (image_writer_new(&writer) < 0 ||
            image_writer_add_directory(writer, "", IMAGE_DIRECTORY_COMPLETE, &directory) < 0 ||
            image_writer_add_entry(writer, &entry) < 0)
                _exit(7);
        if (strcmp(mode, "unsealed") != 0 && image_writer_write(writer, &identity, BUILDER_IMAGE_FD) < 0)
                _exit(7);
        image_writer_free(writer);
        return BUILDER_IMAGE_FD;
}

static void finish(const char *error, int fd) {
        Shimport__FromBuilder message = SHIMPORT__FROM_BUILDER__INIT;
        Shimport__BuildResult body = SHIMPORT__BUILD_RESULT__INIT;

        body.error = message_text(error);
        message.body_case = SHIMPORT__FROM_BUILDER__BODY_RESULT;
        message.result = &body;
        send_to_daemon(&message, &fd, fd >= 0);
}

static int build(const char *script) {
        const char *mode = strstr(script, "/mode-") + strlen("/mode-");
        char name[32];
        int root;

        snprintf(name, sizeof(name), "%.*s", (int)strcspn(mode, "/"), mode);
        receive_from_daemon();
        root = packet.fds[0];
        if (strcmp(name, "crash") == 0)
                raise(SIGKILL);
        if (strcmp(name, "hang") == 0)
                pause();
        if (strcmp(name, "complain") == 0) {
                fputs("something\nis wrong\n", stderr);
                return 3;
        }
        if (strcmp(name, "rubbish") == 0) {
                send(3, "\xff\xff", 2, 0);
                pause();
        }
        scan(root);
        while (strcmp(name, "wait") == 0 && faccessat(root, "mode", F_OK, 0) == 0)
                usleep(500);
        finish(strcmp(name, "give-up") == 0 ? "cannot do it" : NULL,
               strcmp(name, "give-up") == 0 ? -1 : make_image(root, name));
        return 0;
}

/* ---- the tests ---- */

typedef struct Fixture {
        Scratch scratch;
        uv_loop_t loop;
        Watch *watch;
        Queue *queue;
        Users users;
        User *user; /* who asks */
        Store *store;
        Config config;
        char client[128], executable[128], other[128];
        RootWaiter waiter;
        unsigned settled;
        bool served;
        char reason[256];
} Fixture;

static void on_idle(void *userdata) {
        (void)userdata;
}

static void copy_program(const char *to) {
        char buffer[65536];
        int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        int fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
        ssize_t size;

        while ((size = read(from, buffer, sizeof(buffer))) > 0)
                assert_int_equal(write(fd, buffer, (size_t)size), size);
        close(from);
        close(fd);
}

static void set_mode(Fixture *fixture, const char *mode) {
        snprintf(fixture->client, sizeof(fixture->client), "/mode-%s", mode);
        store_reconfigure(fixture->store, fixture->client);
}

static int setup(void **state) {
        Fixture *fixture = calloc(1, sizeof(*fixture));

        scratch_new(&fixture->scratch);
        strcpy(fixture->executable, scratch_path(&fixture->scratch, "python"));
        strcpy(fixture->other, scratch_path(&fixture->scratch, "python-too"));
        copy_program(fixture->executable);
        assert_int_equal(link(fixture->executable, fixture->other), 0);
        scratch_mkdir(&fixture->scratch, "root", 0755);
        scratch_mkdir(&fixture->scratch, "root2", 0755);
        fixture->config = (Config){ .build_timeout = 20, .memory_max = 1 << 20 };
        assert_int_equal(uv_loop_init(&fixture->loop), 0);
        users_init(&fixture->users);
        assert_int_equal(users_get(&fixture->users, 0, &fixture->user), 0);
        assert_int_equal(watch_new(&fixture->loop, &fixture->watch), 0);
        assert_int_equal(queue_new(&fixture->loop, on_idle, NULL, &fixture->queue), 0);
        assert_int_equal(store_new(&fixture->loop, fixture->watch, fixture->queue, &fixture->users,
                                   &fixture->config, fixture->client, &fixture->store),
                         0);
        set_mode(fixture, "good");
        *state = fixture;
        return 0;
}

static int teardown(void **state) {
        Fixture *fixture = *state;

        store_drop(fixture->store);
        turn_until(&fixture->loop, queue_is_idle(fixture->queue));
        assert_int_equal(store_status(fixture->store)->memory, 0);
        assert_int_equal(watch_count(fixture->watch), 0);
        store_free(fixture->store);
        queue_free(fixture->queue);
        watch_free(fixture->watch);
        loop_ends_empty(&fixture->loop);
        users_put(&fixture->users, fixture->user);
        users_done(&fixture->users);
        scratch_done(&fixture->scratch);
        free(fixture);
        return 0;
}

static StoreAnswer ask_with(Fixture *fixture, const char *directory, const char *tag, const char *executable,
                            StoreAsking asking) {
        int fd = scratch_open(&fixture->scratch, directory);
        const char *path = scratch_path(&fixture->scratch, directory);
        StoreQuestion question = {
                .key = { .path = path, .path_size = strlen(path), .tag = tag, .tag_size = strlen(tag) },
                .user = fixture->user,
                .fd = fd,
                .executable = executable,
                .executable_size = strlen(executable),
                .asking = asking,
        };
        StoreAnswer answer;
        struct stat st;

        assert_int_equal(fstat(fd, &st), 0);
        question.key.dev = st.st_dev;
        question.key.ino = st.st_ino;
        question.owner = st.st_uid;
        assert_int_equal(store_ask(fixture->store, &question, &answer), 0);
        close(fd);
        return answer;
}

static StoreAnswer ask(Fixture *fixture) {
        watch_drain(fixture->watch);
        return ask_with(fixture, "root", TAG, fixture->executable, STORE_ATTACH);
}

static Root *served(Fixture *fixture, const char *directory) {
        StoreAnswer answer = ask_with(fixture, directory, TAG, fixture->executable, STORE_WARM);

        if (answer.state == ROOT_BUILDING || answer.state == ROOT_REBUILDING)
                turn_until(&fixture->loop, answer.root->state != answer.state);
        assert_string_equal(answer.root->reason, "");
        assert_int_equal(answer.root->state, ROOT_SERVED);
        return answer.root;
}

static void fails(Fixture *fixture, const char *expected) {
        StoreAnswer answer = ask_with(fixture, "root", TAG, fixture->executable, STORE_WARM);

        assert_int_equal(answer.state, ROOT_BUILDING);
        turn_until(&fixture->loop, answer.root->state != ROOT_BUILDING);
        assert_int_equal(answer.root->state, ROOT_FAILED);
        assert_string_equal(answer.root->reason, expected);
        assert_int_equal(answer.root->image.fd, -1);
        assert_non_null(strstr(store_status(fixture->store)->last_error, expected));
        turn_until(&fixture->loop, queue_is_idle(fixture->queue));
        assert_int_equal(watch_count(fixture->watch), 0);
}

static void a_root_is_built_when_asked_for_and_then_served(void **state) {
        Fixture *fixture = *state;
        StoreAnswer answer = ask(fixture);
        struct stat st;

        assert_int_equal(answer.state, ROOT_BUILDING);
        assert_int_equal(ask(fixture).state, ROOT_BUILDING);
        turn_until(&fixture->loop, answer.root->state == ROOT_SERVED);
        answer = ask(fixture);
        assert_int_equal(answer.state, ROOT_SERVED);
        assert_int_equal(answer.root->attaches, 1);
        assert_int_equal(fstat(answer.root->image.fd, &st), 0);
        assert_int_equal(st.st_size, root_size(answer.root));
        assert_int_equal(store_status(fixture->store)->memory, st.st_size);
        assert_int_equal(store_status(fixture->store)->builds, 1);
        assert_true(watch_count(fixture->watch) > 1); /* it, and what is above it */
}

static void a_root_that_is_asked_for_late_is_built_when_asked_for_again(void **state) {
        Fixture *fixture = *state;

        for (unsigned i = 0; i < 2; i++) {
                StoreAnswer answer = ask_with(fixture, "root", TAG, fixture->executable, STORE_LATE);

                assert_int_equal(answer.state, i ? ROOT_BUILDING : ROOT_SEEN);
        }
}

/* As a process sees it. */
static Staleness state_of(const Root *root) {
        const ImageHeader *header = root->image.image.header;
        Staleness staleness;

        assert_int_equal(staleness_map(image_file_state(&root->image), header->generation,
                                       header->directory_count, header->entry_count, &staleness),
                         0);
        return staleness;
}

static void a_change_marks_the_image_until_another_takes_its_place(void **state) {
        Fixture *fixture = *state;
        Root *root = served(fixture, "root");
        _cleanup_(staleness_done) Staleness old = state_of(root);
        uint64_t generation = root->generation;
        StoreAnswer answer;

        assert_true(staleness_is_vouched(&old));
        assert_false(staleness_directory(&old, 0));
        scratch_write(&fixture->scratch, "root/new.py", "x = 1");
        answer = ask(fixture);
        assert_int_equal(answer.state, ROOT_STALE);
        assert_string_equal(answer.reason, "changed: new.py");
        assert_true(root_is_served(root));
        assert_true(staleness_directory(&old, 0));
        assert_false(staleness_entry(&old, 0));
        assert_false(staleness_is_superseded(&old));
        turn_until(&fixture->loop, root->state == ROOT_SERVED);
        assert_true(root->generation > generation);
        assert_true(staleness_is_superseded(&old));
        assert_false(staleness_is_vouched(&old));
}

static void what_a_process_finds_changed_is_built_again_but_not_at_once(void **state) {
        Fixture *fixture = *state;
        Root *root = served(fixture, "root");
        uint64_t generation = root->generation;

        store_outdated(fixture->store, generation);
        assert_int_equal(root->state, ROOT_STALE);
        assert_true(root->due > store_now(fixture->store) + 2000);
        scratch_write(&fixture->scratch, "root/seen.py", "");
        watch_drain(fixture->watch);
        assert_true(root->due < root->outdated_at + 2000); /* that does not wait */
        turn_until(&fixture->loop, root->generation > generation && root->state == ROOT_SERVED);
}

static void a_rebuild_that_fails_leaves_the_old_image(void **state) {
        Fixture *fixture = *state;
        Root *root = served(fixture, "root");
        _cleanup_(staleness_done) Staleness old = state_of(root);

        set_mode(fixture, "give-up");
        scratch_write(&fixture->scratch, "root/module.py", "x = 1");
        assert_int_equal(ask(fixture).state, ROOT_STALE);
        turn_until(&fixture->loop, root->failures);
        assert_int_equal(root->state, ROOT_STALE);
        assert_true(root_is_served(root));
        assert_true(staleness_is_vouched(&old));
        assert_true(staleness_entry(&old, 0));
        assert_true(root->due > store_now(fixture->store));
        set_mode(fixture, "good");
        assert_int_equal(served(fixture, "root")->failures, 0);
}

static void a_root_that_goes_disowns_its_image(void **state) {
        Fixture *fixture = *state;
        _cleanup_(staleness_done) Staleness old = state_of(served(fixture, "root"));

        store_drop(fixture->store);
        assert_true(staleness_is_superseded(&old));
        assert_false(staleness_is_vouched(&old));
}

static void a_change_during_the_build_is_stale_in_what_comes_of_it(void **state) {
        Fixture *fixture = *state;
        _cleanup_(staleness_done) Staleness staleness = { 0 };
        Root *root;

        scratch_write(&fixture->scratch, "root/mode", "");
        set_mode(fixture, "wait");
        root = ask_with(fixture, "root", TAG, fixture->executable, STORE_WARM).root;
        turn_until(&fixture->loop, watch_count(fixture->watch)); /* it has been listed */
        scratch_write(&fixture->scratch, "root/late.py", "");
        assert_int_equal(unlink(scratch_path(&fixture->scratch, "root/mode")), 0);
        turn_until(&fixture->loop, root->state != ROOT_BUILDING);
        assert_int_equal(root->state, ROOT_STALE);
        assert_int_equal(root->restless, 1);
        staleness = state_of(root);
        assert_true(staleness_directory(&staleness, 0));
        turn_until(&fixture->loop, root->state == ROOT_SERVED);
        assert_int_equal(root->restless, 0);
}

static void a_root_that_is_another_directory_now_is_forgotten(void **state) {
        Fixture *fixture = *state;

        served(fixture, "root");
        assert_int_equal(
                rename(scratch_path(&fixture->scratch, "root"), scratch_path(&fixture->scratch, "was")), 0);
        scratch_mkdir(&fixture->scratch, "root", 0755);
        turn_until(&fixture->loop, list_is_empty(store_roots(fixture->store)));
        assert_int_equal(watch_count(fixture->watch), 0);
}

static void tags_and_paths_have_images_of_their_own(void **state) {
        Fixture *fixture = *state;

        assert_int_equal(symlink("root", scratch_path(&fixture->scratch, "link")), 0);
        served(fixture, "root");
        assert_int_equal(ask_with(fixture, "root", "another tag", "", STORE_ATTACH).state, ROOT_REFUSED);
        assert_int_equal(ask_with(fixture, "link", TAG, "", STORE_ATTACH).state, ROOT_REFUSED);
        served(fixture, "link");
}

static void another_interpreter_than_the_one_that_asks_is_found_out(void **state) {
        Fixture *fixture = *state;
        Root *root = ask_with(fixture, "root", "another tag", fixture->executable, STORE_ATTACH).root;

        turn_until(&fixture->loop, root->state == ROOT_FAILED);
        assert_string_equal(root->reason, "the executable is another interpreter than the one that asked");
}

static void builders_that_go_wrong_cost_their_root_alone(void **state) {
        static const struct {
                const char *mode, *reason;
        } cases[] = {
                { "crash", "the builder was killed by signal 9" },
                { "complain", "the builder exited with status 3: is wrong" },
                { "rubbish", "the builder broke the protocol: not a message" },
                { "give-up", "cannot do it" },
                { "unsealed", "the builder's image is not sealed" },
                { "elsewhere", "the builder's image is of another directory" },
        };
        Fixture *fixture = *state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                set_mode(fixture, cases[i].mode);
                fails(fixture, cases[i].reason);
        }
        assert_int_equal(store_status(fixture->store)->builds_failed, ELEMENTSOF(cases));
        set_mode(fixture, "good");
        served(fixture, "root");
}

static void a_builder_that_hangs_is_killed(void **state) {
        Fixture *fixture = *state;

        fixture->config.build_timeout = 1;
        set_mode(fixture, "hang");
        fails(fixture, "the builder was not ready within 1 seconds");
}

static void dropping_stops_a_build(void **state) {
        Fixture *fixture = *state;

        set_mode(fixture, "hang");
        assert_int_equal(ask(fixture).state, ROOT_BUILDING);
        turn_until(&fixture->loop, list_entry(list_first(store_roots(fixture->store)), Root, link)->builder);
        store_drop(fixture->store);
        turn_until(&fixture->loop, queue_is_idle(fixture->queue));
}

static void a_failed_build_is_not_tried_again_at_once_but_by_another_interpreter(void **state) {
        Fixture *fixture = *state;

        set_mode(fixture, "give-up");
        fails(fixture, "cannot do it");
        set_mode(fixture, "good");
        assert_int_equal(ask(fixture).state, ROOT_FAILED);
        assert_string_equal(ask(fixture).reason, "cannot do it");
        assert_int_equal(ask_with(fixture, "root", TAG, fixture->other, STORE_ATTACH).state, ROOT_BUILDING);
}

static void an_interpreter_that_is_not_trusted_is_not_run(void **state) {
        Fixture *fixture = *state;
        char expected[512];

        assert_int_equal(chmod(fixture->executable, 0777), 0);
        snprintf(expected, sizeof(expected),
                 "the interpreter is not trusted to build as uid %u: %s is writable by others than its owner",
                 (unsigned)geteuid(), fixture->executable);
        fails(fixture, expected);
        assert_int_equal(chmod(fixture->executable, 0755), 0);
}

static void what_does_not_execute_is_told(void **state) {
        Fixture *fixture = *state;
        char expected[512];

        strcpy(fixture->executable, scratch_write(&fixture->scratch, "python-text", "#!/nowhere/python\n"));
        assert_int_equal(chmod(fixture->executable, 0755), 0);
        snprintf(expected, sizeof(expected), "cannot start %s: No such file or directory",
                 fixture->executable);
        fails(fixture, expected);
}

static void without_an_interpreter_nothing_is_remembered(void **state) {
        Fixture *fixture = *state;
        StoreAnswer answer = ask_with(fixture, "root", TAG, "", STORE_ATTACH);

        assert_int_equal(answer.state, ROOT_REFUSED);
        assert_null(answer.root);
        assert_string_equal(answer.reason,
                            "there is no image, and no interpreter was named to build one with");
        assert_true(list_is_empty(store_roots(fixture->store)));
}

static void the_least_recently_attached_gives_way(void **state) {
        Fixture *fixture = *state;
        Root *first = served(fixture, "root"), *second;
        uint64_t size = root_size(first);

        second = served(fixture, "root2");
        assert_int_equal(ask(fixture).root, first);
        fixture->config.memory_max = 2 * size - 1;
        store_make_room(fixture->store, NULL, 0);
        assert_int_equal(store_status(fixture->store)->memory, size);
        assert_int_equal(ask(fixture).state, ROOT_SERVED);
        assert_int_equal(second->state, ROOT_FAILED);
        assert_non_null(strstr(second->reason, "gave way"));
        served(fixture, "root2"); /* and the new one is not the one to go */
        assert_int_equal(first->state, ROOT_FAILED);
        assert_int_equal(store_status(fixture->store)->memory, size);
}

static void who_gives_way_again_and_again_is_built_later_and_later(void **state) {
        Fixture *fixture = *state;
        Root *root = served(fixture, "root");
        uint64_t size = root_size(root), last = 0;

        fixture->config.memory_max = 2 * size - 1;
        for (unsigned i = 0; i < 4; i++) {
                uint64_t pause;

                served(fixture, "root2");
                pause = root->due - store_now(fixture->store);
                assert_int_equal(root->state, ROOT_FAILED);
                assert_true(i == 0 ? root->due <= store_now(fixture->store) : pause > 3 * last / 2);
                last = i == 0 ? 0 : pause;
                assert_int_equal(ask(fixture).state, i == 0 ? ROOT_BUILDING : ROOT_FAILED);
                turn_until(&fixture->loop, root->state != ROOT_BUILDING);
                served(fixture, "root");
        }
}

static void an_image_that_is_mapped_does_not_give_way(void **state) {
        Fixture *fixture = *state;
        Root *first = served(fixture, "root"), *second;
        _cleanup_(staleness_done) Staleness mapped = state_of(first);
        uint64_t size = root_size(first);

        fixture->config.memory_max = 2 * size - 1;
        second = ask_with(fixture, "root2", TAG, fixture->executable, STORE_ATTACH).root;
        turn_until(&fixture->loop, second->state != ROOT_BUILDING);
        assert_int_equal(second->state, ROOT_FAILED);
        assert_non_null(strstr(second->reason, "no room for 4096 bytes: processes have mapped 4096 bytes"));
        assert_int_equal(ask(fixture).state, ROOT_SERVED);
        assert_true(staleness_is_vouched(&mapped));
        assert_true(store_status(fixture->store)->full);
        assert_int_equal(store_status(fixture->store)->memory, size);
        staleness_done(
                &mapped); /* the process ends: the other one can be built when it is asked for, at once */
        assert_false(store_status(fixture->store)->full);
        assert_int_equal(ask_with(fixture, "root2", TAG, fixture->executable, STORE_ATTACH).state,
                         ROOT_BUILDING);
        turn_until(&fixture->loop, second->state != ROOT_BUILDING);
        assert_int_equal(second->state, ROOT_SERVED);
        assert_false(root_is_served(first));
}

static void an_image_is_counted_until_nobody_has_it_mapped(void **state) {
        Fixture *fixture = *state;
        Root *root = served(fixture, "root");
        Staleness mapped = state_of(root);
        uint64_t size = root_size(root);

        scratch_write(&fixture->scratch, "root/new.py", "x = 1");
        assert_int_equal(ask(fixture).state, ROOT_STALE);
        turn_until(&fixture->loop, root->state == ROOT_SERVED);
        assert_true(staleness_is_superseded(&mapped));
        assert_int_equal(store_status(fixture->store)->memory, size + root_size(root));
        assert_int_equal(store_status(fixture->store)->memory_lingering, size);
        assert_int_equal(store_status(fixture->store)->lingering, 1);
        store_drop(fixture->store);
        assert_int_equal(store_status(fixture->store)->memory, size);
        staleness_done(&mapped);
        assert_int_equal(store_status(fixture->store)->memory, 0);
        assert_int_equal(store_status(fixture->store)->lingering, 0);
}

static void a_descriptor_on_its_way_counts_as_mapped(void **state) {
        Fixture *fixture = *state;
        Root *root = served(fixture, "root");
        int fd = syscalls_dup(image_file_state(&root->image));

        assert_true(image_file_is_mapped(&root->image));
        assert_true(
                image_file_is_mapped(&root->image)); /* what is handed out now is another open, and unused */
        close(fd);
        assert_false(image_file_is_mapped(&root->image));
}

static void an_image_that_can_never_fit_is_refused(void **state) {
        Fixture *fixture = *state;
        Root *root;

        fixture->config.memory_max = 50000;
        set_mode(fixture, "large");
        root = ask(fixture).root;
        turn_until(&fixture->loop, root->state == ROOT_FAILED);
        assert_non_null(strstr(root->reason, "is larger than MemoryMax= of 50000"));
}

static void a_root_that_cannot_be_watched_is_validated_by_stat(void **state) {
        Fixture *fixture = *state;

        watch_set_limit(fixture->watch, 1);
        assert_string_equal(served(fixture, "root2")->validated, "");
        assert_string_equal(served(fixture, "root")->validated,
                            "the limit of 1 watched directories is reached");
}

static void a_root_that_is_to_be_watched_and_cannot_be_fails(void **state) {
        ConfigRule rule = { .validate = VALIDATE_WATCH, .pattern = (char[]){ "*" } };
        Fixture *fixture = *state;

        fixture->config.validate = (ConfigRules){ .rules = &rule, .n = 1 };
        watch_set_limit(fixture->watch, 1);
        served(fixture, "root2");
        ask(fixture);
        turn_until(&fixture->loop, ask(fixture).state == ROOT_FAILED);
        assert_string_equal(ask(fixture).reason, "the limit of 1 watched directories is reached");
        fixture->config.validate = (ConfigRules){ 0 };
}

static void on_settled(RootWaiter *waiter, bool served, const char *reason) {
        Fixture *fixture = list_entry(waiter, Fixture, waiter);

        fixture->settled++;
        fixture->served = served;
        snprintf(fixture->reason, sizeof(fixture->reason), "%s", reason);
}

static void on_progress(RootWaiter *waiter, uint32_t done, uint32_t total) {
        (void)waiter;
        (void)done;
        (void)total;
}

static void who_waits_is_told_how_it_ended(void **state) {
        static const struct {
                const char *mode, *reason;
        } cases[] = { { "give-up", "cannot do it" }, { "good", "" }, { "hang", "it was dropped" } };
        Fixture *fixture = *state;

        fixture->waiter = (RootWaiter){ .progress = on_progress, .settled = on_settled };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Root *root;

                set_mode(fixture, cases[i].mode);
                root = ask_with(fixture, i == 2 ? "root2" : "root", TAG, fixture->executable, STORE_WARM)
                               .root;
                list_append(&root->waiters, &fixture->waiter.link);
                if (i == 2)
                        store_drop(fixture->store);
                turn_until(&fixture->loop, fixture->settled == i + 1);
                assert_int_equal(fixture->served, i == 1);
                assert_string_equal(fixture->reason, cases[i].reason);
                assert_true(list_is_empty(&fixture->waiter.link));
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                TEST(a_root_is_built_when_asked_for_and_then_served),
                TEST(a_root_that_is_asked_for_late_is_built_when_asked_for_again),
                TEST(a_change_marks_the_image_until_another_takes_its_place),
                TEST(what_a_process_finds_changed_is_built_again_but_not_at_once),
                TEST(a_rebuild_that_fails_leaves_the_old_image),
                TEST(a_root_that_goes_disowns_its_image),
                TEST(a_change_during_the_build_is_stale_in_what_comes_of_it),
                TEST(a_root_that_is_another_directory_now_is_forgotten),
                TEST(tags_and_paths_have_images_of_their_own),
                TEST(another_interpreter_than_the_one_that_asks_is_found_out),
                TEST(builders_that_go_wrong_cost_their_root_alone),
                TEST(a_builder_that_hangs_is_killed),
                TEST(dropping_stops_a_build),
                TEST(a_failed_build_is_not_tried_again_at_once_but_by_another_interpreter),
                TEST(an_interpreter_that_is_not_trusted_is_not_run),
                TEST(what_does_not_execute_is_told),
                TEST(without_an_interpreter_nothing_is_remembered),
                TEST(the_least_recently_attached_gives_way),
                TEST(who_gives_way_again_and_again_is_built_later_and_later),
                TEST(an_image_that_is_mapped_does_not_give_way),
                TEST(an_image_is_counted_until_nobody_has_it_mapped),
                TEST(a_descriptor_on_its_way_counts_as_mapped),
                TEST(an_image_that_can_never_fit_is_refused),
                TEST(a_root_that_cannot_be_watched_is_validated_by_stat),
                TEST(a_root_that_is_to_be_watched_and_cannot_be_fails),
                TEST(who_waits_is_told_how_it_ended),
        };

        if (argc > 1 && strstr(argv[argc - 1], "/shimport/builder.py"))
                _exit(build(argv[argc - 1])); /* no sanitizer may start a process to look for leaks */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
