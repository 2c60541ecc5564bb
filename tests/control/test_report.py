"""The report and its one line."""

import dataclasses

import pytest

from l2s_node.control.report import FIELDS, Report, Reports, format_line


def test_one_line():
    report = Report(fps=30, step_ms=8.24, average_ms=8.5, latency_ms=12, dropped=3, state="connected",
                    source="ndi:HOST (cam)", world="flowers", size="small", engine="openvino bf16")  # fmt: skip
    assert format_line(report) == (
        "Step 8.2 ms · Average 8.5 ms · 30.0 FPS · Latency 12.0 ms · Dropped 3 · "
        "flowers/small on openvino bf16 · ndi:HOST (cam) connected"
    )


def test_a_dash_before_the_first_value():
    assert format_line(Report()) == "Step – ms · Average – ms · – FPS · Latency – ms · Dropped 0 · starting"
    assert "clouds/large (loading fire/small)" in format_line(
        Report(world="clouds", size="large", loading="fire/small")
    )


def test_numbers_are_floats_and_the_rest_is_text():
    assert tuple(Report().items()) == FIELDS
    assert {type(value) for value in Report().items().values()} == {float, str}


def test_the_newest_report_is_seen_and_cannot_be_changed():
    reports = Reports()
    assert reports.get() == Report()
    reports.set(Report(fps=25.0))
    assert reports.get().fps == 25.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        reports.get().fps = 1.0
