"""Genotypes and their text forms: parsing, naming, writing. It needs no torch and runs no code of a file."""
