"""The front door: the ``open-persona`` command, the local stack, the doctor and the demo."""
