/* SPDX-License-Identifier: MIT */

/*
 * What the service manager hands over at the start: images and states of the daemon before, under names, or anything
 * else. An input is a list of descriptors, each a byte for its name, a byte for what it is, three bytes for a length,
 * and as many bytes of content. What is of no use is dropped, what is taken over is served, and nothing is left.
 */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz_daemon.h"
#include "fuzz_image.h"
#include "kept.h"
#include "util.h"

#define FDS_MAX 8

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

typedef enum Handed {
        HANDED_IMAGE,       /* sealed; of our root, whatever its header says */
        HANDED_IMAGE_OTHER, /* sealed; as it is */
        HANDED_STATE,       /* sealed as states are; its note is of our owner and interpreter */
        HANDED_STATE_OTHER, /* sealed as states are; as it is */
        HANDED_UNSEALED,
        HANDED_DIRECTORY,
        HANDED_SOCKET,
        _HANDED_N
} Handed;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        (void)argc;
        (void)argv;
        fuzz_daemon_prepare();
        return 0;
}

/* The image's path of the root, which is another one in each run. It has to have the length for it. */
static void image_path(uint8_t *image, size_t size) {
        ImageHeader header;
        size_t length = strlen(fuzz_root);
        uint8_t *strings;

        if (size < sizeof(header))
                return;
        memcpy(&header, image, sizeof(header));
        if (header.root_path.length != length || header.strings.offset > size ||
            header.root_path.offset > size - header.strings.offset)
                return;
        strings = image + header.strings.offset + header.root_path.offset;
        if (length < (size_t)(image + size - strings))
                memcpy(strings, fuzz_root, length + 1);
}

/* An interpreter that is there, the owner of the root, and Preload= as it is by default. */
static void state_note(uint8_t *state, size_t size) {
        static const char executable[] = "/bin/sh";
        StalenessHeader header;
        KeptNote note;
        struct stat st;

        if (size < sizeof(header))
                return;
        memcpy(&header, state, sizeof(header));
        if (header.note_size > size || header.note_size < sizeof(note) + sizeof(executable))
                return;
        state += size - header.note_size;
        FUZZ_CHECK(stat(fuzz_root, &st) == 0);
        memcpy(&note, state, sizeof(note));
        note.owner = st.st_uid;
        note.preload = image_hash(0, 0, "all", strlen("all"));
        memcpy(state, &note, sizeof(note));
        memcpy(state + offsetof(KeptNote, executable), executable, sizeof(executable));
}

static int make_fd(Handed kind, const uint8_t *data, size_t size) {
        uint8_t *copy = malloc(size + 1);
        int fd = -1, pair[2];

        FUZZ_CHECK(copy);
        memcpy(copy, data, size);
        switch (kind) {
        case HANDED_IMAGE:
                fuzz_image_of(copy, size, fuzz_root);
                image_path(copy, size);
                __attribute__((fallthrough));
        case HANDED_IMAGE_OTHER:
                fd = fuzz_memfd(copy, size, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
                break;
        case HANDED_STATE:
                state_note(copy, size);
                __attribute__((fallthrough));
        case HANDED_STATE_OTHER:
                fd = fuzz_memfd(copy, size, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
                break;
        case HANDED_UNSEALED:
                fd = fuzz_memfd(copy, size, 0);
                break;
        case HANDED_DIRECTORY:
                fd = open(fuzz_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                break;
        case HANDED_SOCKET:
        case _HANDED_N:
                FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
                close(pair[0]);
                fd = pair[1];
                break;
        }
        free(copy);
        FUZZ_CHECK(fd >= 0);
        return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        FuzzInput input = { data, size };
        FuzzDaemon *fuzz = fuzz_daemon_new();
        ManagerFds fds = { .fds = calloc(FDS_MAX, sizeof(ManagerFd)) };
        int socket;

        FUZZ_CHECK(fds.fds);
        while (input.size && fds.n < FDS_MAX) {
                unsigned name = fuzz_number(&input, 1) % 4;
                Handed kind = fuzz_number(&input, 1) % _HANDED_N;
                const uint8_t *bytes;
                size_t length;
                char text[16];

                bytes = fuzz_bytes(&input, fuzz_number(&input, 3), &length);
                snprintf(text, sizeof(text), "image-%u", name);
                fds.fds[fds.n++] = (ManagerFd){ .fd = make_fd(kind, bytes, length), .name = strdup(text) };
        }
        socket = manager_steal_socket(&fds); /* they are not listening: there is none */
        FUZZ_CHECK(socket < 0);
        (void)kept_restore(fuzz->daemon.store, &fds);
        FUZZ_CHECK(fds.n == 0);
        list_for_each(link, store_roots(fuzz->daemon.store)) {
                FUZZ_CHECK(list_entry(link, Root, link)->image.fd >= 0);
        }
        fuzz_daemon_turn(fuzz);
        fuzz_daemon_free(fuzz);
        return 0;
}

/* The descriptor at a place: its content is changed as what it is. */
static void change_one(uint8_t *data, size_t size, unsigned *seed) {
        for (size_t at = 0; at + 5 <= size;) {
                uint32_t length = data[at + 2] | (uint32_t)data[at + 3] << 8 | (uint32_t)data[at + 4] << 16;
                uint8_t *content = data + at + 5;
                size_t room = size - at - 5;

                if (length > room)
                        length = (uint32_t)room;
                if (fuzz_random(seed) % 2) {
                        if (data[at + 1] <= HANDED_IMAGE_OTHER)
                                fuzz_image_change(content, length, seed);
                        else if (length >= 4)
                                fuzz_change_word(content, length, fuzz_random(seed) % length / 4 * 4, seed);
                        if (fuzz_random(seed) % 16 == 0)
                                data[at + 1] = (uint8_t)(fuzz_random(seed) % _HANDED_N);
                        return;
                }
                at += 5 + length;
        }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
        if (fuzz_random(&seed) % 6 == 0)
                return LLVMFuzzerMutate(data, size, most);
        for (unsigned n = 1 + fuzz_random(&seed) % 3; n > 0; n--)
                change_one(data, size, &seed);
        return size;
}
