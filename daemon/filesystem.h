/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_FILESYSTEM_H
#define SHIMPORT_FILESYSTEM_H

/* Which file systems a watch (inotify) can be relied on for. */

/* Why changes of this directory may come unseen by this kernel, for a person, static; NULL: they do not. */
const char *filesystem_blindness(int fd);

#endif
