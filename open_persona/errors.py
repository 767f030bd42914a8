"""Everything that can stop the ``open-persona`` command, as one tree.

::

    OpenPersonaError         message says what happened and what to do; the command exits with 1
    ├── ToolMissing          a program that the command needs is not installed
    ├── FetchFailed          a program could not be fetched, or is not what it should be
    ├── BadArgument          an option's or a setting's value can't be used
    ├── HomeRefused          OPEN_PERSONA_HOME is no place to keep state and secrets
    │   └── HomeInUse        another command's services run on this home
    ├── PortTaken            another program listens where a service should
    ├── ServiceFailed        a service ended or did not become ready in time
    ├── HubRefused           the hub said no, in its own words
    ├── UsersRefused         the sidecar would not show, hand over or remove a user's data, in its own words
    └── ServiceUnreachable   a running service did not answer, or answered with an error
"""

from __future__ import annotations


class OpenPersonaError(Exception):
    """Root of the tree: ``str(error)`` is shown to the person at the terminal."""


class ToolMissing(OpenPersonaError):
    """A program that the command needs is not installed."""


class FetchFailed(OpenPersonaError):
    """A program could not be fetched, or is not what it should be."""


class BadArgument(OpenPersonaError):
    """An option's or a setting's value can't be used."""


class HomeRefused(OpenPersonaError):
    """OPEN_PERSONA_HOME is no place to keep state and secrets."""


class HomeInUse(HomeRefused):
    """Another command's services run on this home."""


class PortTaken(OpenPersonaError):
    """Another program listens where a service should."""


class ServiceFailed(OpenPersonaError):
    """A service ended or did not become ready in time."""


class HubRefused(OpenPersonaError):
    """The hub said no; the message is the hub's."""


class UsersRefused(OpenPersonaError):
    """The sidecar would not show, hand over or remove a user's data; the message is the sidecar's."""


class ServiceUnreachable(OpenPersonaError):
    """A running service did not answer, or answered with an error."""
