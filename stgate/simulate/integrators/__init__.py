"""Integration schemes: RK4 and ETDRK4, plain and compiled."""
