"""The default seccomp profile as data: which system calls a container may make, by what they are for.

Everything not named here fails with EPERM: keyrings, io_uring, userfaultfd, kexec, swap, NFS control, module loading, clocks,
new namespaces and mounts without the capability, and calls that no longer exist. Names that a machine or its libseccomp does
not know are ignored by the runtime. Source of numbers and meaning: syscalls(2), the kernel's ``syscall.tbl``, seccomp(2).
"""

from __future__ import annotations

_FILES = """
open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 ioctl flock lseek _llseek
read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 readahead
sendfile sendfile64 splice tee vmsplice copy_file_range fallocate truncate truncate64 ftruncate ftruncate64
fsync fdatasync sync syncfs sync_file_range fadvise64 fadvise64_64 cachestat umask
stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64 statmount listmount
access faccessat faccessat2 chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 lchown lchown32 fchownat
link linkat symlink symlinkat unlink unlinkat rename renameat renameat2 readlink readlinkat
mkdir mkdirat rmdir mknod mknodat chdir fchdir getcwd getdents getdents64
utime utimes utimensat utimensat_time64 futimesat name_to_handle_at
getxattr getxattrat lgetxattr fgetxattr setxattr setxattrat lsetxattr fsetxattr
listxattr listxattrat llistxattr flistxattr removexattr removexattrat lremovexattr fremovexattr
inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark
pipe pipe2 memfd_create memfd_secret
"""

_WAITING = """
select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64
"""

_MEMORY = """
brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall mseal
remap_file_pages membarrier map_shadow_stack pkey_alloc pkey_free pkey_mprotect process_mrelease
"""

_PROCESSES = """
fork vfork execve execveat exit exit_group wait4 waitid waitpid restart_syscall rseq
kill tkill tgkill pidfd_open pidfd_send_signal prctl seccomp
landlock_create_ruleset landlock_add_rule landlock_restrict_self
getpid getppid gettid getpgid getpgrp setpgid getsid setsid set_tid_address set_thread_area get_thread_area
futex futex_time64 futex_wait futex_wake futex_waitv futex_requeue get_robust_list set_robust_list
sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min
sched_rr_get_interval sched_rr_get_interval_time64 getpriority setpriority ioprio_get ioprio_set getcpu
getrlimit ugetrlimit setrlimit prlimit64 getrusage times sysinfo uname getrandom uretprobe
"""

_IDENTITY = """
getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32
setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32
setfsuid setfsuid32 setfsgid setfsgid32 getgroups getgroups32 setgroups setgroups32 capget capset
"""

_SIGNALS = """
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 sigaltstack sigprocmask sigreturn pause alarm
"""

_TIME = """
time gettimeofday nanosleep clock_gettime clock_gettime64 clock_getres clock_getres_time64
clock_nanosleep clock_nanosleep_time64 adjtimex clock_adjtime clock_adjtime64 getitimer setitimer
timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
"""  # adjusting needs CAP_SYS_TIME in the kernel itself; reading the clock's state goes by the same calls

_NETWORK = """
socketpair bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt
send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64 socketcall
"""

_IPC = """
ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
"""

ALWAYS: frozenset[str] = frozenset(
    " ".join((_FILES, _WAITING, _MEMORY, _PROCESSES, _IDENTITY, _SIGNALS, _TIME, _NETWORK, _IPC)).split()
)

BY_MACHINE: dict[str, tuple[str, ...]] = {
    "x86_64": ("arch_prctl", "modify_ldt"),
    "aarch64": ("arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2"),
}

PTRACE = ("process_vm_readv", "process_vm_writev", "ptrace")
PTRACE_SAFE_SINCE = (4, 8)
"""Before that kernel a tracer could slip its tracee past a seccomp filter."""

_TRACING = ("kcmp", "pidfd_getfd", "process_madvise", *PTRACE)

_ADMIN = """
mount umount umount2 mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick
clone clone3 unshare setns sethostname setdomainname quotactl quotactl_fd fanotify_init lookup_dcookie
bpf perf_event_open syslog lsm_get_self_attr lsm_set_self_attr lsm_list_modules
"""

BY_CAPABILITY: dict[str, tuple[str, ...]] = {
    "CAP_BPF": ("bpf",),
    "CAP_DAC_READ_SEARCH": ("open_by_handle_at",),
    "CAP_PERFMON": ("perf_event_open",),
    "CAP_SYSLOG": ("syslog",),
    "CAP_SYS_ADMIN": tuple(_ADMIN.split()),
    "CAP_SYS_BOOT": ("reboot",),
    "CAP_SYS_CHROOT": ("chroot",),
    "CAP_SYS_MODULE": ("delete_module", "finit_module", "init_module"),
    "CAP_SYS_NICE": ("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    "CAP_SYS_PACCT": ("acct",),
    "CAP_SYS_PTRACE": _TRACING,
    "CAP_SYS_RAWIO": ("ioperm", "iopl"),
    "CAP_SYS_TIME": ("clock_settime", "clock_settime64", "settimeofday", "stime"),
    "CAP_SYS_TTY_CONFIG": ("vhangup",),
}
"""Calls that only a capability in the container's bounding set makes useful, and only it unlocks."""
