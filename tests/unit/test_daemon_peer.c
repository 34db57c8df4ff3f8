/* SPDX-License-Identifier: MIT */

/* Connections: what a peer does wrong ends that peer, with its descriptors closed, and nobody else. */

#include <dirent.h>
#include <sys/socket.h>

#include "peer.h"
#include "scratch.h"
#include "util.h"

typedef struct Fixture {
        uv_loop_t loop;
        Users users;
        Peers *peers;
        unsigned requests, empties, cancels;
        Peer *peer;    /* who asked last */
        char data[64]; /* what it said */
        size_t n_fds;
        void (*answer)(struct Fixture *fixture, Peer *peer);
} Fixture;

static int open_descriptors(void) {
        DIR *directory = opendir("/proc/self/fd");
        int n = 0;

        while (readdir(directory))
                n++;
        closedir(directory);
        return n;
}

static void on_request(void *userdata, Peer *peer, Packet *packet) {
        Fixture *fixture = userdata;

        fixture->requests++;
        fixture->peer = peer;
        fixture->n_fds = packet->n_fds;
        snprintf(fixture->data, sizeof(fixture->data), "%.*s", (int)packet->size, (char *)packet->data);
        if (fixture->answer)
                fixture->answer(fixture, peer);
}

static void on_empty(void *userdata) {
        Fixture *fixture = userdata;

        fixture->empties++;
}

static const PeersEvents events = { .request = on_request, .empty = on_empty };

static void set_limits(Fixture *fixture, size_t all, size_t per_user) {
        peers_set_limits(fixture->peers,
                         &(PeersLimits){ .all = all, .per_user = per_user, .requests = 1000 });
}

static int setup(void **state) {
        Fixture *fixture = calloc(1, sizeof(*fixture));

        assert_int_equal(uv_loop_init(&fixture->loop), 0);
        users_init(&fixture->users);
        assert_int_equal(peers_new(&fixture->loop, &fixture->users, &events, fixture, &fixture->peers), 0);
        set_limits(fixture, 100, 50);
        *state = fixture;
        return 0;
}

static int teardown(void **state) {
        Fixture *fixture = *state;

        peers_close(fixture->peers);
        turn_until(&fixture->loop, peers_count(fixture->peers) == 0);
        peers_free(fixture->peers);
        loop_ends_empty(&fixture->loop);
        users_done(&fixture->users);
        free(fixture);
        return 0;
}

/* A new peer. Return: the other end. */
static int join(Fixture *fixture) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        peers_add_consume(fixture->peers, pair[0]);
        return pair[1];
}

static void turn(Fixture *fixture) {
        for (unsigned i = 0; i < 5; i++)
                uv_run(&fixture->loop, UV_RUN_NOWAIT);
}

/* Has the daemon's side been closed? Takes what came before that. */
static bool is_closed(int fd) {
        char buffer[4096];
        ssize_t size;

        while ((size = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
                ;
        return size == 0;
}

static void answer_done(Fixture *fixture, Peer *peer) {
        (void)fixture;
        peer_done(peer, "done");
}

static Shimport__Reply *receive(int fd, Packet *packet) {
        assert_int_equal(packet_recv(fd, packet), 0);
        return shimport__reply__unpack(NULL, packet->size, packet->data);
}

static void a_request_is_handed_over_with_its_descriptors_and_they_are_closed(void **state) {
        Fixture *fixture = *state;
        int before = open_descriptors();
        int fd = join(fixture);
        int fds[3] = { STDERR_FILENO, STDERR_FILENO, STDERR_FILENO };

        assert_int_equal(packet_send(fd, "hello", 5, fds, 3), 0);
        turn(fixture);
        assert_int_equal(fixture->requests, 1);
        assert_string_equal(fixture->data, "hello");
        assert_int_equal(fixture->n_fds, 3);
        assert_int_equal(peer_uid(fixture->peer), getuid());
        assert_int_equal(peers_count(fixture->peers), 1);
        close(fd);
        turn(fixture);
        assert_int_equal(peers_count(fixture->peers), 0);
        assert_int_equal(fixture->empties, 1);
        assert_int_equal(open_descriptors(), before);
}

static void what_was_sent_before_it_joined_is_handled(void **state) {
        Fixture *fixture = *state;
        Packet *packet = malloc(sizeof(*packet));
        Shimport__Reply *reply;
        int pair[2];

        fixture->answer = answer_done;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        assert_int_equal(packet_send(pair[1], "a", 1, NULL, 0), 0);
        assert_int_equal(packet_send(pair[1], "b", 1, NULL, 0), 0);
        peers_add_consume(fixture->peers, pair[0]);
        turn(fixture);
        assert_int_equal(fixture->requests, 2);
        reply = receive(pair[1], packet);
        assert_int_equal(reply->body_case, SHIMPORT__REPLY__BODY_DONE);
        assert_memory_equal(reply->done->text.data, "done", 4);
        shimport__reply__free_unpacked(reply, NULL);
        free(packet);
        close(pair[1]);
}

static void an_oversized_packet_drops_its_peer_only(void **state) {
        Fixture *fixture = *state;
        char *large = calloc(1, PACKET_SIZE_MAX + 1);
        int bystander = join(fixture), fd = join(fixture), room = 1 << 20;
        int before = open_descriptors();

        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
        assert_int_equal(send(fd, large, PACKET_SIZE_MAX + 1, 0), PACKET_SIZE_MAX + 1);
        free(large);
        turn(fixture);
        assert_true(is_closed(fd));
        assert_int_equal(fixture->requests, 0);
        assert_int_equal(open_descriptors(), before - 1);
        assert_int_equal(packet_send(bystander, "x", 1, NULL, 0), 0);
        turn(fixture);
        assert_int_equal(fixture->requests, 1);
        close(bystander);
        close(fd);
}

static void an_empty_packet_is_taken_for_the_end(void **state) {
        Fixture *fixture = *state;
        int fd = join(fixture);

        assert_int_equal(send(fd, "", 0, 0), 0);
        turn(fixture);
        assert_true(is_closed(fd));
        close(fd);
}

static void answer_refusal(Fixture *fixture, Peer *peer) {
        (void)fixture;
        peer_refuse(peer, "not you");
        peer_done(peer, "never sent: it was the last answer");
}

static void a_refused_peer_is_told_why_and_closed(void **state) {
        Fixture *fixture = *state;
        Packet *packet = malloc(sizeof(*packet));
        Shimport__Reply *reply;
        int fd = join(fixture);

        fixture->answer = answer_refusal;
        assert_int_equal(packet_send(fd, "x", 1, NULL, 0), 0);
        turn(fixture);
        reply = receive(fd, packet);
        assert_int_equal(reply->body_case, SHIMPORT__REPLY__BODY_ERROR);
        assert_memory_equal(reply->error->text.data, "not you", 7);
        shimport__reply__free_unpacked(reply, NULL);
        assert_int_equal(packet_recv(fd, packet), PACKET_E_EOF);
        free(packet);
        close(fd);
}

/* More than the socket takes at once, each with a descriptor. */
#define MANY 40
#define TEXT_SIZE 20000

static void answer_much(Fixture *fixture, Peer *peer) {
        static char text[TEXT_SIZE];
        Shimport__Done body = SHIMPORT__DONE__INIT;
        Shimport__Reply reply = SHIMPORT__REPLY__INIT;

        (void)fixture;
        body.text = (ProtobufCBinaryData){ .len = sizeof(text), .data = (uint8_t *)text };
        reply.body_case = SHIMPORT__REPLY__BODY_DONE;
        reply.done = &body;
        for (unsigned i = 0; i < MANY; i++) {
                int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

                peer_send(peer, &reply, &fd, 1);
                close(fd); /* the queued answer has its own */
        }
}

static void answers_wait_for_a_slow_reader_with_their_descriptors(void **state) {
        Fixture *fixture = *state;
        Packet *packet = malloc(sizeof(*packet));
        int before = open_descriptors();
        int fd = join(fixture);

        fixture->answer = answer_much;
        assert_int_equal(packet_send(fd, "x", 1, NULL, 0), 0);
        turn(fixture);
        assert_true(open_descriptors() > before + 2); /* some wait */
        for (unsigned i = 0; i < MANY; i++) {
                turn(fixture);
                assert_int_equal(packet_recv(fd, packet), 0);
                assert_int_equal(packet->n_fds, 1);
                packet_done(packet);
        }
        turn(fixture);
        assert_int_equal(open_descriptors(), before + 2);
        fixture->answer = NULL;
        assert_int_equal(packet_send(fd, "again", 5, NULL, 0), 0); /* and it is listened to again */
        turn(fixture);
        assert_string_equal(fixture->data, "again");
        free(packet);
        close(fd);
}

static void a_peer_that_never_reads_is_dropped_and_leaves_nothing(void **state) {
        Fixture *fixture = *state;
        int before = open_descriptors();
        int fd = join(fixture);

        fixture->answer = answer_much;
        assert_int_equal(packet_send(fd, "x", 1, NULL, 0), 0);
        assert_int_equal(packet_send(fd, "x", 1, NULL, 0), 0);
        turn(fixture);
        close(fd);
        turn(fixture);
        assert_int_equal(peers_count(fixture->peers), 0);
        assert_int_equal(open_descriptors(), before);
}

static void on_cancel(void *work) {
        Fixture *fixture = work;

        fixture->cancels++;
}

static void answer_later(Fixture *fixture, Peer *peer) {
        peer_work(peer, fixture, on_cancel, 10000);
}

static void work_ends_with_an_answer(void **state) {
        Fixture *fixture = *state;
        Packet *packet = malloc(sizeof(*packet));
        int fd = join(fixture);

        fixture->answer = answer_later;
        assert_int_equal(packet_send(fd, "x", 1, NULL, 0), 0);
        turn(fixture);
        assert_int_equal(packet_recv(fd, packet), -EAGAIN);
        peer_work_end(fixture->peer);
        peer_done(fixture->peer, "at last");
        assert_int_equal(packet_recv(fd, packet), 0);
        assert_int_equal(fixture->cancels, 0);
        free(packet);
        close(fd);
}

static void work_is_cancelled_when_its_peer_goes(void **state) {
        Fixture *fixture = *state;
        int fd = join(fixture);

        fixture->answer = answer_later;
        assert_int_equal(packet_send(fd, "x", 1, NULL, 0), 0);
        turn(fixture);
        assert_int_equal(fixture->cancels, 0);
        close(fd);
        turn(fixture);
        assert_int_equal(fixture->cancels, 1);
}

static void a_request_during_work_drops_the_peer(void **state) {
        Fixture *fixture = *state;
        int fd = join(fixture);

        fixture->answer = answer_later;
        assert_int_equal(packet_send(fd, "x", 1, NULL, 0), 0);
        turn(fixture);
        assert_int_equal(packet_send(fd, "y", 1, NULL, 0), 0);
        turn(fixture);
        assert_true(is_closed(fd));
        assert_int_equal(fixture->cancels, 1);
        assert_int_equal(fixture->requests, 1);
        close(fd);
}

static void work_that_takes_too_long_drops_the_peer(void **state) {
        Fixture *fixture = *state;
        int fd = join(fixture);

        fixture->answer = answer_later;
        assert_int_equal(packet_send(fd, "x", 1, NULL, 0), 0);
        turn(fixture);
        peer_work_end(fixture->peer);
        peer_work(fixture->peer, fixture, on_cancel, 1);
        turn_until(&fixture->loop, fixture->cancels);
        turn(fixture);
        assert_true(is_closed(fd));
        close(fd);
}

static void connections_are_limited_for_each_user_and_in_all(void **state) {
        Fixture *fixture = *state;
        int fds[4];

        set_limits(fixture, 100, 2);
        for (unsigned i = 0; i < 3; i++)
                fds[i] = join(fixture);
        assert_int_equal(peers_count(fixture->peers), 2);
        assert_true(is_closed(fds[2]));
        set_limits(fixture, 2, 100);
        fds[3] = join(fixture);
        assert_true(is_closed(fds[3]));
        close(fds[0]);
        turn(fixture);
        close(fds[3]);
        fds[3] = join(fixture); /* there is room again */
        assert_int_equal(peers_count(fixture->peers), 2);
        for (unsigned i = 1; i < 4; i++)
                close(fds[i]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(
                        a_request_is_handed_over_with_its_descriptors_and_they_are_closed, setup, teardown),
                cmocka_unit_test_setup_teardown(what_was_sent_before_it_joined_is_handled, setup, teardown),
                cmocka_unit_test_setup_teardown(an_oversized_packet_drops_its_peer_only, setup, teardown),
                cmocka_unit_test_setup_teardown(an_empty_packet_is_taken_for_the_end, setup, teardown),
                cmocka_unit_test_setup_teardown(a_refused_peer_is_told_why_and_closed, setup, teardown),
                cmocka_unit_test_setup_teardown(answers_wait_for_a_slow_reader_with_their_descriptors, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_peer_that_never_reads_is_dropped_and_leaves_nothing, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(work_ends_with_an_answer, setup, teardown),
                cmocka_unit_test_setup_teardown(work_is_cancelled_when_its_peer_goes, setup, teardown),
                cmocka_unit_test_setup_teardown(a_request_during_work_drops_the_peer, setup, teardown),
                cmocka_unit_test_setup_teardown(work_that_takes_too_long_drops_the_peer, setup, teardown),
                cmocka_unit_test_setup_teardown(connections_are_limited_for_each_user_and_in_all, setup,
                                                teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
