/* SPDX-License-Identifier: MIT */

/* The small parts of the daemon: latencies, messages, the queue, lists. */

#include "latency.h"
#include "message.h"
#include "packet.h"
#include "queue.h"
#include "refusal.h"
#include "scratch.h"
#include "shimport.pb-c.h"
#include "util.h"

static void a_quantile_is_off_by_an_eighth_at_most(void **state) {
        Latency latency = { 0 };

        (void)state;
        assert_int_equal(latency_quantile(&latency, 50), 0);
        for (uint64_t i = 1; i <= 1000; i++)
                latency_add(&latency, i * 10, 1);
        assert_int_equal(latency.count, 1000);
        assert_in_range(latency_quantile(&latency, 50), 5000, 5000 * 9 / 8);
        assert_in_range(latency_quantile(&latency, 99), 9900, 9900 * 9 / 8);
        assert_in_range(latency_quantile(&latency, 100), 10000, 10000 * 9 / 8);
}

static void small_and_huge_latencies_are_kept(void **state) {
        Latency latency = { 0 };

        (void)state;
        latency_add(&latency, 3, 1);
        assert_int_equal(latency_quantile(&latency, 50), 3);
        latency = (Latency){ 0 };
        latency_add(&latency, UINT64_MAX, 1);
        assert_true(latency_quantile(&latency, 50) > UINT32_MAX);
}

static void the_last_minute_is_counted_by_the_second(void **state) {
        Latency latency = { 0 };

        (void)state;
        assert_int_equal(latency_recent(&latency, 1000), 0);
        for (uint64_t second = 1000; second < 1100; second++) {
                latency_add(&latency, 1, second);
                latency_add(&latency, 1, second);
        }
        assert_int_equal(latency_recent(&latency, 1099), 2 * LATENCY_SECONDS);
        assert_int_equal(latency_recent(&latency, 1109), 2 * (LATENCY_SECONDS - 10));
        assert_int_equal(latency_recent(&latency, 1158), 2);
        assert_int_equal(latency_recent(&latency, 1159), 0);
        latency_add(&latency, 1, 5000);
        assert_int_equal(latency_recent(&latency, 5000), 1);
        assert_int_equal(latency.count, 201);
        latency = (Latency){ 0 }; /* right after the clock's start */
        latency_add(&latency, 1, 3);
        assert_int_equal(latency_recent(&latency, 5), 1);
}

static const Refusal *find_refusal(const Refusals *refusals, uid_t uid, const char *reason) {
        for (size_t i = 0; i < REFUSALS_MAX; i++)
                if (refusals->list[i].count && refusals->list[i].uid == uid &&
                    strcmp(refusals->list[i].reason, reason) == 0)
                        return &refusals->list[i];
        return NULL;
}

static void refusals_are_kept_by_user_and_reason(void **state) {
        static Refusals refusals;
        char reason[2 * REFUSAL_REASON_MAX];

        (void)state;
        refusals_add(&refusals, 1, 10, "quiet");
        for (unsigned i = 0; i < 1000; i++) { /* who has many reasons pushes out nobody's but its own */
                snprintf(reason, sizeof(reason), "reason %u", i);
                refusals_add(&refusals, 2, 20, reason);
        }
        refusals_add(&refusals, 1, 11, "quiet");
        assert_int_equal(find_refusal(&refusals, 1, "quiet")->count, 2);
        assert_int_equal(find_refusal(&refusals, 1, "quiet")->pid, 11);
        assert_non_null(find_refusal(&refusals, 2, "reason 999"));
        assert_null(find_refusal(&refusals, 2, "reason 0"));
        assert_int_equal(refusals.total, 1002);
        memset(reason, 'r', sizeof(reason)); /* too long a reason is cut, and still the same the next time */
        reason[sizeof(reason) - 1] = '\0';
        refusals_add(&refusals, 3, 30, reason);
        refusals_add(&refusals, 3, 30, reason);
        reason[REFUSAL_REASON_MAX - 1] = '\0';
        assert_int_equal(find_refusal(&refusals, 3, reason)->count, 2);
        for (uid_t uid = 100; uid < 200; uid++)
                refusals_add(&refusals, uid, 1, "many users");
        assert_non_null(find_refusal(&refusals, 199, "many users"));
}

static MessageDecoder decoder;

static Shimport__Request *decode(const void *data, size_t size) {
        return (Shimport__Request *)message_decode(&decoder, &shimport__request__descriptor, data, size);
}

static void a_full_attach_decodes(void **state) {
        static uint8_t bytes[PACKET_SIZE_MAX];
        Shimport__Request request = SHIMPORT__REQUEST__INIT;
        Shimport__Attach attach = SHIMPORT__ATTACH__INIT;
        Shimport__Root roots[PACKET_ROOTS_MAX], *list[PACKET_ROOTS_MAX];
        static char path[1000];
        Shimport__Request *decoded;
        size_t size;

        (void)state;
        memset(path, 'p', sizeof(path) - 1);
        for (size_t i = 0; i < PACKET_ROOTS_MAX; i++) {
                list[i] = &roots[i];
                shimport__root__init(list[i]);
                list[i]->path = message_text(path);
        }
        attach.roots = list;
        attach.n_roots = PACKET_ROOTS_MAX;
        request.body_case = SHIMPORT__REQUEST__BODY_ATTACH;
        request.attach = &attach;
        assert_int_equal(message_encode(&request.base, bytes, 10, &size), -EMSGSIZE);
        assert_int_equal(message_encode(&request.base, bytes, sizeof(bytes), &size), 0);
        for (unsigned i = 0; i < 3; i++) { /* and again: it starts anew each time */
                decoded = decode(bytes, size);
                assert_non_null(decoded);
                assert_int_equal(decoded->attach->n_roots, PACKET_ROOTS_MAX);
                assert_memory_equal(decoded->attach->roots[99]->path.data, path, sizeof(path) - 1);
        }
}

/* Two bytes of a packet make an empty Root of some forty. */
static void a_packet_that_unfolds_into_too_much_does_not_decode(void **state) {
        static uint8_t bytes[PACKET_SIZE_MAX];
        const size_t body = sizeof(bytes) - 16;
        size_t size = 0;

        (void)state;
        bytes[size++] = 2 << 3 | 2; /* attach */
        bytes[size++] = (uint8_t)(body & 127) | 128;
        bytes[size++] = (uint8_t)(body >> 7 & 127) | 128;
        bytes[size++] = (uint8_t)(body >> 14);
        for (size_t i = 0; i < body; i += 2)
                bytes[size + i] = 2 << 3 | 2; /* an empty root */
        assert_null(decode(bytes, size + body));
}

static void any_bytes_decode_or_do_not(void **state) {
        uint8_t bytes[64];
        unsigned seed = 1;

        (void)state;
        for (unsigned round = 0; round < 20000; round++) {
                for (size_t i = 0; i < sizeof(bytes); i++)
                        bytes[i] = (uint8_t)(rand_r(&seed) % (i % 3 ? 256 : 32));
                (void)decode(bytes, (size_t)rand_r(&seed) % sizeof(bytes));
        }
}

static void paths_are_told_from_other_bytes(void **state) {
        char long_path[5000];
        ProtobufCBinaryData bytes = message_text("/usr/lib");

        (void)state;
        assert_true(message_is_path(&bytes));
        bytes = message_text("");
        assert_false(message_is_path(&bytes));
        bytes = (ProtobufCBinaryData){ .len = 3, .data = (uint8_t *)"/\0a" };
        assert_false(message_is_path(&bytes));
        memset(long_path, '/', sizeof(long_path));
        bytes = (ProtobufCBinaryData){ .len = sizeof(long_path), .data = (uint8_t *)long_path };
        assert_false(message_is_path(&bytes));
}

typedef struct Job {
        QueueTicket ticket;
        unsigned started;
        bool takes_place;
} Job;

static unsigned idles;

static void on_idle(void *userdata) {
        (void)userdata;
        idles++;
}

static bool on_start(QueueTicket *ticket) {
        static unsigned order;
        Job *job = list_entry(ticket, Job, ticket);

        job->started = ++order;
        return job->takes_place;
}

static void the_queue_starts_so_many_in_order_and_not_at_once(void **state) {
        uv_loop_t loop;
        Job jobs[4];
        Queue *queue;
        Users users;
        User *user;

        (void)state;
        users_init(&users);
        assert_int_equal(users_get(&users, 0, &user), 0);
        uv_loop_init(&loop);
        assert_int_equal(queue_new(&loop, on_idle, NULL, &queue), 0);
        assert_true(queue_is_idle(queue));
        queue_set_places(queue, 2);
        for (size_t i = 0; i < ELEMENTSOF(jobs); i++) {
                jobs[i] = (Job){ .takes_place = i != 1 }; /* the second fails to start */
                queue_ticket_init(&jobs[i].ticket, user, on_start);
                assert_int_equal(queue_add(queue, &jobs[i].ticket), 0);
                assert_int_equal(jobs[i].started, 0);
        }
        uv_run(&loop, UV_RUN_NOWAIT);
        uv_run(&loop, UV_RUN_NOWAIT);
        assert_true(jobs[0].started && jobs[0].started < jobs[1].started &&
                    jobs[1].started < jobs[2].started);
        assert_int_equal(jobs[3].started, 0);
        queue_remove(queue, &jobs[3].ticket);
        queue_leave(queue, user);
        assert_int_equal(idles, 0);
        queue_leave(queue, user);
        assert_int_equal(idles, 1);
        assert_true(queue_is_idle(queue));
        queue_free(queue);
        loop_ends_empty(&loop);
        users_put(&users, user);
        users_done(&users);
}

static void users_take_turns_and_no_user_takes_all_places(void **state) {
        static const uid_t uids[] = { 1001, 1001, 1001, 1002 };
        uv_loop_t loop;
        Job jobs[ELEMENTSOF(uids)];
        User *owners[ELEMENTSOF(uids)];
        Queue *queue;
        Users users;

        (void)state;
        users_init(&users);
        uv_loop_init(&loop);
        assert_int_equal(queue_new(&loop, on_idle, NULL, &queue), 0);
        queue_set_places(queue, 3);
        queue_set_limits(queue, 2, 3);
        for (size_t i = 0; i < ELEMENTSOF(uids); i++) {
                assert_int_equal(users_get(&users, uids[i], &owners[i]), 0);
                jobs[i] = (Job){ .takes_place = true };
                queue_ticket_init(&jobs[i].ticket, owners[i], on_start);
                assert_int_equal(queue_add(queue, &jobs[i].ticket), 0);
        }
        uv_run(&loop, UV_RUN_NOWAIT);
        uv_run(&loop, UV_RUN_NOWAIT);
        assert_true(jobs[0].started && jobs[0].started < jobs[3].started &&
                    jobs[3].started < jobs[1].started);
        assert_int_equal(jobs[2].started, 0); /* two of this user are being built, and may be */
        for (size_t i = 0; i < 2; i++) {
                Job more = { 0 };

                queue_ticket_init(&more.ticket, owners[0], on_start);
                queue_set_limits(queue, 2, 1 + i);
                assert_int_equal(queue_add(queue, &more.ticket), i ? 0 : QUEUE_E_USER);
                queue_remove(queue, &more.ticket);
        }
        queue_remove(queue, &jobs[2].ticket);
        queue_leave(queue, owners[0]);
        queue_leave(queue, owners[3]);
        queue_leave(queue, owners[1]);
        assert_true(queue_is_idle(queue));
        queue_free(queue);
        loop_ends_empty(&loop);
        for (size_t i = 0; i < ELEMENTSOF(uids); i++)
                users_put(&users, owners[i]);
        users_done(&users);
}

static void a_user_may_ask_so_often_and_save_up_for_a_second(void **state) {
        const uint64_t second = 1000000000;
        uint64_t now = 100 * second;
        Users users;
        User *user;

        (void)state;
        users_init(&users);
        assert_int_equal(users_get(&users, 1001, &user), 0);
        for (unsigned i = 0; i < 10; i++) {
                assert_true(user_may(user, now, 10));
                user_spend(user);
        }
        assert_false(user_may(user, now, 10));
        now += second / 10;
        assert_true(user_may(user, now, 10));
        user_spend(user);
        assert_false(user_may(user, now, 10));
        users_put(&users, user);
        assert_int_equal(users_get(&users, 1001, &user), 0); /* to hang up brings nothing */
        assert_false(user_may(user, now, 10));
        users_put(&users, user);
        users_done(&users);
}

static void the_queue_is_bounded(void **state) {
        static Job jobs[QUEUE_WAITING_MAX + 1];
        uv_loop_t loop;
        Queue *queue;
        Users users;
        User *user;

        (void)state;
        users_init(&users);
        assert_int_equal(users_get(&users, 0, &user), 0);
        uv_loop_init(&loop);
        assert_int_equal(queue_new(&loop, on_idle, NULL, &queue), 0);
        for (size_t i = 0; i < ELEMENTSOF(jobs); i++) {
                queue_ticket_init(&jobs[i].ticket, user, on_start);
                assert_int_equal(queue_add(queue, &jobs[i].ticket), i < QUEUE_WAITING_MAX ? 0 : QUEUE_E_FULL);
        }
        for (size_t i = 0; i < ELEMENTSOF(jobs); i++)
                queue_remove(queue, &jobs[i].ticket);
        queue_free(queue);
        loop_ends_empty(&loop);
        users_put(&users, user);
        users_done(&users);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_quantile_is_off_by_an_eighth_at_most),
                cmocka_unit_test(small_and_huge_latencies_are_kept),
                cmocka_unit_test(the_last_minute_is_counted_by_the_second),
                cmocka_unit_test(refusals_are_kept_by_user_and_reason),
                cmocka_unit_test(a_full_attach_decodes),
                cmocka_unit_test(a_packet_that_unfolds_into_too_much_does_not_decode),
                cmocka_unit_test(any_bytes_decode_or_do_not),
                cmocka_unit_test(paths_are_told_from_other_bytes),
                cmocka_unit_test(the_queue_starts_so_many_in_order_and_not_at_once),
                cmocka_unit_test(the_queue_is_bounded),
                cmocka_unit_test(users_take_turns_and_no_user_takes_all_places),
                cmocka_unit_test(a_user_may_ask_so_often_and_save_up_for_a_second),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
