"""Genotypes and the texts they are written in: parsing, naming, writing. No torch, no code of a file is run."""
