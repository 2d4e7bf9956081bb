"""Tests of `neuroglancer_scripts.utils`."""

from __future__ import annotations

import logging
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroglancer_scripts import utils


@given(st.integers(), st.integers(min_value=1))
def test_ceil_div_rounds_up_exactly(a: int, b: int) -> None:
    """A quotient is rounded up, also beyond the precision of floats."""
    quotient = utils.ceil_div(a, b)
    assert (quotient - 1) * b < a <= quotient * b


@given(st.permutations(range(5)))
def test_inverse_permutation_undoes(p: list[int]) -> None:
    """Permuting by a permutation and by its inverse gives the sequence back."""
    inverse = utils.invert_permutation(p)
    assert utils.permute(utils.permute("abcde", p), inverse) == tuple("abcde")
    assert all(inverse[p[i]] == i for i in range(5))


@pytest.mark.parametrize("p", [(0, 0), (1, 2), (-1, 0)])
def test_what_is_no_permutation_is_refused(p: tuple[int, ...]) -> None:
    """A sequence that is no permutation has no inverse."""
    with pytest.raises(ValueError, match="no permutation"):
        utils.invert_permutation(p)


# Made by running release 1.2.0, outside of its defect U1.
GOLDEN_COUNTS = [
    (0, "0 "), (9.4, "9 "), (9.5, "10 "), (99.5, "100 "), (512, "512 "), (999, "999 "),
    (999.5, "1.0 ki"), (1023.9, "1.0 ki"), (1500, "1.5 ki"), (10000, "9.8 ki"), (10250, "10 ki"),
    (100000, "98 ki"), (1e6, "977 ki"), (1023 * 1024, "1.0 Mi"), (1e10, "9.3 Gi"), (2**60, "1.0 Ei"),
    (2**70, "1,024 Ei"), (2**90, "1,073,741,824 Ei"),
]  # fmt: skip


@pytest.mark.parametrize(("count", "text"), GOLDEN_COUNTS)
def test_counts_are_written_as_before(count: float, text: str) -> None:
    """A count is written as release 1.2.0 wrote it."""
    assert utils.readable_count(count) == text


@pytest.mark.parametrize(("count", "text"), [(10200, "10 ki"), (10240, "10 ki"), (10.45e6, "10 Mi")])
def test_ten_of_a_prefix_is_written(count: float, text: str) -> None:
    """A count just below or at ten of a prefix is not written as zero of the next (U1)."""
    assert utils.readable_count(count) == text


@given(st.floats(min_value=1, max_value=2**60))
def test_written_count_is_near_and_short(count: float) -> None:
    """What is written has at most six characters and is within one unit of its last digit."""
    text = utils.readable_count(count)
    number, prefix = text.split(" ")
    factor = 1024 ** ["", "ki", "Mi", "Gi", "Ti", "Pi", "Ei"].index(prefix)
    assert len(text) <= 6
    assert math.isclose(float(number) * factor, count, rel_tol=0.06) or count < 10


@pytest.mark.parametrize("count", [-1, float("nan")])
def test_what_is_no_count_is_refused(count: float) -> None:
    """Negative numbers and NaN are no counts."""
    with pytest.raises(ValueError, match="0 or more"):
        utils.readable_count(count)


@pytest.mark.parametrize(
    ("length_nm", "unit", "text"),
    [
        (2.5, "nm", "2nm"),
        (3.5, "nm", "4nm"),
        (1500, "um", "2um"),
        (0.333, "pm", "333pm"),
        (1e20, "km", "100000000km"),
    ],
)
def test_lengths_are_whole_numbers(length_nm: float, unit: str, text: str) -> None:
    """A length is rounded half to even in its unit (numbers of release 1.2.0)."""
    assert utils.format_length(length_nm, unit) == text


def test_unknown_unit_is_refused() -> None:
    """An unknown unit of length is a ValueError that names the known ones."""
    with pytest.raises(ValueError, match="choose one of km, m, mm, um, nm, pm"):
        utils.format_length(1, "inch")


def test_commands_log_level_and_message() -> None:
    """A command's log goes to the standard error, from INFO on, as level and message."""
    script = (
        "import logging; from neuroglancer_scripts.utils import init_logging_for_cmdline as init\n"
        "init(); init(); logging.info('seen'); logging.debug('unseen')"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "INFO: seen\n")
    assert logging.INFO == 20


def test_utils_load_no_numpy() -> None:
    """Importing the module does not import NumPy."""
    script = "import sys, neuroglancer_scripts.utils; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
