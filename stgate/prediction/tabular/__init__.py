"""Predictors of tables of features: trees on lags, neighbours, node and calendar."""
