"""Following jobs: when they are polled, which errors are retried, and when the waiting ends.

Nothing here knows a client or a channel: what is polled comes as a ``Source``.
"""
