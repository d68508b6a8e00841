import numpy as np
import pytest

from cnncc.abi import Port
from cnncc.errors import InputError
from cnncc.ir.types import DType
from cnncc.runtime.buffers import InputSlot, OutputSlot, common_batch

HWC = InputSlot(Port("photo", DType.F32, (4, 5, 3), "hwc", "rgb"))
CHW = InputSlot(Port("photo", DType.F32, (3, 4, 5), "chw", "rgb"))
BYTES = InputSlot(Port("b", DType.U8, (6,)))
OUT = OutputSlot(Port("y", DType.F32, (2, 3)))
RNG = np.random.default_rng(5)


def _image(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_a_fitting_array_is_taken_as_it_is():
    x = _image(2, 4, 5, 3)
    taken, batched = HWC.take(x)
    assert taken is x
    assert batched


def test_without_batch_axis_it_is_one_sample():
    x = _image(4, 5, 3)
    taken, batched = HWC.take(x)
    assert taken.shape == (1, 4, 5, 3)
    assert np.shares_memory(taken, x)
    assert not batched


def _unaligned(x: np.ndarray) -> np.ndarray:
    raw = bytearray(x.nbytes + 1)
    view = np.frombuffer(raw, x.dtype, x.size, offset=1).reshape(x.shape)
    view[...] = x
    assert not view.flags.aligned
    return view


def _read_only(x: np.ndarray) -> np.ndarray:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


ORDERS = {
    "fortran": np.asfortranarray,
    "negative strides": lambda x: x[:, ::-1, ::-1, ::-1].copy()[:, ::-1, ::-1, ::-1],
    "every other": lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "big-endian": lambda x: x.astype(">f4"),
    "unaligned": _unaligned,
    "read-only": _read_only,
    "list subclass of array": lambda x: x.view(type("Own", (np.ndarray,), {})),
    "float16": lambda x: x.astype(np.float16),
}


@pytest.mark.parametrize("order", ORDERS)
def test_other_memory_orders_keep_their_values(order):
    x = ORDERS[order](_image(2, 4, 5, 3))
    taken, batched = HWC.take(x)
    assert batched
    assert taken.dtype == np.dtype(np.float32)
    assert taken.dtype.isnative
    assert taken.flags.c_contiguous
    assert taken.flags.aligned
    np.testing.assert_array_equal(taken, np.asarray(x, np.float32))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int16, np.uint16])
def test_small_types_become_floats(dtype):
    x = RNG.integers(0, 2, (1, 4, 5, 3)).astype(dtype)
    np.testing.assert_array_equal(HWC.take(x)[0], x.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64])
def test_integers_are_taken_where_every_value_is_exact(dtype):
    x = np.full((1, 4, 5, 3), 1 << 24, dtype)
    np.testing.assert_array_equal(HWC.take(x)[0], x.astype(np.float32))
    with pytest.raises(InputError, match="not all of its values fit: they go from 16777217"):
        HWC.take(x + dtype(1))


def test_integers_must_fit_bytes():
    assert BYTES.take(np.arange(6))[0].dtype == np.uint8
    assert BYTES.take([[0, 1, 2, 3, 4, 255]])[1]
    for bad in (np.arange(6) - 1, np.arange(6) + 251):
        with pytest.raises(InputError, match="not all of its values fit"):
            BYTES.take(bad)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (np.linspace(0, 1, 6), "(x * 255).round().astype(np.uint8)"),
        (np.arange(6.0), "x.astype(np.uint8)"),
        (np.arange(6.0) + 251, "from 0 to 255"),
        (np.arange(6) - 1, "from 0 to 255"),
        (np.full(6, np.nan), "from 0 to 255"),
    ],
)
def test_hints_lose_nothing(given, hint):
    """A cast that would wrap, or turn shares of 1 into zeros, is never recommended."""
    with pytest.raises(InputError) as caught:
        BYTES.take(given)
    assert hint in caught.value.hint
    assert hint.startswith("x.astype") or "x.astype" not in caught.value.hint


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((1, 4, 5, 3)), r"wants f32, got float64; .*lose.*\n.*x\.astype\(np\.float32\)"),
        (np.zeros((1, 4, 5, 3), np.complex64), "element type complex64"),
        (np.zeros((1, 4, 5, 3), object), "element type object"),
        (np.zeros((1, 4, 5, 3), "U3"), "element type <U3"),
        (np.zeros((1, 4, 5, 3), "M8[s]"), "element type datetime64"),
        ([[1.0], [1.0, 2.0]], "cannot be read as an array"),
        (None, "a `NoneType`"),
        (np.float32(3), r"is \[\] but the input wants \[N,4,5,3\] \(hwc\)"),
        (np.ma.masked_less(np.zeros((1, 4, 5, 3), np.float32), 1), "masked array"),
    ],
)
def test_what_could_be_misread_is_refused(given, words):
    with pytest.raises(InputError, match=f"(?s){words}"):
        HWC.take(given)


@pytest.mark.parametrize(
    ("slot", "shape", "repair"),
    [
        (HWC, (1, 3, 4, 5), "pass x.transpose(0, 2, 3, 1)"),
        (HWC, (3, 4, 5), "pass x.transpose(1, 2, 0)"),
        (CHW, (7, 4, 5, 3), "pass x.transpose(0, 3, 1, 2)"),
        (CHW, (4, 5, 3), "pass x.transpose(2, 0, 1)"),
        (InputSlot(Port("g", DType.F32, (1, 8, 8), "chw")), (8, 8), "pass x.reshape(1, 8, 8)"),
        (
            InputSlot(Port("g", DType.F32, (8, 8, 1), "hwc")),
            (9, 8, 8),
            "pass x.reshape(-1, 8, 8, 1)",
        ),
        (HWC, (2, 4, 5, 4), "one sample is [4, 5, 3]"),
        (HWC, (1, 1, 4, 5, 3), "pass x.reshape(-1, 4, 5, 3)"),
    ],
)
def test_wrong_shapes_name_their_repair(slot, shape, repair):
    with pytest.raises(InputError) as caught:
        slot.take(np.zeros(shape, np.float32))
    assert caught.value.hint.startswith(repair)
    listed = ",".join(map(str, shape))
    assert f"is [{listed}] but the input wants [N," in caught.value.message


def test_a_repair_repairs():
    x = _image(2, 3, 4, 5)
    with pytest.raises(InputError) as caught:
        HWC.take(x)
    call = caught.value.hint.removeprefix("pass x.transpose(").removesuffix(")")
    assert HWC.take(x.transpose(*map(int, call.split(","))))[0].shape == (2, 4, 5, 3)


def test_empty_batches_are_batches():
    taken, batched = HWC.take(np.zeros((0, 4, 5, 3), np.int64))
    assert batched
    assert taken.shape == (0, 4, 5, 3)


def test_inputs_must_agree_on_the_batch():
    one, two = HWC.take(_image(4, 5, 3)), HWC.take(_image(2, 4, 5, 3))
    assert common_batch([HWC, HWC], [two, two]) == (2, True)
    with pytest.raises(InputError, match=r"disagree.*`photo` \[4,5,3\], `photo` \[2,4,5,3\]"):
        common_batch([HWC, HWC], [one, two])


def test_an_own_output_is_written_directly():
    y = np.zeros((4, 2, 3), np.float32)
    place, copy = OUT.take(y, 4, batched=True, used=[])
    assert place is y
    assert copy is None
    one = np.zeros((2, 3), np.float32)
    place, copy = OUT.take(one, 1, batched=False, used=[])
    assert np.shares_memory(place, one)
    assert copy is None


@pytest.mark.parametrize(
    "y",
    [
        np.zeros((4, 3, 2), np.float32).transpose(0, 2, 1),
        np.zeros((4, 2, 3), ">f4"),
        np.zeros((4, 2, 3), np.float32)[::-1],
        _unaligned(np.zeros((4, 2, 3), np.float32)),
    ],
)
def test_other_outputs_are_copied_into(y):
    place, copy = OUT.take(y, 4, batched=True, used=[])
    assert copy is y
    assert not np.shares_memory(place, y)


def test_an_output_that_shares_memory_is_copied_into():
    memory = np.zeros(30, np.float32)
    x, y = memory[:24].reshape(4, 6), memory[6:].reshape(4, 2, 3)
    place, copy = OUT.take(y, 4, batched=True, used=[x])
    assert copy is y
    assert not np.shares_memory(place, x)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0.0], "must be a NumPy array, got a `list`"),
        (np.zeros((3, 2, 3), np.float32), r"needs an array f32\[4,2,3\], got float32\[3,2,3\]"),
        (np.zeros((4, 2, 3)), "got float64"),
        (_read_only(np.zeros((4, 2, 3), np.float32)), "read-only"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(y, words):
    with pytest.raises(InputError, match=words):
        OUT.take(y, 4, batched=True, used=[])
