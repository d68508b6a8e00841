from cnncc.bench import peak
from cnncc.bench.peak import beside_peak
from cnncc.targets import find


def test_the_highest_peak_of_the_run_stands_beside_the_timings(monkeypatch):
    peaks = iter([40.0, 90.0] + [60.0] * 10_000)
    monkeypatch.setattr(peak, "peak_gflops", lambda target: next(peaks))
    calls = []
    timings, best = beside_peak({"a": lambda: calls.append(1)}, find("x86-64"), seconds=0.01)
    assert best == 90.0
    assert set(timings) == {"a"}
    assert calls
