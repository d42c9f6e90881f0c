"""llama.cpp out of the source that llama-cpp-python carries, compiled for this processor: its server and its libraries."""

import os
import platform
import shlex
import tarfile
from pathlib import Path

SOURCE = "llama-cpp-python==0.3.36"
OFF = ["LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_APP", "LLAMA_OPENSSL", "LLAMA_USE_PREBUILT_UI"]
# A virtual machine may name these instructions and not let them run; where they run, `CMAKE_ARGS` can ask for them.
NO_AMX = "-mno-amx-int8 -mno-amx-tile -mno-amx-bf16"


def flags():
    """For the compilers: their language, and what they are told."""
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    return [(language, NO_AMX) for language in ("C", "CXX") if is_x86]


def built(cache, python, run):
    """The folder with the server and the libraries; minutes the first time."""
    folder = cache / "llama.cpp"
    binaries = folder / "build" / "bin"
    done = folder / "built"
    if done.exists():
        return binaries
    folder.mkdir(parents=True, exist_ok=True)
    run([python, "-m", "pip", "install", "-q", "cmake", "ninja"])
    run([python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python", "-d", folder, SOURCE])
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    (source,) = folder.glob("llama_cpp_python-*/vendor/llama.cpp")
    tools = Path(python).parent
    options = [f"-D{name}=OFF" for name in OFF] + ["-DGGML_NATIVE=ON", "-DCMAKE_BUILD_TYPE=Release"]
    told = [f"-DCMAKE_{language}_FLAGS={flags}" for language, flags in flags()]
    asked = shlex.split(os.environ.get("CMAKE_ARGS", ""))
    path = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    run([tools / "cmake", "-S", source, "-B", folder / "build", "-G", "Ninja", *options, *told, *asked], env=path)
    run([tools / "cmake", "--build", folder / "build", "--target", "llama-server"], env=path)
    done.touch()
    return binaries
