"""What a plot is: parts to be cast, things to be chosen, and a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plot:
    """A story to be told about whoever plays its parts.

    `roles` names the parts and says who can play them (`cast.fits`); "h" is the hero. `slots` are chosen once for the
    tale; two slots that hold the same tuple never get the same value. `about` is what the tale can be asked for by,
    besides its characters; `want` and `lesson` answer questions about it.
    """

    titles: tuple[str, ...]
    roles: Mapping[str, str]
    text: str
    want: str
    lesson: str
    about: tuple[str, ...] = ()
    slots: Mapping[str, tuple] = field(default_factory=dict)
    nameless: str = ""  # roles that are never given a name
    named: str = ""  # roles that always have one
    wicked: str = ""  # roles that are never called kind or brave
    weight: float = 1.0
