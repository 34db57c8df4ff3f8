/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_LOG_H
#define SHIMPORT_LOG_H

/*
 * One line for each thing that an operator should know. Where stderr is the journal, each goes there as an entry
 * with fields of its own (ROOT=, IMAGE=, INTERPRETER=, UID=, PEER_PID=, REASON=), so that `journalctl UID=1000` or
 * `ROOT=/srv/app` finds what concerns one; a journal that does not take them gets the line from stderr with its
 * level, as sd-daemon(3) has it. Elsewhere a line is for eyes alone. A log that cannot be written is not an error,
 * and nobody waits until it can: the line is lost. What came from a peer or a builder is made printable.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum LogLevel { /* as in syslog(3) */
        LOG_LEVEL_ERROR = 3,
        LOG_LEVEL_WARNING = 4,
        LOG_LEVEL_NOTICE = 5,
        LOG_LEVEL_INFO = 6,
} LogLevel;

/* What a line is about; zero for what does not apply. Borrowed, and said in the line's text as well. */
typedef struct LogAbout {
        const char *root, *interpreter, *reason;
        uint64_t image; /* its generation */
        bool has_uid;
        uid_t uid;
        pid_t pid;
} LogAbout;

/* Find out whether stderr is the journal. Before that, lines are plain. */
void log_open(void);

__attribute__((format(printf, 2, 3))) void log_line(LogLevel level, const char *format, ...);
__attribute__((format(printf, 3, 4))) void log_about(const LogAbout *about, LogLevel level,
                                                     const char *format, ...);

/* What peers can cause at will, by about->uid: each user has LOG_PEER_BURST lines in LOG_PEER_INTERVAL, then
 * silence and a count. */
__attribute__((format(printf, 2, 3))) void log_peer(const LogAbout *about, const char *format, ...);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)

#endif
