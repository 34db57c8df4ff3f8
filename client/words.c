/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

void words_clear(Words *words) {
        free(words->words);
        *words = (Words){};
}

/* Makes room for n more, and gives their place. */
static uint32_t *words_grow(Words *words, size_t n) {
        uint32_t *place;

        if (n > words->allocated - words->n) {
                size_t allocated = (words->n + n) * 2;
                uint32_t *grown;

                grown = realloc(words->words, allocated * sizeof(uint32_t));
                if (!grown)
                        return NULL;
                words->words = grown;
                words->allocated = allocated;
        }
        place = words->words + words->n;
        words->n += n;
        return place;
}

int words_add_bytes(Words *words, const void *bytes, size_t size) {
        size_t n = (size + 3) / 4;
        uint32_t *place;

        if (n == 0)
                return 0;
        place = words_grow(words, n);
        if (!place)
                return -ENOMEM;
        place[n - 1] = 0;
        memcpy(place, bytes, size);
        return 0;
}
