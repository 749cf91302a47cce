# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neurowall.model.entries import Entries, EntrySet
from neurowall.model.terms import Terms, TermSet
from tests.unit.logic.oracle import entry_texts

Rows = dict[str, tuple[float, float, float]]  # text of an entry to until, ttl, forget

TIMES = st.integers(1, 9).map(float)
CLEAN = entry_texts().map(lambda text: EntrySet.from_strings([text]).to_strings()[0])


def rows() -> st.SearchStrategy[Rows]:
    """Some terms."""
    return st.dictionaries(CLEAN, st.tuples(TIMES, TIMES, TIMES), max_size=6)


def terms_of(held: Rows) -> TermSet:
    """The product's form, from entries in any order."""

    def family(entries: Entries) -> Terms:
        values = np.array([held[str(row)] for row in entries.rows()], np.float64).reshape(-1, 3)
        return Terms(entries, *(values[:, column].copy() for column in range(3)))

    entries = EntrySet.from_strings(held)
    return TermSet(family(entries.v4), family(entries.v6))


def back(terms: TermSet) -> Rows:
    """Plain rows again."""
    return {
        str(row): (until, ttl, forget)
        for part in (terms.v4, terms.v6)
        for row, until, ttl, forget in zip(
            part.entries.rows(), part.until.tolist(), part.ttl.tolist(), part.forget.tolist(), strict=True
        )
    }


@given(rows(), rows())
def test_changed_rows_replace_those_of_their_entries(held: Rows, changed: Rows) -> None:
    """An update is what a dictionary does."""
    assert back(terms_of(held).updated(terms_of(changed))) == {**held, **changed}


@given(rows(), rows())
def test_rows_are_chosen_by_entry(held: Rows, other: Rows) -> None:
    """Those of some entries, and those of all others."""
    wanted = EntrySet.from_strings(other)
    assert back(terms_of(held).of(wanted)) == {text: row for text, row in held.items() if text in other}
    assert back(terms_of(held).without(wanted)) == {
        text: row for text, row in held.items() if text not in other
    }


@given(rows(), TIMES)
def test_rows_are_chosen_by_time(held: Rows, now: float) -> None:
    """An entry runs until its end, and not at it; it is remembered likewise."""
    assert set(terms_of(held).running(now).to_strings()) == {t for t, row in held.items() if row[0] > now}
    assert back(terms_of(held).remembered(now)) == {t: row for t, row in held.items() if row[2] > now}


@given(rows(), rows())
def test_differing_is_about_ends(held: Rows, other: Rows) -> None:
    """Entries with another end, or that the other lacks."""
    found = {
        str(row)
        for family in (4, 6)
        for row in terms_of(held).family(family).differing(terms_of(other).family(family)).rows()
    }
    assert found == {t for t, row in held.items() if t not in other or other[t][0] != row[0]}
