/* SPDX-License-Identifier: MIT */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define LOG_LINE_MAX 1024 /* the journal takes far more, a person does not */
#define LOG_PEER_BURST 20
#define LOG_PEER_INTERVAL 10 /* seconds */

static bool log_with_levels;

void log_open(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long dev, ino;
        struct stat st;

        log_with_levels = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
                          fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static void log_linev(LogLevel level, const char *format, va_list arguments) {
        char line[LOG_LINE_MAX];
        size_t prefix = 0, size;
        ssize_t written;
        int n;

        if (log_with_levels)
                prefix = (size_t)snprintf(line, sizeof(line), "<%d>", level);
        n = vsnprintf(line + prefix, sizeof(line) - prefix - 1, format, arguments);
        if (n < 0)
                return;
        size = prefix + strlen(line + prefix);
        for (size_t i = prefix; i < size; i++)
                if ((uint8_t)line[i] < 0x20 || line[i] == 0x7f)
                        line[i] = '?';
        line[size++] = '\n';
        written = write(STDERR_FILENO, line, size);
        (void)written;
}

void log_line(LogLevel level, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        log_linev(level, format, arguments);
        va_end(arguments);
}

void log_peer(const char *format, ...) {
        static time_t since;
        static unsigned lines, silenced;
        struct timespec now;
        va_list arguments;

        clock_gettime(CLOCK_MONOTONIC, &now);
        if (lines == 0 || now.tv_sec - since >= LOG_PEER_INTERVAL) {
                if (silenced)
                        log_warning("%u more lines about peers were left out", silenced);
                since = now.tv_sec;
                lines = silenced = 0;
        }
        if (lines >= LOG_PEER_BURST) {
                silenced++;
                return;
        }
        lines++;
        va_start(arguments, format);
        log_linev(LOG_LEVEL_WARNING, format, arguments);
        va_end(arguments);
}
