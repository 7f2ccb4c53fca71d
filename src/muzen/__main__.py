"""`python -m muzen` and the `muzen` command."""

import io
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from muzen import cli

    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # What an old code page cannot say, or what is typed in another one, becomes a question mark, no error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.exit(cli.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
