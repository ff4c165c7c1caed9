"""Bytes of a stranger's file: archives, lines and JSON, never more of them in memory than is allowed."""
