/* SPDX-License-Identifier: MIT */

/* The socket: one daemon at a time, a dead one's leftover is replaced, and nothing else ever is. */

#include <stdbool.h>
#include <sys/resource.h>

#include "endpoint.h"
#include "listener.h"
#include "scratch.h"
#include "util.h"

typedef struct Fixture {
        Scratch scratch;
        uv_loop_t loop;
        char path[128];
        Listener *listener;
        unsigned connections;
} Fixture;

static void on_connection(void *userdata, int fd) {
        Fixture *fixture = userdata;

        fixture->connections++;
        close(fd);
}

static int setup(void **state) {
        Fixture *fixture = calloc(1, sizeof(*fixture));

        scratch_new(&fixture->scratch);
        assert_int_equal(uv_loop_init(&fixture->loop), 0);
        snprintf(fixture->path, sizeof(fixture->path), "%s/run/socket", fixture->scratch.path);
        *state = fixture;
        return 0;
}

static int teardown(void **state) {
        Fixture *fixture = *state;

        listener_free(fixture->listener);
        loop_ends_empty(&fixture->loop);
        scratch_done(&fixture->scratch);
        free(fixture);
        return 0;
}

static int listen_here(Fixture *fixture, Listener **ret_listener) {
        return listener_new(&fixture->loop, fixture->path, on_connection, fixture, ret_listener);
}

static int connect_here(Fixture *fixture) {
        Endpoint endpoint;
        int fd = -1;

        assert_int_equal(endpoint_from_path(fixture->path, &endpoint), 0);
        return endpoint_connect(&endpoint, &fd) == 0 ? fd : -1;
}

static mode_t mode_of(const char *path) {
        struct stat st;

        assert_int_equal(stat(path, &st), 0);
        return st.st_mode & 07777;
}

static void connections_are_handed_over(void **state) {
        Fixture *fixture = *state;
        int fd;

        assert_int_equal(listen_here(fixture, &fixture->listener), 0);
        fd = connect_here(fixture);
        assert_true(fd >= 0);
        turn_until(&fixture->loop, fixture->connections == 1);
        close(fd);
}

static void directory_and_socket_are_open_to_all_for_root_alone(void **state) {
        Fixture *fixture = *state;
        bool root = geteuid() == 0;

        assert_int_equal(listen_here(fixture, &fixture->listener), 0);
        assert_int_equal(mode_of(scratch_path(&fixture->scratch, "run")), root ? 0755 : 0700);
        assert_int_equal(mode_of(fixture->path), root ? 0666 : 0600);
}

static void a_live_daemons_socket_is_left_alone(void **state) {
        Fixture *fixture = *state;
        Listener *second = NULL;
        int fd;

        assert_int_equal(listen_here(fixture, &fixture->listener), 0);
        assert_int_equal(listen_here(fixture, &second), LISTENER_E_IN_USE);
        assert_null(second);
        fd = connect_here(fixture);
        assert_true(fd >= 0);
        close(fd);
}

static void a_live_socket_without_its_lock_is_left_alone(void **state) {
        Fixture *fixture = *state;
        Listener *second = NULL;

        assert_int_equal(listen_here(fixture, &fixture->listener), 0);
        assert_int_equal(unlink(scratch_path(&fixture->scratch, "run/socket.lock")), 0);
        assert_int_equal(listen_here(fixture, &second), LISTENER_E_IN_USE);
}

static void a_dead_daemons_leftover_is_replaced(void **state) {
        Fixture *fixture = *state;
        Endpoint endpoint;
        int fd;

        scratch_mkdir(&fixture->scratch, "run", 0755);
        assert_int_equal(endpoint_from_path(fixture->path, &endpoint), 0);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&endpoint.address, sizeof(endpoint.address)), 0);
        close(fd);
        scratch_write(&fixture->scratch, "run/socket.lock", "");
        assert_int_equal(listen_here(fixture, &fixture->listener), 0);
        fd = connect_here(fixture);
        assert_true(fd >= 0);
        close(fd);
}

static void what_is_no_socket_is_never_replaced(void **state) {
        Fixture *fixture = *state;

        scratch_mkdir(&fixture->scratch, "run", 0755);
        scratch_write(&fixture->scratch, "run/socket", "precious");
        assert_int_equal(listen_here(fixture, &fixture->listener), -ENOTSOCK);
        assert_int_equal(access(fixture->path, F_OK), 0);
        assert_int_equal(access(scratch_path(&fixture->scratch, "run/socket.lock"), F_OK), -1);
}

static void nothing_is_left_behind(void **state) {
        Fixture *fixture = *state;

        assert_int_equal(listen_here(fixture, &fixture->listener), 0);
        fixture->listener = listener_free(fixture->listener);
        assert_int_equal(rmdir(scratch_path(&fixture->scratch, "run")), 0);
}

static void a_path_that_is_too_long_is_refused(void **state) {
        Fixture *fixture = *state;

        memset(fixture->path + strlen(fixture->path), 'x', sizeof(fixture->path) - strlen(fixture->path) - 1);
        assert_int_equal(listen_here(fixture, &fixture->listener), -ENAMETOOLONG);
}

/* It does not spin, and takes connections again when there are descriptors. */
static void without_descriptors_it_pauses(void **state) {
        Fixture *fixture = *state;
        struct rlimit old, none;
        uint64_t start;
        int fd;

        assert_int_equal(listen_here(fixture, &fixture->listener), 0);
        fd = connect_here(fixture);
        uv_run(&fixture->loop, UV_RUN_NOWAIT);
        assert_int_equal(fixture->connections, 1);
        close(fd);
        fd = connect_here(fixture);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
        none = (struct rlimit){ .rlim_cur = 3, .rlim_max = old.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        start = uv_hrtime();
        uv_run(&fixture->loop, UV_RUN_ONCE); /* has to pause */
        assert_in_range(uv_backend_timeout(&fixture->loop), 50, 100);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        assert_int_equal(fixture->connections, 1);
        turn_until(&fixture->loop, fixture->connections == 2);
        assert_true(uv_hrtime() - start > 50 * 1000 * 1000);
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(connections_are_handed_over, setup, teardown),
                cmocka_unit_test_setup_teardown(directory_and_socket_are_open_to_all_for_root_alone, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_live_daemons_socket_is_left_alone, setup, teardown),
                cmocka_unit_test_setup_teardown(a_live_socket_without_its_lock_is_left_alone, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_dead_daemons_leftover_is_replaced, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_no_socket_is_never_replaced, setup, teardown),
                cmocka_unit_test_setup_teardown(nothing_is_left_behind, setup, teardown),
                cmocka_unit_test_setup_teardown(a_path_that_is_too_long_is_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(without_descriptors_it_pauses, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
