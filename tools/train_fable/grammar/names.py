"""Names for the tales' people and animals."""

from __future__ import annotations

import random
import re

_HERS = """
Anna Elsa Greta Martha Lisbet Rosalind Clara Nell Molly Hanna Ida Marit Sofie Lucy Alma Flora Ivy Hazel Daisy Lily
Rosa Minna Tilda Bertha Dora Edith Agnes Kitty Polly Matilda Emmeline Josephine Pearl Ruby Iris Linnet Wren Olive Maud
Nora Bella Stella Gerda Karen Inga Sigrid Astrid Margery Elinor Cecily Juniper Primrose Clover Poppy Tansy Willow Mabel
Amelie Susanna Katrin Ottilie Lena Marianne Louisa Penny Tess Bridget Una Maeve Fern Holly Marigold Violet Dinah
""".split()
_HIS = """
Hans Peter Tom Jack Karl Otto Klaus Jacob Wilhelm Conrad Nils Olaf Anders Martin Simon Robin Will Hugo Felix Oscar Max
Emil Ludwig Fritz August Gustav Henry George Edmund Walter Rufus Barnaby Tobias Jasper Caspar Kaspar Florian Valentin
Basil Ned Ben Sam Toby Dick Giles Hugh Ralph Roland Leo Piers Colin Rowan Alder Oliver Bruno Ivan Boris Anton Pavel
Stefan Matthias Benjamin Samuel Daniel Joseph Adam Arthur Alfred Albert Ernest Ambrose Silas Jonas Finn Rory Lorenz
""".split()
_ANYONE = """
Rusk Bramble Thistle Pip Tuft Burr Nutkin Tansel Moss Fleck Dapple Patch Snip Tip Whisk Rush Reed Pebble Flint Ember Ash
Cinder Russet Copper Sorrel Barley Acorn Chestnut Tumble Twig Button Crumb Pepper Nutmeg Ginger Cobble Speckle Velvet
Smoke Dusk Feather Frost Mistle Teasel Quill Brook Biscuit Bumble Wisp Trill Skip Toffee Tinker Plum Mallow
Sedge Bracken
""".split()
_STARTS = (
    "Al Ar Bel Bar Cor Dal Dor El Fen Gar Hol Il Jor Kel Lin Mar Mil Nor Or Per Quin Ros Sal Tal Tor Ul Ven Wil Yor Zel"
)
_MIDDLES = "a e i o u an en in or ar is a i"
_HER_ENDS = "na la ra lia ma nda tta ssa bell wyn sel ne da"
_HIS_ENDS = "n rik do bert mund lo ko sen ric ton wick rin tus ber"


def draw(sex: str, animal: bool, chooser: random.Random) -> str:
    """A name for a he ("m") or a she ("f"); one in four is made up, so that no list can be learned by heart."""
    if chooser.random() < 0.25:
        ends = _HER_ENDS if sex == "f" else _HIS_ENDS
        name = "".join(chooser.choice(part.split()) for part in (_STARTS, _MIDDLES, ends))
        return re.sub(r"(.)\1\1", r"\1\1", name)  # not "Ilisssa"
    if animal and chooser.random() < 0.6:
        return chooser.choice(_ANYONE)
    return chooser.choice(_HERS if sex == "f" else _HIS)
