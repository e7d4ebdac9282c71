"""One bilevel search in plain PyTorch. This package does not import Ray, Optuna or W&B."""
