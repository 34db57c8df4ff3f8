/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fnmatch.h>
#include <ini.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/un.h>

#include "config.h"
#include "util.h"

#define DAY 86400u
#define MEMORY_DEFAULT_PERCENT 10

/* Some ten times the standard library: half a minute's build, and as much memory as MemoryMax= of a small machine. */
#define PRELOAD_MAX_DEFAULT 10000

typedef struct ConfigKey ConfigKey;

struct ConfigKey {
        const char *section, *name;
        /* Return: 0, -EINVAL for a value that is not accepted, -ENOMEM. */
        int (*parse)(const ConfigKey *key, const char *value, void *field);
        size_t field; /* offset in Config */
        uint64_t least, most;
        const char *accepted;
};

static int parse_number(const ConfigKey *key, const char *value, void *field);
static int parse_size(const ConfigKey *key, const char *value, void *field);
static int parse_path(const ConfigKey *key, const char *value, void *field);
static int parse_gc(const ConfigKey *key, const char *value, void *field);
static int parse_off(const ConfigKey *key, const char *value, void *field);
static int parse_validate(const ConfigKey *key, const char *value, void *field);
static int parse_preload(const ConfigKey *key, const char *value, void *field);

#define KEY(section_, name_, parse_, field_, least_, most_, accepted_)                                  \
        {                                                                                               \
                .section = section_, .name = name_, .parse = parse_, .field = offsetof(Config, field_), \
                .least = least_, .most = most_, .accepted = accepted_                                   \
        }

static const ConfigKey config_keys[] = {
        KEY("daemon", "Socket", parse_path, socket, 2, sizeof(((struct sockaddr_un *)0)->sun_path) - 1,
            "an absolute path of at most 107 bytes"),
        KEY("daemon", "ClientPath", parse_path, client_path, 2, PATH_MAX - 1, "an absolute path"),
        KEY("daemon", "IdleExit", parse_number, idle_exit, 0, 30 * DAY,
            "seconds from 1 to 2592000, or 0 for never"),
        KEY("daemon", "BuildTimeout", parse_number, build_timeout, 1, DAY, "seconds from 1 to 86400"),
        KEY("daemon", "BuildJobs", parse_number, build_jobs, 0, 256,
            "a number from 1 to 256, or 0 for the number of processors"),
        KEY("daemon", "MaxPeers", parse_number, max_peers, 1, 100000, "a number from 1 to 100000"),
        KEY("daemon", "MaxPeersPerUser", parse_number, max_peers_per_user, 1, 100000,
            "a number from 1 to 100000"),
        KEY("daemon", "MemoryMax", parse_size, memory_max, 1 << 20, UINT64_MAX,
            "1M or more: bytes, with K, M, G or T, or a percentage of the memory as in 10%"),
        KEY("daemon", "MemoryMaxPerUser", parse_size, memory_max_per_user, 1 << 20, UINT64_MAX,
            "1M or more: bytes, with K, M, G or T, or a percentage of the memory as in 5%"),
        KEY("daemon", "MaxAttachesPerUser", parse_number, max_attaches_per_user, 1, 1000000,
            "a number a second, from 1 to 1000000"),
        KEY("daemon", "MaxRootsPerUser", parse_number, max_roots_per_user, 1, 4096,
            "a number from 1 to 4096"),
        KEY("daemon", "MaxBuildsPerUser", parse_number, max_builds_per_user, 0, 256,
            "a number from 1 to 256, or 0 for one less than BuildJobs="),
        KEY("daemon", "MaxQueuedPerUser", parse_number, max_queued_per_user, 1, 512,
            "a number from 1 to 512"),
        KEY("daemon", "ReportMax", parse_size, report_max, 64, 128 << 10, "bytes from 64 to 128K"),
        KEY("daemon", "WatchLimit", parse_number, watch_limit, 0, INT32_MAX,
            "a number of directories, or 0 for three quarters of fs.inotify.max_user_watches"),
        KEY("daemon", "GC", parse_gc, gc, 0, 0, "stock, hold or freeze"),
        KEY("daemon", "Regex", parse_off, no_regex, 0, 0, "on or off"),
        KEY("daemon", "Snippets", parse_off, no_snippets, 0, 0, "on or off"),
        KEY("daemon", "Validate", parse_validate, validate, 0, 256,
            "auto, watch, stat or never, for all roots, or before the absolute path of one; * and ? fit any"),
        KEY("daemon", "Preload", parse_preload, preload, 0, 256,
            "all, used, or patterns of modules' names, with commas between, for all roots, or before the "
            "absolute "
            "path of one; * and ? fit any"),
        KEY("daemon", "PreloadMax", parse_number, preload_max, 0, 500000, "a number of modules up to 500000"),
};

/* What the reader and the handler of one load share. */
typedef struct ConfigParse {
        FILE *file;
        const char *path;
        Config *config;
        char *text; /* the line at hand, of getline(3) */
        size_t text_room;
        int line;
        char *error; /* the first */
        int error_line;
        bool out_of_memory;
} ConfigParse;

__attribute__((format(printf, 2, 3))) static int config_fail(ConfigParse *parse, const char *format, ...) {
        va_list arguments;
        char *what;
        int n;

        if (parse->error)
                return 0;
        va_start(arguments, format);
        n = vasprintf(&what, format, arguments);
        va_end(arguments);
        if (n < 0) {
                parse->out_of_memory = true;
                return 0;
        }
        parse->error = what;
        parse->error_line = parse->line;
        return 0;
}

static int parse_number(const ConfigKey *key, const char *value, void *field) {
        uint64_t number;
        int end;

        if (*value < '0' || *value > '9' || strlen(value) > 18 ||
            sscanf(value, "%" SCNu64 "%n", &number, &end) != 1 || value[end])
                return -EINVAL;
        if (number < key->least || number > key->most)
                return -EINVAL;
        *(uint64_t *)field = number;
        return 0;
}

static uint64_t memory_percent(uint64_t percent) {
        struct sysinfo info;

        if (sysinfo(&info) < 0)
                return 1u << 30;
        return (uint64_t)info.totalram * info.mem_unit / 100 * percent;
}

static int parse_size(const ConfigKey *key, const char *value, void *field) {
        static const char units[] = "KMGT";
        uint64_t number;
        const char *unit;
        int end;

        if (*value < '0' || *value > '9' || strlen(value) > 18 ||
            sscanf(value, "%" SCNu64 "%n", &number, &end) != 1)
                return -EINVAL;
        value += end;
        if (strcmp(value, "%") == 0) {
                if (number < 1 || number > 100)
                        return -EINVAL;
                number = memory_percent(number);
        } else if (*value) {
                unit = strchr(units, *value);
                if (!unit || value[1] ||
                    __builtin_mul_overflow(number, UINT64_C(1) << (10 * (unit - units + 1)), &number))
                        return -EINVAL;
        }
        if (number < key->least || number > key->most)
                return -EINVAL;
        *(uint64_t *)field = number;
        return 0;
}

static int parse_path(const ConfigKey *key, const char *value, void *field) {
        size_t length = strlen(value);
        char *path;

        if (*value != '/' || length < key->least || length > key->most)
                return -EINVAL;
        path = strdup(value);
        if (!path)
                return -ENOMEM;
        free(*(char **)field);
        *(char **)field = path;
        return 0;
}

static int parse_gc(const ConfigKey *key, const char *value, void *field) {
        static const char *const names[_GC_N] = {
                [GC_HOLD] = "hold",
                [GC_STOCK] = "stock",
                [GC_FREEZE] = "freeze",
        };

        (void)key;
        for (uint64_t i = 0; i < _GC_N; i++)
                if (strcmp(value, names[i]) == 0) {
                        *(uint64_t *)field = i;
                        return 0;
                }
        return -EINVAL;
}

static int parse_off(const ConfigKey *key, const char *value, void *field) {
        (void)key;
        if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
                return -EINVAL;
        *(bool *)field = strcmp(value, "off") == 0;
        return 0;
}

/* A word, and maybe a pattern of paths after it. Return: the pattern, or NULL if it is none. */
static const char *rule_split(const char *value, size_t *ret_word) {
        const char *pattern;

        *ret_word = strcspn(value, " \t");
        pattern = value + *ret_word + strspn(value + *ret_word, " \t");
        if (!*pattern)
                return "*";
        return *pattern == '/' ? pattern : NULL;
}

/* Each line adds a rule, up to key->most. Return: 0, -EINVAL or -ENOMEM. */
static int rules_add(const ConfigKey *key, ConfigRules *rules, ConfigRule rule, const char *pattern) {
        ConfigRule *grown;

        if (rules->n >= key->most)
                return -EINVAL;
        grown = realloc(rules->rules, (rules->n + 1) * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        rules->rules = grown;
        rule.pattern = strdup(pattern);
        if (!rule.pattern)
                return -ENOMEM;
        rules->rules[rules->n++] = rule;
        return 0;
}

static void rules_free(ConfigRules *rules) {
        for (size_t i = 0; i < rules->n; i++) {
                free(rules->rules[i].preload);
                free(rules->rules[i].pattern);
        }
        free(rules->rules);
}

static const ConfigRule *rules_find(const ConfigRules *rules, const char *root) {
        for (size_t i = rules->n; i-- > 0;)
                if (fnmatch(rules->rules[i].pattern, root, 0) == 0)
                        return &rules->rules[i];
        return NULL;
}

static int parse_validate(const ConfigKey *key, const char *value, void *field) {
        static const char *const names[_VALIDATE_N] = {
                [VALIDATE_AUTO] = "auto",
                [VALIDATE_WATCH] = "watch",
                [VALIDATE_STAT] = "stat",
                [VALIDATE_NEVER] = "never",
        };
        size_t word;
        const char *pattern = rule_split(value, &word);
        ConfigRule rule = { .validate = VALIDATE_AUTO };

        while (rule.validate < _VALIDATE_N &&
               (strlen(names[rule.validate]) != word || memcmp(names[rule.validate], value, word) != 0))
                rule.validate++;
        if (rule.validate == _VALIDATE_N || !pattern)
                return -EINVAL;
        return rules_add(key, field, rule, pattern);
}

/* Modules' names have no slashes, and no part of the list is empty. */
static int parse_preload(const ConfigKey *key, const char *value, void *field) {
        size_t word;
        const char *pattern = rule_split(value, &word);
        ConfigRule rule = { 0 };
        int r;

        if (!word || word > CONFIG_PRELOAD_MAX || memchr(value, '/', word) || !pattern)
                return -EINVAL;
        for (size_t i = 0; i < word; i++)
                if (value[i] == ',' && (i == 0 || i + 1 == word || value[i + 1] == ','))
                        return -EINVAL;
        rule.preload = strndup(value, word);
        if (!rule.preload)
                return -ENOMEM;
        r = rules_add(key, field, rule, pattern);
        if (r < 0)
                free(rule.preload);
        return r;
}

Validate config_validate(const Config *config, const char *root) {
        const ConfigRule *rule = rules_find(&config->validate, root);

        return rule ? rule->validate : VALIDATE_AUTO;
}

const char *config_preload(const Config *config, const char *root) {
        const ConfigRule *rule = rules_find(&config->preload, root);

        return rule ? rule->preload : "all";
}

/* For inih, which keeps its own count of lines to itself until the end, and would take any bytes for text. */
static char *config_read(char *buffer, int size, void *userdata) {
        ConfigParse *parse = userdata;
        ssize_t length;

        length = getline(&parse->text, &parse->text_room, parse->file);
        if (length < 0)
                return NULL;
        parse->line++;
        if (memchr(parse->text, '\0', (size_t)length))
                config_fail(parse, "the line has a NUL byte in it; text is accepted");
        if (length > size - 1)
                config_fail(parse, "the line is too long; at most %d bytes are accepted", size - 2);
        snprintf(buffer, (size_t)size, "%s", parse->text);
        return buffer;
}

static bool section_is_known(const char *section) {
        for (size_t i = 0; i < ELEMENTSOF(config_keys); i++)
                if (strcmp(config_keys[i].section, section) == 0)
                        return true;
        return false;
}

/* "A=, B= and C=": the names of a section's keys, or of the sections when it is NULL. */
static void list_accepted(const char *section, char *buffer, size_t size) {
        const char *last = "";
        size_t used = 0;

        *buffer = '\0';
        for (size_t i = 0; i < ELEMENTSOF(config_keys) && used < size; i++) {
                const ConfigKey *key = &config_keys[i];

                if (section && strcmp(key->section, section) == 0)
                        used += snprintf(buffer + used, size - used, "%s%s=", used ? ", " : "", key->name);
                else if (!section && strcmp(key->section, last) != 0)
                        used += snprintf(buffer + used, size - used, "%s[%s]", used ? ", " : "",
                                         key->section);
                last = key->section;
        }
}

/* Return: as inih wants it, nonzero to go on well. */
static int config_handle(void *userdata, const char *section, const char *name, const char *value) {
        ConfigParse *parse = userdata;
        char accepted[512];

        if (parse->error)
                return 0;
        /* inih would take an indented line for a part of the one before */
        if (*parse->text == ' ' || *parse->text == '\t')
                return config_fail(parse,
                                   "the line starts with white space; accepted is Key=value at its start");
        if (!section_is_known(section)) {
                list_accepted(NULL, accepted, sizeof(accepted));
                if (!*section)
                        return config_fail(parse, "'%s=' comes before any section; accepted is %s", name,
                                           accepted);
                return config_fail(parse, "unknown section [%s]; accepted is %s", section, accepted);
        }
        for (size_t i = 0; i < ELEMENTSOF(config_keys); i++) {
                const ConfigKey *key = &config_keys[i];
                int r;

                if (strcmp(key->section, section) != 0 || strcmp(key->name, name) != 0)
                        continue;
                r = key->parse(key, value, (char *)parse->config + key->field);
                if (r == -EINVAL)
                        return config_fail(parse, "bad value '%s' for %s=; accepted is %s", value, name,
                                           key->accepted);
                if (r < 0)
                        parse->out_of_memory = true;
                return r == 0;
        }
        list_accepted(section, accepted, sizeof(accepted));
        return config_fail(parse, "unknown key '%s' in [%s]; accepted are %s", name, section, accepted);
}

void config_done(Config *config) {
        free(config->socket);
        free(config->client_path);
        rules_free(&config->validate);
        rules_free(&config->preload);
        *config = (Config){ 0 };
}

/* Give the caller the line `FILE:LINE: what`. Return: CONFIG_E_INVALID or -ENOMEM. */
static int config_invalid(const char *path, int line, const char *what, char **ret_error) {
        char *error;
        int n;

        if (line > 0)
                n = asprintf(&error, "%s:%d: %s", path, line, what);
        else
                n = asprintf(&error, "%s: %s; accepted is a readable configuration file", path, what);
        if (n < 0)
                return -ENOMEM;
        *ret_error = error;
        return CONFIG_E_INVALID;
}

static void fclosep(FILE **file) {
        if (*file)
                fclose(*file);
}

static int config_parse(const char *path, FILE *file, Config *config, char **ret_error) {
        _cleanup_free_ char *error = NULL;
        ConfigParse parse = { .file = file, .path = path, .config = config };
        int line;

        line = ini_parse_stream(config_read, &parse, config_handle, &parse);
        error = parse.error;
        free(parse.text);
        if (line == -2 || parse.out_of_memory)
                return -ENOMEM;
        if (ferror(file))
                return config_invalid(path, 0, strerror(errno), ret_error);
        if (error && (line <= 0 || parse.error_line <= line))
                return config_invalid(path, parse.error_line, error, ret_error);
        if (line > 0)
                return config_invalid(path, line,
                                      "neither a section nor a key; accepted is [section] or Key=value",
                                      ret_error);
        return 0;
}

int config_load(const char *path, bool optional, Config *ret_config, char **ret_error) {
        _cleanup_(config_done) Config config = {
                .idle_exit = CONFIG_IDLE_EXIT_DEFAULT,
                .build_timeout = 120,
                .max_peers = 4096,
                .max_peers_per_user = 1024,
                .max_attaches_per_user = 10000,
                .max_roots_per_user = 1024,
                .max_queued_per_user = 64,
                .report_max = 128 << 10,
                .memory_max = memory_percent(MEMORY_DEFAULT_PERCENT),
                .preload_max = PRELOAD_MAX_DEFAULT,
        };
        _cleanup_(fclosep) FILE *file = NULL;
        int r;

        if (path) {
                file = fopen(path, "re");
                if (!file && !(optional && (errno == ENOENT || errno == ENOTDIR)))
                        return config_invalid(path, 0, strerror(errno), ret_error);
        }
        if (file) {
                r = config_parse(path, file, &config, ret_error);
                if (r)
                        return r;
        }
        *ret_config = config;
        config = (Config){ 0 };
        return 0;
}
