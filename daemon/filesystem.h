/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_FILESYSTEM_H
#define SHIMPORT_FILESYSTEM_H

#include <stdbool.h>

/* Which file systems a watch (inotify) can be relied on for. */

/* Why changes of this directory may come unseen by this kernel, for a person, static; NULL: they do not. */
const char *filesystem_blindness(int fd);

/* Is it one on which there are no files but what the kernel says of itself, or of processes? */
bool filesystem_is_pseudo(int fd);

#endif
