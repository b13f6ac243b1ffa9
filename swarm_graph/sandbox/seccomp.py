"""The filter of system calls for the generated code, in classic BPF (see seccomp(2)).

It closes what namespaces and Landlock leave open: the host's keyrings, memory outside the limits, other
processes' priorities and limits, the modes and times of read-only files, ways around the ban on networks.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass
from typing import Literal

IPPROTO_MPTCP, MSG_FASTOPEN = 262, 0x20000000
AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
"""Set in the number of a system call of the x32 ABI, which has other numbers for the same calls."""

# Instructions of classic BPF (linux/bpf_common.h), all on a 32-bit word and a constant.
LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, JUMP_IF_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

# SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM, and the same with 0, which reports success to the caller.
ALLOW, REFUSE, PRETEND = 0x7FFF0000, 0x00050001, 0x00050000

# Offsets in struct seccomp_data.
NUMBER_OFFSET, ARCHITECTURE_OFFSET, ARGUMENTS_OFFSET = 0, 4, 16


@dataclass(frozen=True)
class Call:
    """A system call that the filter refuses.

    Attributes:
        x86_64: Its number on x86_64.
        aarch64: Its number on aarch64.
        argument: The index of the argument that decides; None refuses every call.
        refused_if: The call is refused if the argument is equal to `value`, differs from it, or has any of
            its bits.
        value: What the argument is compared with.
        pretended: The call does nothing and succeeds, instead of failing with EPERM.
    """

    x86_64: int
    aarch64: int
    argument: int | None = None
    refused_if: Literal["equal", "different", "any_bit"] = "equal"
    value: int = 0
    pretended: bool = False


ABSENT = -1
"""The number of a system call on a machine that does not have it."""

ALWAYS = (
    Call(248, 217),  # add_key
    Call(249, 218),  # request_key
    Call(250, 219),  # keyctl
    Call(319, 279),  # memfd_create
    Call(447, 447),  # memfd_secret
    Call(321, 280),  # bpf
    Call(298, 241),  # perf_event_open
    Call(323, 282),  # userfaultfd
    Call(425, 425),  # io_uring_setup
)
ON_THE_HOST = (
    *ALWAYS,
    Call(101, 117),  # ptrace
    Call(310, 270),  # process_vm_readv
    Call(311, 271),  # process_vm_writev
    Call(141, 140),  # setpriority
    Call(251, 30),  # ioprio_set
    Call(142, 118),  # sched_setparam
    Call(144, 119),  # sched_setscheduler
    Call(203, 122),  # sched_setaffinity
    Call(314, 274),  # sched_setattr
    Call(302, 261, 0, "different", 0),  # prlimit64 of another process
    Call(90, ABSENT, pretended=True),  # chmod
    Call(91, 52, pretended=True),  # fchmod
    Call(268, 53, pretended=True),  # fchmodat
    Call(452, 452, pretended=True),  # fchmodat2
    Call(132, ABSENT, pretended=True),  # utime
    Call(235, ABSENT, pretended=True),  # utimes
    Call(261, ABSENT, pretended=True),  # futimesat
    Call(280, 88, pretended=True),  # utimensat
    Call(188, 5, pretended=True),  # setxattr
    Call(189, 6, pretended=True),  # lsetxattr
    Call(190, 7, pretended=True),  # fsetxattr
    Call(41, 198, 2, "equal", IPPROTO_MPTCP),  # socket
    Call(44, 206, 3, "any_bit", MSG_FASTOPEN),  # sendto
    Call(46, 211, 2, "any_bit", MSG_FASTOPEN),  # sendmsg
    Call(307, 269, 3, "any_bit", MSG_FASTOPEN),  # sendmmsg
)


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
        _step(RETURN, REFUSE),
        _step(LOAD, NUMBER_OFFSET),
    ]
    if machine == "x86_64":
        steps += [_step(JUMP_IF_AT_LEAST, X32_BIT, 0, 1), _step(RETURN, REFUSE)]
    for call in calls:
        number = call.x86_64 if machine == "x86_64" else call.aarch64
        if number != ABSENT:
            steps += _refusal(call, number)
    return b"".join([*steps, _step(RETURN, ALLOW)])


def _refusal(call: Call, number: int) -> list[bytes]:
    """The steps for one call; the number is in the accumulator before and after them."""
    if call.argument is None:
        return [_step(JUMP_IF_EQUAL, number, 0, 1), _step(RETURN, PRETEND if call.pretended else REFUSE)]
    test = JUMP_IF_ANY_BIT if call.refused_if == "any_bit" else JUMP_IF_EQUAL
    if_true, if_false = (1, 0) if call.refused_if == "different" else (0, 1)
    return [
        _step(JUMP_IF_EQUAL, number, 0, 4),
        _step(LOAD, ARGUMENTS_OFFSET + 8 * call.argument),
        _step(test, call.value, if_true, if_false),
        _step(RETURN, REFUSE),
        _step(LOAD, NUMBER_OFFSET),
    ]


def _step(instruction: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One struct sock_filter; `if_true` and `if_false` are how many steps to skip after a jump."""
    return struct.pack("=HBBI", instruction, if_true, if_false, value)
