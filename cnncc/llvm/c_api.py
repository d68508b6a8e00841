"""The smaller functions of an exported network's C interface, as LLVM text.

    int           P_run_ex(const P_io *io, const P_opts *opts);
    const P_info *P_get_info(void);
    const char   *P_strerror(int status);

`P_io` and `P_opts` begin with their own size, so that a program built with another header is told
so. Neither strings nor records hold pointers: nothing needs relocation when the code is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.abi import ALIGNMENT, Interface
from cnncc.llvm.cpu_check import BASELINE
from cnncc.llvm.types import symbol
from cnncc.targets import Target

ABI_VERSION = 2
MAX_THREADS = 1024
STATUS = {"OK": 0, "ARG": -1, "ALIGN": -2, "SIZE": -3, "CPU": -4, "ABI": -5}
MESSAGES = (
    "success",
    "an argument is null, out of range, or overlaps another",
    "a pointer is not aligned",
    "the workspace is too small",
    "this CPU lacks a feature that the code needs",
    "the program was built with another header",
    "unknown status",
)
NAME_CHARS = 64
FEATURE_CHARS = 512
DIGEST_CHARS = 72
_MESSAGE_CHARS = 64
OPTS_BYTES = 32  # size, threads (padded), loop, host


@dataclass(frozen=True, slots=True)
class Identity:
    """What an exported network says about itself.

    Attributes:
        model: its name, printable ASCII.
        version: of cnncc.
        digest: SHA-256 of code and weights in hexadecimal digits.
    """

    model: str
    version: str
    digest: str


def io_bytes(interface: Interface) -> int:
    """Size of `P_io`: its size, a pointer for each port, batch, workspace and its size."""
    return 8 * (len(interface.inputs) + len(interface.outputs) + 4)


def attributes(target: Target) -> str:
    """Attributes of a function that runs before the CPU was asked."""
    baseline = f" {BASELINE}" if target.triple.startswith("x86_64") else ""
    return f'nounwind "no-builtins"{baseline}'


def run_ex_function(prefix: str, interface: Interface, target: Target) -> str:
    """`P_run_ex`, which unpacks its records for `batch`."""
    ports = len(interface.inputs) + len(interface.outputs)
    after = 8 + 8 * ports
    return f"""\
define i32 {symbol(f"{prefix}_run_ex")}(ptr %io, ptr %opts) {attributes(target)} {{
entry:
  %none = icmp eq ptr %io, null
  br i1 %none, label %bad.arg, label %sized
sized:
  %size = load i64, ptr %io, align 8
  %known = icmp eq i64 %size, {io_bytes(interface)}
  br i1 %known, label %fields, label %bad.abi
fields:
  %pointers = getelementptr i8, ptr %io, i64 8
  %batch.at = getelementptr i8, ptr %io, i64 {after}
  %batch = load i64, ptr %batch.at, align 8
  %workspace.at = getelementptr i8, ptr %io, i64 {after + 8}
  %workspace = load ptr, ptr %workspace.at, align 8
  %bytes.at = getelementptr i8, ptr %io, i64 {after + 16}
  %bytes = load i64, ptr %bytes.at, align 8
  %plain = icmp eq ptr %opts, null
  br i1 %plain, label %run, label %options
options:
  %opts.size = load i64, ptr %opts, align 8
  %opts.known = icmp eq i64 %opts.size, {OPTS_BYTES}
  br i1 %opts.known, label %chosen, label %bad.abi
chosen:
  %threads.at = getelementptr i8, ptr %opts, i64 8
  %threads.opts = load i32, ptr %threads.at, align 4
  %loop.at = getelementptr i8, ptr %opts, i64 16
  %loop.opts = load ptr, ptr %loop.at, align 8
  %host.at = getelementptr i8, ptr %opts, i64 24
  %host.opts = load ptr, ptr %host.at, align 8
  br label %run
run:
  %threads = phi i32 [ 1, %fields ], [ %threads.opts, %chosen ]
  %loop = phi ptr [ null, %fields ], [ %loop.opts, %chosen ]
  %host = phi ptr [ null, %fields ], [ %host.opts, %chosen ]
  %status = call i32 @batch(ptr %pointers, i64 %batch, ptr %workspace, i64 %bytes, \
i32 %threads, ptr %loop, ptr %host)
  ret i32 %status
bad.arg:
  ret i32 {STATUS["ARG"]}
bad.abi:
  ret i32 {STATUS["ABI"]}
}}"""


def strerror_function(prefix: str, target: Target) -> str:
    """`P_strerror`: a text for every number."""
    count = len(MESSAGES)
    texts = ", ".join(_characters(text, _MESSAGE_CHARS) for text in MESSAGES)
    return f"""\
@messages = internal constant [{count} x [{_MESSAGE_CHARS} x i8]] [{texts}]

define ptr {symbol(f"{prefix}_strerror")}(i32 %status) {attributes(target)} {{
entry:
  %number = sub i32 0, %status
  %known = icmp ult i32 %number, {count - 1}
  %row = select i1 %known, i32 %number, i32 {count - 1}
  %wide = zext i32 %row to i64
  %text = getelementptr [{_MESSAGE_CHARS} x i8], ptr @messages, i64 %wide
  ret ptr %text
}}"""


def info_function(prefix: str, interface: Interface, target: Target, identity: Identity) -> str:
    """`P_get_info` and its record."""
    features = ",".join(target.requires)
    numbers = [
        f"i32 {ABI_VERSION}",
        f"i32 {ALIGNMENT}",
        f"i32 {len(interface.inputs)}",
        f"i32 {len(interface.outputs)}",
        f"i64 {interface.workspace_for(1)}",
        f"i64 {interface.weights_bytes}",
        f"i64 {interface.parameters}",
        f"i64 {interface.macs}",
    ]
    texts = [
        _characters(identity.model, NAME_CHARS),
        _characters(identity.version, NAME_CHARS),
        _characters(target.triple, NAME_CHARS),
        _characters(features, FEATURE_CHARS),
        _characters(identity.digest, DIGEST_CHARS),
    ]
    size = 8 + 16 + 32 + 3 * NAME_CHARS + FEATURE_CHARS + DIGEST_CHARS + 8
    fields = ", ".join([f"i64 {size}", *numbers, *texts, f"i64 {interface.scratch_bytes}"])
    sizes = (NAME_CHARS, NAME_CHARS, NAME_CHARS, FEATURE_CHARS, DIGEST_CHARS)
    types = ", ".join(["i64", *["i32"] * 4, *["i64"] * 4, *(f"[{n} x i8]" for n in sizes), "i64"])
    return f"""\
@info = internal constant {{ {types} }} {{ {fields} }}, align 8

define ptr {symbol(f"{prefix}_get_info")}() {attributes(target)} {{
entry:
  ret ptr @info
}}"""


def apart_function(target: Target) -> str:
    """`apart`: whether two stretches of memory share no byte; no sum can overflow."""
    return f"""\
define internal i1 @apart(ptr %a, i64 %a.bytes, ptr %b, i64 %b.bytes) {attributes(target)} {{
entry:
  %x = ptrtoint ptr %a to i64
  %y = ptrtoint ptr %b to i64
  %ahead = sub i64 %y, %x
  %behind = sub i64 %x, %y
  %b.in.a = icmp ult i64 %ahead, %a.bytes
  %a.in.b = icmp ult i64 %behind, %b.bytes
  %shared = or i1 %b.in.a, %a.in.b
  %apart = xor i1 %shared, true
  ret i1 %apart
}}"""


def all_apart_function(interface: Interface, target: Target) -> str:
    """`all_apart`: whether no memory that is written is used otherwise too.

    It takes the pointers of the ports in order, behind them the workspace and its size. What is
    written comes last, so each output and the workspace is compared with all before it; a loop,
    because the pairs grow with the square of the ports.
    """
    ports = (*interface.inputs, *interface.outputs)
    sizes = [f"i64 {port.size_bytes}, i64 0" for port in ports]
    if interface.workspace_for(1):
        sizes.append("i64 0, i64 1")
    rows = ", ".join(f"[2 x i64] [{row}]" for row in sizes)
    return f"""\
@regions = internal constant [{len(sizes)} x [2 x i64]] [{rows}]

define internal i1 @all_apart(ptr %pointers, i64 %batch, i64 %workspace) {attributes(target)} {{
entry:
  br label %later
later:
  %b = phi i64 [ {len(interface.inputs)}, %entry ], [ %b.next, %fine ]
{_region("b")}
  br label %earlier
earlier:
  %a = phi i64 [ 0, %later ], [ %a.next, %good ]
  %compared = icmp eq i64 %a, %b
  br i1 %compared, label %fine, label %pair
pair:
{_region("a")}
  %apart = call i1 @apart(ptr %a.start, i64 %a.bytes, ptr %b.start, i64 %b.bytes)
  br i1 %apart, label %good, label %bad
good:
  %a.next = add i64 %a, 1
  br label %earlier
fine:
  %b.next = add i64 %b, 1
  %more = icmp ult i64 %b.next, {len(sizes)}
  br i1 %more, label %later, label %done
done:
  ret i1 true
bad:
  ret i1 false
}}"""


def _region(name: str) -> str:
    """Start and length of a region: bytes a sample times samples, and how often the workspace's."""
    return f"""\
  %{name}.at = getelementptr ptr, ptr %pointers, i64 %{name}
  %{name}.start = load ptr, ptr %{name}.at, align 8
  %{name}.row = getelementptr [2 x i64], ptr @regions, i64 %{name}
  %{name}.sample = load i64, ptr %{name}.row, align 8
  %{name}.last.at = getelementptr i64, ptr %{name}.row, i64 1
  %{name}.last = load i64, ptr %{name}.last.at, align 8
  %{name}.samples = mul i64 %{name}.sample, %batch
  %{name}.fixed = mul i64 %{name}.last, %workspace
  %{name}.bytes = add i64 %{name}.samples, %{name}.fixed"""


def _characters(text: str, room: int) -> str:
    """A text as a constant of `room` bytes with zeros behind it; what does not fit is cut off."""
    data = text.encode("ascii", errors="replace")[: room - 1].ljust(room, b"\0")
    shown = "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\{c:02X}" for c in data)
    return f'[{room} x i8] c"{shown}"'
