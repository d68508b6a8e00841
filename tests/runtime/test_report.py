from cnncc.runtime.report import decision_text, explanation, size_text, table


def test_numbers_stand_to_the_right():
    rows = [
        {"layer": "conv1", "shape": [8, 28, 28], "macs": 1234567},
        {"layer": "a.long.path", "shape": (10,), "macs": 8, "note": None},
    ]
    assert table(rows) == (
        "layer        shape           macs  note\n"
        "-----------  ---------  ---------  ----\n"
        "conv1        [8,28,28]  1,234,567\n"
        "a.long.path  [10]               8"
    )


def test_a_decision_says_all_it_knows():
    row = {
        "choice": "direct",
        "reason": "few channels",
        "by": "choose-kernel",
        "figures": {"lanes": 16, "share": 0.5},
        "rejected": [["winograd", "stride 2"]],
    }
    assert decision_text(row) == (
        "direct  (choose-kernel)\n  because few channels\n"
        "  figures: lanes = 16, share = 0.5\n  not winograd: stride 2"
    )


def test_sizes_are_readable():
    got = [size_text(n) for n in (0, 1023, 1024, 46_800_000, 5 << 30)]
    assert got == ["0 bytes", "1023 bytes", "1.0 KiB", "44.6 MiB", "5.0 GiB"]


def test_a_fused_layer_shares_the_decisions_of_its_nest():
    decisions = [
        {"subject": "conv1", "choice": "conv2d + relu", "reason": "of registers"},
        {"subject": "fc1", "choice": "alone", "reason": "of the end"},
    ]
    layers = [{"layer": "conv1", "in": "conv1"}, {"layer": "relu1", "in": "conv1"}]
    assert explanation(decisions, layers, "relu1").startswith("conv1\n  conv2d + relu\n")
    assert "fc1" not in explanation(decisions, layers, "relu1")
    gone = [*layers, {"layer": "drop1", "in": ""}]
    assert explanation(decisions, gone, "drop1") == "no decision was recorded"
