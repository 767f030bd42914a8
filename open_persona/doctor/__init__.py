"""``open-persona doctor``: a list of small checks, each of which says what it found and what to do."""
