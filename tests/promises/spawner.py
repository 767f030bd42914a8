"""What is promised of the spawner, the door between the sidecar and Docker."""

from __future__ import annotations

from typing import Final

SPAWNER: Final[dict[str, str]] = {
    "spawner:calls": "the calls of the runner code exist, and no other, however it is written",
    "spawner:create": "a runner as the sidecar makes it passes, with the spawner's label on it",
    "spawner:hostile-bodies": "a container that differs from a runner in any field is refused",
    "spawner:network": "a network is a user's own, internal and in the range, and nobody else joins it",
    "spawner:heads": "what could be read in two ways is refused: headers, lengths, encodings, JSON",
    "spawner:folders": "no link leads a runner's mount out of the data directory",
    "spawner:ours-alone": "what was not made through the spawner is neither told nor touched",
    "spawner:no-secret-back": "no token or password comes back, and none is in the log",
    "spawner:nothing-happens": "a refused call leaves the real Docker as it was",
    "spawner:life": "a runner's whole life works through the spawner with the SDK",
    "spawner:sweep": "a spawner that is told to stop removes its runners and networks, and nothing else",
    "spawner:crash": "a spawner that dies leaves its runners, and the next one owns them",
    "spawner:load": "calls and streams are bounded, and a Docker that hangs costs a deadline",
    "spawner:settings": "the spawner's bounds are the sidecar's settings, and what does not fit is named",
    "spawner:socket": "the socket is open to one user and group, and never taken from a living spawner",
    "spawner:image": "the image builds, runs as nobody special, and is healthy with Docker's socket alone",
    "spawner:sidecar": "the sidecar's own code works through the spawner, unchanged",
    "docs:spawner": "the reference page lists every call",
}
