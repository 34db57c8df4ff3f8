/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl_python.h"

/* The process knows best what it is served and why not: ask one. */
int ctl_explain(const Ctl *ctl, const CtlCommand *command, int argc, char **argv) {
        const char *path = getenv("PYTHONPATH");
        const char **pythons;
        size_t n;
        Python python;
        char *client;
        int status;

        status = python_options(command, argc, argv, &pythons, &n);
        if (status >= 0)
                return status;
        if (n > 1)
                return ctl_usage(command, "one --python PY is enough");
        if (optind + 1 != argc)
                return ctl_usage(command, optind == argc ? "no module" : "one module at a time");
        client = ctl_client_path();
        if (!client || python_describe(pythons[0], &python))
                return CTL_FAILED;
        if (ctl->socket)
                setenv("SHIMPORT_SOCKET", ctl->socket, 1);
        setenv("PYTHONPATH", ctl_format("%s%s%s", client, path && *path ? ":" : "", path ?: ""), 1);
        execlp(pythons[0], pythons[0], "-m", "shimport", "explain", argv[optind], (char *)NULL);
        return ctl_fail("cannot run %s: %s", pythons[0], strerror(errno));
}
