"""Sets a compose deployment up, saves and restores its state. Python's own library alone: it runs on a bare host."""
