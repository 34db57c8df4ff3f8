/* SPDX-License-Identifier: MIT */

/*
 * Packets with descriptors: what peers and builders say to a daemon. An input is a list of steps, each a byte for who
 * speaks, a byte for how many descriptors, a byte for each of them, two bytes for the length, and the packet. Who does
 * not speak the protocol is dropped, and when all have gone nothing of them is left.
 */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz_daemon.h"
#include "image_writer.h"
#include "packet.h"
#include "util.h"

#define PEERS 3
#define STEPS_MAX 16
#define FDS_MAX 8

#define IMAGE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

typedef enum Speaker {
        SPEAKER_PEER,                           /* and the next ones */
        SPEAKER_BUILDER = PEERS,                /* and the next ones */
        SPEAKER_CLOSES = PEERS + FUZZ_BUILDERS, /* the peer of the number after it goes */
        SPEAKER_BUILDER_CLOSES,                 /* likewise */
        SPEAKER_TURN,                           /* nobody: the loop is turned */
        _SPEAKER_N
} Speaker;

/* What can lie beside a packet. */
typedef enum Beside {
        BESIDE_ROOT,
        BESIDE_EMPTY_ROOT,
        BESIDE_PATH_ONLY,
        BESIDE_FILE,
        BESIDE_PIPE,
        BESIDE_SOCKET,
        BESIDE_IMAGE,
        BESIDE_IMAGE_OF_ANOTHER,
        BESIDE_IMAGE_UNSEALED,
        BESIDE_IMAGE_SHORT,
        BESIDE_PROCFS,
        _BESIDE_N
} Beside;

static int beside[_BESIDE_N];

static int make_image(const char *root) {
        const ImageWriterEntry entry = { .directory = 0,
                                         .child = IMAGE_NONE,
                                         .kind = IMAGE_KIND_SOURCE,
                                         .name = "abc",
                                         .file = "abc.py",
                                         .code = "code",
                                         .code_size = 4 };
        ImageIdentity identity = { .generation = 1, .hash_seed = 2, .tag = "tag", .root_path = root };
        ImageWriter *writer;
        uint32_t number;
        struct stat st;
        int fd;

        FUZZ_CHECK(stat(root, &st) == 0);
        identity.root_dev = st.st_dev;
        identity.root_ino = st.st_ino;
        FUZZ_CHECK(image_writer_new(&writer) == 0);
        FUZZ_CHECK(image_writer_add_directory(writer, "", IMAGE_DIRECTORY_COMPLETE, &number) == 0);
        FUZZ_CHECK(image_writer_add_entry(writer, &entry) == 0);
        FUZZ_CHECK(image_writer_seal(writer, &identity, &fd) == 0);
        image_writer_free(writer);
        return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        static const uint8_t zeros[512];
        int pipes[2], sockets[2];

        (void)argc;
        (void)argv;
        fuzz_daemon_prepare();
        FUZZ_CHECK(pipe2(pipes, O_CLOEXEC) == 0);
        FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0);
        beside[BESIDE_ROOT] = open(fuzz_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        beside[BESIDE_EMPTY_ROOT] = open(fuzz_empty_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        beside[BESIDE_PATH_ONLY] = open(fuzz_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        beside[BESIDE_FILE] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        beside[BESIDE_PIPE] = pipes[0];
        beside[BESIDE_SOCKET] = sockets[0];
        beside[BESIDE_IMAGE] = make_image(fuzz_root);
        beside[BESIDE_IMAGE_OF_ANOTHER] = make_image(fuzz_empty_root);
        beside[BESIDE_IMAGE_UNSEALED] = fuzz_memfd(zeros, sizeof(zeros), 0);
        beside[BESIDE_IMAGE_SHORT] = fuzz_memfd(zeros, 16, IMAGE_SEALS);
        beside[BESIDE_PROCFS] = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (size_t i = 0; i < _BESIDE_N; i++)
                FUZZ_CHECK(beside[i] >= 0);
        return 0;
}

/* Take what was answered, and close what came along. */
static void listen_to(int fd) {
        static Packet packet;

        while (fd >= 0 && packet_recv(fd, &packet) == 0)
                packet_done(&packet);
}

static void step(FuzzDaemon *fuzz, int peers[PEERS], FuzzInput *input) {
        unsigned speaker = fuzz_number(input, 1) % _SPEAKER_N;
        unsigned n_fds = fuzz_number(input, 1) % (FDS_MAX + 1);
        const uint8_t *data;
        int fds[FDS_MAX], to;
        size_t size;

        for (unsigned i = 0; i < n_fds; i++)
                fds[i] = beside[fuzz_number(input, 1) % _BESIDE_N];
        data = fuzz_bytes(input, fuzz_number(input, 2), &size);
        if (speaker == SPEAKER_CLOSES) {
                peers[n_fds % PEERS] = fd_close(peers[n_fds % PEERS]);
        } else if (speaker == SPEAKER_BUILDER_CLOSES) {
                fuzz->builders[n_fds % FUZZ_BUILDERS] = fd_close(fuzz->builders[n_fds % FUZZ_BUILDERS]);
        } else if (speaker != SPEAKER_TURN) {
                to = speaker < PEERS ? peers[speaker] : fuzz->builders[speaker - PEERS];
                if (to >= 0)
                        (void)packet_send(to, data, size, fds, n_fds);
        }
        fuzz_daemon_turn(fuzz);
        for (size_t i = 0; i < PEERS; i++)
                listen_to(peers[i]);
        for (size_t i = 0; i < FUZZ_BUILDERS; i++)
                listen_to(fuzz->builders[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        FuzzInput input = { data, size };
        FuzzDaemon *fuzz = fuzz_daemon_new();
        int peers[PEERS], pair[2];

        for (size_t i = 0; i < PEERS; i++) {
                FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
                peers[i] = pair[0];
                peers_add_consume(fuzz->daemon.peers, pair[1]);
        }
        for (unsigned i = 0; i < STEPS_MAX && input.size; i++)
                step(fuzz, peers, &input);
        for (size_t i = 0; i < PEERS; i++)
                fd_close(peers[i]);
        fuzz_daemon_free(fuzz);
        return 0;
}
