/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_SWITCH_H
#define SHIMPORT_SWITCH_H

/* What is on unless the daemon says otherwise, or the environment, which has the last word. */

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* All zeros: on. */
typedef struct Switch {
        bool off;
        bool chosen; /* by the environment */
} Switch;

/* What is in force unless somebody has chosen. */
static inline void switch_suggest(Switch *that, bool on) {
        if (!that->chosen)
                that->off = !on;
}

/* By an environment variable, "on" or "off"; anything else is as if there were none. */
static inline void switch_choose(Switch *that, const char *value) {
        that->chosen = value && (strcmp(value, "on") == 0 || strcmp(value, "off") == 0);
        if (that->chosen)
                that->off = strcmp(value, "off") == 0;
}

#endif
