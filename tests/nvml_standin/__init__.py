"""A libnvidia-ml.so.1 of our own for tests: built here, driven by a file of lines that a test replaces while it is in use."""
