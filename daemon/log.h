/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_LOG_H
#define SHIMPORT_LOG_H

/*
 * One line to stderr for each thing that an operator should know. Under the service manager a line starts
 * with its level as sd-daemon(3) has it; elsewhere it is for eyes alone. A log that cannot be written is not
 * an error. What came from a peer or a builder is made printable.
 */

#include <stdarg.h>

typedef enum LogLevel { /* as in syslog(3) */
        LOG_LEVEL_ERROR = 3,
        LOG_LEVEL_WARNING = 4,
        LOG_LEVEL_NOTICE = 5,
        LOG_LEVEL_INFO = 6,
} LogLevel;

/* Find out whether stderr is the journal. Before that, lines are plain. */
void log_open(void);

__attribute__((format(printf, 2, 3))) void log_line(LogLevel level, const char *format, ...);

/* What peers can cause at will: LOG_PEER_BURST lines in LOG_PEER_INTERVAL, then silence and a count. */
__attribute__((format(printf, 1, 2))) void log_peer(const char *format, ...);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)

#endif
