/* SPDX-License-Identifier: MIT */

#define SD_JOURNAL_SUPPRESS_LOCATION /* where in our source a line comes from is of no use to an operator */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "util.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

#define LOG_LINE_MAX 1024  /* the journal takes far more, a person does not */
#define LOG_FIELD_MAX 4200 /* a path, and its name */
#define LOG_FIELDS_MAX 9
#define LOG_PEER_BURST 20
#define LOG_PEER_INTERVAL 10 /* seconds */

/* Users whose lines are counted at once. With more, who was heard of the longest ago starts afresh. */
#define LOG_USERS 64

typedef struct LogFields {
        struct iovec list[LOG_FIELDS_MAX];
        size_t n;
        char text[LOG_FIELDS_MAX][LOG_FIELD_MAX];
} LogFields;

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

__attribute__((format(printf, 2, 3))) static void fields_add(LogFields *fields, const char *format, ...) {
        char *text = fields->text[fields->n];
        va_list arguments;
        int size;

        va_start(arguments, format);
        size = vsnprintf(text, LOG_FIELD_MAX, format, arguments);
        va_end(arguments);
        if (size >= LOG_FIELD_MAX)
                size = LOG_FIELD_MAX - 1;
        if (size > 0)
                fields->list[fields->n++] = (struct iovec){ .iov_base = text, .iov_len = (size_t)size };
}

/* Return: whether the journal has taken it. */
static bool journal_send(const LogAbout *about, LogLevel level, const char *text) {
        static LogFields fields;

        if (access(JOURNAL_SOCKET, F_OK) < 0) /* libsystemd would drop the entry and say that all is well */
                return false;
        fields.n = 0;
        fields_add(&fields, "MESSAGE=%s", text);
        fields_add(&fields, "PRIORITY=%d", level);
        fields_add(&fields, "SYSLOG_IDENTIFIER=shimportd");
        if (about->root)
                fields_add(&fields, "ROOT=%s", about->root);
        if (about->interpreter)
                fields_add(&fields, "INTERPRETER=%s", about->interpreter);
        if (about->image)
                fields_add(&fields, "IMAGE=%llu", (unsigned long long)about->image);
        if (about->has_uid)
                fields_add(&fields, "UID=%u", (unsigned)about->uid);
        if (about->pid)
                fields_add(&fields, "PEER_PID=%d", (int)about->pid);
        if (about->reason)
                fields_add(&fields, "REASON=%s", about->reason);
        return sd_journal_sendv(fields.list, (int)fields.n) == 0;
}

static void log_write(const LogAbout *about, LogLevel level, const char *format, va_list arguments) {
        char line[LOG_LINE_MAX + 8], *text = line + strlen("<3>");
        ssize_t written;
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
                written = write(STDERR_FILENO, line, size + strlen("<3>"));
        } else
                written = write(STDERR_FILENO, text, size);
        (void)written;
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
