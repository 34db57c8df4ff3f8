/* SPDX-License-Identifier: MIT */

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "util.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

#define LOG_LINE_MAX 1024   /* the journal takes far more, a person does not */
#define LOG_ENTRY_MAX 16384 /* a line, a reason, and two paths */
#define LOG_PEER_BURST 20
#define LOG_PEER_INTERVAL 10 /* seconds */

/* Users whose lines are counted at once. With more, who was heard of the longest ago starts afresh. */
#define LOG_USERS 64

/* An entry as the journal takes it: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ */
typedef struct LogEntry {
        size_t size;
        char bytes[LOG_ENTRY_MAX];
} LogEntry;

typedef struct LogBudget {
        uid_t uid;
        time_t since;
        unsigned lines, silenced;
} LogBudget;

static bool log_is_journal;

void log_open(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long dev, ino;
        struct stat st;

        log_is_journal = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
                         fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

/* A field that does not fit is left out. */
static void entry_add(LogEntry *entry, const char *name, const char *value) {
        size_t name_size = strlen(name), size = strlen(value);
        uint64_t told = htole64(size);
        char *at = entry->bytes + entry->size;

        if (sizeof(entry->bytes) - entry->size < name_size + sizeof(told) + size + 2)
                return;
        at = mempcpy(at, name, name_size);
        if (memchr(value, '\n', size)) {
                *at++ = '\n';
                at = mempcpy(at, &told, sizeof(told));
        } else {
                *at++ = '=';
        }
        at = mempcpy(at, value, size);
        *at++ = '\n';
        entry->size = (size_t)(at - entry->bytes);
}

static void entry_add_number(LogEntry *entry, const char *name, uint64_t number) {
        char value[24];

        snprintf(value, sizeof(value), "%llu", (unsigned long long)number);
        entry_add(entry, name, value);
}

/* Not by sd_journal_sendv(3), which waits for a journal that hangs. Return: whether the journal has taken it. */
static bool journal_send(const LogAbout *about, LogLevel level, const char *text) {
        static const struct sockaddr_un journal = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };
        static LogEntry entry;
        static int fd = -1;
        struct iovec iov = { .iov_base = entry.bytes };
        struct msghdr message = {
                .msg_name = (void *)&journal,
                .msg_namelen = sizeof(journal),
                .msg_iov = &iov,
                .msg_iovlen = 1,
        };

        if (fd < 0)
                fd = syscalls_socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return false;
        entry.size = 0;
        entry_add(&entry, "MESSAGE", text);
        entry_add_number(&entry, "PRIORITY", level);
        entry_add(&entry, "SYSLOG_IDENTIFIER", "shimportd");
        if (about->root)
                entry_add(&entry, "ROOT", about->root);
        if (about->interpreter)
                entry_add(&entry, "INTERPRETER", about->interpreter);
        if (about->image)
                entry_add_number(&entry, "IMAGE", about->image);
        if (about->has_uid)
                entry_add_number(&entry, "UID", about->uid);
        if (about->pid)
                entry_add_number(&entry, "PEER_PID", (uint64_t)about->pid);
        if (about->reason)
                entry_add(&entry, "REASON", about->reason);
        iov.iov_len = entry.size;
        return syscalls_sendmsg(fd, &message, MSG_NOSIGNAL) >= 0;
}

/* To nobody who would have to be waited for. */
static void stderr_write(const char *bytes, size_t size) {
        ssize_t written;

        if (syscalls_poll(STDERR_FILENO, POLLOUT, 0) == 0)
                return;
        do
                written = write(STDERR_FILENO, bytes, size);
        while (written < 0 && errno == EINTR);
}

static void log_write(const LogAbout *about, LogLevel level, const char *format, va_list arguments) {
        char line[LOG_LINE_MAX + 8], *text = line + strlen("<3>");
        size_t size;

        if (vsnprintf(text, LOG_LINE_MAX, format, arguments) < 0)
                return;
        size = strlen(text);
        for (size_t i = 0; i < size; i++)
                if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
                        text[i] = '?';
        if (log_is_journal && journal_send(about, level, text))
                return;
        text[size++] = '\n';
        if (log_is_journal) {
                line[0] = '<';
                line[1] = (char)('0' + level);
                line[2] = '>';
                stderr_write(line, size + strlen("<3>"));
        } else {
                stderr_write(text, size);
        }
}

void log_line(LogLevel level, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        log_write(&(LogAbout){ 0 }, level, format, arguments);
        va_end(arguments);
}

void log_about(const LogAbout *about, LogLevel level, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        log_write(about, level, format, arguments);
        va_end(arguments);
}

/* May one more line be written about this user? */
static bool budget_take(uid_t uid) {
        static LogBudget budgets[LOG_USERS];
        LogBudget *budget = &budgets[0];
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        for (size_t i = 0; i < LOG_USERS; i++) {
                if (budgets[i].lines && budgets[i].uid == uid) {
                        budget = &budgets[i];
                        break;
                }
                if (!budgets[i].lines || (budget->lines && budgets[i].since < budget->since))
                        budget = &budgets[i];
        }
        if (!budget->lines || budget->uid != uid || now.tv_sec - budget->since >= LOG_PEER_INTERVAL) {
                if (budget->silenced)
                        log_about(&(LogAbout){ .has_uid = true, .uid = budget->uid }, LOG_LEVEL_WARNING,
                                  "%u more lines about user %u were left out", budget->silenced,
                                  (unsigned)budget->uid);
                *budget = (LogBudget){ .uid = uid, .since = now.tv_sec };
        }
        if (budget->lines >= LOG_PEER_BURST) {
                budget->silenced++;
                return false;
        }
        budget->lines++;
        return true;
}

void log_peer(const LogAbout *about, const char *format, ...) {
        va_list arguments;

        if (!budget_take(about->uid))
                return;
        va_start(arguments, format);
        log_write(about, LOG_LEVEL_WARNING, format, arguments);
        va_end(arguments);
}
