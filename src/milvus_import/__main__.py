"""``milvus-import`` and ``python -m milvus_import``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or print which packages are missing."""
    try:
        from ._cli._commands import cli  # noqa: PLC0415 - click and rich are an extra
        from ._cli._run import run_process  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        if sys.stderr is not None:  # it is None if it is closed
            sys.stderr.write(
                "milvus-import: the command line needs click and rich, the extra "
                "milvus-import[cli]: pip install click rich\n"
            )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run_process(cli))


if __name__ == "__main__":
    main()
