"""The network of a gated hybrid: features of each step, a core that remembers, and a decoder, direct or rolled out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from stgate.errors import RequestError
from stgate.nn.convolution import GraphConvolution
from stgate.nn.direct import Direct
from stgate.nn.edges import EdgeList
from stgate.nn.features import StepFeatures
from stgate.nn.gated.fused import FusedTransition
from stgate.nn.gated.gru import rows_last
from stgate.nn.gated.recurrent import Memory, detached
from stgate.nn.gated.rollout import RollOut
from stgate.nn.gated.transition import Transition
from stgate.nn.inputs import Inputs
from stgate.nn.node_inputs import embedded_spec, with_identity
from stgate.nn.patches import Patches
from stgate.schema.spec import PanelSpec

Draw = Callable[[Tensor, int], Tensor]
"""A function of raw outputs (batch, node, target, output) and the lead: values (batch, node, target), standardised."""


class HybridNetwork(nn.Module):
    """Local network that all patches of nodes share, which forecasts directly or by rollout.

    A direct forecast decodes the core's last state. In a rollout a transition computes the next step from the present
    field and the core's state, and the core then reads this step like an observed one. A missing entry of the window is
    imputed by the one-step forecast for it, once there is one.

    Args:
        spec: Description of the panel.
        outputs: Number of likelihood parameters of a target.
        core: Function that makes the core, recurrent or a transformer, for a number of channels; None for no core: a
            step then sees the present field only.
        hidden: Number of channels of the core.
        patch: Number of nodes of a patch along each direction.
        halo: Number of nodes seen beyond either edge of a patch.
        dropout: Dropout rate of the core's states.
        rollout: Options of the rollout; None forecasts all leads at once.
        node_embedding: Number of learned numbers of each node, which join its static inputs.
        correction: Forecast a correction of another forecast, zero at first; of direct forecasts only.
        single_member: True if the network is evaluated as a single member, False if several members share one pass.
        convolution: Class path of a convolution of `torch_geometric.nn`, such as `torch_geometric.nn.GATv2Conv`, that
            mixes nodes along a given graph at each step; its output is added to the input of the core. None for no
            mixing. It needs patches of one node.
        convolution_options: Options of that convolution, plain values.

    Raises:
        RequestError: A rollout has past covariates, a direct forecast has no core, or the convolution cannot be used.
    """

    def __init__(
        self,
        spec: PanelSpec,
        outputs: int,
        core: Callable[[int], nn.Module] | None,
        *,
        hidden: int,
        patch: int = 1,
        halo: int = 0,
        dropout: float = 0.0,
        rollout: RollOut | None = None,
        node_embedding: int = 0,
        correction: bool = False,
        single_member: bool = True,
        convolution: str | None = None,
        convolution_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if rollout and spec.past_covariates:
            raise RequestError(
                f"rollout: `{spec.past_covariates[0]}` is a past covariate, unknown ahead of the origin; "
                "make it a target or a future covariate, or forecast directly"
            )
        if core is None and not rollout:
            raise RequestError("cell none: a direct forecast needs a cell or attention; give one of them, or rollout")
        self.targets, self.outputs, self.horizon = len(spec.targets), outputs, spec.horizon
        self.patches = Patches(spec, patch, halo)
        self.embedding = nn.Parameter(0.1 * torch.randn(len(spec.nodes), node_embedding)) if node_embedding else None
        spec = embedded_spec(spec, node_embedding)
        self.features = StepFeatures(spec, self.patches, forcing=core is None)
        informed = self.features.size > 0
        self.embed = nn.Sequential(nn.Linear(self.features.size, hidden), nn.GELU()) if informed else None
        self.mixing = None
        if convolution is not None:
            if patch != 1 or not informed:
                why = (
                    "mixes single nodes; give patch 1"
                    if informed
                    else "has no states to mix; give a cell, attention or covariates"
                )
                raise RequestError(f"spatial {convolution}: {why}")
            self.mixing = GraphConvolution(convolution, hidden, convolution_options, option="spatial")
        elif convolution_options:
            raise RequestError("spatial_options: without a layer; name one in spatial, or leave spatial_options out")
        self.core = None if core is None else core(hidden)
        self.features.rows_last = getattr(self.core, "rows_last", False)
        self.dropout = nn.Dropout(dropout)
        self.carried: Memory | None = None  # into the next stretch, where backpropagation through time is cut
        self.rollout, self.single_member = rollout, single_member
        if rollout is None:
            self.direct = Direct(spec, self.patches, outputs, hidden, correction=correction)
        else:
            named = ("width", "blocks", "unit", "gate", "scheme", "substeps", "conservative")
            step = {name: getattr(rollout, name) for name in named}
            self.transition = Transition(self.patches, self.targets, hidden if informed else 0, outputs - 1, **step)

    @property
    def reach(self) -> int | None:
        """Number of last steps of the window that the core's last state depends on; None if it may be any number."""
        return 1 if self.core is None else getattr(self.core, "reach", None)

    def forward(
        self,
        inputs: Inputs,
        leads: int | None = None,
        *,
        teacher_forced: int = 0,
        draw: Draw | None = None,
        graph: EdgeList | None = None,
        complete: bool | None = None,
    ) -> Tensor:
        """Forecast the first leads, in standardised units.

        Args:
            inputs: Standardised inputs of the window.
            leads: Number of leads; all of them when None.
            teacher_forced: Number of last steps of the window whose one-step forecasts precede the leads of a rollout.
            draw: Function that draws the values that a rollout feeds back; None feeds back the location.
            graph: Edges of the given graph, for the convolution; None without one.
            complete: True if no target of the windows is missing, for a rollout; False goes through them step by step,
                whatever they hold; None looks, for which the host waits.

        Returns:
            Raw outputs, (batch, teacher_forced + lead, node, target, output).
        """
        leads = self.horizon if leads is None else leads
        inputs = with_identity(inputs, self.embedding)
        if self.rollout is None:
            parts = (inputs.values, inputs.mask, inputs.since, inputs.calendar, inputs.static)
            state, _ = self._absorb(*parts, last=True, graph=graph)
            assert state is not None
            made: Tensor = self.direct(state.squeeze(1), inputs, leads)
            return made
        outputs, field, context, memory = self._through_window(inputs, teacher_forced, graph, complete)
        if self.training and self.rollout.stateful and memory is not None:
            self.carried = detached(memory)
        free = self._roll_out(inputs, field, context, memory, draw, graph)
        return torch.cat([*outputs, *(raw.unsqueeze(1) for raw in itertools.islice(free, leads))], 1)

    def run(self, inputs: Inputs, graph: EdgeList | None = None, complete: bool | None = None) -> Iterator[Tensor]:
        """Roll out without end: yield the location of each step, (batch, node, target), standardised.

        The panel must have no future covariates and no calendar features, which would be unknown beyond the horizon.

        Args:
            inputs: Standardised inputs of the window.
            graph: Edges of the given graph, for the convolution; None without one.
            complete: True if no target of the windows is missing; None looks.
        """
        _, field, context, memory = self._through_window(inputs, 0, graph, complete)
        return (raw[..., 0] for raw in self._roll_out(inputs, field, context, memory, None, graph))

    def _roll_out(
        self,
        inputs: Inputs,
        field: Tensor,
        context: Tensor | None,
        memory: Memory | None,
        draw: Draw | None,
        graph: EdgeList | None,
    ) -> Iterator[Tensor]:
        """Yield the raw outputs of each lead, (batch, node, target, output), and feed each back into the next."""
        fast = self.single_member and not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        advance = FusedTransition.of(self.transition) if fast else self.transition
        since = torch.zeros_like(field).unsqueeze(1)
        for lead in itertools.count():
            field, rest = advance(field, context)
            raw = torch.cat([field.unsqueeze(-1), rest], -1)
            yield raw
            field = field if draw is None else draw(raw, lead)
            if self.embed is not None:
                known, masks = _at(inputs.future, lead).chunk(2, -1)
                values = torch.cat([field.unsqueeze(1), known], -1)
                mask = torch.cat([torch.ones_like(field).unsqueeze(1), masks], -1)
                calendar = _at(inputs.future_calendar, lead)
                state, memory = self._absorb(values, mask, since, calendar, inputs.static, memory, graph=graph)
                context = None if state is None else state[:, 0]

    def _through_window(
        self, inputs: Inputs, teacher_forced: int, graph: EdgeList | None, complete: bool | None = None
    ) -> tuple[list[Tensor], Tensor, Tensor | None, Memory | None]:
        """Run over the window; return its last one-step forecasts, the last field with its context, and the memory."""
        memory = self.carried if self.training else None
        observed = inputs.mask[..., : self.targets] > 0
        if complete is None:
            complete = not torch.compiler.is_compiling() and bool(observed.all())
        if complete:
            fields, outputs = inputs.values[..., : self.targets], []
            parts = (inputs.values, inputs.mask, inputs.since, inputs.calendar, inputs.static)
            context, memory = self._absorb(*parts, memory, last=not teacher_forced, graph=graph)
            if teacher_forced:
                first = fields.shape[1] - 1 - teacher_forced
                before = None if context is None else context[:, first:-1]
                made, rest = self.transition(fields[:, first:-1], before)
                outputs.append(torch.cat([made.unsqueeze(-1), rest], -1))
            return outputs, fields[:, -1], None if context is None else context[:, -1], memory
        return self._step_by_step(inputs, observed, teacher_forced, memory, graph)

    def _step_by_step(
        self, inputs: Inputs, observed: Tensor, teacher_forced: int, memory: Memory | None, graph: EdgeList | None
    ) -> tuple[list[Tensor], Tensor, Tensor | None, Memory | None]:
        """Go through the window step by step: a missing entry is imputed by the forecast of the step before it."""
        outputs: list[Tensor] = []
        field, context = inputs.values[:, 0, :, : self.targets], None
        for step in range(observed.shape[1]):
            if step:
                made, rest = self.transition(field, context)
                outputs.append(torch.cat([made.unsqueeze(-1), rest], -1).unsqueeze(1))
                field = torch.where(observed[:, step], inputs.values[:, step, :, : self.targets], made)
            now = slice(step, step + 1)
            values = torch.cat([field.unsqueeze(1), inputs.values[:, now, :, self.targets :]], -1)
            parts = (values, inputs.mask[:, now], inputs.since[:, now], inputs.calendar[:, now], inputs.static)
            state, memory = self._absorb(*parts, memory, graph=graph)
            context = None if state is None else state[:, 0]
        return outputs[len(outputs) - teacher_forced :], field, context, memory

    def _absorb(
        self,
        values: Tensor,
        mask: Tensor,
        since: Tensor,
        calendar: Tensor,
        static: Tensor,
        memory: Memory | None = None,
        *,
        last: bool = False,
        graph: EdgeList | None = None,
    ) -> tuple[Tensor | None, Memory | None]:
        """Read steps (batch, time, node, …); return the core's states, (batch, time, patch, hidden), or the last."""
        if self.embed is None:
            return None, None
        if last and self.reach is not None:
            values, mask, since, calendar = (x[:, -self.reach :] for x in (values, mask, since, calendar))
        seen = self.features(values, mask, since, calendar, static)
        batch, patches = seen.shape[0], seen.shape[2]
        rows = seen.transpose(1, 2).flatten(0, 1)  # (batch * patch, time, feature)
        enters = last and self.mixing is None and getattr(self.core, "enters", False)
        states, entry = (rows, {"entry": self.embed}) if enters else (self._embedded(rows, batch, graph), {})
        if self.core is None:
            states = states[:, -1:] if last else states
        else:
            states, memory = self.core(states, memory, last=last, **entry)
        return self.dropout(states).unflatten(0, (batch, patches)).transpose(1, 2), memory

    def _embedded(self, rows: Tensor, batch: int, graph: EdgeList | None) -> Tensor:
        """Embed features, (batch * patch, time, feature), and mix them over nodes: (batch * patch, time, hidden)."""
        assert self.embed is not None
        if self.features.rows_last and rows.shape[1] > 1:
            layer, activation = self.embed
            states: Tensor = activation(rows_last(cast(nn.Linear, layer), rows))
        else:
            states = self.embed(rows)
        if self.mixing is None:
            return states
        assert graph is not None
        apart = states.view(batch, -1, *states.shape[1:])
        mixed: Tensor = (apart + self.mixing(apart, graph, dim=1)).flatten(0, 1)
        return mixed


def _at(ahead: Tensor, lead: int) -> Tensor:
    """Select a lead, (batch, 1, …); beyond the horizon only tensors without channels have one."""
    if lead < ahead.shape[1] or ahead.shape[-1]:
        return ahead[:, lead : lead + 1]
    return ahead.new_empty(ahead.shape[0], 1, *ahead.shape[2:])
