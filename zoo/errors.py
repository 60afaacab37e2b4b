"""Problems a user can solve. The command line prints them as one line and exits with 2."""

import difflib
from collections.abc import Iterable


class ZooError(Exception):
    """A user's problem: what was wanted, what was found and what to do, in one line."""


class UnknownNameError(ZooError):
    """A name that nothing is registered under."""


FEW = 3
"""Of so many names one is only called near if it is spelt almost alike; they are soon all told."""


MANY = 30
"""More names than that are too many for a message; of all settings of a method it has room."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An `UnknownNameError` for ``name`` that shows the nearest known names, else all.

    Args:
        kind: What was looked for, in the singular: ``"attack"``.
        name: What the user wrote.
        known: Every name that would have been accepted.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.6 if len(known) <= FEW else 0.5)
    near += [k for k in known if name.lower() in k.lower() and k not in near][:5]
    if near:
        return UnknownNameError(f"No {kind} {name!r}. Nearest: {', '.join(near)}.")
    told = len(known) if len(known) <= MANY else 12
    shown = ", ".join(known[:told]) + (f" and {len(known) - told} more" if known[told:] else "")
    return UnknownNameError(f"No {kind} {name!r}. Known: {shown or 'none'}.")
