/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_BUILDER_COMMAND_H
#define SHIMPORT_BUILDER_COMMAND_H

/* How an interpreter is started as a builder, by the daemon or by the builder service. */

/* The group of a builder that is run as another user: files that only a group may read have no place in an image
 * that everybody maps, so it needs none, and asking the user database might block the loop. */
#define BUILDER_GROUP 65534

#define BUILDER_FD 3       /* the builder's end of the conversation */
#define BUILDER_IMAGE_FD 4 /* an empty memfd of its own, for the image; it can make no other */

#define BUILDER_ARGUMENTS_MAX 24

/* Its command line, which borrows what it is made of; the last is NULL. */
void builder_arguments(const char *executable, const char *options, const char *script,
                       char *ret_arguments[static BUILDER_ARGUMENTS_MAX]);

extern char *const builder_environment[];

#endif
