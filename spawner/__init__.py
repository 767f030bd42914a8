"""A door to Docker for the sidecar: the few calls that runners need, checked to the last field, and nothing else."""
