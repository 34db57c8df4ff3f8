/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "message.h"

static void *decoder_alloc(void *userdata, size_t size) {
        MessageDecoder *decoder = userdata;
        const size_t align = _Alignof(max_align_t);
        uint8_t *memory = decoder->memory + decoder->used;

        if (size > MESSAGE_MEMORY - decoder->used)
                return NULL;
        decoder->used += (size + align - 1) / align * align;
        if (decoder->used > MESSAGE_MEMORY)
                decoder->used = MESSAGE_MEMORY;
        return memory;
}

static void decoder_free(void *userdata, void *memory) {
        (void)userdata;
        (void)memory; /* all at once, with the next message */
}

ProtobufCMessage *message_decode(MessageDecoder *decoder, const ProtobufCMessageDescriptor *type,
                                 const void *data, size_t size) {
        ProtobufCAllocator allocator = { .alloc = decoder_alloc,
                                         .free = decoder_free,
                                         .allocator_data = decoder };

        decoder->used = 0;
        return protobuf_c_message_unpack(type, &allocator, size, data);
}

int message_encode(const ProtobufCMessage *message, void *buffer, size_t room, size_t *ret_size) {
        size_t size = protobuf_c_message_get_packed_size(message);

        if (size > room)
                return -EMSGSIZE;
        *ret_size = protobuf_c_message_pack(message, buffer);
        return 0;
}

ProtobufCBinaryData message_text(const char *text) {
        return (ProtobufCBinaryData){ .len = text ? strlen(text) : 0, .data = (uint8_t *)text };
}

bool message_is_path(const ProtobufCBinaryData *bytes) {
        return bytes->len > 0 && bytes->len < PATH_MAX && !memchr(bytes->data, '\0', bytes->len);
}
