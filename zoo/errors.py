"""Problems a user can solve. The command line prints them as one line and exits with 2."""

import difflib
from collections.abc import Iterable


class ZooError(Exception):
    """A user's problem: what was wanted, what was found and what to do, in one line."""


class UnknownNameError(ZooError):
    """A name that nothing is registered under."""


FEW = 3
"""Of so many names one is only called near if it is spelt almost alike; they are soon all told."""


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
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return UnknownNameError(f"No {kind} {name!r}. Known: {shown or 'none'}.")
