"""Failures: from a status or an exception to an error and its hint.

Errors are raised where they are detected, with the columns of their table; ``complete`` adds the
call.
"""

from ._complete import complete, is_final, is_unauthenticated

__all__ = ["complete", "is_final", "is_unauthenticated"]
