"""What can be wrong with a request before it leaves for the sidecar.

RefusedError
├── ModelAtFaultError    a setting of the Model that an admin has to mend
├── TooLargeError        more than a header carries
└── UnreadableError      what is stored can't be read now
"""

from __future__ import annotations


class RefusedError(Exception):
    """The message is for the person who chats: it says what to do and repeats no value."""


class ModelAtFaultError(RefusedError):
    pass


class TooLargeError(RefusedError):
    pass


class UnreadableError(RefusedError):
    def __init__(self) -> None:
        super().__init__(
            "What is stored of this persona and of your keys can't be read now, so nothing was sent. Try again; if it "
            "stays so, tell an admin, who finds the cause in Open WebUI's log."
        )
