/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CLIENT_WANTED_H
#define SHIMPORT_CLIENT_WANTED_H

/*
 * What this process imported from images that do not hold its code (Preload=used): names, remembered until they are
 * reported, at the end of the process or when they are so many that they fill a report. Plain C; touched with the GIL
 * held.
 */

#include <stddef.h>
#include <stdint.h>

#include "image.h"
#include "shimport.pb-c.h"

/* What fits into a report: some hundreds of modules. */
#define WANTED_SIZE_MAX ((size_t)24 << 10)

typedef struct WantedRoot WantedRoot;

/* Zeroed is empty. */
typedef struct Wanted {
        WantedRoot *roots;
        size_t size; /* bytes of all names */
} Wanted;

enum {
        _WANTED_E_0,
        WANTED_E_FULL, /* to be reported and cleared first */
        _WANTED_E_N
};

/* Note the entry of an image. Return: 0, WANTED_E_FULL, or -ENOMEM. */
int wanted_note(Wanted *wanted, const Image *image, const ImageEntry *entry);

void wanted_clear(Wanted *wanted);

/* The parts of a report, borrowing from `wanted`. Return: how many; NULL memory is none. */
size_t wanted_report(const Wanted *wanted, Shimport__Wanted ***ret_parts);
void wanted_report_free(Shimport__Wanted **parts, size_t n);

#endif
