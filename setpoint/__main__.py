"""Entry point of the ``setpoint`` command."""

from __future__ import annotations


def main() -> None:
    from setpoint.cli.app import run

    run()


if __name__ == "__main__":
    main()
