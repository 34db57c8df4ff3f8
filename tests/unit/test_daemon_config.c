/* SPDX-License-Identifier: MIT */

/* The configuration file: taken whole or not at all, and an error says where, what, and what is accepted. */

#include "config.h"
#include "scratch.h"
#include "util.h"

static int setup(void **state) {
        Scratch *scratch = calloc(1, sizeof(*scratch));

        scratch_new(scratch);
        *state = scratch;
        return 0;
}

static int teardown(void **state) {
        scratch_done(*state);
        free(*state);
        return 0;
}

static void is_refused_bytes(const Scratch *scratch, const char *data, size_t size, const char *expected) {
        const char *path = scratch_write_bytes(scratch, "conf", data, size);
        Config config = { .build_jobs = 77 };
        char *error = NULL, wanted[512];

        assert_int_equal(config_load(path, false, &config, &error), CONFIG_E_INVALID);
        assert_int_equal(config.build_jobs, 77);
        snprintf(wanted, sizeof(wanted), "%s:%s", path, expected);
        if (strncmp(error, wanted, strlen(wanted)) != 0)
                assert_string_equal(error, wanted);
        assert_null(strchr(error, '\n'));
        free(error);
}

static void is_refused(const Scratch *scratch, const char *text, const char *expected) {
        is_refused_bytes(scratch, text, strlen(text), expected);
}

static void is_taken(const Scratch *scratch, const char *text, Config *ret_config) {
        char *error = NULL;

        assert_int_equal(config_load(scratch_write(scratch, "conf", text), false, ret_config, &error), 0);
        assert_null(error);
}

static void without_a_file_there_are_defaults(void **state) {
        Config config;
        char *error = NULL;

        assert_int_equal(config_load(NULL, false, &config, &error), 0);
        assert_int_equal(config.build_timeout, 120);
        assert_true(config.memory_max > 1 << 20);
        assert_null(config.socket);
        config_done(&config);
        assert_int_equal(config_load(scratch_path(*state, "missing"), true, &config, &error), 0);
        config_done(&config);
        assert_null(error);
}

static void every_key_is_heeded(void **state) {
        Config config;

        is_taken(*state,
                 "# a comment\n"
                 "; another one\n"
                 "\n"
                 "[daemon]\n"
                 "Socket=/run/x/socket\n"
                 "ClientPath = /opt/client ; where it lies\n"
                 "IdleExit=600\n"
                 "BuildTimeout=30\n"
                 "BuildJobs=3\n"
                 "MaxPeers=10\n"
                 "MaxPeersPerUser=5\n"
                 "MemoryMax=64M\n"
                 "WatchLimit=1000\n",
                 &config);
        assert_string_equal(config.socket, "/run/x/socket");
        assert_string_equal(config.client_path, "/opt/client");
        assert_int_equal(config.idle_exit, 600);
        assert_int_equal(config.build_timeout, 30);
        assert_int_equal(config.build_jobs, 3);
        assert_int_equal(config.max_peers, 10);
        assert_int_equal(config.max_peers_per_user, 5);
        assert_int_equal(config.memory_max, 64 << 20);
        assert_int_equal(config.watch_limit, 1000);
        config_done(&config);
}

static void the_last_of_two_equal_keys_counts(void **state) {
        Config config;

        is_taken(*state, "[daemon]\nSocket=/a/b\nSocket=/c/d\n", &config);
        assert_string_equal(config.socket, "/c/d");
        config_done(&config);
}

static void sizes_have_units(void **state) {
        Config config;

        is_taken(*state, "[daemon]\nMemoryMax=1048576\n", &config);
        assert_int_equal(config.memory_max, 1 << 20);
        is_taken(*state, "[daemon]\nMemoryMax=2T\n", &config);
        assert_true(config.memory_max == UINT64_C(2) << 40);
        is_taken(*state, "[daemon]\nMemoryMax=100%\n", &config);
        assert_true(config.memory_max > 1 << 20);
        is_refused(*state, "[daemon]\nMemoryMax=101%\n", "2: bad value '101%' for MemoryMax=; accepted is ");
        is_refused(*state, "[daemon]\nMemoryMax=1K\n", "2: bad value '1K'");
        is_refused(*state, "[daemon]\nMemoryMax=1MB\n", "2: bad value '1MB'");
        is_refused(*state, "[daemon]\nMemoryMax=99999999999999999T\n", "2: bad value");
}

static void the_last_rule_that_fits_a_root_is_in_force(void **state) {
        Config config;

        is_taken(*state, "[daemon]\nMaxPeers=10\n", &config);
        assert_int_equal(config_validate(&config, "/anywhere"), VALIDATE_AUTO);
        config_done(&config);
        is_taken(*state,
                 "[daemon]\n"
                 "Validate=stat /mnt/two\n"
                 "Validate=watch\n"
                 "Validate=never /nix/store/*/lib\n"
                 "Validate=auto /mnt/*\n",
                 &config);
        assert_int_equal(config_validate(&config, "/anywhere"), VALIDATE_WATCH);
        assert_int_equal(config_validate(&config, "/nix/store/a/b/lib"), VALIDATE_NEVER);
        assert_int_equal(config_validate(&config, "/mnt/two"), VALIDATE_AUTO);
        config_done(&config);
        is_refused(*state, "[daemon]\nValidate=sometimes\n",
                   "2: bad value 'sometimes' for Validate=; accepted is auto, watch, stat or never");
        is_refused(*state, "[daemon]\nValidate=stat relative/path\n",
                   "2: bad value 'stat relative/path' for Validate=; accepted is auto");
}

static void a_bad_value_is_named_with_its_line(void **state) {
        is_refused(*state, "[daemon]\n\nBuildJobs=many\n",
                   "3: bad value 'many' for BuildJobs=; accepted is a number from 1 to 256, or 0");
        is_refused(*state, "[daemon]\nBuildJobs=257\n", "2: bad value '257'");
        is_refused(*state, "[daemon]\nBuildJobs=-1\n", "2: bad value '-1'");
        is_refused(*state, "[daemon]\nBuildJobs=1x\n", "2: bad value '1x'");
        is_refused(*state, "[daemon]\nBuildJobs=\n", "2: bad value ''");
        is_refused(*state, "[daemon]\nBuildTimeout=0\n", "2: bad value '0'");
        is_refused(*state, "[daemon]\nBuildTimeout=18446744073709551617\n", "2: bad value");
        is_refused(*state, "[daemon]\nSocket=run/x\n",
                   "2: bad value 'run/x' for Socket=; accepted is an absolute path");
}

static void an_unknown_key_is_answered_with_those_that_are_known(void **state) {
        is_refused(*state, "[daemon]\nBuildJobs=1\n# x\nBuildJob=1\n",
                   "4: unknown key 'BuildJob' in [daemon]; accepted are Socket=, ClientPath=, ");
}

static void what_is_preloaded_is_told_for_each_root(void **state) {
        Config config;

        is_taken(*state, "[daemon]\nPreload=used\nPreload=numpy,numpy.* /srv/*\nPreloadMax=7\n", &config);
        assert_string_equal(config_preload(&config, "/usr/lib/python3"), "used");
        assert_string_equal(config_preload(&config, "/srv/app"), "numpy,numpy.*");
        assert_int_equal(config.preload_max, 7);
        config_done(&config);
        is_taken(*state, "[daemon]\nPreload=used /srv/*\n", &config);
        assert_string_equal(config_preload(&config, "/usr/lib/python3"), "all");
        assert_int_equal(config.preload_max, 10000);
        config_done(&config);
        is_refused(*state, "[daemon]\nPreload=\n",
                   "2: bad value '' for Preload=; accepted is all, used, or ");
        is_refused(*state, "[daemon]\nPreload=a,,b\n", "2: bad value");
        is_refused(*state, "[daemon]\nPreload=,a\n", "2: bad value");
        is_refused(*state, "[daemon]\nPreload=a,\n", "2: bad value");
        is_refused(*state, "[daemon]\nPreload=a/b\n", "2: bad value");
        is_refused(*state, "[daemon]\nPreload=used srv\n", "2: bad value");
}

static void an_unknown_section_is_refused(void **state) {
        is_refused(*state, "[deamon]\nBuildJobs=1\n", "2: unknown section [deamon]; accepted is [daemon]");
        is_refused(*state, "BuildJobs=1\n", "1: 'BuildJobs=' comes before any section; accepted is [daemon]");
}

static void what_is_no_configuration_is_refused_where_it_stands(void **state) {
        static const char nul[] = "[daemon]\nBuildJobs=1\n\0\n";
        char *text;

        is_refused(*state, "[daemon]\nBuildJobs\n", "2: neither a section nor a key; accepted is ");
        is_refused(*state, "[daemon\nBuildJobs=1\n", "1: neither a section nor a key; accepted is ");
        is_refused(*state, "[daemon]\nSocket=/a/b\n MaxPeers=1\n", "3: the line starts with white space");
        is_refused_bytes(*state, nul, sizeof(nul) - 1, "3: the line has a NUL byte");
        assert_true(asprintf(&text, "[daemon]\nSocket=/%0300d\nMaxPeers=1\n", 0) > 0);
        is_refused(*state, text, "2: the line is too long");
        free(text);
}

static void of_several_errors_the_first_is_told(void **state) {
        is_refused(*state, "[daemon]\nrubbish\nBuildJobs=x\n", "2: neither");
        is_refused(*state, "[daemon]\nBuildJobs=x\nrubbish\n", "2: bad value");
}

static void a_file_that_cannot_be_read_is_refused(void **state) {
        char *error = NULL;
        Config config;

        assert_int_equal(config_load(scratch_path(*state, "missing"), false, &config, &error),
                         CONFIG_E_INVALID);
        assert_non_null(strstr(error, "/missing: No such file or directory; accepted is "));
        free(error);
        assert_int_equal(config_load(scratch_path(*state, ""), true, &config, &error), CONFIG_E_INVALID);
        assert_non_null(strstr(error, ": Is a directory"));
        free(error);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(without_a_file_there_are_defaults, setup, teardown),
                cmocka_unit_test_setup_teardown(every_key_is_heeded, setup, teardown),
                cmocka_unit_test_setup_teardown(the_last_of_two_equal_keys_counts, setup, teardown),
                cmocka_unit_test_setup_teardown(sizes_have_units, setup, teardown),
                cmocka_unit_test_setup_teardown(the_last_rule_that_fits_a_root_is_in_force, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_preloaded_is_told_for_each_root, setup, teardown),
                cmocka_unit_test_setup_teardown(a_bad_value_is_named_with_its_line, setup, teardown),
                cmocka_unit_test_setup_teardown(an_unknown_key_is_answered_with_those_that_are_known, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(an_unknown_section_is_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_no_configuration_is_refused_where_it_stands, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(of_several_errors_the_first_is_told, setup, teardown),
                cmocka_unit_test_setup_teardown(a_file_that_cannot_be_read_is_refused, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
