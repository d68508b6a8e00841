"""Whether a kernel earns its code: it must save time of the whole network for every kilobyte.

Long code is compiled, stored and fetched. A layer's quickest kernel may save a thousandth of the
network's time with as much code as ten others have together (docs/decisions/043-earned-code.md).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from cnncc.kernels.template import Estimate, Kernel, Site

_PRICE = 0.015 / (100 << 10)  # of the network's time, for a byte of code

Offer = tuple[Kernel, Estimate]


@dataclass(frozen=True, slots=True)
class Offered:
    """A node and the kernels that can do it.

    Attributes:
        node_id: in the graph.
        site: the node as kernels see it.
        offers: those that can, the one to take first.
        refusals: those that cannot, and why.
    """

    node_id: int
    site: Site
    offers: list[Offer]
    refusals: list[tuple[str, str]]


def earning(sites: Sequence[Offered]) -> list[Offered]:
    """The same nodes, where kernels that do not earn their code stand behind those that do.

    Nodes that are likely to share a function are judged together.

    Args:
        sites: all nodes of a network, with their quickest kernels first.
    """
    budget = _PRICE * sum(found.offers[0][1].seconds for found in sites)
    groups: dict[Hashable, list[Offered]] = {}
    for found in sites:
        groups.setdefault(_likeness(found), []).append(found)
    best = {key: _cheapest(group, budget) for key, group in groups.items()}
    return [_led_by(found, best[_likeness(found)]) for found in sites]


def _likeness(found: Offered) -> Hashable:
    """What nodes have in common that share a function: all but the depth of their input."""
    site, (kernel, estimate) = found.site, found.offers[0]
    windows = tuple(t.shape[2:] for t in site.types[1:])
    return kernel.name, estimate.choice, site.result, windows, site.steps


def _cheapest(group: Sequence[Offered], budget: float) -> str:
    """The kernel that all can take which costs least, its code included."""
    costs: dict[str, float] = {}
    for kernel, _ in group[0].offers:
        times = [e.seconds for found in group for k, e in found.offers if k is kernel]
        if len(times) == len(group):
            costs[kernel.name] = sum(times) + budget * kernel.code_bytes(group[0].site)
    return min(costs, key=costs.__getitem__)


def _led_by(found: Offered, name: str) -> Offered:
    return replace(found, offers=sorted(found.offers, key=lambda offer: offer[0].name != name))
