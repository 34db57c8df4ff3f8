/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_WORDS_H
#define SHIMPORT_WORDS_H

/* A row of 32-bit words that grows at its end, as a block is written. Zero is an empty one. */

#include <stddef.h>
#include <stdint.h>

typedef struct Words {
        uint32_t *words;
        size_t n, allocated;
} Words;

void words_clear(Words *words);

/* Return: 0, or -ENOMEM and nothing added. The bytes are padded with zeros to whole words. */
int words_add_bytes(Words *words, const void *bytes, size_t size);

#endif
