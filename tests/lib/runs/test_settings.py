"""What may differ between a run and the one that goes on with it."""

import pytest

from pixelvae.lib.runs.settings import differences

SAVED = {
    "iterations": 10,
    "average_decay": 0.999,
    "seed": 0,
    "data": {"name": "a", "checksum": "1"},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iterations": 20},
        {"average_decay": 0.9},
        {"cool_down": None},
        {"not there before": None},
        {"data": {"name": "b", "checksum": "1"}},
    ],
)
def test_what_leaves_the_steps_so_far_as_they_are_may_change(changes):
    assert differences(SAVED, {**SAVED, **changes}) == []


def test_iterations_may_become_fewer_but_for_those_that_were_reached():
    def changes(iterations, reached):
        return differences(SAVED, {**SAVED, "iterations": iterations}, reached)

    assert changes(7, reached=7) == []
    assert changes(6, reached=7) == ["iterations: 10 → 6"]
    assert changes(10, reached=10) == []
    assert changes(9, reached=10) == ["iterations: 10 → 9"]


@pytest.mark.parametrize(
    ("saved", "asked", "steady_until"),
    [
        ((10, None), (10, 4), 6),
        ((10, 4), (10, None), 6),
        ((10, 4), (20, 4), 6),
        ((10, 4), (8, 4), 4),
        ((10, 4), (20, None), 6),
    ],
)
def test_a_cool_down_may_change_until_it_would_have_begun(saved, asked, steady_until):
    def settings(iterations, cool_down):
        return {**SAVED, "iterations": iterations, "cool_down": cool_down}

    saved, asked = settings(*saved), settings(*asked)
    assert differences(saved, asked, steady_until) == []
    assert differences(saved, asked, steady_until + 1) != []
    assert differences(saved, saved, 9) == differences(asked, asked, 9) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iterations": 9}, "iterations: 10 → 9"),
        ({"iterations": None}, "iterations: 10 → None"),
        ({"average_decay": None}, "average_decay: 0.999 → None"),
        ({"cool_down": 1}, "cool_down: unset → 1"),
        ({"seed": 1}, "seed: 0 → 1"),
        ({"more": 1}, "more: unset → 1"),
        ({"data": {"name": "a", "checksum": "2"}}, "data.checksum: 1 → 2"),
    ],
)
def test_what_else_differs_is_named(changes, said):
    assert differences(SAVED, {**SAVED, **changes}) == [said]
