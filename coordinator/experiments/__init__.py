"""The paper's experiments, and what it left out: cells to run (plans), their results (store), tables and figures."""
