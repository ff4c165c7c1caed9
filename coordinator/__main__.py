"""The hmchain command, also as python -m coordinator."""

from hmchain.interrupts import loading


def main() -> None:
    """Loads what all commands need, and runs one."""
    with loading():
        from coordinator.cli import main as command
    command(prog_name="hmchain")


if __name__ == "__main__":
    main()
