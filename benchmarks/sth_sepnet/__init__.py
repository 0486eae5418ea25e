"""STH-SepNet: traffic, influenza and wind, its cost, its memory and its parts."""
