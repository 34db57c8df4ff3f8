/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_MESSAGE_H
#define SHIMPORT_MESSAGE_H

/*
 * Messages to bytes and back, without the heap: a decoded message lies in the decoder's own memory and lasts
 * until the next one is decoded. A packet that would unfold into more than that memory does not decode, so
 * what a peer can make the daemon hold is a constant.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

/* The hundred roots of an attach unfold into some 30 KiB, paths and all; 128 KiB of long paths into twice that. */
#define MESSAGE_MEMORY (384u * 1024)

typedef struct MessageDecoder {
        size_t used;
        _Alignas(max_align_t) uint8_t memory[MESSAGE_MEMORY];
} MessageDecoder;

/* Return: the message, or NULL if the bytes are none or unfold into too much. */
ProtobufCMessage *message_decode(MessageDecoder *decoder, const ProtobufCMessageDescriptor *type,
                                 const void *data, size_t size);

/* Return: 0, or -EMSGSIZE if it needs more than `room` bytes. */
int message_encode(const ProtobufCMessage *message, void *buffer, size_t room, size_t *ret_size);

/* Borrow a string as the bytes of a field; NULL is no bytes. */
ProtobufCBinaryData message_text(const char *text);

/* A file name: not empty, not longer than PATH_MAX allows, without a NUL. */
bool message_is_path(const ProtobufCBinaryData *bytes);

#endif
