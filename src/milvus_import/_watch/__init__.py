"""Watches: when jobs are polled, which errors are retried, and when the wait ends.

This package does not depend on a client or a channel. It polls a ``Source``.
"""
