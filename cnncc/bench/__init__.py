"""Measuring: kernels, whole networks, compile time, and other engines beside them in one run.

Takes: plans, networks, the user's own install of another engine. Gives: figures, as data.
May import: everything below the command line. Invariants: a claim about speed is a ratio of what
ran side by side in one run, interleaved, as minima or medians; every answer says threads, CPU, load
and versions; nothing here gates a test by its time.

To change how time is taken open `timing.py`, beside the peak, `peak.py`; the time of single stages,
`layers.py`, what they cannot beat, `bound.py`, and their tables, `layer_tables.py`; how well the
cost model predicts, `predictions.py`; a network's latency, alone and beside others, `latency.py`;
another engine, `peers/`; graphs as ONNX models for them, `onnx_peer.py`; a whole folder of
networks, `zoo.py`; what a switch is worth, `ablation.py`; errors against float64, `accuracy.py`;
single kernels, `kernels.py`; elementary functions, `functions.py`; registers that loops spill,
`spills.py`; compile and import times, `compile_time.py`; what is said about the machine,
`machine.py`.
"""
