"""Layers of STH-SepNet: temporal and spatial branches, learned graphs, language models, fusion."""
