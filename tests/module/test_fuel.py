"""The report of fuel still works. Its figures are for reading; no test depends on them."""

from __future__ import annotations

import fuel


def test_the_report() -> None:
    assert all(cost.host_calls and cost.fuel for cost in fuel.costs())
    assert all(cost.fuel for cost in fuel.own_signatures(["EdDSA"]))
    ((load, cost), _) = fuel.sizes((10,), (10,))
    assert load.fuel and cost.fuel


def test_fuel_is_the_same_at_every_run() -> None:
    for first, second in zip(fuel.costs(), fuel.costs()):
        # A few branches depend on where the allocator happens to find room, and tokens differ in their signatures.
        assert abs(first.fuel - second.fuel) < first.fuel / 50, first.name
