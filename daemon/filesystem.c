/* SPDX-License-Identifier: MIT */

#include <stdbool.h>
#include <stddef.h>
#include <sys/vfs.h>

#include "filesystem.h"
#include "util.h"

/*
 * inotify tells of what goes through this kernel's VFS, at this place. What others do on the other side of a
 * network or of a user space server it does not, and what is written below a stacked file system it does not
 * either. By statfs(2); numbers that <linux/magic.h> of an older kernel may lack are written out.
 *
 * A file system that is mounted read-only is watched like any other: it may be writable through another mount,
 * and a watch on what never changes costs nothing.
 */
static const struct {
        unsigned type;
        const char *reason;
} blind[] = {
        { 0x6969, "on NFS, where other hosts change files unseen" },
        { 0x517b, "on SMB, where other hosts change files unseen" },
        { 0xff534d42, "on CIFS, where other hosts change files unseen" },
        { 0xfe534d42, "on SMB2, where other hosts change files unseen" },
        { 0x65735546, "on FUSE, whose server changes files unseen" },
        { 0x01021997, "on 9p, where the host changes files unseen" },
        { 0x6a656a63, "on a virtual machine's shared folder, where the host changes files unseen" },
        { 0x786f4256,
          "on a virtual machine's shared folder, where the host changes files unseen" }, /* vboxsf */
        { 0xbacbacbc,
          "on a virtual machine's shared folder, where the host changes files unseen" }, /* vmhgfs */
        { 0x794c7630, "on overlayfs, whose layers change unseen" },
        { 0x61756673, "on aufs, whose branches change unseen" },
        { 0xf15f, "on eCryptfs, whose lower files change unseen" },
        { 0x5346414f, "on AFS, where other hosts change files unseen" },
        { 0x73757245, "on Coda, where other hosts change files unseen" },
        { 0x00c36400, "on CephFS, where other hosts change files unseen" },
        { 0x0bd00bd0, "on Lustre, where other hosts change files unseen" },
        { 0x47504653, "on GPFS, where other hosts change files unseen" },
        { 0x01161970, "on GFS2, where other hosts change files unseen" },
        { 0x7461636f, "on OCFS2, where other hosts change files unseen" },
        { 0x19830326, "on BeeGFS, where other hosts change files unseen" },
        { 0x564c, "on NCP, where other hosts change files unseen" },
        { 0x9fa0, "on procfs, which tells of no change" },
        { 0x62656572, "on sysfs, which tells of no change" },
};

const char *filesystem_blindness(int fd) {
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return "on a file system that does not say what it is";
        for (size_t i = 0; i < ELEMENTSOF(blind); i++)
                if (blind[i].type == (unsigned)fs.f_type)
                        return blind[i].reason;
        return NULL;
}

bool filesystem_is_pseudo(int fd) {
        static const unsigned types[] = {
                0x9fa0,     /* proc */
                0x62656572, /* sysfs */
                0x27e0eb,   /* cgroup */
                0x63677270, /* cgroup2 */
                0x64626720, /* debugfs */
                0x74726163, /* tracefs */
                0x73636673, /* securityfs */
                0xcafe4a11, /* bpf */
                0x1cd1,     /* devpts */
                0x62656570, /* configfs */
                0x19800202, /* mqueue */
                0x6e736673, /* nsfs */
        };
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return false;
        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (types[i] == (unsigned)fs.f_type)
                        return true;
        return false;
}
