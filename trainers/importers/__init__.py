"""Importers turn what a hospital's systems write into canonical records, a module for each family of standards."""
