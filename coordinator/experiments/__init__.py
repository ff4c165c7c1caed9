"""The paper's experiments and some more: cells to run (plans), their results (store), tables and figures."""
