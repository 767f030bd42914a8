"""``open-persona new``: folders and files that keep every rule from the start.

``names`` says which names are free, ``answers`` is what somebody wants, ``integration`` and ``persona`` turn it into
files by ``templates/``, ``writing`` puts them down or leaves nothing, and ``command`` is the command itself.
"""
