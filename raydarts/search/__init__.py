"""One bilevel search, plain PyTorch: neither Ray nor Optuna nor W&B is imported here."""
