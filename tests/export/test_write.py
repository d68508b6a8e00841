import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cnncc.errors import ArtifactError, InputError, TargetError, UnsupportedError
from cnncc.export import KINDS, export
from cnncc.export import write as write_room
from cnncc.llvm.host import host_target
from cnncc.targets import find
from tests.export.programs import (
    PAIR,
    SIZE,
    compiler,
    pair_expected,
    pair_program,
    run,
    values,
)
from tests.runtime.programs import SIZE as MIRROR_SIZE
from tests.runtime.programs import expected, interface, mirror_program, network, weights

pytestmark = pytest.mark.native
ROOT = Path(__file__).parents[2]
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
FILES = ["CMakeLists.txt", "libnet.a", "libnet.so", "main.c", "net.h", "net.o"]


def _mirror(folder: Path, name: str = "mirror", stem: str = "net", **options) -> dict[str, Path]:
    face = interface(name)
    return export(folder, stem, mirror_program(), host_target(), face, weights(), **options)


def _pair(folder: Path, stem: str = "pair", **options) -> dict[str, Path]:
    blob = weights(SIZE)
    return export(folder, stem, pair_program(), host_target(), PAIR, blob, **options)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    compiler("cc")
    folder = tmp_path_factory.mktemp("exported")
    _mirror(folder)
    return folder


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> tuple[Path, np.ndarray]:
    x = np.random.default_rng(2).standard_normal(MIRROR_SIZE).astype(np.float32)
    x[:6] = [np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38]
    path = tmp_path_factory.mktemp("sample") / "x.bin"
    path.write_bytes(x.tobytes())
    return path, x


def test_all_files_are_written(exported):
    assert sorted(os.listdir(exported)) == FILES


@pytest.mark.parametrize(
    "libraries", [["net.o"], ["libnet.a"], ["-L.", "-lnet", "-Wl,-rpath,$ORIGIN"]]
)
def test_a_strict_c_program_gives_the_bits_of_python(exported, sample, libraries, tmp_path):
    path, x = sample
    for name in FILES:
        shutil.copy(exported / name, tmp_path)
    if "-lnet" in libraries:
        (tmp_path / "libnet.a").unlink()
    gcc = compiler("gcc")
    run([gcc, *STRICT, "main.c", *libraries, "-o", "main"], tmp_path)
    wanted = network()(x)
    assert wanted.tobytes() == expected(x).tobytes()
    for extra in ([], ["3"]):
        printed = values(run(["./main", path, *extra], tmp_path))
        np.testing.assert_array_equal(printed, wanted)
        finite = np.isfinite(wanted)
        assert printed[finite].tobytes() == wanted[finite].tobytes()
    ramp = (np.arange(MIRROR_SIZE) % 251).astype(np.float32) / np.float32(251)
    assert values(run(["./main"], tmp_path)).tobytes() == expected(ramp).tobytes()


def test_host_threads_share_the_work(exported, sample, tmp_path):
    path, x = sample
    gcc = compiler("gcc")
    try:
        run(
            [gcc, *STRICT, "-fopenmp", exported / "main.c", exported / "net.o", "-o", "main"],
            tmp_path,
        )
    except AssertionError:
        pytest.skip("this compiler has no OpenMP")
    for threads in "1234":
        printed = values(run(["./main", path, threads], tmp_path))
        np.testing.assert_array_equal(printed, expected(x))


def test_a_short_file_is_refused(exported, tmp_path):
    run([compiler("gcc"), *STRICT, exported / "main.c", exported / "net.o", "-o", "main"], tmp_path)
    (tmp_path / "short").write_bytes(b"\0" * 100)
    done = subprocess.run(
        [tmp_path / "main", tmp_path / "short"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "ends before input x is full" in done.stderr


def test_several_ports_of_other_types(tmp_path):
    _pair(tmp_path)
    run([compiler("gcc"), *STRICT, "main.c", "libpair.a", "-o", "main"], tmp_path)
    rng = np.random.default_rng(3)
    a = rng.standard_normal(SIZE).astype(np.float32)
    b = rng.integers(0, 256, SIZE, dtype=np.uint8)
    (tmp_path / "in").write_bytes(a.tobytes() + b.tobytes())
    lines = run(["./main", "in"], tmp_path).splitlines()
    assert lines[0] == "# sum"
    # A label of the second output ends in a newline, which doubles its lines.
    assert lines[SIZE + 1] == "# twice"
    assert lines[SIZE + 2].endswith('l"0')
    total, twice = pair_expected(a, b)
    assert values("\n".join(lines[1 : SIZE + 1])).tobytes() == total.tobytes()
    second = [line for line in lines[SIZE + 2 :] if line]
    assert values("\n".join(second)).tobytes() == twice.tobytes()


CHECKED = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "net.h"
#include "pair.h"
static float x[3 * mirror_ELEMS], y[3 * mirror_ELEMS], z[3 * mirror_ELEMS];
int main(void)
{
    unsigned char *room = malloc(MIRROR_WORKSPACE_BYTES + 128);
    void *ws = room + (64 - (size_t)room % 64) % 64;
    const mirror_info *info = mirror_get_info();
    size_t i;
    float a[PAIR_INPUT_a_ELEMS] = {0}, sum[PAIR_OUTPUT_sum_ELEMS], two[PAIR_OUTPUT_twice_ELEMS];
    unsigned char b[PAIR_INPUT_b_ELEMS] = {0};
    for (i = 0; i < 3 * mirror_ELEMS; i++) x[i] = (float)i;
    printf("%d ", mirror_run(x, y, 3, ws, MIRROR_WORKSPACE_BYTES));
    for (i = 0; i < 3; i++) {
        printf("%d ", mirror_run(x + i * mirror_ELEMS, z + i * mirror_ELEMS, 1, ws,
                                 MIRROR_WORKSPACE_BYTES));
    }
    printf("%d ", memcmp(y, z, sizeof y));
    printf("%d ", mirror_run(x, x, 1, ws, MIRROR_WORKSPACE_BYTES) == MIRROR_E_ARG);
    printf("%d ", mirror_run(x, y, 1, ws, MIRROR_WORKSPACE_BYTES - 1) == MIRROR_E_SIZE);
    printf("%d ", pair_run(a, b, sum, two, 1, NULL, 0));
    printf("%d ", pair_run(a, b, sum, sum, 1, NULL, 0) == PAIR_E_ARG);
    printf("%d %d ", info->struct_bytes == sizeof *info, mirror_abi_version() == info->abi_version);
    printf("%d %d ", (int)info->inputs, (int)info->weights_bytes);
    printf("%s %s %d", info->model, info->cnncc_version, (int)strlen(info->digest));
    free(room);
    return 0;
}
"""


def test_two_networks_in_one_program_under_sanitizers(tmp_path):
    gcc = compiler("gcc")
    _mirror(tmp_path, kinds=("lib", "header"))
    _pair(tmp_path, kinds=("lib", "header"))
    (tmp_path / "main.c").write_text(CHECKED.replace("mirror_ELEMS", "MIRROR_INPUT_x_ELEMS"))
    try:
        run(
            [gcc, "-fsanitize=address,undefined", "-x", "c", os.devnull, "-c", "-o", "t.o"],
            tmp_path,
        )
    except AssertionError:
        pytest.skip("this compiler has no sanitizers")
    flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = [gcc, *STRICT, *flags, "main.c", "libnet.a", "libpair.a", "-o", "main"]
    run(command, tmp_path)
    out = run(["./main"], tmp_path)
    assert out == "0 0 0 0 0 1 1 0 1 1 1 1 384 mirror 0.1.0 64"


def test_a_library_shows_its_interface_and_nothing_else(exported):
    nm = compiler("nm")
    names = {f"mirror_{n}" for n in ("run", "run_ex", "get_info", "strerror", "abi_version")}
    for command in (["-D", "libnet.so"], ["-g", "net.o"], ["-g", "libnet.a"]):
        rows = [line.split() for line in run([nm, *command], exported).splitlines()]
        shown = {row[-1]: row[-2] for row in rows if len(row) >= 2}
        assert set(shown) == names
        assert set(shown.values()) == {"T"}
    undefined = run([nm, "-u", "net.o"], exported)
    assert undefined.strip() == ""


def test_a_shared_library_is_safe_to_load(exported):
    text = run([compiler("readelf"), "-Wld", "libnet.so"], exported)
    assert "TEXTREL" not in text
    assert "NEEDED" not in text
    assert "RPATH" not in text
    assert "RUNPATH" not in text
    assert "INIT_ARRAY" not in text
    assert "libnet.so" in text
    rights = {line.split()[0]: line.split()[-2] for line in text.splitlines() if "0x" in line}
    assert rights["GNU_STACK"] == "RW"
    loads = [line.split() for line in text.splitlines() if line.split()[:1] == ["LOAD"]]
    assert not [row for row in loads if "W" in row[6:-1] and "E" in row[6:-1]]


def test_no_place_or_user_is_in_the_files(exported):
    home = Path.home().name
    for name in FILES:
        data = (exported / name).read_bytes()
        assert str(exported).encode() not in data
        assert b"/tmp" not in data
        assert home == "/" or f"/{home}/".encode() not in data


def test_the_same_network_gives_the_same_bytes(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.export.test_write import _mirror\n"
        "_mirror(Path(sys.argv[1]))\n"
    )
    found = []
    for number, seed in enumerate(("0", "77")):
        folder = tmp_path / f"deep{number}" / ("x" * number * 30 + "y")
        home = tmp_path / f"home{number}"
        home.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed, "HOME": str(home)}
        environment["PYTHONPATH"] = str(ROOT)
        subprocess.run(
            [sys.executable, "-c", code, str(folder)], cwd=home, env=environment, check=True
        )
        found.append({name: (folder / name).read_bytes() for name in FILES})
    assert found[0] == found[1]


def test_a_cmake_project_builds(exported, tmp_path):
    cmake = compiler("cmake")
    for name in FILES:
        shutil.copy(exported / name, tmp_path)
    run([cmake, "-S", ".", "-B", "build"], tmp_path)
    run([cmake, "--build", "build"], tmp_path)
    assert len(values(run(["build/mirror_main"], tmp_path))) == MIRROR_SIZE


def test_only_what_was_asked_for(tmp_path):
    paths = _mirror(tmp_path, kinds=("header", "obj"))
    assert sorted(os.listdir(tmp_path)) == ["net.h", "net.o"]
    assert paths == {"obj": tmp_path / "net.o", "header": tmp_path / "net.h"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinds": ("exe",)}, "nothing can be written as `exe`.*choose from obj, lib"),
        ({"stem": "../up"}, "cannot be a file's name"),
        ({"stem": ""}, "cannot be a file's name"),
        ({"stem": ".hidden"}, "cannot be a file's name"),
        ({"prefix": "9lives"}, "cannot begin a C name"),
        ({"prefix": "a b"}, "cannot begin a C name"),
    ],
)
def test_odd_wishes_are_refused(tmp_path, options, words):
    with pytest.raises(InputError, match=f"(?s){words}"):
        _mirror(tmp_path, **options)
    assert os.listdir(tmp_path) == []


def test_without_a_c_compiler_the_rest_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(TargetError, match=r"no C compiler \(cc, gcc, clang\).*\n.*static library"):
        _mirror(tmp_path / "all")
    assert not (tmp_path / "all").exists()
    rest = [kind for kind in KINDS if kind != "shared"]
    assert sorted(_mirror(tmp_path / "rest", kinds=rest)) == sorted(rest)


def test_a_failing_linker_is_reported(tmp_path, monkeypatch):
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "cc").write_text("#!/bin/sh\necho 'ld: no room' >&2\nexit 1\n")
    (fake / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(fake))
    with pytest.raises(ArtifactError, match=r"linking libnet\.so failed: ld: no room"):
        _mirror(tmp_path / "out", kinds=("shared",))


def test_objects_for_other_machines_but_no_shared_libraries(tmp_path):
    arm = find("aarch64")
    face = replace(interface(), target="aarch64")
    kinds = ("obj", "lib", "header", "main")
    paths = export(tmp_path, "net", mirror_program(), arm, face, weights(), kinds=kinds)
    assert paths["obj"].read_bytes()[18:20] == (183).to_bytes(2, "little")
    with pytest.raises(TargetError, match=r"cannot link libnet\.so for aarch64"):
        export(tmp_path, "net", mirror_program(), arm, face, weights(), kinds=("shared",))


def test_links_and_foreign_examples_are_left_alone(tmp_path):
    (tmp_path / "target").write_text("safe")
    (tmp_path / "net.h").symlink_to("target")
    with pytest.raises(ArtifactError, match="is a link"):
        _mirror(tmp_path, kinds=("header",))
    assert (tmp_path / "target").read_text() == "safe"
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    with pytest.raises(ArtifactError, match="not an example that cnncc wrote"):
        _mirror(tmp_path, kinds=("main", "obj"))
    assert not (tmp_path / "net.o").exists()
    (tmp_path / "main.c").unlink()
    for _ in range(2):
        _mirror(tmp_path, kinds=("main",))


def test_weights_beyond_the_reach_of_code_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(write_room, "_MAX_WEIGHTS", 383)
    with pytest.raises(UnsupportedError, match="384 bytes; an object can hold 383"):
        _mirror(tmp_path, kinds=("obj",))
