#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make check-matrix: builds and tests with the newest CPythons, in a chroot of Debian sid. TARGET=conformance: runs
# their own test suites both ways.
#
#   tests/matrix.sh PACKAGE...         the packages that a build and the tests need
#
# The chroot is made by debootstrap, once; it lives in ~/.cache/shimport/sid, or in $MATRIX, and survives `make
# clean`. Remove the directory to have it made anew. All mounts are made in a mount namespace of our own, so
# whatever ends this script, none is left behind. Results are put into build/matrix-results.

set -euo pipefail

MATRIX=${MATRIX:-${XDG_CACHE_HOME:-$HOME/.cache}/shimport/sid}
RESULTS=build/matrix-results
VERSIONS='3.13 3.14 3.15'

if [ "$(id -u)" != 0 ]; then
        exec sudo MATRIX="$MATRIX" "$0" "$@"
fi
if [ "${MATRIX_NAMESPACE:-}" != 1 ]; then
        MATRIX_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi
cd "$(dirname "$0")/.."
. tests/chroot.sh

say() {
        printf 'check-matrix: %s\n' "$*"
}

# One test case of the verdict `failure` or `skipped`, where no test could be run.
result() {
        say "$2: $3"
        mkdir -p "$RESULTS"
        printf '<testsuites><testsuite name="matrix"><testcase name="%s"><%s/></testcase></testsuite></testsuites>\n' \
                "$2" "$1" >"$RESULTS/$2.xml"
}

enter_mounts() {
        mount -t proc proc "$MATRIX/proc"
        mount -t sysfs -o ro sysfs "$MATRIX/sys"
        mount -t tmpfs -o mode=1777 tmpfs "$MATRIX/tmp"
        mount -t tmpfs -o mode=755 tmpfs "$MATRIX/run"
        mount -t tmpfs -o mode=755 tmpfs "$MATRIX/dev"
        for node in null zero full random urandom tty; do
                touch "$MATRIX/dev/$node"
                mount --bind "/dev/$node" "$MATRIX/dev/$node"
        done
        mkdir "$MATRIX/dev/shm" "$MATRIX/dev/pts"
        mount -t tmpfs -o mode=1777 tmpfs "$MATRIX/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666 devpts "$MATRIX/dev/pts"
        ln -s pts/ptmx "$MATRIX/dev/ptmx"
        ln -s /proc/self/fd "$MATRIX/dev/fd"
}

inside() {
        chroot_inside "$MATRIX" "$@"
}

# The CPythons that this sid has, as commands.
pythons() {
        for version in $VERSIONS; do
                if [ -n "$(inside apt-cache search --names-only "^python$version-dev\$")" ]; then
                        echo "python$version"
                fi
        done
}

rm -rf "$RESULTS"
mkdir -p "$RESULTS"

if [ ! -d "$MATRIX" ]; then
        if ! mirror=$(chroot_mirror sid); then
                result skipped no-mirror 'SKIPPED: no Debian mirror answers'
                exit 0
        fi
        say "making a chroot of Debian sid in $MATRIX"
        if ! chroot_make "$MATRIX" sid "$mirror"; then
                result failure debootstrap 'the chroot could not be made'
                exit 1
        fi
fi
enter_mounts
cp /etc/resolv.conf "$MATRIX/etc/resolv.conf"

wanted="$* -dev -testsuite"
if ! [ -e "$MATRIX/var/lib/shimport-packages" ] || [ "$(cat "$MATRIX/var/lib/shimport-packages")" != "$wanted" ]; then
        inside apt-get update -q
        found=$(pythons)
        say "installing $* and" $found
        # shellcheck disable=SC2046 # a list of words
        inside apt-get install -q -y --no-install-recommends make "$@" $(printf '%s-dev ' $found) \
                $(printf 'lib%s-testsuite ' $found) >"$MATRIX.log" 2>&1 || {
                tail -n 20 "$MATRIX.log"
                result failure packages 'packages could not be installed'
                exit 1
        }
        echo "$wanted" >"$MATRIX/var/lib/shimport-packages"
fi
found=$(pythons | tr '\n' ' ')
say "testing with $found"

rm -rf "$MATRIX/src"
mkdir "$MATRIX/src"
tar -c --exclude=./build --exclude=./.git . | tar -x --no-same-owner -C "$MATRIX/src"

status=0
# Other people's programs are compared where they are released: in sid they may not be installable today.
inside make -C /src "${TARGET:-check}" PACKAGES_PROGRAMS= PACKAGES_SUITES= PYTHONS="$found" SUITES="${SUITES:-}" SET="${SET:-}" \
        -j"$(nproc)" || status=$?
if [ "${TARGET:-check}" != check ]; then
        exit "$status"
fi
cp "$MATRIX"/src/build/test-results/*.xml "$RESULTS" || true
if [ "$status" != 0 ] && ! ls "$RESULTS"/*.xml >/dev/null 2>&1; then
        result failure build 'nothing was tested'
fi
exit "$status"
