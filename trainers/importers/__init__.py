"""Importers: from what a hospital's systems write to canonical records, one small module a family of standards."""
