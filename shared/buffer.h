/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_BUFFER_H
#define SHIMPORT_BUFFER_H

/*
 * What an image's writer collects: runs of bytes that grow at their end, and areas of blocks that are stored once where
 * they are equal. Zero is an empty one of either. One thread.
 */

#include <stddef.h>
#include <stdint.h>

/* A growing run of bytes. */
typedef struct Buffer {
        uint8_t *data;
        size_t size, room;
} Buffer;

/* A block of an area. */
typedef struct Block {
        uint64_t hash, offset, size; /* size 0: a free place */
} Block;

/* An area of blocks that are stored once where they are equal: what is there is found by its content. */
typedef struct Area {
        Buffer bytes;
        Block *blocks; /* open addressing, at most half of it in use */
        size_t n, room;
} Area;

/* Make room for more bytes. Return: 0, -EFBIG or -ENOMEM. */
int buffer_reserve(Buffer *buffer, size_t more);

/* Return: likewise, and then nothing is added. */
int buffer_append(Buffer *buffer, const void *data, size_t size);

/* Append zeros up to a multiple, which is 16 at most. Return: likewise. */
int buffer_pad(Buffer *buffer, size_t multiple);

void buffer_done(Buffer *buffer);

/**
 * area_add() - have a block in the area
 * @ret_offset: where it lies, a multiple of 16; 0 if it is empty
 *
 * Return: 0, -EFBIG or -ENOMEM.
 */
int area_add(Area *area, const void *data, size_t size, uint64_t *ret_offset);

void area_done(Area *area);

#endif
