"""What the consortium runs: deployment, whole-consortium runs, verification and the command line."""
