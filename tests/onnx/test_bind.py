import pytest

from cnncc.errors import InputError
from cnncc.onnx.bind import bind
from cnncc.onnx.read import read
from tests.onnx.building import model, node


def made(**inputs):
    nodes = [node("Identity", name, f"y_{name}") for name in inputs]
    return read(model(nodes, inputs, [f"y_{name}" for name in inputs]))


def test_numbers_symbols_and_the_batch():
    found = made(x=["N", 3, "H", "W"], mask=["N", "H"])
    shapes = bind(found, {"x": (2, 3, 8, 9)}, frozenset())
    assert shapes == {"x": (2, 3, 8, 9), "mask": (2, 8)}


def test_the_leading_dimension_is_one_by_default():
    assert bind(made(x=[None, 4], y=["batch", 2]), {}, frozenset()) == {"x": (1, 4), "y": (1, 2)}


def test_all_that_is_left_open_is_listed():
    with pytest.raises(InputError) as caught:
        bind(made(x=["N", 3, "H", None], z=[1, "T"]), {}, frozenset())
    message = str(caught.value)
    assert "`x` [N, 3, H, ?]: axis 2, axis 3 are open" in message
    assert "`z` [1, T]: axis 1 is open" in message
    assert '--shape "x=1x3x224x224" or shapes={"x": (1, 3, 224, 224)}' in message


def test_the_repair_keeps_what_the_file_says():
    with pytest.raises(InputError, match='--shape "x=1x224x224x3"'):
        bind(made(x=["N", "H", "W", 3]), {}, frozenset())


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"w": (1,)}, "there is no input `w`; the inputs are `x`, `y`"),
        ({"x": (1, 4, 8, 8), "y": (1, 8)}, "axis 1 is 3 in the file, 4 was given"),
        ({"x": (1, 3, 8), "y": (1, 8)}, "[1, 3, 8] given, but the file says [N, 3, H, W]"),
        ({"x": (1, 3, 0, 8), "y": (1, 8)}, "is no shape"),
        ({"x": (1, 3, 8, 8), "y": (1, 9)}, "axis 1 is `H`, which is 8 elsewhere, 9 was given"),
    ],
)
def test_shapes_that_do_not_fit(shapes, words):
    with pytest.raises(InputError) as caught:
        bind(made(x=["N", 3, "H", "W"], y=["N", "H"]), shapes, frozenset())
    assert words in str(caught.value)


def test_inputs_bound_to_arrays_need_no_shape():
    assert bind(made(x=["N", 3], sizes=["K", "L"]), {}, frozenset({"sizes"})) == {"x": (1, 3)}
