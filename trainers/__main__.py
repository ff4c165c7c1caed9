"""python -m trainers: one hospital's commands, without the consortium's side."""

from trainers.cli import main
from trainers.services.cli import records

main.add_command(records)

if __name__ == "__main__":
    main(prog_name="python -m trainers")
