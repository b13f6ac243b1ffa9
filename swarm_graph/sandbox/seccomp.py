"""System calls that a run may not make, as a filter for the kernel (classic BPF, seccomp(2)).

What namespaces and Landlock leave open: the host's keyrings, memory that nobody counts, other processes'
priorities and limits, the modes and times of files that may only be read, ways around the ban on networks.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass
from typing import Literal

MPTCP, FAST_OPEN = 262, 0x20000000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE, PRETEND = 0x7FFF0000, 0x00050001, 0x00050000  # as it is, EPERM, done without doing it
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # where they stand in what the kernel shows the filter


@dataclass(frozen=True)
class Call:
    """A system call by its numbers on x86_64 and aarch64 (-1: it has none there).

    `argument`: the one that is looked at; it is refused when that one is equal to `value`, differs from it,
    or has one of its bits. `pretended`: instead of being refused it does nothing and says that it did.
    """

    x86_64: int
    aarch64: int
    argument: int | None = None
    refused: Literal["equal", "different", "bits"] = "equal"
    value: int = 0
    pretended: bool = False


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
    Call(90, -1, pretended=True),  # chmod
    Call(91, 52, pretended=True),  # fchmod
    Call(268, 53, pretended=True),  # fchmodat
    Call(452, 452, pretended=True),  # fchmodat2
    Call(132, -1, pretended=True),  # utime
    Call(235, -1, pretended=True),  # utimes
    Call(261, -1, pretended=True),  # futimesat
    Call(280, 88, pretended=True),  # utimensat
    Call(188, 5, pretended=True),  # setxattr
    Call(189, 6, pretended=True),  # lsetxattr
    Call(190, 7, pretended=True),  # fsetxattr
    Call(41, 198, 2, "equal", MPTCP),  # socket
    Call(44, 206, 3, "bits", FAST_OPEN),  # sendto
    Call(46, 211, 2, "bits", FAST_OPEN),  # sendmsg
    Call(307, 269, 3, "bits", FAST_OPEN),  # sendmmsg
)


def is_known() -> bool:
    """Whether this machine's numbers are known here."""
    return platform.machine() in ARCHITECTURES


def program(calls: tuple[Call, ...]) -> bytes:
    """The filter for this machine; empty on one whose numbers are not known."""
    machine = platform.machine()
    if not is_known():
        return b""
    steps = [
        _step(LOAD, ARCHITECTURE),
        _step(EQUAL, ARCHITECTURES[machine], 1, 0),
        _step(RETURN, REFUSE),
        _step(LOAD, NUMBER),
    ]
    if machine == "x86_64":
        steps += [_step(AT_LEAST, X32, 0, 1), _step(RETURN, REFUSE)]
    for call in calls:
        number = call.x86_64 if machine == "x86_64" else call.aarch64
        if number >= 0:
            steps += _refusal(call, number)
    return b"".join([*steps, _step(RETURN, ALLOW)])


def _refusal(call: Call, number: int) -> list[bytes]:
    if call.argument is None:
        return [_step(EQUAL, number, 0, 1), _step(RETURN, PRETEND if call.pretended else REFUSE)]
    test = ANY_BIT if call.refused == "bits" else EQUAL
    yes, no = (1, 0) if call.refused == "different" else (0, 1)
    return [
        _step(EQUAL, number, 0, 4),
        _step(LOAD, ARGUMENTS + 8 * call.argument),
        _step(test, call.value, yes, no),
        _step(RETURN, REFUSE),
        _step(LOAD, NUMBER),
    ]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
