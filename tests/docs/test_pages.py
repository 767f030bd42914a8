"""Which blocks of a page are run, and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks_of

PAGE = """\
# A page

```sh
not run
```

```sh test up
A=1 open-persona up
```

1. A step:

   ```sh test exit=1 within=10
   false
   # ```sh test
   ```

```yaml
a: 1
```
"""


def test_only_marked_blocks_are_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert blocks_of(page) == [
        Block(7, "A=1 open-persona up", up=True),
        Block(13, "false\n# ```sh test", exit_code=1, within_s=10),
    ]


def test_a_word_that_means_nothing_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh test upp\n```\n")
    with pytest.raises(ValueError, match="'upp' means nothing"):
        blocks_of(page)
