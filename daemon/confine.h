/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CONFINE_H
#define SHIMPORT_CONFINE_H

/*
 * What a builder gives up for good before it becomes the interpreter, whoever has started it. A builder reads sources
 * and writes memory; it needs no network, no file to write, no other process, and none of the rest below. So what
 * makes an interpreter misbehave while it compiles or unmarshals a hostile file can cost its own build, and no more.
 *
 * No namespace is entered, for who is not privileged would need one of users to enter any other, and could no longer
 * tell the owners of files apart. A filter of system calls does without, and is there for everybody.
 */

#include <stdint.h>
#include <sys/types.h>

/* Memory of the builder; an image is far smaller. All of its address space: files in memory, which would be more, it can
 * make none beside the one that it is given. */
#define CONFINE_MEMORY_MAX (UINT64_C(8) << 30)

/* An image, which is a file to the kernel. */
#define CONFINE_FILE_MAX (UINT64_C(4) << 30)

/* A level of directories at a time is open, and a file. */
#define CONFINE_FDS_MAX 4096

/**
 * confine_become() - be that user for good, in no group, with no capability even for root; who stays the same user keeps
 * its groups where it may not leave them
 *
 * Return: 0 or a negative errno.
 */
int confine_become(uid_t uid);

/**
 * confine_self() - give up the rest: descriptors above `last_fd`, what is beyond the limits, new privileges, and by a
 * filter of system calls the network, writing files, starting processes, and looking into or hindering others
 * @cpu_seconds:        of processor time
 *
 * Where the processor is one whose system calls the filter does not know, there is none.
 *
 * Return: 0 or a negative errno.
 */
int confine_self(int last_fd, uint64_t cpu_seconds);

#endif
