"""The loop nests of a program: each function once, each kind of node lowered once.

Nodes that differ in nothing that a kernel may read have the same loop nests, whose constants are
packed for each (`Kernel.by_shape`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from cnncc.errors import InternalError
from cnncc.kernels.template import Kernel, Launch, Site
from cnncc.loopir.nodes import BufferType, Func
from cnncc.loopir.text import canonical_text
from cnncc.plan.verify import verify_launch

# Sees each function of a program, with its canonical text, as soon as it is made.
Made = Callable[[Func, str], None]


@dataclass(frozen=True, slots=True)
class Nest:
    """A loop nest of a program.

    Attributes:
        launch: its function and arguments; some constants may still have to be packed.
        name: what the program calls the function.
    """

    launch: Launch
    name: str


class Nests:
    """The functions of a program.

    Attributes:
        funcs: by name, in the order in which they were made.
        texts: canonical text of each, by name.
    """

    def __init__(self, made: Made | None = None) -> None:
        self.funcs: dict[str, Func] = {}
        self.texts: dict[str, str] = {}
        self._made = made
        self._known: dict[tuple[str, Site], list[Nest]] = {}

    def of(self, kernel: Kernel, site: Site) -> list[Nest]:
        """What a kernel makes of a site."""
        if not kernel.by_shape:
            return [self.named(site.name, launch) for launch in kernel.lower(site)]
        seen = site.without_numbers
        key = kernel.name, replace(seen, name="")
        if key not in self._known:
            self._known[key] = [self.named(site.name, launch) for launch in kernel.lower(seen)]
        return self._known[key]

    def named(self, node: str, launch: Launch) -> Nest:
        """A launch of a node as a loop nest of the program; equal bodies are one function.

        Sizes of buffers are dropped from the parameters, because they are no part of the code:
        calls on buffers of different sizes can share it. Kernels' tests prove the bounds with them.
        """
        verify_launch(node, launch)
        func = launch.func
        for param in func.params:
            if isinstance(param.type, BufferType):
                param.type = replace(param.type, extent=None)
        text = canonical_text(func)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        name = f"{func.name}_{digest}"
        if self.texts.setdefault(name, text) != text:
            raise InternalError(f"two functions are called `{name}`")
        if name not in self.funcs:
            self.funcs[name] = replace(func, name=name)
            if self._made is not None:
                self._made(self.funcs[name], text)
        return Nest(launch, name)
