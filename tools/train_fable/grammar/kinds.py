"""Who may live in a tale: kinds of beings, where they live and what they like."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of being. `sexes` holds "m", "f" or both; `tags` say which parts it can play."""

    noun: str
    sexes: str
    tags: frozenset[str]
    homes: tuple[str, ...]
    food: str
    adjectives: tuple[str, ...]


_HOMES = {
    "forest": (
        "in a deep forest",
        "at the edge of a great forest",
        "in a hollow under an old oak",
        "in the heart of the wood",
        "under the roots of a fir tree",
        "on the side of a green hill",
    ),
    "farm": (
        "on a small farm",
        "in a farmyard behind the mill",
        "in the yard of an old farmhouse",
        "in a barn at the end of the lane",
        "on a farm by the river",
    ),
    "bird": (
        "in a tall elm tree",
        "in a nest at the top of a fir tree",
        "in the old church tower",
        "in an apple tree behind a cottage",
        "in a hedge by the road",
    ),
    "water": (
        "by a quiet pond",
        "among the reeds of a lake",
        "on the bank of a slow brown river",
        "by a stream that ran down from the hills",
    ),
    "sea": ("far out in the blue sea", "at the bottom of the sea", "in a bay where the water was green and still"),
    "tiny": (
        "in a crack in a garden wall",
        "under a cabbage leaf",
        "in a meadow full of clover",
        "under a stone beside the path",
    ),
    "wild": (
        "in a hot country far to the south",
        "on a wide yellow plain",
        "in a thick jungle",
        "among the rocks of a far country",
    ),
    "village": (
        "in a small village",
        "in a little house at the edge of the village",
        "in a cottage by the wood",
        "in a hut by the river",
        "in a crooked street near the market",
        "at the foot of a mountain",
    ),
    "castle": (
        "in a white castle on a hill",
        "in a castle with seven towers",
        "in a great palace by the sea",
        "in a castle in the mountains",
    ),
    "magic": (
        "in a cave under the mountain",
        "in a tower that no road led to",
        "in the dark part of the wood",
        "on an island in a black lake",
    ),
    "toy": (
        "on a shelf in a toy shop",
        "in a box in the nursery",
        "on the window-sill of a small room",
        "in the attic of an old house",
    ),
}
_ADJECTIVES = {
    "animal": ("little", "young", "old", "clever", "lazy", "proud", "hungry", "shy", "brave", "gentle", "small"),
    "person": ("poor", "young", "old", "kind", "honest", "merry", "lonely", "brave", "clever", "quiet"),
    "child": ("little", "poor", "kind", "brave", "merry", "curious", "small", "lonely"),
    "royal": ("young", "proud", "lonely", "kind", "brave", "wise"),
    "magic": ("old", "lonely", "strange", "clever", "small"),
    "toy": ("little", "old", "brave", "small", "proud"),
}
# noun | sexes | tags | food; the first tag that `_HOMES` knows says where it lives, "animal" and so on how it is.
_TABLE = """
fox | mf | forest animal sly hunter quick | roast goose
wolf | m | forest animal hunter strong | mutton
bear | mf | forest animal strong big | honey
rabbit | mf | forest animal small quick prey meek | carrots
hare | mf | forest animal small quick prey vain | clover
squirrel | mf | forest animal small quick prey | hazelnuts
hedgehog | mf | forest animal small slow meek | ripe pears
badger | mf | forest animal strong | sweet roots
mole | mf | forest animal small slow meek | fat worms
deer | mf | forest animal quick prey vain | young leaves
stag | m | forest animal quick vain | young leaves
owl | mf | bird animal wise | supper by moonlight
mouse | mf | forest animal small quick prey meek | yellow cheese
weasel | mf | forest animal sly hunter quick | fresh eggs
wild boar | m | forest animal strong big | acorns
dormouse | mf | forest animal small slow meek | beech nuts
cat | mf | farm animal sly hunter quick tame | warm milk
kitten | mf | farm animal small quick tame young | warm milk
dog | m | farm animal strong tame | a good bone
puppy | mf | farm animal small tame young | a good bone
donkey | m | farm animal strong slow tame big | thistles
horse | m | farm animal strong quick tame big vain | oats
pony | mf | farm animal quick tame big | apples
cow | f | farm animal strong slow tame big | fresh grass
ox | m | farm animal strong slow tame big | fresh hay
goat | mf | farm animal tame prey | cabbage leaves
lamb | mf | farm animal small tame prey young meek | sweet grass
sheep | f | farm animal tame prey meek | sweet grass
pig | mf | farm animal tame prey slow | warm mash
hen | f | farm animal tame prey feathered meek | yellow corn
cock | m | farm animal tame prey feathered vain | yellow corn
rooster | m | farm animal tame prey feathered vain | yellow corn
chick | mf | farm animal small tame prey feathered young | crumbs
goose | f | farm animal tame prey feathered | barley
duck | f | farm animal tame prey feathered meek | duckweed
duckling | mf | farm animal small tame prey feathered young meek | duckweed
turkey | m | farm animal tame prey feathered vain | barley
peacock | m | farm animal tame feathered vain | sugar crumbs
rat | m | farm animal small sly quick | bacon rind
sparrow | mf | bird animal small quick flier meek | bread crumbs
robin | mf | bird animal small flier meek | bread crumbs
lark | mf | bird animal small flier singer | seeds of grass
nightingale | mf | bird animal small flier singer meek | berries
raven | mf | bird animal sly flier wise | cheese
crow | mf | bird animal sly flier vain | cheese
magpie | f | bird animal sly flier vain | cherries
swallow | mf | bird animal small quick flier | gnats
dove | f | bird animal flier meek | white peas
eagle | m | bird animal strong hunter flier big | fish
stork | mf | bird animal flier wise | frogs' legs
parrot | mf | wild bird animal flier vain | nuts
swan | mf | water animal feathered vain | water weed
frog | mf | water animal small singer | flies
toad | mf | water animal small slow meek | beetles
otter | mf | water animal quick hunter | trout
beaver | mf | water animal strong | birch bark
fish | mf | water odd animal small swimmer quick | bread crumbs
trout | mf | water odd animal small swimmer quick | gnats
turtle | mf | water animal slow meek | green lettuce
tortoise | mf | wild animal slow meek wise | green lettuce
whale | mf | sea odd animal strong swimmer big | little shrimps
crab | mf | sea animal small slow | sea weed
seal | mf | sea odd animal swimmer | herrings
dolphin | mf | sea odd animal swimmer quick | herrings
lion | m | wild animal strong hunter big vain | meat
tiger | mf | wild animal strong hunter big | meat
elephant | mf | wild animal strong slow big wise | bananas
monkey | mf | wild animal sly quick | bananas
jackal | m | wild animal sly hunter | bones
crocodile | mf | wild animal strong hunter swimmer slow | anything that fell into the river
snake | mf | wild animal sly hunter | eggs
camel | mf | wild animal strong slow big | dry thorns
lizard | mf | wild animal small quick | flies
ant | f | tiny animal small busy | grains of wheat
bee | f | tiny animal small busy flier | honey
butterfly | mf | tiny animal small flier vain | the dew of the flowers
grasshopper | m | tiny animal small singer lazy | green blades of grass
cricket | m | tiny animal small singer lazy | crumbs
spider | f | tiny animal small busy | flies
snail | mf | tiny animal small slow meek | lettuce
beetle | m | tiny animal small slow | moss
ladybird | f | tiny animal small flier meek | dew
firefly | m | tiny animal small flier | dew
woodcutter | m | village person grown worker | bread and cheese
fisherman | m | village person grown worker | fried fish
farmer | m | village person grown worker | bacon and beans
miller | m | village person grown worker | white bread
baker | m | village person grown worker | plum cake
tailor | m | village person grown worker | bread and jam
shoemaker | m | village person grown worker | barley soup
weaver | mf | village person grown worker | barley soup
blacksmith | m | village person grown worker strong | beef and beer
potter | m | village person grown worker | bread and onions
gardener | m | village person grown worker | fresh peas
soldier | m | village person grown wanderer | soup
sailor | m | village person grown wanderer | biscuit
merchant | m | village person grown rich | roast meat
hunter | m | village person grown wanderer | roast hare
shepherd | m | village person grown worker | cheese
shepherdess | f | village person grown worker | cheese
goose girl | f | village person worker | bread and milk
milkmaid | f | village person worker | bread and cream
fiddler | m | village person grown wanderer singer | pancakes
clockmaker | m | village person grown worker | apple cake
teacher | mf | village person grown wise | tea and toast
widow | f | village person grown | porridge
old woman | f | village person grown elder wise | porridge
old man | m | village person grown elder wise | porridge
grandmother | f | village person grown elder wise | apple cake
grandfather | m | village person grown elder wise | apple cake
beggar | m | village person grown wanderer | a crust of bread
servant girl | f | village person worker | bread and milk
girl | f | village person child | sweet cherries
boy | m | village person child | apple cake
child | mf | village person child | sugar plums
orphan | mf | village person child | warm bread
shepherd boy | m | village person child worker | bread and cheese
princess | f | castle person royal young | strawberries
prince | m | castle person royal young | roast pheasant
king | m | castle person royal grown rich | roast peacock
queen | f | castle person royal grown rich | white cakes
knight | m | castle person grown wanderer strong | roast meat
page | m | castle person child worker | honey bread
cook | mf | castle person grown worker | a taste of every dish
fairy | f | magic person small flier wise | honey and dew
witch | f | magic person grown wise sly | mushroom soup
wizard | m | magic person grown wise | cold pie
dwarf | m | magic person small sly | nut bread
elf | mf | magic person small quick | honey and dew
giant | m | magic person strong slow big | three oxen at a time
ogre | m | magic person strong slow big sly | a whole sheep
troll | m | magic person strong slow big | goat stew
goblin | m | magic person small sly | mushrooms
mermaid | f | sea odd person swimmer singer | sweet sea grapes
dragon | mf | magic animal strong big flier | hot coals
unicorn | mf | forest animal quick vain big | white lilies
ghost | m | magic person lonely | the smell of supper
pirate | m | sea person grown wanderer sly | salt pork
snowman | m | village toy slow meek | snowflakes
doll | f | toy small meek | sugar tea
tin soldier | m | toy small | nothing at all
rocking-horse | m | toy slow | painted oats
teddy bear | m | toy small meek | honey
wooden puppet | m | toy small | nothing at all
toy drummer | m | toy small | nothing at all
teapot | f | toy slow vain | hot tea
clock | m | toy slow wise | oil
lamp | f | toy slow | oil
scarecrow | m | village toy slow meek lonely | nothing at all
robot | m | toy strong | oil
star | f | magic odd toy small | light
cloud | f | magic odd toy slow meek | rain
tree | m | forest odd toy slow wise | rain
flower | f | forest odd toy small meek vain | rain
zebra | mf | wild animal quick prey vain big | dry grass
giraffe | mf | wild animal slow meek big | young leaves
hippopotamus | mf | wild animal strong slow big | water weed
kangaroo | mf | wild animal quick | fresh grass
rhinoceros | m | wild animal strong slow big | dry grass
ostrich | mf | wild animal quick vain feathered | seeds
leopard | mf | wild animal strong hunter quick | meat
panda | mf | forest animal slow meek big | bamboo
lynx | mf | forest animal sly hunter quick | meat
reindeer | mf | forest animal strong quick | moss
penguin | mf | water animal slow meek feathered | herrings
polar bear | mf | sea animal strong hunter big | fish
walrus | m | sea animal strong slow big | clams
gull | mf | sea bird animal quick flier | herrings
pelican | m | water bird animal flier slow | fish
flamingo | mf | water animal feathered vain | little shrimps
hamster | mf | farm animal small tame meek | sunflower seeds
guinea pig | mf | farm animal small tame meek | carrots
piglet | mf | farm animal small tame prey young meek | warm mash
calf | mf | farm animal tame young slow | warm milk
foal | mf | farm animal quick tame young | sweet grass
gosling | mf | farm animal small tame prey feathered young meek | duckweed
bat | mf | bird animal small flier quick | gnats
cuckoo | mf | bird animal flier sly singer | caterpillars
woodpecker | m | bird animal flier busy strong | beetles
caterpillar | mf | tiny animal small slow meek | green leaves
worm | m | tiny animal small slow meek | black earth
moth | f | tiny animal small flier meek | the light of the lamp
dragonfly | mf | tiny animal small flier quick vain | gnats
painter | m | village person grown worker | bread and wine
poet | m | village person grown wanderer singer | tea and toast
doctor | mf | village person grown worker wise | broth
captain | m | sea person grown wanderer strong | biscuit
maid | f | castle person worker | bread and milk
thief | m | village person grown sly | stolen cake
emperor | m | castle person royal grown rich vain | roast peacock
farmer's wife | f | village person grown worker | bacon and beans
duchess | f | castle person royal grown rich vain | white cakes
gnome | m | magic person small slow | nut bread
genie | m | magic person wise strong | nothing at all
sorceress | f | magic person grown wise sly | herb soup
kettle | m | toy slow | cold water
broom | m | toy slow meek | dust
candle | f | toy small meek | nothing at all
spoon | m | toy small | soup
kite | m | toy vain | wind
balloon | m | toy vain | air
paper boat | m | toy small | rain
train | m | toy strong quick | coal
ball | m | toy quick | nothing at all
nutcracker | m | toy strong | nuts
music box | f | toy singer | nothing at all
umbrella | f | toy meek | rain
little house | f | village odd toy slow meek lonely | smoke
snowflake | f | magic odd toy small | frost
moonbeam | m | magic odd toy small | night air
raindrop | m | magic odd toy small | rain
"""


def _parse() -> dict[str, Kind]:
    kinds = {}
    for line in _TABLE.strip().splitlines():
        noun, sexes, tag_words, food = (field.strip() for field in line.split("|"))
        tags = tag_words.split()
        place = next(tag for tag in tags if tag in _HOMES)
        manner = next(tag for tag in ("child", "royal", "toy", "magic", "animal", "person") if tag in tags)
        adjectives = _ADJECTIVES[manner]
        if "old" in noun.split() or noun.startswith("grand"):
            adjectives = ("kind", "poor", "lonely", "wise", "merry")
        if "young" in tags or noun in ("kitten", "puppy"):
            adjectives = tuple(word for word in adjectives if word != "old")
        kinds[noun] = Kind(noun, sexes, frozenset(tags), _HOMES[place], food, adjectives)
    return kinds


KINDS: dict[str, Kind] = _parse()
