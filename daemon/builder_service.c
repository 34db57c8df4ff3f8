/* SPDX-License-Identifier: MIT */

/*
 * shimport-builder: what the service manager starts when the system instance of the daemon connects to
 * /run/shimport/builder/UID. It becomes that user, gives up all else, looks at the job, and becomes the interpreter
 * that does it (client/shimport/builder.py), which reads the same job from the same socket.
 *
 * It does not trust the daemon. Whatever the job says: only a directory of this user's own is built, as for all
 * users, and only by a Python interpreter that root or this user has put where it lies, with the client beside this
 * program. So whoever is the daemon gets authentic images of what everybody may read, and no more.
 *
 * The owner is told by the address of the socket, for a templated socket with Accept=yes has no other way to tell
 * it to its service.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "builder.pb-c.h"
#include "builder_command.h"
#include "log.h"
#include "message.h"
#include "packet.h"
#include "paths.h"
#include "trust.h"
#include "util.h"

/* The daemon sends the job with its next breath. */
#define JOB_PATIENCE_MS 10000

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

/* For good: with no other group, and no capability even for root. Return: 0 or a negative errno. */
static int service_become(uid_t uid) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

        if (geteuid() == 0 &&
            (setgroups(0, NULL) < 0 || setresgid(BUILDER_GROUP, BUILDER_GROUP, BUILDER_GROUP) < 0))
                return -errno;
        if (setresuid(uid, uid, uid) < 0)
                return -errno;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
            syscall(SYS_capset, &header, none) < 0)
                return -errno;
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
static int service_check(const Packet *packet, const Shimport__BuildJob *job, char **ret_executable,
                         char **ret_reason) {
        _cleanup_free_ char *executable = NULL, *named = NULL;
        const char *name;
        struct stat st;
        int r;

        if (!packet->n_fds || syscalls_fstat(packet->fds[0], &st) < 0 || !S_ISDIR(st.st_mode))
                return refused("a job without its root", ret_reason);
        if (st.st_uid != geteuid())
                return refused("the root belongs to another user than its builder", ret_reason);
        if (!job->shared)
                return refused("an image for one user is not made here", ret_reason);
        if (!message_is_path(&job->executable) ||
            memchr(job->options.data ?: (uint8_t *)"", '\0', job->options.len))
                return refused("a job without an interpreter", ret_reason);
        named = strndup((const char *)job->executable.data, job->executable.len);
        if (!named)
                return -ENOMEM;
        r = trust_executable(named, geteuid(), &executable, ret_reason);
        if (r)
                return r < 0 ? r : -EPERM;
        name = strrchr(executable, '/');
        if (!name || strncmp(name, "/python", strlen("/python")) != 0)
                return refused("the interpreter is not called python", ret_reason);
        *ret_executable = steal_pointer(&executable);
        return 0;
}

/* The job is taken as well: a socket that is closed with something unread in it loses what it has sent. */
static void service_refuse(Packet *packet, const char *reason) {
        Shimport__BuildResult body = SHIMPORT__BUILD_RESULT__INIT;
        Shimport__FromBuilder message = SHIMPORT__FROM_BUILDER__INIT;
        uint8_t buffer[8192];
        size_t size;

        log_warning("refused: %s", reason);
        (void)packet_recv(BUILDER_FD, packet);
        packet_done(packet);
        body.error = message_text(reason);
        message.body_case = SHIMPORT__FROM_BUILDER__BODY_RESULT;
        message.result = &body;
        if (message_encode(&message.base, buffer, sizeof(buffer), &size) == 0)
                (void)packet_send(BUILDER_FD, buffer, size, NULL, 0);
}

/* Return: only on failure, a negative errno. */
static int service_exec(const char *executable, const Shimport__BuildJob *job) {
        _cleanup_free_ char *client = NULL, *script = NULL, *options = NULL;
        char *arguments[BUILDER_ARGUMENTS_MAX];
        int r;

        r = paths_client(&client);
        if (r < 0)
                return r;
        options = strndup(job->options.len ? (const char *)job->options.data : "", job->options.len);
        if (!options || asprintf(&script, "%s/shimport/builder.py", client) < 0)
                return -ENOMEM;
        builder_arguments(executable, options, script, arguments);
        if (chdir("/") < 0 || fcntl(BUILDER_FD, F_SETFD, 0) < 0) /* from here on the interpreter's */
                return -errno;
        execve(executable, arguments, builder_environment);
        return -errno;
}

/* Return: only on failure, a negative errno. */
static int service_run(void) {
        static MessageDecoder decoder;
        static Packet packet;
        _cleanup_free_ char *executable = NULL, *reason = NULL;
        Shimport__ToBuilder *message;
        uid_t uid = (uid_t)-1;
        int r;

        r = service_owner(&uid);
        if (r >= 0)
                r = service_become(uid);
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
        r = service_check(&packet, message->job, &executable, &reason);
        packet_done(&packet);
        if (r >= 0)
                r = service_exec(executable, message->job);
        service_refuse(&packet, reason ?: strerror(-r));
        return r;
}

int main(int argc, char **argv) {
        int r;

        (void)argv;
        log_open();
        if (argc != 1 || sd_listen_fds(true) != 1) {
                log_error("shimport-builder is started by the service manager, see shimport-builder@.socket");
                return EXIT_FAILURE;
        }
        r = service_run();
        if (r != -EPERM)
                log_error("no build: %s", strerror(-r));
        return r == -EPERM ? EXIT_SUCCESS : EXIT_FAILURE;
}
