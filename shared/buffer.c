/* SPDX-License-Identifier: MIT */

#include "buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"

int buffer_reserve(Buffer *buffer, size_t more) {
        size_t room = buffer->room ? buffer->room : 4096;
        uint8_t *data;

        if (more > SIZE_MAX / 4 - buffer->size)
                return -EFBIG;
        while (room < buffer->size + more)
                room *= 2;
        if (room == buffer->room)
                return 0;
        data = realloc(buffer->data, room);
        if (!data)
                return -ENOMEM;
        buffer->data = data;
        buffer->room = room;
        return 0;
}

int buffer_append(Buffer *buffer, const void *data, size_t size) {
        int r = buffer_reserve(buffer, size);

        if (r < 0)
                return r;
        if (size)
                memcpy(buffer->data + buffer->size, data, size);
        buffer->size += size;
        return 0;
}

int buffer_pad(Buffer *buffer, size_t multiple) {
        static const uint8_t zeros[16];
        size_t over = buffer->size % multiple;

        return over ? buffer_append(buffer, zeros, multiple - over) : 0;
}

void buffer_done(Buffer *buffer) {
        free(buffer->data);
}

static Block *area_place(const Area *area, uint64_t hash, const void *data, size_t size) {
        size_t at = hash & (area->room - 1);

        for (;; at = (at + 1) & (area->room - 1)) {
                Block *block = &area->blocks[at];

                if (!block->size || (block->hash == hash && block->size == size &&
                                     (!data || memcmp(area->bytes.data + block->offset, data, size) == 0)))
                        return block;
        }
}

static int area_grow(Area *area) {
        Area grown = { .room = area->room ? area->room * 2 : 256 };

        if (area->n * 2 < area->room)
                return 0;
        grown.blocks = calloc(grown.room, sizeof(*grown.blocks));
        if (!grown.blocks)
                return -ENOMEM;
        for (size_t i = 0; i < area->room; i++) {
                const Block *block = &area->blocks[i];

                if (block->size)
                        *area_place(&grown, block->hash, NULL, SIZE_MAX) = *block;
        }
        free(area->blocks);
        area->blocks = grown.blocks;
        area->room = grown.room;
        return 0;
}

int area_add(Area *area, const void *data, size_t size, uint64_t *ret_offset) {
        uint64_t hash = image_hash(0, 0, data, size);
        Block *block;
        int r;

        if (!size) {
                *ret_offset = 0;
                return 0;
        }
        r = area_grow(area);
        if (r < 0)
                return r;
        block = area_place(area, hash, data, size);
        if (!block->size) {
                uint64_t offset = area->bytes.size;

                r = buffer_append(&area->bytes, data, size);
                if (r >= 0)
                        r = buffer_pad(&area->bytes, 16);
                if (r < 0)
                        return r;
                *block = (Block){ .hash = hash, .offset = offset, .size = size };
                area->n++;
        }
        *ret_offset = block->offset;
        return 0;
}

void area_done(Area *area) {
        free(area->bytes.data);
        free(area->blocks);
}
