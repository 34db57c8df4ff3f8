/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_VERSION_H
#define SHIMPORT_VERSION_H

/* What both programs call themselves. */
#define SHIMPORT_VERSION "0.1"

#endif
