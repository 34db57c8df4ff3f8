/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "builder_command.h"
#include "confine.h"
#include "util.h"

#ifdef __SANITIZE_ADDRESS__ /* it maps more than there is */
#undef CONFINE_MEMORY_MAX
#define CONFINE_MEMORY_MAX RLIM_INFINITY
#endif

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define FOREIGN_CALLS 0x40000000u /* those of x32 */
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

/* In a user namespace of one user there may be no other group to be in. Return: 0 or a negative errno. */
static int confine_leave_groups(void) {
        if (geteuid() != 0)
                return 0;
        if (setgroups(0, NULL) < 0 || setresgid(BUILDER_GROUP, BUILDER_GROUP, BUILDER_GROUP) < 0)
                return -errno;
        return 0;
}

int confine_become(uid_t uid) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
        int r;

        r = confine_leave_groups();
        if (r < 0 && uid != geteuid())
                return r;
        if (setresuid(uid, uid, uid) < 0)
                return -errno;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
            syscall(SYS_capset, &header, none) < 0)
                return -errno;
        return 0;
}

/* What is lower already stays. */
static int confine_limit(int resource, uint64_t most) {
        struct rlimit limit;

        if (getrlimit((__rlimit_resource_t)resource, &limit) < 0)
                return -errno;
        if (limit.rlim_max > most)
                limit.rlim_max = most;
        limit.rlim_cur = limit.rlim_max;
        return setrlimit((__rlimit_resource_t)resource, &limit) < 0 ? -errno : 0;
}

#ifdef ARCHITECTURE

/* Refused with EPERM. */
static const int refused_calls[] = {
        /* other processes and hosts to talk to; the connection to the daemon is there already */
        SYS_socket,
        SYS_socketpair,
        SYS_connect,
        SYS_bind,
        SYS_listen,
        SYS_accept,
        SYS_accept4,
        SYS_io_uring_setup,
        SYS_io_uring_enter,
        SYS_io_uring_register,
        /* other processes to look into, or to stop */
        SYS_ptrace,
        SYS_process_vm_readv,
        SYS_process_vm_writev,
        SYS_pidfd_open,
        SYS_pidfd_getfd,
        SYS_pidfd_send_signal,
        SYS_tkill,
        SYS_rt_sigqueueinfo,
        SYS_rt_tgsigqueueinfo,
        SYS_kcmp,
        /* other processes of the same user to hinder: their priority, their processors, their memory */
        SYS_setpriority,
        SYS_ioprio_set,
        SYS_sched_setaffinity,
        SYS_sched_setattr,
        SYS_sched_setparam,
        SYS_sched_setscheduler,
        SYS_migrate_pages,
        SYS_move_pages,
        /* memory that is no part of our address space: what there must be of it is there already */
        SYS_memfd_create,
#ifdef SYS_memfd_secret
        SYS_memfd_secret,
#endif
        /* memory and messages that stay when we are gone */
        SYS_shmget,
        SYS_shmat,
        SYS_msgget,
        SYS_msgsnd,
        SYS_semget,
        SYS_mq_open,
        SYS_mq_unlink,
        /* files to change; to open one for writing is told by the flags */
        SYS_truncate,
        SYS_mkdirat,
        SYS_mknodat,
        SYS_unlinkat,
        SYS_symlinkat,
        SYS_linkat,
        SYS_renameat2,
        SYS_fchmod,
        SYS_fchmodat,
        SYS_fchown,
        SYS_fchownat,
        SYS_utimensat,
        SYS_setxattr,
        SYS_lsetxattr,
        SYS_fsetxattr,
        SYS_removexattr,
        SYS_lremovexattr,
        SYS_fremovexattr,
        SYS_name_to_handle_at,
        SYS_open_by_handle_at,
#ifdef SYS_renameat
        SYS_renameat,
#endif
#ifdef SYS_open /* the old calls, that a new architecture does not have */
        SYS_creat,
        SYS_mkdir,
        SYS_rmdir,
        SYS_mknod,
        SYS_unlink,
        SYS_symlink,
        SYS_link,
        SYS_rename,
        SYS_chmod,
        SYS_chown,
        SYS_lchown,
        SYS_utime,
        SYS_utimes,
        SYS_futimesat,
        SYS_fork,
        SYS_vfork,
#endif
        /* the system to change, and what has often been a way into the kernel */
        SYS_execveat,
        SYS_mount,
        SYS_umount2,
        SYS_pivot_root,
        SYS_chroot,
        SYS_move_mount,
        SYS_open_tree,
        SYS_fsopen,
        SYS_fsconfig,
        SYS_fsmount,
        SYS_fspick,
        SYS_unshare,
        SYS_setns,
        SYS_bpf,
        SYS_perf_event_open,
        SYS_userfaultfd,
        SYS_add_key,
        SYS_request_key,
        SYS_keyctl,
        SYS_init_module,
        SYS_finit_module,
        SYS_delete_module,
        SYS_kexec_load,
        SYS_reboot,
        SYS_swapon,
        SYS_swapoff,
        SYS_personality,
};

#define FILTER_MAX 512

typedef struct Filter {
        struct sock_filter code[FILTER_MAX];
        unsigned short n;
} Filter;

static void filter_add(Filter *filter, struct sock_filter instruction) {
        filter->code[filter->n++] = instruction;
}

static void filter_load(Filter *filter, size_t offset) {
        filter_add(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

static void filter_return(Filter *filter, int error) {
        filter_add(filter,
                   (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, error ? SECCOMP_RET_ERRNO | (unsigned)error
                                                                       : (unsigned)SECCOMP_RET_ALLOW));
}

/* The lower half of an argument; all that we look at are numbers of 32 bits. */
static size_t argument_offset(unsigned number) {
        return offsetof(struct seccomp_data, args) + number * sizeof(uint64_t);
}

static void filter_refuse(Filter *filter, int call, int error) {
        filter_add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1));
        filter_return(filter, error);
}

/* What an argument must be like for a call to be allowed, or must not; of those that refuse, a call may have several. */
typedef struct FilterRule {
        int call;
        unsigned argument;
        unsigned test; /* BPF_JEQ, BPF_JSET */
        uint32_t value;
        bool allows; /* else it refuses */
} FilterRule;

static void filter_judge(Filter *filter, const FilterRule *rule) {
        filter_add(filter,
                   (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)rule->call, 0, 4));
        filter_load(filter, argument_offset(rule->argument));
        filter_add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | rule->test | BPF_K, rule->value,
                                                        rule->allows ? 1 : 0, rule->allows ? 0 : 1));
        filter_return(filter, EPERM);
        filter_load(filter, offsetof(struct seccomp_data, nr));
}

static int confine_calls(void) {
        const uint32_t writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
        const FilterRule rules[] = {
                { SYS_clone, 0, BPF_JSET, CLONE_THREAD, true },     /* a thread is a part of us */
                { SYS_kill, 0, BPF_JEQ, (uint32_t)getpid(), true }, /* we may end ourselves */
                { SYS_tgkill, 0, BPF_JEQ, (uint32_t)getpid(), true },
                { SYS_prlimit64, 0, BPF_JEQ, 0, true }, /* our own limits */
                { SYS_openat, 2, BPF_JSET, writing, false },
                { SYS_fcntl, 1, BPF_JEQ, F_SETOWN, false }, /* the kernel would signal another in our name */
                { SYS_fcntl, 1, BPF_JEQ, F_SETOWN_EX, false },
                { SYS_ioctl, 1, BPF_JEQ, FIOSETOWN, false },
                { SYS_ioctl, 1, BPF_JEQ, SIOCSPGRP, false },
                { SYS_ioctl, 1, BPF_JEQ, TIOCSTI,
                  false }, /* or who sits at the terminal would seem to type */
#ifdef SYS_open
                { SYS_open, 1, BPF_JSET, writing, false },
#endif
        };
        Filter filter = { .n = 0 };
        struct sock_fprog program = { .filter = filter.code };

        _Static_assert(2 * ELEMENTSOF(refused_calls) + 5 * ELEMENTSOF(rules) + 16 <= FILTER_MAX,
                       "the filter has room");
        filter_load(&filter, offsetof(struct seccomp_data, arch));
        filter_add(&filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0));
        filter_return(&filter, EPERM);
        filter_load(&filter, offsetof(struct seccomp_data, nr));
#ifdef FOREIGN_CALLS
        filter_add(&filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FOREIGN_CALLS, 0, 1));
        filter_return(&filter, EPERM);
#endif
        for (size_t i = 0; i < ELEMENTSOF(refused_calls); i++)
                filter_refuse(&filter, refused_calls[i], EPERM);
        /* Their arguments lie in memory, where no filter can look; without them the C library does with the old. */
        filter_refuse(&filter, SYS_clone3, ENOSYS);
        filter_refuse(&filter, SYS_openat2, ENOSYS);
        for (size_t i = 0; i < ELEMENTSOF(rules); i++)
                filter_judge(&filter, &rules[i]);
        filter_return(&filter, 0);
        program.len = filter.n;
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0 ? -errno : 0;
}

#else

static int confine_calls(void) {
        return 0;
}

#endif

int confine_self(int last_fd, uint64_t cpu_seconds) {
        const struct {
                int resource;
                uint64_t most;
        } limits[] = {
                { RLIMIT_CORE, 0 },
                { RLIMIT_FSIZE, CONFINE_FILE_MAX },
                { RLIMIT_NOFILE, CONFINE_FDS_MAX },
                { RLIMIT_CPU, cpu_seconds },
                { RLIMIT_AS, CONFINE_MEMORY_MAX },
        };
        int r;

        if (close_range((unsigned)last_fd + 1, ~0u, 0) < 0 && errno != ENOSYS)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(limits); i++) {
                r = confine_limit(limits[i].resource, limits[i].most);
                if (r < 0)
                        return r;
        }
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return confine_calls();
}
