"""llama.cpp out of the source that llama-cpp-python carries, compiled for this processor: its server and its libraries."""

import functools
import os
import platform
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

SOURCE = "llama-cpp-python==0.3.36"
OFF = ["LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_APP", "LLAMA_OPENSSL", "LLAMA_USE_PREBUILT_UI"]
# A virtual machine may name these instructions and not let them run.
NO_AMX = "-mno-amx-int8 -mno-amx-tile -mno-amx-bf16"
# GCC 12 takes LDTILECFG for one that reads 8 bytes of 64, and drops what was stored to the others: what it compiles dies
# at its first product.
AMX = "-fno-tree-dse -fno-dse"
# Asks Linux for the registers (Documentation/arch/x86/xstate.rst), configures one and sets it to zero.
PROBE = """
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    static volatile unsigned char configuration[64] __attribute__((aligned(64))) = {1, [16] = 64, [48] = 16};
    if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) return 1;
    __asm__ volatile("ldtilecfg %0; tilezero %%tmm0; tilerelease" : : "m"(configuration));
    return 0;
}
"""


@functools.cache
def amx_runs():
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "probe"
        compiler = ["cc", "-x", "c", "-", "-O1", "-march=native", "-o", program]
        try:
            subprocess.run(compiler, input=PROBE.encode(), capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        return subprocess.run([program], check=False).returncode == 0


def flags():
    """For the compilers: their language, and what they are told."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return []
    return [(language, AMX if amx_runs() else NO_AMX) for language in ("C", "CXX")]


def built(cache, python, run):
    """The folder with the server and the libraries; minutes the first time."""
    folder = cache / "llama.cpp"
    binaries = folder / "build" / "bin"
    done = folder / "built"
    asked = shlex.split(os.environ.get("CMAKE_ARGS", ""))
    how = "\n".join([SOURCE, *map(str, flags()), *asked])
    if done.exists() and done.read_text() == how:
        return binaries
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run([python, "-m", "pip", "install", "-q", "cmake", "ninja"])
    run([python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python", "-d", folder, SOURCE])
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    (source,) = folder.glob("llama_cpp_python-*/vendor/llama.cpp")
    tools = Path(python).parent
    options = [f"-D{name}=OFF" for name in OFF] + ["-DGGML_NATIVE=ON", "-DCMAKE_BUILD_TYPE=Release"]
    told = [f"-DCMAKE_{language}_FLAGS={flags}" for language, flags in flags()]
    path = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    run([tools / "cmake", "-S", source, "-B", folder / "build", "-G", "Ninja", *options, *told, *asked], env=path)
    run([tools / "cmake", "--build", folder / "build", "--target", "llama-server"], env=path)
    done.write_text(how)
    return binaries
