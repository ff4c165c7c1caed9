"""Reads untrusted files (archives, lines, JSON, XML) in bounded memory."""
