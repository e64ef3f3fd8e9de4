"""The calculation of steps on several machines, and what was measured on one."""

from __future__ import annotations

import pytest

from benchmarks.scaling import DOCS, Network, Step, allreduce, page, predicted_pair, read

NETWORK = Network("test", latency=1e-3, bits_per_second=32e6)  # a million floats a second
STEP = Step("test", parameters=1_000_000, batch=10, fixed=0.5, image=0.1)


def simulated(parameters, nodes, network):
    """Seconds of a ring, message by message: each machine's parts are sums when all have seen them."""
    seconds, part = 0.0, parameters / nodes
    for _phase in ("add up", "hand on"):
        for _ in range(nodes - 1):
            seconds += network.latency + 32 * part / network.bits_per_second
    return seconds


@pytest.mark.parametrize("nodes", [1, 2, 3, 64])
def test_a_ring(nodes):
    assert allreduce(1_000_000, nodes, NETWORK) == pytest.approx(
        simulated(1_000_000, nodes, NETWORK)
    )


def test_a_large_vector_takes_twice_its_time_on_the_wire_however_many_machines():
    fast = Network("no latency", 0.0, 32e6)
    assert allreduce(1_000_000, 2, fast) == pytest.approx(1.0)
    assert allreduce(1_000_000, 1000, fast) == pytest.approx(2.0, rel=1e-2)


def test_the_largest_slice_counts():
    assert STEP.compute(1) == pytest.approx(1.5)
    assert STEP.compute(3) == pytest.approx(0.9)  # slices of 3, 3 and 4
    assert STEP.compute(64) == pytest.approx(0.6)  # some have none
    assert 1 / STEP.rate(3, NETWORK) == pytest.approx(0.9 + allreduce(1_000_000, 3, NETWORK))


def test_where_overlap_begins_to_pay():
    speed = STEP.overlap_speed(4, NETWORK, share=0.1)
    total = STEP.compute(4, speed) + allreduce(1_000_000, 4, NETWORK)
    assert allreduce(1_000_000, 4, NETWORK) == pytest.approx(0.1 * total)


def test_a_step_is_fitted_through_two_batch_sizes():
    fitted = Step.fitted("a", {"parameters": 5, "batch": 64, "seconds": {"2": 0.7, "4": 0.9}})
    assert (fitted.fixed, fitted.image) == pytest.approx((0.5, 0.1))
    steep = Step.fitted("b", {"parameters": 5, "batch": 64, "seconds": {"2": 0.1, "4": 0.4}})
    assert (steep.fixed, steep.image) == pytest.approx((0.0, 0.1))


def test_the_calculation_meets_what_was_measured_on_one_and_two_ranks():
    record = read()
    predicted, found = predicted_pair(record)
    assert predicted == pytest.approx(found, rel=0.15)
    one, two = record["measured"]["training step"]
    assert one / two >= 0.95


def test_the_page_is_the_records():
    assert page(read()) == (DOCS / "scaling.md").read_text(encoding="utf-8")
