"""What can be wrong with a request before it leaves for the sidecar.

RefusedError
├── ModelAtFaultError    a setting of the Model that an admin has to mend
└── TooLargeError        more than a header carries
"""

from __future__ import annotations


class RefusedError(Exception):
    """The message is for the person who chats: it says what to do and repeats no value."""


class ModelAtFaultError(RefusedError):
    pass


class TooLargeError(RefusedError):
    pass
