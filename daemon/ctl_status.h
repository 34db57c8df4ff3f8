/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_CTL_STATUS_H
#define SHIMPORT_CTL_STATUS_H

/* What `shimportctl status` was told, and the ways to show it. */

#include <stdio.h>

#include "ctl_call.h"

typedef struct Status {
        const Shimport__Status *daemon;
        Shimport__ImageStatus **images; /* of all packets */
        size_t n_images;
} Status;

const char *status_state_name(Shimport__RootState state);

/* Bytes as text that any terminal and JSON can take: what is not UTF-8 or not printable becomes \xNN. */
char *status_printable(ProtobufCBinaryData bytes);

void status_print_text(const Status *status, FILE *out);
void status_print_json(const Status *status, FILE *out);

/* As OpenMetrics has it, which is also what Prometheus' older text format can be read from. */
void status_print_metrics(const Status *status, FILE *out);

#endif
