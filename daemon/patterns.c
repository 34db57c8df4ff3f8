/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "message.h"
#include "patterns.h"
#include "util.h"

/* At most half of a set is taken. */
#define SET_SLOTS 4096u

/* Of a message, beside its text and its files. */
#define MESSAGE_OVERHEAD 48

struct Pattern {
        List link;
        uint64_t hash;
        Shimport__BuildPattern message; /* its bytes lie behind */
        ProtobufCBinaryData files[PATTERN_FILES_MAX];
        uint8_t bytes[];
};

/* Nobody who reports can tell which texts collide. */
static uint64_t hash_seed(void) {
        static uint64_t seed;

        while (seed == 0)
                if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
                        seed = (uint64_t)(uintptr_t)&seed | 1;
        return seed;
}

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size) {
        for (size_t i = 0; i < size; i++)
                hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
        return hash;
}

/* With the files: another module may show what this one does not. Never 0. */
static uint64_t pattern_hash(const Shimport__Pattern *message) {
        uint64_t hash = hash_seed();

        hash = hash_bytes(hash, &message->width, sizeof(message->width));
        hash = hash_bytes(hash, &message->flags, sizeof(message->flags));
        hash = hash_bytes(hash, message->text.data, message->text.len);
        for (size_t i = 0; i < message->n_files; i++) {
                hash = hash_bytes(hash, "", 1);
                hash = hash_bytes(hash, message->files[i].data, message->files[i].len);
        }
        hash ^= hash >> 32;
        return (hash * 0x9e3779b97f4a7c15u) | 1;
}

static bool slots_have(const uint64_t *slots, uint64_t hash) {
        if (!slots)
                return false;
        for (uint32_t at = (uint32_t)(hash >> 32) % SET_SLOTS; slots[at]; at = (at + 1) % SET_SLOTS)
                if (slots[at] == hash)
                        return true;
        return false;
}

static bool set_has(const PatternSet *set, uint64_t hash) {
        return slots_have(set->slots[0], hash) || slots_have(set->slots[1], hash);
}

static void set_clear(PatternSet *set) {
        free(set->slots[0]);
        free(set->slots[1]);
        *set = (PatternSet){ 0 };
}

/* Without memory it is not noted. */
static void set_put(PatternSet *set, uint64_t hash) {
        uint32_t at = (uint32_t)(hash >> 32) % SET_SLOTS;

        if (set->n == SET_SLOTS / 2) {
                free(set->slots[1]);
                set->slots[1] = steal_pointer(&set->slots[0]);
                set->n = 0;
        }
        if (!set->slots[0])
                set->slots[0] = calloc(SET_SLOTS, sizeof(uint64_t));
        if (!set->slots[0])
                return;
        while (set->slots[0][at])
                at = (at + 1) % SET_SLOTS;
        set->slots[0][at] = hash;
        set->n++;
}

void patterns_init(Patterns *patterns) {
        *patterns = (Patterns){ 0 };
        list_init(&patterns->waiting);
}

static size_t pattern_size(const Pattern *pattern) {
        size_t size = sizeof(*pattern) + pattern->message.text.len;

        for (size_t i = 0; i < pattern->message.n_files; i++)
                size += pattern->message.files[i].len;
        return size;
}

static void patterns_remove(Patterns *patterns, Pattern *pattern) {
        list_unlink(&pattern->link);
        patterns->n_waiting--;
        patterns->bytes -= pattern_size(pattern);
}

void patterns_clear(Patterns *patterns) {
        list_for_each(link, &patterns->waiting) {
                Pattern *pattern = list_entry(link, Pattern, link);

                patterns_remove(patterns, pattern);
                free(pattern);
        }
        set_clear(&patterns->seen);
        set_clear(&patterns->known);
}

void patterns_forget_given(Patterns *patterns) {
        set_clear(&patterns->known);
        list_for_each(link, &patterns->waiting) {
                set_put(&patterns->known, list_entry(link, Pattern, link)->hash);
        }
}

static bool message_is_sound(const Shimport__Pattern *message) {
        if (message->text.len == 0 || message->text.len > PATTERN_TEXT_MAX || message->width > 4 ||
            message->n_files == 0 || message->n_files > PATTERN_FILES_MAX)
                return false;
        for (size_t i = 0; i < message->n_files; i++)
                if (!message_is_path(&message->files[i]) || *message->files[i].data == '/')
                        return false;
        return true;
}

PatternNews patterns_look(const Patterns *patterns, const Shimport__Pattern *message) {
        uint64_t hash;

        if (!message_is_sound(message))
                return PATTERN_KNOWN;
        hash = pattern_hash(message);
        if (set_has(&patterns->known, hash))
                return PATTERN_KNOWN;
        return set_has(&patterns->seen, hash) ? PATTERN_SEEN : PATTERN_NEW;
}

void patterns_see(Patterns *patterns, const Shimport__Pattern *message) {
        set_put(&patterns->seen, pattern_hash(message));
}

static void pattern_put(Pattern *pattern, size_t *at, const ProtobufCBinaryData *bytes,
                        ProtobufCBinaryData *ret_bytes) {
        *ret_bytes = (ProtobufCBinaryData){ .len = bytes->len, .data = pattern->bytes + *at };
        memcpy(ret_bytes->data, bytes->data, bytes->len);
        *at += bytes->len;
}

int patterns_add(Patterns *patterns, const Shimport__Pattern *message) {
        size_t size = sizeof(Pattern) + message->text.len, at = 0;
        Pattern *pattern;

        for (size_t i = 0; i < message->n_files; i++)
                size += message->files[i].len;
        if (patterns->n_waiting == PATTERNS_WAITING_MAX || patterns->bytes + size > PATTERNS_BYTES_MAX)
                return -ENOSPC;
        pattern = malloc(size);
        if (!pattern)
                return -ENOMEM;
        *pattern = (Pattern){ .hash = pattern_hash(message) };
        shimport__build_pattern__init(&pattern->message);
        pattern->message.width = message->width;
        pattern->message.flags = message->flags;
        pattern->message.files = pattern->files;
        pattern->message.n_files = message->n_files;
        pattern_put(pattern, &at, &message->text, &pattern->message.text);
        for (size_t i = 0; i < message->n_files; i++)
                pattern_put(pattern, &at, &message->files[i], &pattern->files[i]);
        list_append(&patterns->waiting, &pattern->link);
        set_put(&patterns->known, pattern->hash);
        patterns->n_waiting++;
        patterns->bytes += size;
        return 0;
}

int patterns_give(Patterns *patterns, Shimport__BuildPattern ***ret_list, size_t *ret_n) {
        Shimport__BuildPattern **list;
        size_t n = 0, size = 0;

        *ret_list = NULL;
        *ret_n = 0;
        if (patterns->n_waiting == 0)
                return 0;
        list = malloc(patterns->n_waiting * sizeof(*list));
        if (!list)
                return -ENOMEM;
        list_for_each(link, &patterns->waiting) {
                Pattern *pattern = list_entry(link, Pattern, link);

                size += pattern_size(pattern) - sizeof(*pattern) + MESSAGE_OVERHEAD;
                if (size > PATTERNS_GIVEN_BYTES_MAX)
                        break;
                patterns_remove(patterns, pattern);
                list[n++] = &pattern->message;
        }
        *ret_list = list;
        *ret_n = n;
        return 0;
}

void patterns_given_free(Shimport__BuildPattern **list, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(list_entry(list[i], Pattern, message));
        free(list);
}
