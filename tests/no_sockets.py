"""Lets the kernel kill the process that opens a socket of the internet, in Python or in a library (Linux)."""

import ctypes
import os
import platform
import socket
import struct

SOCKET = {"x86_64": 41, "aarch64": 198}
"""The number of the system call by architecture."""
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06
ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
NUMBER, FIRST_ARGUMENT = 0, 16
"""Where they lie in the data of a system call."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_sockets() -> None:
    """From now on a socket for IPv4 or IPv6 ends this process with SIGSYS. Call it before threads start.

    Raises:
        OSError: The kernel does not take the filter.
    """
    steps = [
        (LOAD, 0, 0, NUMBER),
        (EQUALS, 0, 3, SOCKET[platform.machine()]),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (EQUALS, 2, 0, socket.AF_INET),
        (EQUALS, 1, 0, socket.AF_INET6),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, KILL_PROCESS),
    ]
    program = b"".join(struct.pack("HBBI", *step) for step in steps)
    libc = ctypes.CDLL(None, use_errno=True)
    asked = _Program(len(steps), program)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, ctypes.byref(asked), 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
