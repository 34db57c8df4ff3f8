/* SPDX-License-Identifier: MIT */

/*
 * Attaches as many processes do that start at once, and as fast as they can: each connects, asks for the roots, takes
 * what comes, and hangs up. In C, so that most of what it measures is the daemon's.
 *
 *      attach_load [--uid UID] [--pause US] [--nice N] SOCKET TAG EXECUTABLE PROCESSES ATTACHES ROOT...
 *
 * With --uid each process becomes a user of its own, from that one on; with --pause each waits between two attaches. An
 * attach that does not bring an image and a state for each root has failed. Prints one JSON object.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "endpoint.h"
#include "packet.h"
#include "shimport.pb-c.h"
#include "util.h"

#define PROCESSES_MAX 64

typedef struct Load {
        Endpoint endpoint;
        uint8_t request[16384];
        size_t request_size;
        int roots[PACKET_ROOTS_MAX];
        size_t n_roots;
        size_t attaches; /* of each process */
        unsigned pause_us;
        long uid; /* -1: stay who we are */
        int priority;
} Load;

/* Shared by all processes. */
typedef struct Shared {
        _Atomic unsigned there; /* processes that are ready to begin */
        _Atomic size_t failures;
        uint32_t taken_us[]; /* of each attach */
} Shared;

static uint64_t now_us(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static ProtobufCBinaryData bytes_of(char *text) {
        return (ProtobufCBinaryData){ .len = strlen(text), .data = (uint8_t *)text };
}

static int load_prepare(Load *load, char *tag, char *executable, char **paths, size_t n) {
        Shimport__Interpreter interpreter = SHIMPORT__INTERPRETER__INIT;
        Shimport__Attach attach = SHIMPORT__ATTACH__INIT;
        Shimport__Request message = SHIMPORT__REQUEST__INIT;
        Shimport__Root roots[PACKET_ROOTS_MAX], *list[PACKET_ROOTS_MAX];

        if (n > PACKET_ROOTS_MAX)
                return -E2BIG;
        for (size_t i = 0; i < n; i++) {
                load->roots[i] = open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (load->roots[i] < 0)
                        return -errno;
                shimport__root__init(&roots[i]);
                roots[i].path = bytes_of(paths[i]);
                list[i] = &roots[i];
        }
        load->n_roots = n;
        interpreter.tag = bytes_of(tag);
        interpreter.executable = bytes_of(executable);
        attach.interpreter = &interpreter;
        attach.roots = list;
        attach.n_roots = n;
        message.protocol = SHIMPORT_PROTOCOL;
        message.body_case = SHIMPORT__REQUEST__BODY_ATTACH;
        message.attach = &attach;
        if (shimport__request__get_packed_size(&message) > sizeof(load->request))
                return -E2BIG;
        load->request_size = shimport__request__pack(&message, load->request);
        return 0;
}

static bool attach_once(const Load *load) {
        static Packet packet;
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        size_t n = 0;

        if (fd < 0 ||
            connect(fd, (const struct sockaddr *)&load->endpoint.address, sizeof(load->endpoint.address)) < 0)
                return false;
        if (packet_send(fd, load->request, load->request_size, load->roots, load->n_roots) < 0 ||
            syscalls_poll(fd, POLLIN, 10000) != 1)
                return false;
        if (packet_recv(fd, &packet) == 0)
                n = packet.n_fds;
        packet_done(&packet);
        return n == 2 * load->n_roots;
}

static void load_run(const Load *load, unsigned number, unsigned processes, Shared *shared) {
        uint32_t *taken = shared->taken_us + number * load->attaches;

        if (load->uid >= 0 &&
            (setgid((gid_t)load->uid + number) < 0 || setuid((uid_t)load->uid + number) < 0))
                _exit(EXIT_FAILURE);
        if (load->priority)
                setpriority(PRIO_PROCESS, 0, load->priority);
        shared->there++;
        while (shared->there < processes)
                usleep(100);
        for (size_t i = 0; i < load->attaches; i++) {
                uint64_t began = now_us();

                if (!attach_once(load))
                        shared->failures++;
                taken[i] = (uint32_t)(now_us() - began);
                if (load->pause_us)
                        usleep(load->pause_us);
        }
        _exit(EXIT_SUCCESS);
}

static int compare(const void *a, const void *b) {
        uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

        return left < right ? -1 : left > right;
}

static int usage(void) {
        fputs("usage: attach_load [--uid UID] [--pause US] [--nice N] SOCKET TAG EXECUTABLE PROCESSES "
              "ATTACHES ROOT...\n",
              stderr);
        return 2;
}

int main(int argc, char **argv) {
        static const struct option known[] = {
                { "uid", required_argument, NULL, 'u' },
                { "pause", required_argument, NULL, 'p' },
                { "nice", required_argument, NULL, 'n' },
                { 0 },
        };
        static Load load = { .uid = -1 };
        unsigned processes;
        uint64_t began;
        Shared *shared;
        size_t total;
        int option, status;

        while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0)
                switch (option) {
                case 'u':
                        load.uid = atol(optarg);
                        break;
                case 'p':
                        load.pause_us = (unsigned)atol(optarg);
                        break;
                case 'n':
                        load.priority = atoi(optarg);
                        break;
                default:
                        return usage();
                }
        argv += optind;
        argc -= optind;
        if (argc < 6 || endpoint_from_path(argv[0], &load.endpoint) < 0)
                return usage();
        processes = (unsigned)atoi(argv[3]);
        load.attaches = (size_t)atol(argv[4]) / (processes ? processes : 1);
        total = load.attaches * processes;
        if (!processes || processes > PROCESSES_MAX || !total)
                return usage();
        if (load_prepare(&load, argv[1], argv[2], argv + 5, (size_t)argc - 5) < 0) {
                perror("attach_load");
                return EXIT_FAILURE;
        }
        shared = mmap(NULL, sizeof(*shared) + total * sizeof(uint32_t), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (shared == MAP_FAILED)
                return EXIT_FAILURE;
        for (unsigned i = 0; i < processes; i++)
                if (fork() == 0)
                        load_run(&load, i, processes, shared);
        while (shared->there < processes && waitpid(-1, &status, WNOHANG) == 0)
                usleep(100);
        began = now_us();
        while (wait(&status) > 0)
                ;
        began = now_us() - began;
        qsort(shared->taken_us, total, sizeof(uint32_t), compare);
        printf("{\"attaches\": %zu, \"failures\": %zu, \"seconds\": %.3f, \"per_second\": %.0f, \"p50_us\": "
               "%u, "
               "\"p99_us\": %u, \"max_us\": %u}\n",
               total, (size_t)shared->failures, (double)began / 1e6, (double)total * 1e6 / (double)began,
               shared->taken_us[total / 2], shared->taken_us[total * 99 / 100], shared->taken_us[total - 1]);
        return EXIT_SUCCESS;
}
