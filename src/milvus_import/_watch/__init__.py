"""Watches: when jobs are polled, which errors are retried, and when the wait ends.

The watches poll a ``Source``. Only ``_source.py`` calls the services of a client.
"""
