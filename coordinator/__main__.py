"""python -m coordinator: the hmchain command."""

from coordinator.cli import main

if __name__ == "__main__":
    main(prog_name="hmchain")
