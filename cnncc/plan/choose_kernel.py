"""Kernel choice: the template with the least predicted time among those that can do a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from cnncc.errors import UnsupportedError, VerifyError
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.kernels import KERNELS
from cnncc.kernels.layout import Picked
from cnncc.kernels.template import Estimate, Kernel, Site
from cnncc.options import DEFAULTS, Options
from cnncc.plan.earning import Offer, Offered, earning
from cnncc.plan.site import is_computed, site_of
from cnncc.targets.target import Target

# What tuning times: so many ways, predicted to take no more than so much of the best of them.
_MOST_WAYS = 3
_WORTH_TIMING = 1.3
_ROOM = 1.12  # of its bound: a kernel that is predicted to come closer needs no other tile
_LEAST_SECONDS = 5e-6  # a shorter stage is not worth a compilation
# Measures seconds of ways to compute one site, in their order.
Tuner = Callable[[Sequence[tuple[Kernel, Site]]], list[float]]


@dataclass(frozen=True, slots=True)
class Way:
    """A kernel and which of its own ways, with what is known of its time.

    Attributes:
        kernel: the template.
        site: the node, with the pick.
        estimate: what the model predicts.
        seconds: what was measured.
    """

    kernel: Kernel
    site: Site
    estimate: Estimate
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ChooseKernel:
    """Notes `kernel` (its name), `choice`, `predicted_us` and `bound_us` on every node that runs.

    Attributes:
        target: the machine.
        options: optimisations whose kernels are left out.
        tuner: times the best few, if that is wanted; it then decides.
    """

    target: Target
    options: Options = DEFAULTS
    tuner: Tuner | None = None
    name: ClassVar[str] = "choose-kernel"
    needs: ClassVar[str] = "fused"
    gives: ClassVar[str] = "fused"

    def run(self, graph: Graph) -> None:
        """Choose for the whole graph.

        Raises:
            UnsupportedError: some nodes no kernel can do; all of them are listed.
        """
        sites = self._sites(graph)
        timed = [self._timed(s.site, s.offers) for s in sites]
        for found, ways in zip(earning(sites), timed, strict=True):
            kernel, best = (ways[0].kernel, ways[0].estimate) if ways else found.offers[0]
            notes, bound = graph[found.node_id].notes, best.bound
            if ways:
                notes["pick"] = ways[0].site.pick
            notes["kernel"] = kernel.name
            notes["choice"] = best.choice
            notes["predicted_us"] = round(best.seconds * 1e6, 2)
            notes["bound_us"] = tuple(round(s * 1e6, 3) for s in (bound.compute, bound.memory))
            record(graph, _measured(ways, found.refusals) if ways else _decision(found))

    def _sites(self, graph: Graph) -> list[Offered]:
        """Every node that runs, with the kernels that can do it."""
        sites: list[Offered] = []
        helpless: list[str] = []
        for node_id, _ in graph.nodes():
            if not is_computed(graph, node_id):
                continue
            site = site_of(graph, node_id, self.target)
            offers, refusals = candidates(site, self.options)
            sites.append(Offered(node_id, site, offers, refusals))
            if not offers:
                why = "; ".join(f"{k}: {r}" for k, r in refusals) or "no kernel computes it"
                helpless.append(f"{site.name} ({site.anchor.op}): {why}")
        if helpless:
            listed = "\n  ".join(helpless)
            raise UnsupportedError(f"no kernel for {len(helpless)} node(s):\n  {listed}")
        return sites

    def _timed(self, site: Site, offers: Sequence[Offer]) -> list[Way]:
        """The best few ways by measured time, the quickest first; none where there is no choice."""
        if self.tuner is None or offers[0][1].seconds < _LEAST_SECONDS:
            return []
        if any(isinstance(layout, Picked) for layout in site.layouts):
            return []  # there is no array to time them on: it lies in pieces of others
        ways = [Way(kernel, site, estimate) for kernel, estimate in offers]
        best = ways[0]
        if best.estimate.seconds > _ROOM * best.estimate.bound.seconds:
            for pick in range(1, min(best.kernel.picks(site), _MOST_WAYS)):
                way = replace(site, pick=pick)
                ways.append(Way(best.kernel, way, best.kernel.estimate(way)))
        ways.sort(key=lambda way: way.estimate.seconds)
        most = ways[0].estimate.seconds * _WORTH_TIMING
        ways = [way for way in ways if way.estimate.seconds <= most][:_MOST_WAYS]
        if len(ways) < 2:
            return []
        times = self.tuner([(way.kernel, way.site) for way in ways])
        measured = [replace(w, seconds=t) for w, t in zip(ways, times, strict=True)]
        return sorted(measured, key=lambda way: way.seconds)


def candidates(
    site: Site, options: Options = DEFAULTS
) -> tuple[list[tuple[Kernel, Estimate]], list[tuple[str, str]]]:
    """Kernels that can do a site, the quickest first, and why the others cannot."""
    offers: list[tuple[Kernel, Estimate]] = []
    refusals: list[tuple[str, str]] = []
    for kernel in KERNELS:
        if site.anchor.op not in kernel.anchors or kernel.rows != site.in_rows:
            continue
        reason = refusal(kernel, site) if options.uses(kernel.switch) else "switched off"
        if reason:
            refusals.append((kernel.name, reason))
        else:
            offers.append((kernel, kernel.estimate(site)))
    offers.sort(key=lambda offer: offer[1].seconds)
    return offers, refusals


def refusal(kernel: Kernel, site: Site) -> str:
    """Why a kernel cannot do a site; an empty string when it can."""
    if site.means is not None and not kernel.gives_means:
        return "does not give the means of rows"
    return kernel.refuses(site)


def kernel_named(name: str) -> Kernel:
    """The kernel of that name.

    Raises:
        VerifyError: there is none.
    """
    found = next((k for k in KERNELS if k.name == name), None)
    if found is None:
        raise VerifyError(f"there is no kernel `{name}`")
    return found


def _decision(found: Offered) -> Decision:
    kernel, best = found.offers[0]
    others = [(k.name, f"predicted {_us(e.seconds)}, {e.choice}") for k, e in found.offers[1:]]
    reason = f"predicted {_us(best.seconds)}"
    if any(e.seconds < best.seconds for _, e in found.offers[1:]):
        reason += "; a quicker one would save too little of the network's time for so much code"
    elif others:
        reason += ", the least of those that can do it"
    return Decision(
        found.site.name,
        f"kernel {kernel.name}, {best.choice}",
        reason,
        rejected=tuple(others + found.refusals),
        figures=best.figures,
        by="choose-kernel",
    )


def _measured(timed: Sequence[Way], refusals: list[tuple[str, str]]) -> Decision:
    """The record of a choice that was tuned."""
    best = timed[0]
    slower = [(w.kernel.name, f"measured {_us(w.seconds)}, {w.estimate.choice}") for w in timed[1:]]
    return Decision(
        best.site.name,
        f"kernel {best.kernel.name}, {best.estimate.choice}",
        f"measured {_us(best.seconds)} (predicted {_us(best.estimate.seconds)}), the least of those"
        " that were timed",
        rejected=tuple(slower + refusals),
        figures={**best.estimate.figures, "measured_us": round(best.seconds * 1e6, 2)},
        by="choose-kernel",
    )


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us"
