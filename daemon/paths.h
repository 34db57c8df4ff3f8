/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_PATHS_H
#define SHIMPORT_PATHS_H

/* Where things lie: the socket by default, the configuration, and the client and the daemon beside this binary. */

#include <stdbool.h>

/* All of them allocate. Return: 0, or a negative errno; -ENOENT where there is no such place. */

/* The socket a daemon listens on when nothing names one: the system instance's, or the user's, which needs
 * $XDG_RUNTIME_DIR. */
int paths_socket(bool system, char **ret_path);

/* The configuration file read when none is named; it need not exist. */
int paths_config(bool system, char **ret_path);

/* The directory of the Python client: ../python in a build tree, ../lib/shimport/python where installed. */
int paths_client(char **ret_path);

/* shimport-builder: ../bin in a build tree, ../lib/shimport/bin where installed. */
int paths_builder(char **ret_path);

/* May everybody list a directory, and go there? Looked up by its path, as it is now. */
bool paths_are_public(const char *path);

/* A program in the directory of the running one. */
int paths_program(const char *name, char **ret_path);

#endif
