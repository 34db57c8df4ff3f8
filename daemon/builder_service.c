/* SPDX-License-Identifier: MIT */

/*
 * shimport-builder: how every build begins. It becomes the user who builds, gives up all else (confine.h), looks at
 * the job, and becomes the interpreter that does it (client/shimport/builder.py), which reads the same job from the
 * same socket.
 *
 * The service manager starts it when the system instance of the daemon connects to /run/shimport/builder/UID. Then it
 * does not trust the daemon. Whatever the job says: only a directory of this user's own is built, as for all users,
 * and only by a Python interpreter that root or this user has put where it lies, with the client beside this program.
 * So whoever is the daemon gets authentic images of what everybody may read, and no more. The owner is told by the
 * address of the socket, for a templated socket with Accept=yes has no other way to tell it to its service.
 *
 * Or a daemon that may start processes as the user starts it itself, as `shimport-builder --child UID CLIENT SECONDS`.
 * Then whose directory it is, and for whom, is the daemon's to decide; what may be the interpreter is not.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "builder.pb-c.h"
#include "builder_command.h"
#include "confine.h"
#include "log.h"
#include "memfd.h"
#include "message.h"
#include "packet.h"
#include "paths.h"
#include "trust.h"
#include "util.h"

/* The daemon sends the job with its next breath. */
#define JOB_PATIENCE_MS 10000

/* The service's processor time: the service manager ends it by then anyway. */
#define SERVICE_SECONDS 3600

typedef struct Service {
        bool is_child; /* of the daemon's */
        uid_t uid;
        const char *client; /* NULL: beside this program */
        uint64_t seconds;
} Service;

/* Which user's socket is this? Return: 0 or a negative errno. */
static int service_owner(uid_t *ret_uid) {
        struct sockaddr_un address = { 0 };
        socklen_t size = sizeof(address);
        const char *name;
        unsigned long uid;
        char *end;

        if (getsockname(BUILDER_FD, (struct sockaddr *)&address, &size) < 0)
                return -errno;
        name = strrchr(address.sun_path, '/');
        if (address.sun_family != AF_UNIX || !name || name[1] < '0' || name[1] > '9')
                return -EADDRNOTAVAIL;
        errno = 0;
        uid = strtoul(name + 1, &end, 10);
        if (*end || errno || uid >= UINT32_MAX)
                return -EADDRNOTAVAIL;
        *ret_uid = (uid_t)uid;
        return 0;
}

/* Look at the job without taking it. Return: 0 or a negative errno. */
static int service_peek(Packet *packet) {
        int r;

        r = syscalls_poll(BUILDER_FD, POLLIN, JOB_PATIENCE_MS);
        if (r == 0)
                return -ETIMEDOUT;
        if (r < 0)
                return r;
        r = packet_peek(BUILDER_FD, packet);
        return r > 0 ? -EPROTO : r;
}

static int refused(const char *reason, char **ret_reason) {
        *ret_reason = strdup(reason);
        return *ret_reason ? -EPERM : -ENOMEM;
}

/**
 * service_check() - is this a job for us?
 * @ret_executable:     what to become
 * @ret_reason:         for a person, set with -EPERM only
 *
 * Return: 0 or a negative errno.
 */
static int service_check(const Service *service, const Packet *packet, const Shimport__BuildJob *job,
                         char **ret_executable, char **ret_reason) {
        _cleanup_free_ char *executable = NULL, *named = NULL, *why = NULL;
        struct stat st;
        int r;

        if (!packet->n_fds || syscalls_fstat(packet->fds[0], &st) < 0 || !S_ISDIR(st.st_mode))
                return refused("a job without its root", ret_reason);
        if (!service->is_child && st.st_uid != geteuid())
                return refused("the root belongs to another user than its builder", ret_reason);
        if (!service->is_child && !job->shared)
                return refused("an image for one user is not made here", ret_reason);
        if (!message_is_path(&job->executable) ||
            memchr(job->options.data ?: (uint8_t *)"", '\0', job->options.len))
                return refused("a job without an interpreter", ret_reason);
        named = strndup((const char *)job->executable.data, job->executable.len);
        if (!named)
                return -ENOMEM;
        r = trust_interpreter(named, geteuid(), &executable, &why);
        if (r < 0)
                return r;
        if (r)
                return asprintf(ret_reason, "the interpreter is not trusted to build as uid %u: %s",
                                (unsigned)geteuid(), why) < 0
                               ? -ENOMEM
                               : -EPERM;
        *ret_executable = steal_pointer(&executable);
        return 0;
}

/* The job is taken as well: a socket that is closed with something unread in it loses what it has sent. */
static void service_refuse(const Service *service, Packet *packet, const char *reason) {
        Shimport__BuildResult body = SHIMPORT__BUILD_RESULT__INIT;
        Shimport__FromBuilder message = SHIMPORT__FROM_BUILDER__INIT;
        uint8_t buffer[8192];
        size_t size;

        if (!service->is_child) /* the daemon says so itself */
                log_warning("refused: %s", reason);
        (void)packet_recv(BUILDER_FD, packet);
        packet_done(packet);
        body.error = message_text(reason);
        message.body_case = SHIMPORT__FROM_BUILDER__BODY_RESULT;
        message.result = &body;
        if (message_encode(&message.base, buffer, sizeof(buffer), &size) == 0)
                (void)packet_send(BUILDER_FD, buffer, size, NULL, 0);
}

/* The file of the image is this user's by being made here: a builder that could make more of them would have more memory
 * than its address space. Return: 0 or a negative errno. */
static int service_make_image(void) {
        _cleanup_close_ int fd = -1;
        int r;

        r = memfd_new("shimport-image", &fd);
        if (r < 0)
                return r;
        if (fd == BUILDER_IMAGE_FD) { /* to be closed by neither of us */
                r = fcntl(fd, F_SETFD, 0) < 0 ? -errno : 0;
                if (r == 0)
                        (void)steal_fd(&fd);
                return r;
        }
        return dup2(fd, BUILDER_IMAGE_FD) < 0 ? -errno : 0;
}

/* Return: only on failure, a negative errno. */
static int service_exec(const Service *service, const char *executable, const Shimport__BuildJob *job) {
        _cleanup_free_ char *client = NULL, *script = NULL, *options = NULL;
        char *arguments[BUILDER_ARGUMENTS_MAX];
        int r;

        if (service->client)
                r = (client = strdup(service->client)) ? 0 : -ENOMEM;
        else
                r = paths_client(&client);
        if (r < 0)
                return r;
        options = strndup(job->options.len ? (const char *)job->options.data : "", job->options.len);
        if (!options || asprintf(&script, "%s/shimport/builder.py", client) < 0)
                return -ENOMEM;
        builder_arguments(executable, options, script, arguments);
        r = service_make_image();
        if (r < 0)
                return r;
        if (chdir("/") < 0 || fcntl(BUILDER_FD, F_SETFD, 0) < 0) /* from here on the interpreter's */
                return -errno;
        r = confine_self(BUILDER_IMAGE_FD, service->seconds);
        if (r < 0)
                return r;
        execve(executable, arguments, builder_environment);
        return -errno;
}

/* Return: 0 once the daemon has been told why not, or a negative errno; else it does not. */
static int service_run(const Service *service) {
        static MessageDecoder decoder;
        static Packet packet;
        _cleanup_free_ char *executable = NULL, *reason = NULL;
        Shimport__ToBuilder *message;
        int r;

        r = confine_become(service->uid);
        if (r >= 0)
                r = service_peek(&packet);
        if (r < 0)
                return r;
        message = (Shimport__ToBuilder *)message_decode(&decoder, &shimport__to_builder__descriptor,
                                                        packet.data, packet.size);
        if (!message || message->body_case != SHIMPORT__TO_BUILDER__BODY_JOB) {
                packet_done(&packet);
                return -EPROTO;
        }
        r = service_check(service, &packet, message->job, &executable, &reason);
        packet_done(&packet);
        if (r >= 0) {
                r = service_exec(service, executable, message->job);
                if (asprintf(&reason, "cannot start %s: %s", executable, strerror(-r)) < 0)
                        reason = NULL;
        }
        service_refuse(service, &packet, reason ?: strerror(-r));
        return 0;
}

/* `--child UID CLIENT SECONDS`. Return: 0 or -EINVAL. */
static int service_parse(char **arguments, Service *ret_service) {
        unsigned long uid, seconds;
        char *end_uid, *end_seconds;

        uid = strtoul(arguments[1], &end_uid, 10);
        seconds = strtoul(arguments[3], &end_seconds, 10);
        if (strcmp(arguments[0], "--child") != 0 || *end_uid || uid >= UINT32_MAX || *arguments[2] != '/' ||
            *end_seconds || !seconds)
                return -EINVAL;
        *ret_service = (Service){
                .is_child = true,
                .uid = (uid_t)uid,
                .client = arguments[2],
                .seconds = seconds,
        };
        return 0;
}

int main(int argc, char **argv) {
        Service service = { .seconds = SERVICE_SECONDS };
        int r;

        log_open();
        if (argc == 5 ? service_parse(argv + 1, &service) < 0 : argc != 1 || sd_listen_fds(true) != 1) {
                log_error("shimport-builder is started by the daemon or by the service manager, see "
                          "shimport-builder@.socket");
                return EXIT_FAILURE;
        }
        r = service.is_child ? 0 : service_owner(&service.uid);
        if (r >= 0)
                r = service_run(&service);
        if (r < 0)
                log_error("no build: %s", strerror(-r));
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
