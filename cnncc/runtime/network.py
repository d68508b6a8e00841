"""A compiled network as its users see it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cnncc.abi import ALIGNMENT, Image, Interface, Port, aligned
from cnncc.errors import InputError
from cnncc.runtime.artifact import Contents, Row, map_file, pack, unpack
from cnncc.runtime.atomic import Chunk, write_file
from cnncc.runtime.buffers import Array, InputSlot, OutputSlot, common_batch
from cnncc.runtime.cpu import require
from cnncc.runtime.direct import direct_call
from cnncc.runtime.module import Executable
from cnncc.runtime.report import explanation, size_text, table
from cnncc.runtime.threads import checked_threads, default_threads

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Memory:
    """What a network occupies, in bytes.

    Attributes:
        weights_bytes: the packed weights, shared by all calls.
        workspace_bytes: for each call in flight, on all threads of the network.
        code_bytes: machine code and its constants.
        input_bytes: the caller's inputs, a sample.
        output_bytes: the outputs, a sample.
    """

    weights_bytes: int
    workspace_bytes: int
    code_bytes: int
    input_bytes: int
    output_bytes: int


class Network:
    """A compiled network: call it with arrays, from any number of threads.

    Arrays carry a leading batch axis `N`; an array without it is one sample, answered without it.
    A network that mixes samples (`interface.batched` is false) takes exactly the declared shapes.
    The same input gives the same bits with any number of threads and in any place of a batch.

    Args:
        image: the linked code.
        interface: ports and sizes.
        weights: the packed weights, at a multiple of 64 bytes.
        threads: how many threads share an inference; None: `CNNCC_NUM_THREADS`, else the cores that
            this process may use, or one where the network is so small that waking a second thread
            takes longer.
        layers: a row for each layer, with its path under `layer`: what `summary` shows.
        decisions: a row for each decision, with `subject`, `choice`, `reason`, `rejected`,
            `figures` and `by`: what `explain` shows.

    Raises:
        TargetError: this machine cannot run the code.
        InputError: `threads` is no number of threads.
        ArtifactError: the code or the weights cannot be loaded.
    """

    def __init__(
        self,
        image: Image,
        interface: Interface,
        weights: npt.NDArray[Any],
        *,
        threads: int | None = None,
        layers: Sequence[Row] = (),
        decisions: Sequence[Row] = (),
    ) -> None:
        require(image.machine, interface.requires)
        most = interface.most_threads
        count = default_threads(most) if threads is None else checked_threads(threads)
        blob = weights.reshape(-1).view(np.uint8)
        blob.flags.writeable = False
        self._contents = Contents(image, interface, blob, tuple(layers), tuple(decisions))
        self._executable: Executable | None = Executable(image, interface, blob, count)
        self._direct = direct_call(self._executable, interface)
        self._threads = count
        free = interface.batched
        self._inputs = tuple(InputSlot(port, batched=free) for port in interface.inputs)
        self._outputs = tuple(OutputSlot(port) for port in interface.outputs)
        names = [port.name for port in interface.outputs]
        self._rows = [(k, names.index(p.rows)) for k, p in enumerate(interface.outputs) if p.rows]

    # -- calling -----------------------------------------------------------------------------------

    def __call__(self, array: object = _ABSENT, /, *more: object) -> Array | tuple[Array, ...]:
        """The outputs for inputs in declared order: one array, or a tuple where there are several.

        An output of rows of which not all are filled (boxes that a detector selected) is cut to
        those that are; how many is an output of `run` only.

        Raises:
            InputError: an array is missing or does not fit; the message shows expected and got.
        """
        direct = self._direct
        if direct is not None and not more:
            answer = direct(array)
            if answer is not None:
                return answer
        return self._call((array, *more) if array is not _ABSENT else more)

    def _call(self, arrays: Sequence[object]) -> Array | tuple[Array, ...]:
        """The general way: any number of samples, inputs and outputs; arrays are converted."""
        slots = self._inputs
        if len(arrays) != len(slots):
            raise _wrong_count(self.inputs, len(arrays))
        executable = self._open()
        taken = [slot.take(array) for slot, array in zip(slots, arrays, strict=True)]
        batch, batched = common_batch(slots, taken)
        outputs = [slot.new(batch) for slot in self._outputs]
        executable.run([array for array, _ in taken], outputs)
        answer = outputs if batched else [array[0, ...] for array in outputs]
        for output, count in self._rows:
            answer[output] = answer[output][: int(answer[count].reshape(-1)[0])]
        if self._rows:
            counts = {count for _, count in self._rows}
            answer = [array for k, array in enumerate(answer) if k not in counts]
        return answer[0] if len(answer) == 1 else tuple(answer)

    def run(
        self, feeds: Mapping[str, object], out: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """The outputs by name, for inputs by name.

        Args:
            feeds: an array for each input.
            out: arrays that get the results of some or all outputs; they are returned.

        Raises:
            InputError: a name is missing or unknown, or an array does not fit.
        """
        given = {} if out is None else out
        _check_names("input", self.inputs, feeds, complete=True)
        _check_names("output", self.outputs, given, complete=False)
        executable = self._open()
        taken = [slot.take(feeds[slot.port.name]) for slot in self._inputs]
        batch, batched = common_batch(self._inputs, taken)
        inputs = [array for array, _ in taken]
        outputs: list[Array] = []
        copies: list[tuple[Array, Array]] = []
        answer: dict[str, Array] = {}
        for slot in self._outputs:
            name = slot.port.name
            if name not in given:
                outputs.append(slot.new(batch))
                answer[name] = outputs[-1] if batched else outputs[-1][0, ...]
                continue
            used = [*inputs, *outputs]
            place, copy = slot.take(given[name], batch, batched=batched, used=used)
            outputs.append(place)
            answer[name] = given[name]
            if copy is not None:
                copies.append((copy, place if batched else place[0, ...]))
        executable.run(inputs, outputs)
        for target, result in copies:
            target[...] = result
        return answer

    # -- facts -------------------------------------------------------------------------------------

    @property
    def interface(self) -> Interface:
        """Everything a caller has to know, as one record."""
        return self._contents.interface

    @property
    def name(self) -> str:
        """The model's name."""
        return self.interface.name

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The inputs in declared order."""
        return self._contents.interface.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """The outputs in declared order."""
        return self._contents.interface.outputs

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes of the first output that has some."""
        return next((port.labels for port in self.outputs if port.labels), ())

    @property
    def parameters(self) -> int:
        """Trained numbers of the model."""
        return self.interface.parameters

    @property
    def macs(self) -> int:
        """Multiply-adds of one sample."""
        return self.interface.macs

    @property
    def target(self) -> str:
        """The target that the code was made for."""
        return self.interface.target

    @property
    def threads(self) -> int:
        """How many threads share an inference."""
        return self._threads

    @property
    def memory(self) -> Memory:
        """What the network occupies."""
        interface = self.interface
        return Memory(
            weights_bytes=interface.weights_bytes,
            workspace_bytes=interface.workspace_for(self._threads),
            code_bytes=len(self._contents.image.code),
            input_bytes=sum(port.size_bytes for port in interface.inputs),
            output_bytes=sum(port.size_bytes for port in interface.outputs),
        )

    @property
    def layers(self) -> tuple[Row, ...]:
        """The table behind `summary`."""
        return self._contents.layers

    @property
    def decisions(self) -> tuple[Row, ...]:
        """The table behind `explain`."""
        return self._contents.decisions

    def summary(self) -> str:
        """The layers and the totals as plain text."""
        memory = self.memory
        totals = [
            repr(self),
            f"{self.parameters:,} parameters, {self.macs:,} multiply-adds a sample",
            f"weights {size_text(memory.weights_bytes)}, code {size_text(memory.code_bytes)}, "
            f"workspace {size_text(memory.workspace_bytes)} a call",
        ]
        return "\n".join([*([table(self.layers), ""] if self.layers else []), *totals])

    def explain(self, layer: str | None = None) -> str:
        """Why a layer, or everything, was compiled the way it was.

        Raises:
            InputError: there is no such layer.
        """
        return explanation(self.decisions, self.layers, layer)

    # -- saving ------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one file, which `load` reads without the compiler.

        The file is machine code: it runs on CPUs with the features of its target, and deserves the
        trust of a program.

        Raises:
            ArtifactError: the file cannot be written.
        """
        write_file(Path(path), pack(self._contents))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        check_weights: bool = True,
    ) -> Self:
        """A saved network; the weights are mapped, and read when they are used.

        Replace a saved file (as `save` does), never write into it while a network uses it.

        Args:
            path: the file.
            threads: as in the constructor.
            check_weights: compare the weights with their digest, which reads them all once.

        Raises:
            ArtifactError: the file is missing, damaged, or of another version.
            TargetError: this machine cannot run its code.
        """
        data = map_file(Path(path))
        return cls._made(unpack(data, str(path), check_weights=check_weights), threads)

    @classmethod
    def from_bytes(cls, data: bytes, threads: int | None = None) -> Self:
        """A network from the bytes of `to_bytes`.

        Raises:
            ArtifactError: the bytes are damaged, or of another version.
            TargetError: this machine cannot run the code.
        """
        return cls._made(unpack(memoryview(data), "the pickled network"), threads)

    @classmethod
    def from_memory(cls, data: memoryview, threads: int | None = None) -> Self:
        """A network whose weights stay in the memory given, which nobody writes any more.

        Raises:
            ArtifactError: the bytes are damaged, or of another version.
            TargetError: this machine cannot run the code.
        """
        return cls._made(unpack(data, "the stored network"), threads)

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        return b"".join(self.to_chunks())

    def to_chunks(self) -> list[Chunk]:
        """The bytes of `to_bytes` in pieces, of which the weights are not copied."""
        return pack(self._contents)

    @classmethod
    def _made(cls, contents: Contents, threads: int | None) -> Self:
        weights = contents.weights
        if weights.size and weights.ctypes.data % ALIGNMENT:
            weights = aligned(contents.weights.size, np.dtype(np.uint8))
            weights[:] = contents.weights
        return cls(
            contents.image,
            contents.interface,
            weights,
            threads=threads,
            layers=contents.layers,
            decisions=contents.decisions,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_bytes, (self.to_bytes(), self._threads)

    # -- life --------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop the threads and free the workspaces; the network cannot be called any more.

        Calls in other threads finish first.
        """
        if self._executable is not None:
            self._executable.close()
            self._executable = self._direct = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        def listed(ports: Sequence[Port]) -> str:
            lead = ["N"] if self.interface.batched else []
            return ", ".join(
                f"{p.name} {p.dtype}[{','.join([*lead, *map(str, p.shape)])}]" for p in ports
            )

        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        ports = f"{listed(self.inputs)} -> {listed(self.outputs)}"
        return f"Network({self.name}: {ports}; {self.target}, {threads})"

    def _open(self) -> Executable:
        if self._executable is None:
            raise InputError("the network is closed", hint="compile or load it again")
        return self._executable


def _wrong_count(ports: Sequence[Port], got: int) -> InputError:
    names = ", ".join(f"`{port.name}`" for port in ports)
    plural = "s" * (len(ports) != 1)
    return InputError(f"the network takes {len(ports)} array{plural} ({names}), got {got}")


def _check_names(
    kind: str, ports: Sequence[Port], given: Mapping[str, object], *, complete: bool
) -> None:
    if not isinstance(given, Mapping):
        raise InputError(f"the {kind}s are arrays by name, got a `{type(given).__name__}`")
    names = [port.name for port in ports]
    said = [f"no {kind} is called `{name}`" for name in given if name not in names]
    if complete:
        said += [f"{kind} `{name}` is missing" for name in names if name not in given]
    if said:
        listed = ", ".join(f"`{name}`" for name in names)
        raise InputError("; ".join(said), hint=f"the {kind}s are {listed}")
