"""Shared libraries, linked by the C compiler of the system."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from cnncc.errors import ArtifactError, TargetError
from cnncc.targets import Target

_COMPILERS = ("cc", "gcc", "clang")
# No start files and no libraries: the object needs none. Nothing in the file tells where or when it
# was linked. No fast-math flag may ever stand here: it would change the whole process's arithmetic.
_FLAGS = (
    "-shared",
    "-nostdlib",
    "-Wl,--build-id=none",
    "-Wl,-z,noexecstack",
    "-Wl,-z,relro",
    "-Wl,-z,now",
    "-Wl,-z,text",
)
_SECONDS = 300


def link_shared(image: bytes, soname: str, target: Target) -> bytes:
    """The shared library of an object.

    Args:
        image: the object.
        soname: the name under which programs look for it.
        target: what it was made for.

    Raises:
        TargetError: there is no C compiler that can link it.
        ArtifactError: the linker fails.
    """
    compiler = _compiler(soname, target)
    with tempfile.TemporaryDirectory(prefix="cnncc-") as folder:
        place = Path(folder)
        (place / "network.o").write_bytes(image)
        command = [compiler, *_FLAGS, f"-Wl,-soname,{soname}", "-o", "network.so", "network.o"]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TMPDIR": folder}
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ArtifactError(f"linking {soname} failed: {error}") from error
        if done.returncode != 0:
            raise ArtifactError(f"linking {soname} failed: {done.stderr.strip()[-2000:]}")
        return (place / "network.so").read_bytes()


def _compiler(soname: str, target: Target) -> str:
    machine = target.triple.split("-", 1)[0]
    here = platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64")
    hint = "write the object or the static library, and link it where it is used"
    if machine != here:
        raise TargetError(f"cannot link {soname} for {machine} on {here}", hint=hint)
    found = next((path for name in _COMPILERS if (path := shutil.which(name))), None)
    if found is None:
        raise TargetError(
            f"cannot link {soname}: there is no C compiler ({', '.join(_COMPILERS)})",
            hint=f"install one; or {hint}",
        )
    return os.path.realpath(os.path.dirname(found)) + os.sep + os.path.basename(found)
