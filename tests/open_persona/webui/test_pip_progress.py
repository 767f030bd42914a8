"""What pip writes becomes one line that says what is fetched and how far it is."""

from __future__ import annotations

import pytest

from open_persona.webui.pip_progress import PipProgress


def told(*lines: str, in_place: int = 0) -> str:
    progress = PipProgress(243)
    for line in lines:
        progress.line(line)
    return progress.now(in_place)


@pytest.mark.requirement("webui:progress")
@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (["Collecting torch", "Collecting numpy>=2 (from x)"], "Looking for packages: 2 of about 243"),
        (["  Downloading numpy-2.4-cp311.whl.metadata (62 kB)"], "Looking for packages: 0 of about 243"),
        (["Downloading numpy-2.4-cp311-any.whl (16.4 MB)"], "Fetching: package 1 of about 243; now numpy 2.4"),
        (
            [
                "Downloading a-1-any.whl (2 MB)",
                "Progress 2000000 of 2000000",
                "Downloading torch-2.13.0-cp311-any.whl (190 MB)",
                "Progress 0 of 190000000",
                "Progress 98000000 of 190000000",
            ],
            "Fetching: package 2 of about 243, 100 MB; now 98 of 190 MB of torch 2.13.0",
        ),
        (["Using cached b-1-any.whl (1 kB)"], "Fetching: package 1 of about 243; now b 1"),
        (["Processing /x/c-1-any.whl (from d)"], "Fetching: package 1 of about 243; now c 1"),
        (["Installing collected packages: torch"], "Unpacking: torch"),
    ],
)
def test_what_is_shown(lines: list[str], shown: str) -> None:
    assert told(*lines) == shown


def test_while_it_unpacks_it_counts_what_is_in_place() -> None:
    assert told("Installing collected packages: a, b", in_place=7) == "Unpacking: 7 of 243 packages are in place"


def test_errors_come_before_last_lines_and_noise_is_nowhere() -> None:
    progress = PipProgress(1)
    assert not progress.line("WARNING: Location 'file:///nowhere/x/' is ignored: it is neither a file nor a directory.")
    assert not progress.line("Progress 1 of 2")
    assert progress.line("Collecting x")
    assert progress.problem() == "Collecting x"
    progress.line("ERROR: No matching distribution found for x")
    assert progress.problem() == "ERROR: No matching distribution found for x"
