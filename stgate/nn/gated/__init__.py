"""Layers of the gated forecasters: cells, recurrent and transformer stacks, one-step transitions, rollouts."""
