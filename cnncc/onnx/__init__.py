"""ONNX: a model file becomes a typed graph.

Takes: an `.onnx` file, its bytes, or a parsed `ModelProto`; shapes for dynamic inputs.
Gives: a typed `Graph` whose nodes carry dotted names made from the file's; or one typed error that
lists everything that cannot be taken.
May import: `errors`, `ir`, `ops`, and the `onnx` package (its protobuf classes and operator
schemas; never its checker, its shape inference or its loader of external data on a user's file).
Invariants: nothing is allocated, opened or believed before its size and place are checked
(`read.py`, `check.py`, `external.py`); shapes are computed here, from this project's type rules;
arithmetic on shapes is done at once and leaves no trace in the graph.

To add an operator write one function in the file of its family under `rules/`, with its table row
in the decorator above it; `cnncc ops --onnx` and the documents show the row. What a rule may ask
and build is `call.py`; the walk over the nodes, `convert.py`; whether a batch may stay free,
`batch.py`; the standard interface for test suites, `backend.py`.
"""
