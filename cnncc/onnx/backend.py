"""The standard interface of ONNX for whoever runs models, so that its test suite runs this one.

    import cnncc.onnx.backend as backend

    answer = backend.prepare(model).run([picture])

A compiler for fixed shapes cannot take some models before it has seen the data: dimensions may be
open, and operands that decide on shapes may come from outside. Such a model is compiled when it is
first run, with its dimensions, and those inputs, bound to what is given; `specialised` names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from cnncc import driver
from cnncc.errors import CnnccError, InputError, InternalError
from cnncc.onnx.convert import to_graph
from cnncc.onnx.model import Model
from cnncc.onnx.read import read
from cnncc.onnx.refusals import NeedsConstant
from cnncc.runtime.network import Network

Array = NDArray[Any]
_Key = tuple[tuple[str, tuple[int, ...], bytes], ...]
_MOST_KEPT = 8  # compiled networks of one model, for as many kinds of data


class CnnccRep(BackendRep):
    """A model that is ready to run.

    Args:
        model: read and checked.

    Attributes:
        specialised: names of inputs that are constants of the compiled network, as of the last run.

    Raises:
        UnsupportedError: no data could make it compile.
    """

    def __init__(self, model: Model) -> None:
        self.specialised: tuple[str, ...] = ()
        self._model = model
        self._networks: dict[_Key, Network] = {}
        self._inputs = [info.name for info in model.inputs]
        tensors = [info for info in model.inputs if info.kind == "tensor"]
        if len(tensors) < len(model.inputs) or all(_is_fixed(i.shape) for i in tensors):
            try:
                self._networks[()] = _compiled(model, {}, {})
            except NeedsConstant as wanted:
                self.specialised = wanted.inputs

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs in declared order, each of its declared element type and shape.

        Args:
            inputs: an array for each input of the model, in declared order; one alone may stand
                for itself.
            kwargs: none are known.

        Raises:
            BackendIsNotSupposedToImplementIt: with this data, too, the model cannot be compiled.
            InputError: arrays are missing or do not fit.
        """
        if kwargs:
            raise InputError(f"options that this backend does not know: {', '.join(kwargs)}")
        given = _by_name(self._inputs, inputs)
        network = self._networks.get(())
        if network is None:
            network = self._network_for(given)
        arrays = [given[name] for name in self._inputs if name not in self.specialised]
        answer = network(*arrays)
        return answer if isinstance(answer, tuple) else (answer,)

    def _network_for(self, given: dict[str, Array]) -> Network:
        """The network for the shapes of some data, and for the values of what must be known.

        An input without elements is a constant, too: nothing can be read from it.
        """
        empty = (n for n, a in given.items() if a.size == 0 and n not in self.specialised)
        self.specialised = (*self.specialised, *empty)
        while True:
            constants = {name: given[name] for name in self.specialised}
            key = tuple(
                (name, array.shape, array.tobytes() if name in constants else b"")
                for name, array in given.items()
            )
            if key in self._networks:
                return self._networks[key]
            shapes = {n: a.shape for n, a in given.items() if n not in constants}
            try:
                made = _compiled(self._model, shapes, constants)
            except NeedsConstant as wanted:
                new = [name for name in wanted.inputs if name not in constants]
                if not new:
                    raise InternalError(
                        f"{wanted.inputs} are constants and still asked for"
                    ) from None
                self.specialised = (*self.specialised, *new)
                continue
            except CnnccError as error:
                raise BackendIsNotSupposedToImplementIt(str(error)) from error
            while len(self._networks) >= _MOST_KEPT:
                del self._networks[next(iter(self._networks))]
            self._networks[key] = made
            return made


class CnnccBackend(Backend):
    """Runs ONNX models on this machine's CPU."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> CnnccRep:
        """Compile a model.

        Args:
            model: the model; it must hold its own weights.
            device: `CPU`.
            kwargs: none are known.

        Raises:
            BackendIsNotSupposedToImplementIt: the model cannot be compiled; the message says why.
            InputError: there is no such device, or an option is unknown.
        """
        if kwargs or not cls.supports_device(device):
            raise InputError(f"no device `{device}` with options {sorted(kwargs)}; there is `CPU`")
        try:
            return CnnccRep(read(model.SerializeToString()))
        except CnnccError as error:
            raise BackendIsNotSupposedToImplementIt(str(error)) from error

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any
    ) -> tuple[Any, ...]:
        """The outputs of a model for some data; see `prepare` and `CnnccRep.run`."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """The outputs of one node.

        Args:
            node: the node.
            inputs: an array for each of its inputs that is not left out.
            device: `CPU`.
            outputs_info: element types and shapes of the outputs; both are inferred anyway.
            kwargs: `opset_version`, the opset of its operator; by default the newest known.

        Raises:
            BackendIsNotSupposedToImplementIt: the node cannot be compiled; the message says why.
        """
        opset = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        names = [name for name in dict.fromkeys(node.input) if name]
        arrays = _by_name(names, inputs)
        make = onnx.helper.make_tensor_value_info
        element = onnx.helper.np_dtype_to_tensor_dtype
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [make(name, element(array.dtype), array.shape) for name, array in arrays.items()],
            [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name],
        )
        opsets = [onnx.helper.make_opsetid(node.domain, opset)]
        model = onnx.helper.make_model(graph, opset_imports=opsets)
        return cls.run_model(model, list(arrays.values()), device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether code for that device can be made."""
        return device.split(":")[0] == "CPU"


def _is_fixed(shape: Sequence[int | str | None] | None) -> bool:
    return shape is not None and all(isinstance(n, int) and n > 0 for n in shape)


def _compiled(
    model: Model, shapes: dict[str, tuple[int, ...]], constants: dict[str, Array]
) -> Network:
    graph = to_graph(model, shapes=shapes, constants=constants)
    target = driver.target_named("host")
    return driver.build(driver.plan_model(driver.Model(graph, ()), target))


def _by_name(names: Sequence[str], inputs: Any) -> dict[str, Array]:
    arrays = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    if len(arrays) != len(names):
        raise InputError(f"{len(names)} arrays are wanted, for {names}; {len(arrays)} were given")
    return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}


prepare = CnnccBackend.prepare
run_model = CnnccBackend.run_model
run_node = CnnccBackend.run_node
supports_device = CnnccBackend.supports_device
