"""PM2.5 of Beijing: gaps and forecasts by one fit, beside rivals."""
