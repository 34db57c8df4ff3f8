/* SPDX-License-Identifier: MIT */

/* The regular expressions that processes report, and what each user may report. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* after what it needs */
#include <cmocka.h>

#include "allowance.h"
#include "patterns.h"
#include "util.h"

/* A message of one file; lasts until the next one. */
static const Shimport__Pattern *reported(const char *text, const char *file) {
        static Shimport__Pattern pattern;
        static ProtobufCBinaryData files[1];

        shimport__pattern__init(&pattern);
        pattern.text = (ProtobufCBinaryData){ strlen(text), (uint8_t *)text };
        pattern.width = 1;
        files[0] = (ProtobufCBinaryData){ strlen(file), (uint8_t *)file };
        pattern.files = files;
        pattern.n_files = 1;
        return &pattern;
}

/* As a report is taken: see it, or have it wait. */
static int report(Patterns *patterns, const char *text) {
        const Shimport__Pattern *pattern = reported(text, "a.py");

        switch (patterns_look(patterns, pattern)) {
        case PATTERN_NEW:
                patterns_see(patterns, pattern);
                return 0;
        case PATTERN_SEEN:
                return patterns_add(patterns, pattern);
        case PATTERN_KNOWN:
                break;
        }
        return -EEXIST;
}

static void what_is_reported_twice_is_given_once(void **state) {
        Shimport__BuildPattern **given;
        Patterns patterns;
        size_t n;

        (void)state;
        patterns_init(&patterns);
        assert_int_equal(report(&patterns, "a+"), 0);
        assert_false(patterns_are_waiting(&patterns));
        assert_int_equal(report(&patterns, "b+"), 0);
        assert_int_equal(report(&patterns, "a+"), 0);
        assert_true(patterns_are_waiting(&patterns));
        assert_int_equal(report(&patterns, "a+"), -EEXIST);
        assert_int_equal(patterns_give(&patterns, &given, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(given[0]->text.len, 2);
        assert_memory_equal(given[0]->text.data, "a+", 2);
        assert_memory_equal(given[0]->files[0].data, "a.py", 4);
        patterns_given_free(given, n);
        assert_false(patterns_are_waiting(&patterns));
        assert_int_equal(report(&patterns, "a+"), -EEXIST);
        patterns_forget_given(&patterns);
        assert_int_equal(report(&patterns, "a+"), 0);
        assert_true(patterns_are_waiting(&patterns));
        patterns_clear(&patterns);
}

static void what_waits_is_bounded_and_given_by_the_packet(void **state) {
        char text[PATTERN_TEXT_MAX];
        Shimport__BuildPattern **given;
        size_t n, waiting, bytes, rounds = 0;
        Patterns patterns;

        (void)state;
        patterns_init(&patterns);
        for (unsigned i = 0; i < 10000; i++) {
                snprintf(text, sizeof(text), "%0*u", i % 2 ? 10 : 4000, i);
                report(&patterns, text);
                report(&patterns, text);
        }
        assert_true(patterns.n_waiting <= PATTERNS_WAITING_MAX);
        assert_true(patterns.bytes <= PATTERNS_BYTES_MAX);
        while (patterns_are_waiting(&patterns)) {
                waiting = patterns.n_waiting;
                bytes = 0;
                assert_int_equal(patterns_give(&patterns, &given, &n), 0);
                assert_true(n > 0 && patterns.n_waiting == waiting - n);
                for (size_t i = 0; i < n; i++)
                        bytes += shimport__build_pattern__get_packed_size(given[i]);
                assert_true(bytes <= PATTERNS_GIVEN_BYTES_MAX);
                patterns_given_free(given, n);
                rounds++;
        }
        assert_true(rounds > 1);
        assert_int_equal(patterns.bytes, 0);
        patterns_clear(&patterns);
}

static void a_flood_makes_others_forgotten_and_nothing_grow(void **state) {
        char text[32];
        Patterns patterns;

        (void)state;
        patterns_init(&patterns);
        assert_int_equal(report(&patterns, "early"), 0);
        for (unsigned i = 0; i < 100000; i++) {
                snprintf(text, sizeof(text), "%u", i);
                assert_int_equal(report(&patterns, text), 0);
        }
        assert_int_equal(patterns_look(&patterns, reported("early", "a.py")), PATTERN_NEW);
        assert_int_equal(patterns_look(&patterns, reported("99999", "a.py")), PATTERN_SEEN);
        assert_false(patterns_are_waiting(&patterns));
        patterns_clear(&patterns);
}

static void what_is_unsound_is_known(void **state) {
        static char large[PATTERN_TEXT_MAX + 2];
        Shimport__Pattern pattern;
        Patterns patterns;

        (void)state;
        patterns_init(&patterns);
        memset(large, 'x', PATTERN_TEXT_MAX + 1);
        assert_int_equal(patterns_look(&patterns, reported(large, "a.py")), PATTERN_KNOWN);
        assert_int_equal(patterns_look(&patterns, reported("", "a.py")), PATTERN_KNOWN);
        assert_int_equal(patterns_look(&patterns, reported("a", "/a.py")), PATTERN_KNOWN);
        assert_int_equal(patterns_look(&patterns, reported("a", "")), PATTERN_KNOWN);
        pattern = *reported("a", "a.py");
        pattern.width = 5;
        assert_int_equal(patterns_look(&patterns, &pattern), PATTERN_KNOWN);
        pattern.width = 1;
        pattern.n_files = 0;
        assert_int_equal(patterns_look(&patterns, &pattern), PATTERN_KNOWN);
        assert_int_equal(patterns_look(&patterns, reported("a", "a.py")), PATTERN_NEW);
}

static void an_allowance_is_used_up_and_comes_back(void **state) {
        static Allowances allowances;
        uint64_t now = 5000;

        (void)state;
        for (unsigned i = 0; i < ALLOWANCE_COUNT; i++)
                assert_true(allowance_take(&allowances, 1000, 0, now));
        assert_false(allowance_take(&allowances, 1000, 0, now));
        assert_true(allowance_take(&allowances, 1001, ALLOWANCE_BYTES, now));
        assert_false(allowance_take(&allowances, 1001, 1, now));
        assert_true(allowance_take(&allowances, 1001, 0, now));
        now += 1000 / ALLOWANCE_COUNT_PER_S;
        assert_true(allowance_take(&allowances, 1000, 0, now));
        assert_false(allowance_take(&allowances, 1000, 0, now));
        now += 3600 * 1000;
        for (unsigned i = 0; i < ALLOWANCE_COUNT; i++)
                assert_true(allowance_take(&allowances, 1000, 0, now));
        assert_false(allowance_take(&allowances, 1000, 0, now));
}

static void of_many_users_the_one_who_used_least_is_forgotten(void **state) {
        static Allowances allowances;

        (void)state;
        for (unsigned i = 0; i < ALLOWANCE_COUNT; i++)
                assert_true(allowance_take(&allowances, 1000, 0, 1));
        for (uid_t uid = 2000; uid < 2000 + 10 * ALLOWANCE_USERS; uid++)
                assert_true(allowance_take(&allowances, uid, 0, 1));
        assert_false(allowance_take(&allowances, 1000, 0, 1));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_reported_twice_is_given_once),
                cmocka_unit_test(what_waits_is_bounded_and_given_by_the_packet),
                cmocka_unit_test(a_flood_makes_others_forgotten_and_nothing_grow),
                cmocka_unit_test(what_is_unsound_is_known),
                cmocka_unit_test(an_allowance_is_used_up_and_comes_back),
                cmocka_unit_test(of_many_users_the_one_who_used_least_is_forgotten),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
