"""Failures: from a status or an exception to an error and its hint.

Errors are raised where they are found, with what their table says; ``complete`` adds the call.
"""

from ._complete import complete, is_final, is_unauthenticated

__all__ = ["complete", "is_final", "is_unauthenticated"]
