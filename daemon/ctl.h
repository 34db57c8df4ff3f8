/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CTL_H
#define SHIMPORT_CTL_H

/*
 * shimportctl: what its commands share. Each command is a function that takes its own arguments, says in one
 * line what goes wrong, and returns the status to exit with.
 *
 * The tool lives for a moment: what it allocates, it has from ctl_alloc() for as long as it lives, and frees
 * nothing. A command that goes on and on releases what each turn took.
 */

#include <stdbool.h>
#include <stddef.h>

#include "endpoint.h"
#include "packet.h"
#include "shimport.pb-c.h"

enum {
        CTL_OK = 0,
        CTL_FAILED = 1,
        CTL_USAGE = 2,
        CTL_NOT_EXECUTABLE = 126, /* as env(1) has them */
        CTL_NOT_FOUND = 127,
};

typedef struct Ctl {
        const char *socket; /* --socket, absolute, or NULL */
} Ctl;

typedef struct CtlCommand {
        const char *name;
        int (*run)(const Ctl *ctl, const struct CtlCommand *command, int argc, char **argv);
        const char *synopsis; /* what follows the name */
        const char *summary;
        const char *help; /* the options and the rest, or NULL */
} CtlCommand;

int ctl_status(const Ctl *ctl, const CtlCommand *command, int argc, char **argv);
int ctl_warm(const Ctl *ctl, const CtlCommand *command, int argc, char **argv);
int ctl_run(const Ctl *ctl, const CtlCommand *command, int argc, char **argv);
int ctl_enable(const Ctl *ctl, const CtlCommand *command, int argc, char **argv);
int ctl_disable(const Ctl *ctl, const CtlCommand *command, int argc, char **argv);
int ctl_explain(const Ctl *ctl, const CtlCommand *command, int argc, char **argv);
int ctl_reload(const Ctl *ctl, const CtlCommand *command, int argc, char **argv);
int ctl_drop(const Ctl *ctl, const CtlCommand *command, int argc, char **argv);

void ctl_print_help(const CtlCommand *command);

/* A line to stderr. Return: CTL_FAILED. */
__attribute__((format(printf, 1, 2))) int ctl_fail(const char *format, ...);

/* Likewise, and how to get help. Return: CTL_USAGE. */
__attribute__((format(printf, 2, 3))) int ctl_usage(const CtlCommand *command, const char *format, ...);

/* Zeroed, not to be freed, and never NULL: without memory there is nothing that the tool could do. */
void *ctl_alloc(size_t size);
__attribute__((format(printf, 1, 2))) char *ctl_format(const char *format, ...);

/* Free what was allocated since the mark. */
void *ctl_mark(void);
void ctl_release(void *mark);

/* The path from "/" on, links and all. */
char *ctl_absolute(const char *path);

/* The directory of the Python client. Return: NULL if it is not there, which has been said. */
char *ctl_client_path(void);

#endif
