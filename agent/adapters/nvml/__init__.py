"""adapters/nvml — the GPUs of a host as NVIDIA's library tells of them, asked in a child process. Decides nothing of health.

Nothing is imported here: the child (`child`) is a program of its own, and must not load what the daemon's side needs.
"""
