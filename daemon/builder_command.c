/* SPDX-License-Identifier: MIT */

#include "builder_command.h"
#include "util.h"

char *const builder_environment[] = { "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", NULL };

void builder_arguments(const char *executable, const char *options, const char *script,
                       char *ret_arguments[static BUILDER_ARGUMENTS_MAX]) {
        static const char *const always[] = { "-I", "-S", "-B", "-X", "utf8" };
        size_t n = 0;

        ret_arguments[n++] = (char *)executable;
        for (size_t i = 0; i < ELEMENTSOF(always); i++)
                ret_arguments[n++] = (char *)always[i];
        for (const char *option = options; *option && n < BUILDER_ARGUMENTS_MAX - 3; option++)
                switch (*option) {
                case 'O':
                        ret_arguments[n++] = "-O";
                        break;
                case 'o':
                        ret_arguments[n++] = "-OO";
                        break;
                case 'R':
                        ret_arguments[n++] = "-X";
                        ret_arguments[n++] = "no_debug_ranges";
                        break;
                }
        ret_arguments[n++] = (char *)script;
        ret_arguments[n] = NULL;
}
