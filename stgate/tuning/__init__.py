"""Search for options: the space that is searched, and the study that holds its trials, both for Optuna."""
