# SPDX-License-Identifier: MIT
#
# For scripts that test in a Debian of another release: a chroot that debootstrap makes, once. It survives `make
# clean`; remove the directory to have it made anew.

# The mirrors to try: those that this machine's apt uses, and debootstrap's own.
chroot_mirrors() {
        apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
                sed -n 's/^Debian|Debian|//p' | sort -u
        sed -n 's/^DEF_MIRROR="\(.*\)"/\1/p' "$(command -v debootstrap)"
}

# chroot_mirror SUITE: one that answers and has it.
chroot_mirror() {
        local mirror
        for mirror in $(chroot_mirrors); do
                if wget -q -T 20 -t 2 -O /dev/null "${mirror%/}/dists/$1/Release"; then
                        echo "$mirror"
                        return 0
                fi
        done
        return 1
}

# chroot_make DIRECTORY SUITE MIRROR [OPTION]...: what goes wrong is in DIRECTORY.log.
chroot_make() {
        local directory=$1 suite=$2 mirror=$3
        shift 3
        rm -rf --one-file-system "$directory.new"
        mkdir -p "$directory.new"
        debootstrap --variant=minbase "$@" "$suite" "$directory.new" "$mirror" >"$directory.log" 2>&1 || {
                tail -n 20 "$directory.log"
                return 1
        }
        # A mirror may be a snapshot, older than a release's own idea of fresh.
        echo 'Acquire::Check-Valid-Until "false";' >"$directory.new/etc/apt/apt.conf.d/snapshot"
        mv "$directory.new" "$directory"
}

# chroot_inside DIRECTORY COMMAND...: in a mount namespace whose root it is, not just the root of some processes, so that
# paths that are read from /proc are right, and systemd can be booted. umount(8) wants to read /proc itself.
chroot_inside() {
        local directory=$1
        shift
        # shellcheck disable=SC2016 # for the other shell
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
                unshare --mount --propagation private \
                sh -c 'mount --rbind "$0" "$0" && mount -t proc proc "$0/proc" && cd "$0" && pivot_root . . && umount -l . && exec chroot . "$@"' "$directory" "$@"
}
