/* SPDX-License-Identifier: MIT */

/* Packets and memfds: descriptors arrive or are closed, and only what is sealed counts as sealed. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "endpoint.h"
#include "memfd.h"
#include "packet.h"
#include "util.h"

typedef struct Fixture {
        int pair[2];
        Packet packet;
} Fixture;

static int setup(void **state) {
        Fixture *fixture = calloc(1, sizeof(*fixture));

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fixture->pair), 0);
        *state = fixture;
        return 0;
}

static int teardown(void **state) {
        Fixture *fixture = *state;

        fd_close(fixture->pair[0]);
        fd_close(fixture->pair[1]);
        free(fixture);
        return 0;
}

static int open_descriptors(void) {
        DIR *directory = opendir("/proc/self/fd");
        int n = 0;

        while (readdir(directory))
                n++;
        closedir(directory);
        return n;
}

static void a_packet_arrives_whole_with_its_descriptors(void **state) {
        Fixture *fixture = *state;
        int fds[PACKET_FDS_MAX];
        int before = open_descriptors();

        for (size_t i = 0; i < PACKET_FDS_MAX; i++)
                fds[i] = STDERR_FILENO;
        assert_int_equal(packet_send(fixture->pair[0], "hello", 5, fds, PACKET_FDS_MAX), 0);
        assert_int_equal(packet_recv(fixture->pair[1], &fixture->packet), 0);
        assert_int_equal(fixture->packet.size, 5);
        assert_memory_equal(fixture->packet.data, "hello", 5);
        assert_int_equal(fixture->packet.n_fds, PACKET_FDS_MAX);
        for (size_t i = 0; i < PACKET_FDS_MAX; i++)
                assert_int_equal(fcntl(fixture->packet.fds[i], F_GETFD), FD_CLOEXEC);
        packet_done(&fixture->packet);
        assert_int_equal(open_descriptors(), before);
}

static void the_longest_packet_arrives_and_a_longer_one_is_refused(void **state) {
        Fixture *fixture = *state;
        uint8_t *data = calloc(1, PACKET_SIZE_MAX + 1);

        assert_int_equal(packet_send(fixture->pair[0], data, PACKET_SIZE_MAX, NULL, 0), 0);
        assert_int_equal(packet_recv(fixture->pair[1], &fixture->packet), 0);
        assert_int_equal(fixture->packet.size, PACKET_SIZE_MAX);
        assert_int_equal(packet_send(fixture->pair[0], data, PACKET_SIZE_MAX + 1, NULL, 0), -EMSGSIZE);
        assert_int_equal(packet_send(fixture->pair[0], data, 1, NULL, PACKET_FDS_MAX + 1), -EMSGSIZE);
        free(data);
}

static void a_packet_cut_short_closes_its_descriptors(void **state) {
        Fixture *fixture = *state;
        uint8_t *data = calloc(1, PACKET_SIZE_MAX + 1);
        int fd = STDERR_FILENO, before = open_descriptors();
        union {
                struct cmsghdr header;
                uint8_t bytes[CMSG_SPACE(sizeof(int))];
        } control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
                                  .cmsg_level = SOL_SOCKET,
                                  .cmsg_type = SCM_RIGHTS } };
        struct iovec iov = { .iov_base = data, .iov_len = PACKET_SIZE_MAX + 1 };
        struct msghdr message = { .msg_iov = &iov,
                                  .msg_iovlen = 1,
                                  .msg_control = control.bytes,
                                  .msg_controllen = sizeof(control.bytes) };

        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        assert_int_equal(sendmsg(fixture->pair[0], &message, 0), PACKET_SIZE_MAX + 1);
        assert_int_equal(packet_recv(fixture->pair[1], &fixture->packet), PACKET_E_TRUNCATED);
        assert_int_equal(open_descriptors(), before);
        free(data);
}

static void an_ended_peer_and_silence_are_told_apart(void **state) {
        Fixture *fixture = *state;

        assert_int_equal(packet_recv(fixture->pair[1], &fixture->packet), -EAGAIN);
        fixture->pair[0] = fd_close(fixture->pair[0]);
        assert_int_equal(packet_recv(fixture->pair[1], &fixture->packet), PACKET_E_EOF);
        assert_int_equal(packet_send(fixture->pair[1], "x", 1, NULL, 0), -EPIPE);
}

static void a_sealed_memfd_cannot_change(void **state) {
        MemfdInfo info;
        const void *base;
        int fd;

        (void)state;
        assert_int_equal(memfd_new("test", &fd), 0);
        assert_int_equal(memfd_resize(fd, 8192), 0);
        assert_int_equal(memfd_write(fd, 4096, "bytes", 5), 0);
        assert_int_equal(memfd_check(fd, 1, &info), MEMFD_E_UNSEALED);
        assert_int_equal(memfd_seal(fd), 0);
        assert_int_equal(memfd_check(fd, 8192, &info), 0);
        assert_int_equal(info.size, 8192);
        assert_int_equal(info.owner, geteuid());
        assert_int_equal(memfd_check(fd, 8193, &info), MEMFD_E_SIZE);
        assert_int_equal(memfd_write(fd, 0, "x", 1), -EPERM);
        assert_int_equal(memfd_resize(fd, 4096), -EPERM);
        assert_int_equal(memfd_resize(fd, 16384), -EPERM);
        assert_int_equal(memfd_map(fd, info.size, &base), 0);
        assert_memory_equal((const char *)base + 4096, "bytes", 5);
        munmap((void *)base, info.size);
        fd_close(fd);
}

static void each_seal_is_asked_for(void **state) {
        static const int seals[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_SEAL };
        MemfdInfo info;

        (void)state;
        for (size_t missing = 0; missing < ELEMENTSOF(seals); missing++) {
                int fd, all = 0;

                for (size_t i = 0; i < ELEMENTSOF(seals); i++)
                        all |= i == missing ? 0 : seals[i];
                assert_int_equal(memfd_new("test", &fd), 0);
                assert_int_equal(syscalls_add_seals(fd, all), 0);
                assert_int_equal(memfd_check(fd, 0, &info), MEMFD_E_UNSEALED);
                fd_close(fd);
        }
}

static void a_file_is_no_memfd(void **state) {
        char path[] = "/var/tmp/shimport-test-XXXXXX";
        int fd = mkstemp(path);
        MemfdInfo info;

        (void)state;
        assert_true(fd >= 0);
        assert_int_equal(memfd_check(fd, 0, &info), MEMFD_E_UNSEALED);
        unlink(path);
        fd_close(fd);
}

static void the_environment_names_the_socket(void **state) {
        Endpoint endpoints[ENDPOINTS_MAX];

        (void)state;
        unsetenv("SHIMPORT_SOCKET");
        setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
        assert_int_equal(endpoint_list(endpoints), 2);
        assert_string_equal(endpoints[0].address.sun_path, "/run/user/1/shimport/socket");
        assert_string_equal(endpoints[1].address.sun_path, ENDPOINT_SYSTEM);
        unsetenv("XDG_RUNTIME_DIR");
        assert_int_equal(endpoint_list(endpoints), 1);
        setenv("SHIMPORT_SOCKET", "/a", 1);
        assert_int_equal(endpoint_list(endpoints), 1);
        assert_string_equal(endpoints[0].address.sun_path, "/a");
        unsetenv("SHIMPORT_SOCKET");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_packet_arrives_whole_with_its_descriptors, setup, teardown),
                cmocka_unit_test_setup_teardown(the_longest_packet_arrives_and_a_longer_one_is_refused, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_packet_cut_short_closes_its_descriptors, setup, teardown),
                cmocka_unit_test_setup_teardown(an_ended_peer_and_silence_are_told_apart, setup, teardown),
                cmocka_unit_test(a_sealed_memfd_cannot_change),
                cmocka_unit_test(each_seal_is_asked_for),
                cmocka_unit_test(a_file_is_no_memfd),
                cmocka_unit_test(the_environment_names_the_socket),
        };

        return cmocka_run_group_tests_name("packet", tests, NULL, NULL);
}
