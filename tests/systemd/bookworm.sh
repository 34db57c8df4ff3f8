#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Prints the path of a Debian 12 that has systemd, Python and nothing else, to install packages in: a chroot in
# ~/.cache/shimport/bookworm, or in $BOOKWORM, made by debootstrap if it is not there. The packages that ours depend on
# lie in its apt's cache, not installed, so that tests need no network. Exit status 77: no mirror answers.

set -euo pipefail

. "$(dirname "$0")/../chroot.sh"

BOOKWORM=${BOOKWORM:-${XDG_CACHE_HOME:-$HOME/.cache}/shimport/bookworm}
DEPENDENCIES='libinih1 libjansson4 libprotobuf-c1 libuv1'

if [ ! -d "$BOOKWORM" ]; then
        mirror=$(chroot_mirror bookworm) || exit 77
        making=$BOOKWORM.$$
        trap 'rm -rf --one-file-system "$making" "$making.new"' EXIT
        chroot_make "$making" bookworm "$mirror" --include=systemd,python3 >&2
        cp /etc/resolv.conf "$making/etc/resolv.conf"
        # shellcheck disable=SC2086 # a list of words
        {
                chroot_inside "$making" apt-get update -q
                chroot_inside "$making" apt-get install -q -y --no-install-recommends --download-only $DEPENDENCIES
        } >&2
        mv -T "$making" "$BOOKWORM"
fi
echo "$BOOKWORM"
