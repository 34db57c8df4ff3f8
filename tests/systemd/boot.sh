#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Boots systemd as PID 1 over an overlay of this machine's file system, on memory alone. Started by machine.py as
#
#   unshare --pid --mount --cgroup --uts --ipc --fork --kill-child boot.sh DIRECTORY STAGE [CHROOT]
#
# STAGE holds the installed tree, which is laid over it. What only the units of shimport need is on the unit path. With
# CHROOT it is another Debian's file system; its packages install what is wanted, STAGE is empty, and its own units are
# on the path.

set -euo pipefail

directory=$1 stage=$2 chroot=${3:-}
unit_path=/etc/shimport-test-units:/etc/systemd/system:/usr/local/lib/systemd/system
[ -z "$chroot" ] || unit_path=/etc/shimport-test-units:/etc/systemd/system:/lib/systemd/system
root=$directory/root

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$directory"
mkdir "$directory/upper" "$directory/work" "$root"
mount -t overlay -o "lowerdir=${chroot:-/},upperdir=$directory/upper,workdir=$directory/work" overlay "$root"

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for place in run:755 tmp:1777 dev:755 srv:755 home:755; do
        mkdir -p "$root/${place%:*}"
        mount -t tmpfs -o "mode=${place#*:}" tmpfs "$root/${place%:*}"
done
for node in null zero full random urandom tty; do
        touch "$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/shm" "$root/dev/pts"
chmod 1777 "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

# Modules where a watch sees them, which it does not on an overlay.
for path in /usr/lib/python3*; do
        [ -d "$path" ] && [ -z "$chroot" ] || continue
        mount --bind "$path" "$root$path"
        mount -o remount,bind,ro "$root$path"
done

cp -a --no-preserve=ownership "$stage/." "$root/"

units=$root/etc/shimport-test-units
mkdir "$units"
for unit in {sysinit,basic,sockets,shutdown,umount,final,local-fs,local-fs-pre,timers,paths,slices}.target \
        system.slice -.slice systemd-journald.service systemd-journald{,-dev-log}.socket; do
        [ -e "/lib/systemd/system/$unit" ] && ln -s "/lib/systemd/system/$unit" "$units/$unit"
done
cat >"$units/tests.target" <<END
[Unit]
Wants=sysinit.target sockets.target systemd-journald.socket
END
# The user manager as user@.service starts it, without what takes a login.
cat >"$units/user-manager.service" <<END
[Service]
Type=notify
User=tester
Environment=XDG_RUNTIME_DIR=/run/user/61234
ExecStartPre=+install -d -o tester -m 700 /run/user/61234
ExecStart=/lib/systemd/systemd --user --unit=sockets.target
Delegate=yes
KillMode=mixed
END
echo 'tester:x:61234:61234:tester:/home/tester:/bin/sh' >>"$root/etc/passwd"
echo 'tester:x:61234:' >>"$root/etc/group"
mkdir "$root/home/tester"
chown 61234:61234 "$root/home/tester"
if [ -z "$chroot" ]; then
        systemd-sysusers --root="$root" "$root/usr/local/lib/sysusers.d/shimport.conf" >/dev/null
fi

cd "$root"
mkdir old
pivot_root . old
exec env -i container=other PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        SYSTEMD_UNIT_PATH="$unit_path" \
        chroot . /bin/sh -c 'umount -l /old; exec /lib/systemd/systemd --unit=tests.target'
