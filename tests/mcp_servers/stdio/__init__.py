"""Tests of the bridge to programs that talk stdio."""
