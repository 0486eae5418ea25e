"""The layers of STH-SepNet's spatial branch as they were published, rebuilt from a description, to be timed.

Full sequences through every layer, dense products with matrices of nodes by nodes, nearest neighbours by scikit-learn
at each call, and weights of the hypergraph convolution drawn anew at each call (so nothing here is meant to learn).
"""

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torch.nn.functional import dropout, pad

CHANNELS, SKIP, END = 32, 64, 128
KERNELS = (2, 3, 6, 7)
LAYERS, SIZE, NEIGHBOURS, MEMBERS, SHARPNESS, KEPT = 3, 40, 20, 3, 3.0, 0.05


class Inception(nn.Module):
    """Convolutions over steps with kernels of several lengths, cut to the shortest outcome."""

    def __init__(self):
        super().__init__()
        self.of = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS // len(KERNELS), (1, k)) for k in KERNELS)

    def forward(self, x):
        """(batch, channel, node, step) -> the same with fewer steps."""
        made = [convolve(x) for convolve in self.of]
        return torch.cat([m[..., -made[-1].shape[-1] :] for m in made], 1)


class MixProp(nn.Module):
    """h <- .05 x + .95 A h, twice, and one linear map of all three."""

    def __init__(self):
        super().__init__()
        self.out = nn.Conv2d(3 * CHANNELS, CHANNELS, 1)

    def forward(self, x, matrix):
        """(batch, channel, node, step) and (node, node)."""
        matrix = matrix + torch.eye(len(matrix))
        matrix = matrix / matrix.sum(1, keepdim=True)
        made = [x]
        for _ in range(2):
            made.append(KEPT * x + (1 - KEPT) * torch.einsum("bcnt,mn->bcmt", made[-1], matrix))
        return self.out(torch.cat(made, 1))


class Released(nn.Module):
    """(batch, step, node) -> (batch, lead, node); the least window is the receptive field, shorter ones are padded.

    Args:
        nodes: Number of nodes.
        window: Number of steps that are seen.
        horizon: Number of steps that are forecast.
    """

    def __init__(self, nodes, window, horizon):
        super().__init__()
        self.field = 1 + LAYERS * (KERNELS[-1] - 1)
        steps = [max(window, self.field) - i * (KERNELS[-1] - 1) for i in range(LAYERS + 1)]
        self.embeddings = nn.ParameterList(torch.randn(nodes, SIZE) for _ in range(3))
        self.maps = nn.ModuleList(nn.Linear(SIZE, SIZE) for _ in range(3))
        self.start, self.first = nn.Conv2d(1, CHANNELS, 1), nn.Conv2d(1, SKIP, (1, steps[0]))
        self.update, self.gates = (nn.ModuleList(Inception() for _ in range(LAYERS)) for _ in range(2))
        self.incoming, self.outgoing = (nn.ModuleList(MixProp() for _ in range(LAYERS)) for _ in range(2))
        self.skips = nn.ModuleList(nn.Conv2d(CHANNELS, SKIP, (1, t)) for t in steps[1:])
        self.norms = nn.ModuleList(nn.LayerNorm((CHANNELS, nodes, t)) for t in steps[1:])
        self.share = nn.Parameter(torch.tensor(0.5))
        self.last = nn.Conv2d(CHANNELS, SKIP, (1, steps[-1]))
        self.end = nn.Sequential(nn.ReLU(), nn.Conv2d(SKIP, END, 1), nn.ReLU(), nn.Conv2d(END, horizon, 1))

    def at(self, i):
        """Return the positions of nodes in a learned space, (node, coordinate)."""
        return torch.tanh(SHARPNESS * self.maps[i](self.embeddings[i]))

    def adaptive(self):
        """The learned directed graph, its 20 strongest a row."""
        product = self.at(0) @ self.at(1).T
        matrix = torch.relu(torch.tanh(SHARPNESS * (product - product.T)))
        strongest = (matrix + 0.01 * torch.rand_like(matrix)).topk(min(NEIGHBOURS, len(matrix)), 1).indices
        return matrix * torch.zeros_like(matrix).scatter(1, strongest, 1.0)

    def hypergraph(self):
        """Members (node, edge), one or zero."""
        at = self.at(2).detach().numpy()
        near = NearestNeighbors(n_neighbors=MEMBERS).fit(at).kneighbors(at, return_distance=False)
        edges = np.unique(np.sort(near, 1), axis=0)
        members = np.zeros((len(at), len(edges)), np.float32)
        members[edges, np.arange(len(edges))[:, None]] = 1
        return torch.from_numpy(members)

    def through_edges(self, x):
        """Sum (batch, channel, node, step) over the members of edges, then over edges."""
        members, steps = self.hypergraph(), x.shape[-1]
        entry, outwards = (torch.randn(steps, steps) / steps**0.5 for _ in range(2))
        edges = torch.relu(torch.einsum("bcnt,ne->bcet", x @ entry, members) @ outwards)
        return torch.einsum("bcet,ne->bcnt", edges, members)

    def forward(self, x):
        """Map (batch, step, node) to (batch, lead, node)."""
        x = pad(x.transpose(1, 2).unsqueeze(1), (max(self.field - x.shape[1], 0), 0))
        graph = self.adaptive()
        skip, h = self.first(dropout(x, 0.3, self.training)), self.start(x)
        for i in range(LAYERS):
            before = h
            h = torch.tanh(self.update[i](h)) * torch.sigmoid(self.gates[i](h))
            h = dropout(h, 0.3, self.training)
            skip = skip + self.skips[i](h)
            along = self.incoming[i](h, graph) + self.outgoing[i](h, graph.T)
            h = self.share * along + (1 - self.share) * self.through_edges(h)
            h = self.norms[i](h + before[..., -h.shape[-1] :])
        return self.end(skip + self.last(h)).squeeze(-1)
