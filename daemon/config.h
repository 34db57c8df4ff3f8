/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CONFIG_H
#define SHIMPORT_CONFIG_H

/*
 * The configuration: an INI file whose keys stand in one table in config.c. What it holds has been checked,
 * and every field has a value whether or not the file names it. A file is taken whole or not at all.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the processes that map a root's image learn of changes; the numbers are those of builder.proto. */
typedef enum Validate {
        VALIDATE_AUTO,  /* by the watch, and by stat where it cannot see */
        VALIDATE_WATCH, /* by the watch; what it cannot see is left to stock */
        VALIDATE_STAT,  /* by stat */
        VALIDATE_NEVER, /* not at all */
        _VALIDATE_N
} Validate;

/* What becomes of a process's cyclic garbage collector during served imports. */
typedef enum GcPolicy {
        GC_HOLD,
        GC_STOCK,
        GC_FREEZE,
        _GC_N
} GcPolicy;

/* One line of Validate= or of Preload=. */
typedef struct ConfigRule {
        Validate validate;
        char *preload; /* "all", "used", patterns of modules' names, with commas between */
        char *pattern; /* of roots' paths, as fnmatch(3) takes it; "*" is for all */
} ConfigRule;

typedef struct ConfigRules {
        ConfigRule *rules;
        size_t n;
} ConfigRules;

typedef struct Config {
        bool system;                    /* for all users; not from the file but from the command line */
        char *socket;                   /* NULL: the default place */
        char *client_path;              /* NULL: beside the binary */
        uint64_t idle_exit;             /* seconds, 0: never, or CONFIG_IDLE_EXIT_DEFAULT */
        uint64_t build_timeout;         /* seconds */
        uint64_t build_jobs;            /* builders at once, 0: as many as there are processors */
        uint64_t max_peers;             /* connections at once */
        uint64_t max_peers_per_user;    /* those of one user */
        uint64_t memory_max;            /* bytes of all images */
        uint64_t max_attaches_per_user; /* requests a second */
        uint64_t max_roots_per_user;
        uint64_t max_builds_per_user; /* at once, 0: all places but one */
        uint64_t max_queued_per_user;
        uint64_t memory_max_per_user; /* bytes of images, 0: half of memory_max */
        uint64_t report_max;          /* bytes of a report */
        uint64_t watch_limit;         /* directories, 0: three quarters of what the kernel allows a user */
        uint64_t gc;                  /* GcPolicy, for processes that do not choose */
        uint64_t preload_max;         /* modules of a root beyond which "all" is "used" */
        bool no_regex;                /* processes compile all regular expressions themselves */
        bool no_snippets;             /* and all texts of code */
        ConfigRules validate;         /* the last that fits a root is in force, here and below */
        ConfigRules preload;
} Config;

/* The longest value of Preload=, without the path. */
#define CONFIG_PRELOAD_MAX 1024

/* It depends on who listens while nobody runs. */
#define CONFIG_IDLE_EXIT_DEFAULT UINT64_MAX

enum {
        _CONFIG_E_0,
        CONFIG_E_INVALID, /* *ret_error says where, what, and what is accepted */
        _CONFIG_E_N
};

void config_done(Config *config);

/* What is in force for a root. */
Validate config_validate(const Config *config, const char *root);
const char *config_preload(const Config *config, const char *root);

/**
 * config_load() - read a configuration file
 * @path:       the file, or NULL for the defaults alone
 * @optional:   a file that does not exist gives the defaults
 * @ret_error:  one line for a person, set with CONFIG_E_INVALID only
 *
 * Return: 0, CONFIG_E_INVALID or -ENOMEM.
 */
int config_load(const char *path, bool optional, Config *ret_config, char **ret_error);

#endif
