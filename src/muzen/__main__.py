"""`python -m muzen` and the `muzen` command."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from muzen import cli

    sys.exit(cli.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
