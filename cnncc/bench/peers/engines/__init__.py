"""Engines, each run by a process of its own, perhaps in another Python.

Takes: jobs from `worker.py`. Gives: outputs. May import: NumPy, the standard library, and in each
file the one engine that it is for; nothing of cnncc but in `run_cnncc.py`.
Invariants: these files run by path, so they import each other by plain names; an engine gets the
settings that are best for latency in f32 with the given number of threads, and says what it was
told; a call takes NumPy arrays and gives NumPy arrays.
"""
