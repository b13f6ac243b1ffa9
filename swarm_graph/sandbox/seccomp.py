"""The filter of system calls for the generated code, in classic BPF (see seccomp(2)).

It closes what namespaces and Landlock leave open: the host's keyrings, memory that no limit counts, other
processes' priorities and limits, attributes of files outside, watches on them, ways around the ban on
networks.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass
from typing import Literal

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
NETLINK_USERSOCK = 2
IPPROTO_MPTCP, MSG_FASTOPEN = 262, 0x20000000
MAP_HUGETLB = 0x40000
F_SETLEASE, F_NOTIFY = 1024, 1026
REQUEST_TYPE = 0xFF00
"""The bits of an ioctl's request that say who defines it."""
FILE_SYSTEMS = tuple(ord(letter) << 8 for letter in "fXvr\x94")
"""The types of the requests of file systems. Some change an inode, its flags, its encryption or a subvolume
although the file is open for reading only: each needs nothing but the same owner."""
AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
"""Set in the number of a system call of the x32 ABI, which has other numbers for the same calls."""
FIRST_UNKNOWN = 470
"""The first number that Linux 6.18 does not use, on either machine. Whatever a newer kernel calls with it or
with a higher one is unknown here, so the filter answers for it as an older kernel would."""

# Instructions of classic BPF (linux/bpf_common.h), all on a 32-bit word and a constant.
LOAD, AND, RETURN, JUMP = 0x20, 0x54, 0x06, 0x05
JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, JUMP_IF_ANY_BIT = 0x15, 0x35, 0x45

# SECCOMP_RET_ALLOW, and SECCOMP_RET_ERRNO with an error number; 0 reports success to the caller.
ALLOW, ERROR = 0x7FFF0000, 0x00050000
Answer = Literal["EPERM", "ENOSYS", "pretend"]
"""What a refused call returns: an error, or success although nothing was done."""
ANSWERS: dict[Answer, int] = {"EPERM": ERROR | 1, "ENOSYS": ERROR | 38, "pretend": ERROR}

# Offsets in struct seccomp_data.
NUMBER_OFFSET, ARCHITECTURE_OFFSET, ARGUMENTS_OFFSET = 0, 4, 16


@dataclass(frozen=True)
class Call:
    """A system call that the filter refuses.

    Attributes:
        name: Its name in the manual pages.
        x86_64: Its number on x86_64.
        aarch64: Its number on aarch64.
        answer: What the caller gets.
        argument: The index of the argument that decides; None refuses every call.
        refused_if: The call is refused if the argument is one of `values`, is none of them, or has any of
            their bits.
        values: What the argument is compared with.
        mask: The bits of the argument that are compared.
    """

    name: str
    x86_64: int
    aarch64: int
    answer: Answer = "EPERM"
    argument: int | None = None
    refused_if: Literal["one_of", "none_of", "any_bit"] = "one_of"
    values: tuple[int, ...] = ()
    mask: int = 0xFFFFFFFF


ABSENT = -1
"""The number of a system call on a machine that does not have it."""

ALWAYS = (
    Call("add_key", 248, 217),
    Call("request_key", 249, 218),
    Call("keyctl", 250, 219),
    Call("memfd_create", 319, 279),
    Call("memfd_secret", 447, 447),
    Call("shmget", 29, 194),
    Call("semget", 64, 190),
    Call("msgget", 68, 186),
    Call("mmap", 9, 222, argument=3, refused_if="any_bit", values=(MAP_HUGETLB,)),
    Call("vmsplice", 278, 75),
    Call("fcntl", 72, 25, argument=1, values=(F_SETLEASE, F_NOTIFY)),
    Call("bpf", 321, 280),
    Call("perf_event_open", 298, 241),
    Call("userfaultfd", 323, 282),
    Call("io_uring_setup", 425, 425),
    Call(
        "socket", 41, 198, argument=0, refused_if="none_of", values=(AF_UNIX, AF_INET, AF_INET6, AF_NETLINK)
    ),
    Call("socket", 41, 198, argument=2, values=(NETLINK_USERSOCK,)),
)
"""Refused in every sandbox: the host's keys, memory that no limit counts, leases and signals on the host's
files, features of the kernel with a history of holes, and networks that no namespace separates (vsock)."""

ON_THE_HOST = (
    *ALWAYS,
    Call("ptrace", 101, 117),
    Call("process_vm_readv", 310, 270),
    Call("process_vm_writev", 311, 271),
    Call("setpriority", 141, 140),
    Call("ioprio_set", 251, 30),
    Call("sched_setparam", 142, 118),
    Call("sched_setscheduler", 144, 119),
    Call("sched_setaffinity", 203, 122),
    Call("sched_setattr", 314, 274),
    Call("prlimit64", 302, 261, argument=0, refused_if="none_of", values=(0,)),  # of another process
    # Attributes of files. A path or a descriptor does not tell whose file it is, so nobody's are changed.
    # Callers are told that it worked, so that copies and archives do not fail for want of a mode or a time.
    Call("chmod", 90, ABSENT, "pretend"),
    Call("fchmod", 91, 52, "pretend"),
    Call("fchmodat", 268, 53, "pretend"),
    Call("fchmodat2", 452, 452, "pretend"),
    Call("chown", 92, ABSENT, "pretend"),
    Call("fchown", 93, 55, "pretend"),
    Call("lchown", 94, ABSENT, "pretend"),
    Call("fchownat", 260, 54, "pretend"),
    Call("utime", 132, ABSENT, "pretend"),
    Call("utimes", 235, ABSENT, "pretend"),
    Call("futimesat", 261, ABSENT, "pretend"),
    Call("utimensat", 280, 88, "pretend"),
    Call("setxattr", 188, 5, "pretend"),
    Call("lsetxattr", 189, 6, "pretend"),
    Call("fsetxattr", 190, 7, "pretend"),
    Call("setxattrat", 463, 463, "pretend"),
    Call("removexattr", 197, 14, "pretend"),
    Call("lremovexattr", 198, 15, "pretend"),
    Call("fremovexattr", 199, 16, "pretend"),
    Call("removexattrat", 466, 466, "pretend"),
    Call("file_setattr", 469, 469),
    Call("ioctl", 16, 29, argument=1, mask=REQUEST_TYPE, values=FILE_SYSTEMS),
    # Watches. Libraries that find no inotify look at the files again and again instead.
    Call("inotify_init", 253, ABSENT, "ENOSYS"),
    Call("inotify_init1", 294, 26, "ENOSYS"),
    Call("inotify_add_watch", 254, 27, "ENOSYS"),
    Call("fanotify_init", 300, 262, "ENOSYS"),
    Call("fanotify_mark", 301, 263, "ENOSYS"),
    Call("mq_open", 240, 180),
    Call("mq_unlink", 241, 181),
    Call("socket", 41, 198, argument=2, values=(IPPROTO_MPTCP,)),
    Call("sendto", 44, 206, argument=3, refused_if="any_bit", values=(MSG_FASTOPEN,)),
    Call("sendmsg", 46, 211, argument=2, refused_if="any_bit", values=(MSG_FASTOPEN,)),
    Call("sendmmsg", 307, 269, argument=3, refused_if="any_bit", values=(MSG_FASTOPEN,)),
)
"""Refused where only Landlock separates the code from the host."""


def is_supported() -> bool:
    """Whether the numbers of system calls are known for this machine."""
    return platform.machine() in AUDIT_ARCHITECTURES


def build_filter(calls: tuple[Call, ...]) -> bytes:
    """The filter that refuses the calls, as an array of struct sock_filter; empty if not `is_supported`."""
    machine = platform.machine()
    if not is_supported():
        return b""
    # A number means another call on another architecture, so the architecture is checked first.
    steps = [
        _step(LOAD, ARCHITECTURE_OFFSET),
        _step(JUMP_IF_EQUAL, AUDIT_ARCHITECTURES[machine], 1, 0),
        _step(RETURN, ANSWERS["EPERM"]),
        _step(LOAD, NUMBER_OFFSET),
    ]
    if machine == "x86_64":
        steps += [_step(JUMP_IF_AT_LEAST, X32_BIT, 0, 1), _step(RETURN, ANSWERS["EPERM"])]
    steps += [_step(JUMP_IF_AT_LEAST, FIRST_UNKNOWN, 0, 1), _step(RETURN, ANSWERS["ENOSYS"])]
    for call in calls:
        number = call.x86_64 if machine == "x86_64" else call.aarch64
        if number != ABSENT:
            steps += _refusal(call, number)
    return b"".join([*steps, _step(RETURN, ALLOW)])


def _refusal(call: Call, number: int) -> list[bytes]:
    """The steps for one call; the number is in the accumulator before and after them."""
    refuse = _step(RETURN, ANSWERS[call.answer])
    if call.argument is None:
        return [_step(JUMP_IF_EQUAL, number, 0, 1), refuse]
    test = JUMP_IF_ANY_BIT if call.refused_if == "any_bit" else JUMP_IF_EQUAL
    is_refusal_next = call.refused_if == "none_of"
    # A match jumps over the tests that are left and one more step: to the refusal, or beyond it.
    tests = [_step(test, value, len(call.values) - place, 0) for place, value in enumerate(call.values)]
    steps = [_step(LOAD, ARGUMENTS_OFFSET + 8 * call.argument), _step(AND, call.mask), *tests]
    steps += [*([] if is_refusal_next else [_step(JUMP, 1)]), refuse, _step(LOAD, NUMBER_OFFSET)]
    return [_step(JUMP_IF_EQUAL, number, 0, len(steps)), *steps]


def _step(instruction: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One struct sock_filter; `if_true` and `if_false` are how many steps to skip after a jump."""
    return struct.pack("=HBBI", instruction, if_true, if_false, value)
