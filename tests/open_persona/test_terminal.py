"""What a stranger's folder or server says is shown, and commands neither the terminal nor the table."""

from __future__ import annotations

import io

from rich.console import Console

from hub.wire import CatalogView, IntegrationView
from open_persona.terminal import integration_table
from open_persona.validate.problems import Examined, Problem, Waived
from open_persona.validate.report import show

HOSTILE = "[/a] [link=https://x.example]x[/link] \x1b[2J\x1b]52;c;cm0=\x07\u202e"
SHOWN = "[/a] [link=https://x.example]x[/link] �[2J�]52;c;cm0=��"


def test_a_title_and_an_advice_command_nothing() -> None:
    out = io.StringIO()
    view = IntegrationView(name="x", title=HOSTILE, admin_state="enabled", health="degraded", action=HOSTILE)
    Console(file=out, width=300).print(integration_table(CatalogView(revision="r", boot_id="b", integrations=(view,))))
    assert out.getvalue().count(SHOWN) == 2


def test_a_file_name_and_a_waiver_command_nothing() -> None:
    out = io.StringIO()
    problem = Problem(rule="no-secret", level="error", file=HOSTILE, line=1, what=HOSTILE, mend="Mend it.")
    waived = Waived(problem=problem, reason=HOSTILE)
    examined = Examined(kind="integration", name="x", problems=(problem,), waived=(waived,))
    show([examined], Console(file=out, width=300))
    assert set("\x1b\x07\u202e").isdisjoint(out.getvalue())
    assert f"{SHOWN}:1\n" in out.getvalue()
