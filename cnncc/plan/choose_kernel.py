"""Kernel choice: the template with the least predicted time among those that can do a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnncc.errors import UnsupportedError, VerifyError
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.kernels import KERNELS
from cnncc.kernels.template import Estimate, Kernel, Site
from cnncc.options import Options
from cnncc.plan.site import is_computed, site_of
from cnncc.targets.target import Target

_DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class ChooseKernel:
    """Notes `kernel` (its name), `choice`, `predicted_us` and `bound_us` on every node that runs.

    Attributes:
        target: the machine.
        options: optimisations whose kernels are left out.
    """

    target: Target
    options: Options = _DEFAULTS
    name: ClassVar[str] = "choose-kernel"
    needs: ClassVar[str] = "fused"
    gives: ClassVar[str] = "fused"

    def run(self, graph: Graph) -> None:
        """Choose for the whole graph.

        Raises:
            UnsupportedError: some nodes no kernel can do; all of them are listed.
        """
        helpless: list[str] = []
        for node_id, node in graph.nodes():
            if not is_computed(graph, node_id):
                continue
            site = site_of(graph, node_id, self.target)
            offers, refusals = candidates(site, self.options)
            if not offers:
                why = "; ".join(f"{k}: {r}" for k, r in refusals) or "no kernel computes it"
                helpless.append(f"{site.name} ({site.anchor.op}): {why}")
                continue
            kernel, best = offers[0]
            node.notes["kernel"] = kernel.name
            node.notes["choice"] = best.choice
            node.notes["predicted_us"] = round(best.seconds * 1e6, 2)
            bound = best.bound
            node.notes["bound_us"] = tuple(round(s * 1e6, 3) for s in (bound.compute, bound.memory))
            record(graph, _decision(site, offers, refusals))
        if helpless:
            listed = "\n  ".join(helpless)
            raise UnsupportedError(f"no kernel for {len(helpless)} node(s):\n  {listed}")


def candidates(
    site: Site, options: Options = _DEFAULTS
) -> tuple[list[tuple[Kernel, Estimate]], list[tuple[str, str]]]:
    """Kernels that can do a site, the quickest first, and why the others cannot."""
    offers: list[tuple[Kernel, Estimate]] = []
    refusals: list[tuple[str, str]] = []
    for kernel in KERNELS:
        if site.anchor.op not in kernel.anchors or kernel.rows != site.in_rows:
            continue
        reason = kernel.refuses(site) if options.uses(kernel.switch) else "switched off"
        if reason:
            refusals.append((kernel.name, reason))
        else:
            offers.append((kernel, kernel.estimate(site)))
    offers.sort(key=lambda offer: offer[1].seconds)
    return offers, refusals


def kernel_named(name: str) -> Kernel:
    """The kernel of that name.

    Raises:
        VerifyError: there is none.
    """
    found = next((k for k in KERNELS if k.name == name), None)
    if found is None:
        raise VerifyError(f"there is no kernel `{name}`")
    return found


def _decision(
    site: Site, offers: list[tuple[Kernel, Estimate]], refusals: list[tuple[str, str]]
) -> Decision:
    kernel, best = offers[0]
    slower = [(k.name, f"predicted {e.seconds * 1e6:.1f} us, {e.choice}") for k, e in offers[1:]]
    reason = f"predicted {best.seconds * 1e6:.1f} us"
    if slower:
        reason += ", the least of those that can do it"
    return Decision(
        site.name,
        f"kernel {kernel.name}, {best.choice}",
        reason,
        rejected=tuple(slower + refusals),
        figures=best.figures,
        by="choose-kernel",
    )
