"""What can be wrong with a request before it leaves for the sidecar.

RefusedError
├── ModelAtFaultError    a setting of the Model that an admin has to mend
├── TooLargeError        more than a header carries
├── UnreadableError      what is stored can't be read now
└── LostKeyError         a user's settings were encrypted under another key of Open WebUI's
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


class LostKeyError(RefusedError):
    def __init__(self) -> None:
        super().__init__(
            "What you have entered under Integrations > Tools can't be read any more, because the WEBUI_SECRET_KEY of "
            "this Open WebUI has changed. Enter it again there, or ask an admin to put the old key back."
        )
