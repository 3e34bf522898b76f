"""Constants and structures of Windows for sessions, tokens, jobs and processes, by the names of its headers; 64-bit.

`tests/platforms/wine/test_headers.py` has a C compiler compare them with winnt.h, winbase.h, wtsapi32.h and others.
"""

import ctypes
from typing import Final

# ---- winnt.h: tokens and jobs -------------------------------------------------------------------------------------------------
TOKEN_QUERY: Final = 0x8
MAXIMUM_ALLOWED: Final = 0x2000000
TokenUser: Final = 1
WinLocalSystemSid: Final = 22
JobObjectExtendedLimitInformation: Final = 9
JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE: Final = 0x2000

# ---- winbase.h, winerror.h: processes -----------------------------------------------------------------------------------------
CREATE_SUSPENDED: Final = 0x4
CREATE_UNICODE_ENVIRONMENT: Final = 0x400
CREATE_NO_WINDOW: Final = 0x8000000
STARTF_USESTDHANDLES: Final = 0x100
HANDLE_FLAG_INHERIT: Final = 0x1
STD_INPUT_HANDLE: Final = 0xFFFFFFF6
STD_OUTPUT_HANDLE: Final = 0xFFFFFFF5
STD_ERROR_HANDLE: Final = 0xFFFFFFF4
INFINITE: Final = 0xFFFFFFFF
ERROR_NO_TOKEN: Final = 1008

# ---- wtsapi32.h ---------------------------------------------------------------------------------------------------------------
WTSActive: Final = 0
NO_SESSION: Final = 0xFFFFFFFF  # of WTSGetActiveConsoleSessionId; it has no name


class SessionInfo(ctypes.Structure):
    """WTS_SESSION_INFOW."""

    _fields_ = (("session", ctypes.c_uint32), ("station", ctypes.c_wchar_p), ("state", ctypes.c_int32))


class StartupInfo(ctypes.Structure):
    """STARTUPINFOW."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("reserved", ctypes.c_wchar_p),
        ("desktop", ctypes.c_wchar_p),
        ("title", ctypes.c_wchar_p),
        ("x", ctypes.c_uint32),
        ("y", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("columns", ctypes.c_uint32),
        ("rows", ctypes.c_uint32),
        ("fill", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("show", ctypes.c_uint16),
        ("reserved_length", ctypes.c_uint16),
        ("reserved_bytes", ctypes.c_void_p),
        ("input", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("error", ctypes.c_void_p),
    )


class ProcessInformation(ctypes.Structure):
    """PROCESS_INFORMATION."""

    _fields_ = (
        ("process", ctypes.c_void_p),
        ("thread", ctypes.c_void_p),
        ("process_id", ctypes.c_uint32),
        ("thread_id", ctypes.c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION, with its JOBOBJECT_BASIC_LIMIT_INFORMATION and IO_COUNTERS laid out in it."""

    _fields_ = (
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("least_working_set", ctypes.c_size_t),
        ("most_working_set", ctypes.c_size_t),
        ("processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority_class", ctypes.c_uint32),
        ("scheduling_class", ctypes.c_uint32),
        ("io_counters", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t),
        ("peak_job_memory", ctypes.c_size_t),
    )
