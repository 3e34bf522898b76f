"""The constants and structures that the agent has of Windows are those of its headers, as a compiler for Windows reads them."""

import ctypes
import subprocess
from pathlib import Path

from watchword_agent import windows_service
from watchword_agent.native import windows_processes, windows_structures

HEADERS = ("winsock2.h", "windows.h", "wincrypt.h", "bcrypt.h", "ncrypt.h", "winerror.h", "winscard.h", "userenv.h", "wtsapi32.h")
# By structure: its name there, and what its fields are called there.
STRUCTURES: dict[type[ctypes.Structure], tuple[str, dict[str, str]]] = {
    windows_structures.CertContext: (
        "CERT_CONTEXT",
        {
            "encoding_type": "dwCertEncodingType",
            "encoded": "pbCertEncoded",
            "encoded_length": "cbCertEncoded",
            "info": "pCertInfo",
            "store": "hCertStore",
        },
    ),
    windows_structures.CryptKeyProvInfo: (
        "CRYPT_KEY_PROV_INFO",
        {
            "container": "pwszContainerName",
            "provider": "pwszProvName",
            "provider_type": "dwProvType",
            "flags": "dwFlags",
            "parameter_count": "cProvParam",
            "parameters": "rgProvParam",
            "key_spec": "dwKeySpec",
        },
    ),
    windows_structures.CertPublicKeyInfo: (
        "CERT_PUBLIC_KEY_INFO",
        {
            "algorithm": "Algorithm.pszObjId",
            "parameters_length": "Algorithm.Parameters.cbData",
            "parameters": "Algorithm.Parameters.pbData",
            "key_length": "PublicKey.cbData",
            "key": "PublicKey.pbData",
            "unused_bits": "PublicKey.cUnusedBits",
        },
    ),
    windows_structures.PssPadding: ("BCRYPT_PSS_PADDING_INFO", {"hash_algorithm": "pszAlgId", "salt_length": "cbSalt"}),
    windows_structures.Pkcs1Padding: ("BCRYPT_PKCS1_PADDING_INFO", {"hash_algorithm": "pszAlgId"}),
    windows_processes.SessionInfo: (
        "WTS_SESSION_INFOW",
        {"session": "SessionId", "station": "pWinStationName", "state": "State"},
    ),
    windows_processes.StartupInfo: (
        "STARTUPINFOW",
        {
            "size": "cb",
            "reserved": "lpReserved",
            "desktop": "lpDesktop",
            "title": "lpTitle",
            "x": "dwX",
            "y": "dwY",
            "width": "dwXSize",
            "height": "dwYSize",
            "columns": "dwXCountChars",
            "rows": "dwYCountChars",
            "fill": "dwFillAttribute",
            "flags": "dwFlags",
            "show": "wShowWindow",
            "reserved_length": "cbReserved2",
            "reserved_bytes": "lpReserved2",
            "input": "hStdInput",
            "output": "hStdOutput",
            "error": "hStdError",
        },
    ),
    windows_processes.ProcessInformation: (
        "PROCESS_INFORMATION",
        {"process": "hProcess", "thread": "hThread", "process_id": "dwProcessId", "thread_id": "dwThreadId"},
    ),
    windows_processes.ExtendedLimits: (
        "JOBOBJECT_EXTENDED_LIMIT_INFORMATION",
        {
            "process_time": "BasicLimitInformation.PerProcessUserTimeLimit",
            "job_time": "BasicLimitInformation.PerJobUserTimeLimit",
            "flags": "BasicLimitInformation.LimitFlags",
            "least_working_set": "BasicLimitInformation.MinimumWorkingSetSize",
            "most_working_set": "BasicLimitInformation.MaximumWorkingSetSize",
            "processes": "BasicLimitInformation.ActiveProcessLimit",
            "affinity": "BasicLimitInformation.Affinity",
            "priority_class": "BasicLimitInformation.PriorityClass",
            "scheduling_class": "BasicLimitInformation.SchedulingClass",
            "io_counters": "IoInfo",
            "process_memory": "ProcessMemoryLimit",
            "job_memory": "JobMemoryLimit",
            "peak_process_memory": "PeakProcessMemoryUsed",
            "peak_job_memory": "PeakJobMemoryUsed",
        },
    ),
    windows_service._Status: (
        "SERVICE_STATUS",
        {
            "type": "dwServiceType",
            "state": "dwCurrentState",
            "accepted": "dwControlsAccepted",
            "exit_code": "dwWin32ExitCode",
            "specific_exit_code": "dwServiceSpecificExitCode",
            "check_point": "dwCheckPoint",
            "wait_hint": "dwWaitHint",
        },
    ),
    windows_service._Entry: ("SERVICE_TABLE_ENTRYW", {"name": "lpServiceName", "main": "lpServiceProc"}),
}
MODULES = (windows_structures, windows_processes)
NOT_NAMED_THERE = {"NO_SESSION"}


def test_constants_and_layouts_are_those_of_the_headers(tmp_path: Path) -> None:
    lines = ["#define _WIN32_WINNT 0x0A00", *(f"#include <{header}>" for header in HEADERS), "#include <stddef.h>"]
    names = {name: value for module in MODULES for name, value in vars(module).items()}
    constants = {name: value for name, value in names.items() if isinstance(value, int) and name not in NOT_NAMED_THERE}
    structures = {value for value in names.values() if isinstance(value, type) and issubclass(value, ctypes.Structure)}
    assert len(constants) > 60
    assert structures | {windows_service._Status, windows_service._Entry} == STRUCTURES.keys()
    for name, number in constants.items():
        width = 64 if number > 0xFFFFFFFF else 32
        lines.append(f'_Static_assert((UINT{width})(ULONG_PTR){name} == 0x{number:X}, "{name}");')
    for structure, (name, fields) in STRUCTURES.items():
        assert [field[0] for field in structure._fields_] == list(fields)
        lines.append(f'_Static_assert(sizeof({name}) == {ctypes.sizeof(structure)}, "{name}");')
        for field, theirs in fields.items():
            at, size = getattr(structure, field).offset, getattr(structure, field).size
            lines.append(f'_Static_assert(offsetof({name}, {theirs}) == {at}, "{name}.{theirs}");')
            lines.append(f'_Static_assert(sizeof((({name} *)0)->{theirs}) == {size}, "{name}.{theirs}");')
    source = tmp_path / "headers.c"
    source.write_text("\n".join(lines) + "\n")
    command = ["x86_64-w64-mingw32-gcc", "-w", "-c", str(source), "-o", str(tmp_path / "headers.o")]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr
