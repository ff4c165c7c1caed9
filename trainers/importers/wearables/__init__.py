"""Importers for the exports of wearables and their applications."""
