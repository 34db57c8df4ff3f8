#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Finds the CPythons the client can be built for: 3.11 and up, with headers.
#
#   client/pythons.sh            one line for each: executable, version, SOABI, include directory (tabs between)
#   client/pythons.sh --builds   one line for each SOABI: SOABI, include directory; the first interpreter gives it
#
# Looked at, in this order: $PYTHONS (a list of commands or paths) and then nothing else; otherwise every python3*
# of $PATH and of /usr/bin, then the versions of pyenv. Interpreters that are left out are named on stderr.

set -eu

# What the interpreter says of itself; older ones are told apart by it, so it keeps to what all of them parse.
ASK='
import os, sys, sysconfig
if sys.implementation.name != "cpython" or sys.version_info < (3, 11):
    sys.exit(3)
include = sysconfig.get_path("include")
executable = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
suffix = sysconfig.get_config_var("EXT_SUFFIX")
if not os.path.exists(os.path.join(include, "Python.h")):
    sys.stderr.write("pythons.sh: %s has no headers (%s/Python.h), left out\n" % (executable, include))
    sys.exit(4)
print("\t".join([executable, "%d.%d.%d" % sys.version_info[:3], suffix.strip(".")[:-3], include]))
'

candidates() {
        if [ -n "${PYTHONS:-}" ]; then
                for name in $PYTHONS; do
                        command -v "$name" || echo "pythons.sh: $name: no such command" >&2
                done
                return
        fi
        # A pyenv shim answers for whatever version is chosen at the moment; the versions themselves come below.
        printf '%s\n' "$PATH:/usr/bin" | tr : '\n' | grep -v '/shims$' | while read -r directory; do
                for path in "$directory"/python3 "$directory"/python3.*; do
                        [ -x "$path" ] && echo "$path"
                done
        done | grep -E '/python3(\.[0-9]+t?d?(-dbg)?)?$'
        if command -v pyenv >/dev/null; then
                for path in "$(pyenv root)"/versions/*/bin/python3; do
                        [ -x "$path" ] && echo "$path"
                done
        fi
}

interpreters() {
        candidates | while read -r path; do
                timeout 20 "$path" -I -S -c "$ASK" </dev/null || true
        done | awk -F '\t' '!seen[$1]++'
}

case "${1:-}" in
'')
        interpreters
        ;;
--builds)
        interpreters | awk -F '\t' '!seen[$3]++ { print $3 "\t" $4 }'
        ;;
*)
        echo "usage: pythons.sh [--builds]" >&2
        exit 2
        ;;
esac
