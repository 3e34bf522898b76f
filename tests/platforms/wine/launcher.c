/* python.exe for the library that the wheel brings without one. PYTHON_DLL is a name such as L"python311.dll". */
#include <windows.h>
#include <stdio.h>

int wmain(int argc, wchar_t **argv)
{
    HMODULE library = LoadLibraryW(PYTHON_DLL);
    if (!library) {
        fprintf(stderr, "cannot load the Python library: error %lu\n", GetLastError());
        return 99;
    }
    return ((int (*)(int, wchar_t **))(void *)GetProcAddress(library, "Py_Main"))(argc, argv);
}
