/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CONFIG_H
#define SHIMPORT_CONFIG_H

/*
 * The configuration: an INI file whose keys stand in one table in config.c. What it holds has been checked,
 * and every field has a value whether or not the file names it. A file is taken whole or not at all.
 */

#include <stdbool.h>
#include <stdint.h>

typedef struct Config {
        char *socket;                /* NULL: the default place */
        char *client_path;           /* NULL: beside the binary */
        uint64_t idle_exit;          /* seconds, 0: never */
        uint64_t build_timeout;      /* seconds */
        uint64_t build_jobs;         /* builders at once, 0: as many as there are processors */
        uint64_t max_peers;          /* connections at once */
        uint64_t max_peers_per_user; /* those of one user */
        uint64_t memory_max;         /* bytes of all images */
        uint64_t watch_limit;        /* directories, 0: three quarters of what the kernel allows a user */
} Config;

enum {
        _CONFIG_E_0,
        CONFIG_E_INVALID, /* *ret_error says where, what, and what is accepted */
        _CONFIG_E_N
};

void config_done(Config *config);

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
