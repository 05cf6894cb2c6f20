"""Plots of people who set out: tasks, spells, riddles, sisters and brothers."""

from __future__ import annotations

from grammar.plot import Plot

_LOST = (
    {"thing": "a golden ring", "the": "the golden ring", "where": "at the bottom of the lake"},
    {"thing": "a silver key", "the": "the silver key", "where": "in the nest of the black raven"},
    {"thing": "the water of life", "the": "the water of life", "where": "in a well behind seven mountains"},
    {"thing": "a singing apple", "the": "the singing apple", "where": "on the top of the glass hill"},
    {
        "thing": "a blue flower that cures every sickness",
        "the": "the blue flower",
        "where": "in the garden of the ogre",
    },
    {
        "thing": "a feather of the golden bird",
        "the": "the golden feather",
        "where": "in a cage of iron in the tower of the wizard",
    },
    {"thing": "a lamp that never goes out", "the": "the lamp", "where": "in the deepest cave of the mountain"},
)
_ILL = (
    {
        "who": "{h.his} mother",
        "need": "lay ill, and no doctor could help her",
        "end": "rose from her bed, as well as ever",
    },
    {
        "who": "{h.his} father",
        "need": "had fallen sick, and grew weaker every day",
        "end": "sat up and laughed and called for his supper",
    },
    {
        "who": "{h.his} little sister",
        "need": "had been bewitched, and slept day and night",
        "end": "opened her eyes and asked for bread and honey",
    },
    {
        "who": "the old king",
        "need": "was so sad that he would not speak or eat",
        "end": "smiled for the first time in seven years",
    },
)
_RIDDLES = (
    {"q": "What has teeth and cannot bite?", "a": "A comb"},
    {"q": "What runs all day and never gets tired?", "a": "A river"},
    {"q": "What grows bigger, the more you take away from it?", "a": "A hole"},
    {"q": "What is full of holes and still holds water?", "a": "A sponge"},
    {"q": "What has one eye and cannot see?", "a": "A needle"},
    {"q": "What goes up when the rain comes down?", "a": "An umbrella"},
    {"q": "What has a neck and no head?", "a": "A bottle"},
    {"q": "What comes into the house without knocking?", "a": "The sunlight"},
    {"q": "What is sweeter than honey?", "a": "Sleep, for the king himself lays down his crown for it"},
    {"q": "What is heavier than lead?", "a": "A sad heart"},
    {
        "q": "What is the swiftest thing in the world?",
        "a": "A thought, for it is round the world and home again in a moment",
    },
    {"q": "Who speaks every language?", "a": "The echo"},
    {"q": "What goes on four legs and has no feet?", "a": "A table"},
    {"q": "What becomes wetter, the more it dries?", "a": "A towel"},
    {"q": "What belongs to you, though others use it more than you?", "a": "Your name"},
    {"q": "What has a face and two hands, and no legs?", "a": "A clock"},
    {"q": "What can you break without touching it?", "a": "A promise"},
    {"q": "What follows you by day and leaves you at night?", "a": "Your shadow"},
    {"q": "What falls and is never hurt?", "a": "The snow"},
    {"q": "What is richer than a king?", "a": "The earth, for everything comes out of it and goes back to it"},
)
_POT = (
    {"o": "pot", "makes": "porridge", "start": "Cook, little pot, cook", "stop": "Stop, little pot, stop"},
    {"o": "mill", "makes": "flour", "start": "Grind, little mill, grind", "stop": "Rest, little mill, rest"},
    {"o": "jug", "makes": "milk", "start": "Pour, little jug, pour", "stop": "Enough, little jug, enough"},
    {"o": "basket", "makes": "apples", "start": "Fill, little basket, fill", "stop": "Hold, little basket, hold"},
    {"o": "oven", "makes": "bread", "start": "Bake, little oven, bake", "stop": "Cool, little oven, cool"},
)
_REWARDS = (
    {
        "good": "at every word that {h.he} spoke a gold piece fell from {h.his} lips",
        "bad": "at every word they spoke a toad sprang out of their mouths",
    },
    {
        "good": "{h.his} pockets were always full of gold, however much {h.he} gave away",
        "bad": "their pockets were full of stones, however often they emptied them",
    },
    {
        "good": "flowers sprang up wherever {h.he} set {h.his} foot",
        "bad": "it rained wherever they went, and only on the two of them",
    },
    {
        "good": "all the animals understood {h.his} words and came when {h.he} called",
        "bad": "all the dogs in the land barked at them",
    },
)
_CURES = (
    {
        "want": "could not laugh",
        "f1": "told jokes",
        "f2": "[stood on his head|made the funniest faces]",
        "how": "slipped on the wet floor and sat down in the great pudding that the cook was carrying in",
        "then": "began to smile, and then to laugh, and laughed until the windows rang",
    },
    {
        "want": "could not sleep",
        "f1": "sang cradle songs",
        "f2": "[read from a dull book|counted a thousand sheep]",
        "how": "sat down by the bed and told a story, quite softly, of a lamb that looked for its mother in the snow",
        "then": "gave a little sigh, closed both eyes and slept until noon of the next day",
    },
    {
        "want": "would not speak",
        "f1": "asked a hundred questions",
        "f2": "[shouted through a trumpet|brought a talking bird]",
        "how": "did not ask anything at all, but sat down on the floor and played with a ball of wool",
        "then": 'said quite clearly, "May I play, too?"',
    },
    {
        "want": "would not eat",
        "f1": "brought cakes with seven layers",
        "f2": "[brought soup in golden bowls|brought roast swan]",
        "how": "sat down on the steps and ate a piece of dry bread, with great pleasure, and hummed a tune",
        "then": 'said, "That smells good. Give me a bite," and ate the whole piece',
    },
)

PLOTS: tuple[Plot, ...] = (
    Plot(
        titles=("The {H.noun} Who Set Out", "{h.n} and the Three Helpers", "The {h.noun} and the {g.noun}"),
        roles={
            "h": "child, royal young, worker village, wanderer village, young animal, small forest",
            "a": "animal small",
            "b": "animal feathered, animal strong, bird",
            "c": "animal water, animal swimmer",
            "g": "=witch, =ogre, =giant, =wizard, =troll, =dragon, =dwarf",
        },
        slots={"l": _LOST, "i": _ILL},
        nameless="abcg",
        wicked="g",
        about=("a quest", "being kind", "magic"),
        want="{H} wanted to find {l.the}.",
        lesson="Good deeds are never lost.",
        text="""{@begin:h} [{@ordinary:h}|] Now {i.who} {i.need}. "[Only {l.the} can help|There is nothing for it
        but {l.the}]," said [the wise woman|an old man with a white beard]. "But it is {l.where}, and {g.one} keeps
        it."

        "Then I will fetch it," said {h}. {@sets_out:h}.

        {@weather} {@walk:h}, [until {h.he} came to a great wood|and came at last to a lonely place]. {@trouble:a}
        {@promise:a}

        {@next_day} {h} went on. {@trouble:b} {@promise:b}

        On the third day {h.he} came to [the sea|a wide water]. {@stranded:c} {@promise:c}

        [At last|After seven days] {h} came to the place where {g.k} lived. "[What do you want here?|Who dares to
        come to my door?]" cried {g.k}. "I have come for {l.the}," said {h}, and {h.his} voice did not shake.
        "[Very well|Good], but first you must do three things for me. If you cannot do them, [I will turn you into
        a stone|you must serve me for a hundred years|I will eat you for supper]."

        First, {g.k} threw a sack of seeds into the grass and said, "Pick them up before the sun rises, and let not
        one be missing." {@Sad:h}. Then {h.he} thought of {a.k}. In a moment {a} was there, with all {a.his}
        brothers and sisters, and before the night was over the sack was full.

        Next, {g.k} said, "Bring me [a leaf from the highest branch of the highest tree|a stone from the top of the
        mountain], before the clock strikes." {H} called {b.k}, and {b} [brought it before the clock had struck
        once|came at once and fetched it].

        Last of all, {g.k} threw a ring into the deep water. "[Bring me that|Find it], if you can." But {c} was
        already there, and {c.he} laid the ring at {h.k}'s feet.

        Then {g.k} was so angry that {g.he} [stamped on the ground, and the ground opened and swallowed {g.him}
        up|burst like a bubble|flew up the chimney and never was seen again]. {H} took {l.the} and ran home. And as
        soon as {h.he} came in at the door, {i.who} {i.end}. {@Glad:h}, and {@feast}. {@end:h}""",
        weight=2.0,
    ),
    Plot(
        titles=(
            "The Three {h.boy}s and the Old Woman at the Well",
            "The Youngest {h.child}",
            "The Well at the World's End",
        ),
        roles={"h": "child, royal young, worker village"},
        slots={
            "r": _REWARDS,
            "w": (
                {"a": "an old woman", "k": "old woman"},
                {"a": "a poor old man", "k": "old man"},
                {"a": "a little grey man", "k": "little grey man"},
                {"a": "a beggar", "k": "beggar"},
            ),
        },
        named="h",
        about=("three brothers", "three sisters", "a well", "being kind"),
        want="{H} only wanted to help.",
        lesson="A kind word costs nothing and brings much.",
        text="""{@once} there was a [poor man|widow|king|miller] who had three {h.child}s. The two eldest were
        [proud and lazy|handsome and hard-hearted], but the youngest, whose name was {h.n}, was kind to everyone.
        [The others laughed at {h.him} and let {h.him} do all the work.|They called {h.him} a simpleton.]

        {@one_day} the eldest {h.child} went to the well at the edge of the wood. There sat {w.a}. "[I am so
        thirsty|My hands are weak]," said the {w.k}. "Give me a drink of water." "Draw it yourself," said the
        eldest, "I am not your servant." And the {w.k} [said nothing|only nodded].

        {@next_day} the second {h.child} went to the well, and there sat the {w.k} again. "Please, give me a drink
        of water." "[I have no time,|Why should I?]" said the second. And the {w.k} said nothing.

        On the third day {h.n} went to the well. "[Dear child|My child], I am so thirsty," said the {w.k}. "[You
        shall have the best water there is|With all my heart]," said {h.n}, and {h.he} [rinsed the cup three
        times|drew up fresh water, cold and clear], and held it while the {w.k} drank. Then {h.he} gave the {w.k}
        half of {h.his} bread as well.

        "You have a good heart," said the {w.k}, "and it shall bring you luck." And the {w.k} was gone. {H.n} went
        home and told them what had happened. But from that hour {r.good}. And the two eldest? [When they ran to
        the well to get their reward, nobody was there, and from that hour|They had their reward, too:] {r.bad}.

        [{H.n} was sorry for them, and shared with them all {h.he} had; and little by little they learned to be
        kind.|In the end they begged {h.n} to forgive them, and {h.he} forgave them gladly.] {@end:h}""",
    ),
    Plot(
        titles=("The Three Riddles", "The Clever {h.noun}", "The {h.noun} and the King's Riddles"),
        roles={
            "h": "worker village, child, elder, small forest, wanderer, royal young",
            "k": "=king, =queen, =princess, =giant, =dragon, =wizard",
        },
        slots={
            "r1": _RIDDLES,
            "r2": _RIDDLES,
            "r3": _RIDDLES,
            "p": ("half the kingdom", "a sack of gold", "the golden apple", "a house with a garden", "a white horse"),
        },
        nameless="k",
        about=("a riddle", "being clever"),
        want="{H} wanted to answer three riddles.",
        lesson="A clear head is worth more than gold.",
        text="""{@once} there was {k.a}, who loved riddles better than anything else. [{K.He} let it be known
        through all the land|One day {k.he} sent out a messenger to say] that whoever could answer three riddles
        should have {p}. "But whoever cannot," said {k.k}, "must [sweep my stairs for a year|go home with a shaven
        head|stay in my tower]."

        [Great lords came, and learned doctors with thick books|Many came], but not one of them could answer. Now
        {k.he} had not reckoned with {h.a}, who lived {h.home}. "[I will try my luck,|Why should I not try?]" said
        {h}. [{H.His} neighbours laughed at {h.him}.| "You?" said the neighbours. "You will soon be back."]
        {@sets_out:h}.

        "So you want to guess my riddles?" said {k.k}. "Then tell me: {r1.q}"

        {@Think:h} "{R1.a}," said {h}.

        "[That was easy|You have guessed that one]," said {k.k}. "Now the second. {R2.q}"

        [{H} smiled.|{H} looked out of the window.] "{R2.a}," {h.he} said.

        {K.K} [frowned|bit {k.his} lip|leaned forward]. "The third is the hardest," {k.he} said. "{R3.q}"

        [It was so still that one could hear the candles burn.|Everyone held their breath.] {@Think:h} "{R3.a},"
        {h.he} said at last.

        "[Right again|That is the answer]!" cried {k.k}. "[Who taught you to be so clever?"
        "Nobody|How did you know that?" "I keep my eyes and ears open]," said {h}. "{@modest}" Then {k.k} [laughed and
        gave {h.him} {p}|kept {k.his} word, and {h} got {p}], and {@feast}. {@end:h}""",
        weight=1.2,
    ),
    Plot(
        titles=("The {e.noun} Who Was a {w}", "The Enchanted {e.noun}", "The {h.noun} and the {e.noun}"),
        roles={
            "h": "child, royal young, worker village, elder",
            "e": "=frog, =bear, =raven, =swan, =stag, =hedgehog, =cat, =toad, =fish, =owl, =snake, =donkey",
        },
        slots={
            "w": ("prince", "king's son", "knight"),
            "p": ("golden ball", "silver comb", "little crown", "golden ring", "thimble"),
            "y": ("well", "pond", "deep pool", "river"),
        },
        nameless="e",
        about=("a spell", "keeping a promise", "an enchanted prince", "magic"),
        want="{H} wanted {h.his} {p} back.",
        lesson="What you have promised, you must do.",
        text="""{@begin:h} {H.His} dearest possession was a {p}. {@one_day}, as {h} sat by the {y} and played with
        it, the {p} [slipped out of {h.his} hands|fell] into the water and sank to the bottom. {@Sad:h}.

        "{@why_weep}" said a voice. {H} looked round and saw {e.one}. "[My {p} is at the bottom of the {y}|I have
        lost my {p}]," said {h}. "[That can be helped|I can get it for you]," said {e.k}. "But what will you give
        me for it?"

        "[Whatever you like|Anything you wish]," said {h}.

        "I want [neither gold nor pearls|no treasure]," said {e.k}. "Let me sit beside you at table, and eat from
        your plate, and sleep for three nights under your roof." {H} promised it[, but in {h.his} heart {h.he}
        thought, "How silly {e.he} is!"| without thinking much about it]. And {e.k} brought up the {p}. {H} [took
        it and ran home|was so glad that {h.he} ran home with it and forgot everything else].

        That evening there was a knock at the door. "Open the door and keep your promise!" It was {e.k}. {H} [was
        frightened|wanted to shut the door], but then {h.he} thought, "[I gave my word|What I have promised, I must
        do]." So {e.k} sat beside {h.him} and ate from {h.his} plate, and slept by the stove. And so it was on the
        second night, too. [And the longer they talked, the better {h} liked {e.him}.|{E.K} told such good stories
        that {h} laughed aloud.]

        But on the third morning there stood by the stove a young {w}, who said, "[A wicked witch had put a spell
        on me|I was under a spell], and nobody could break it but one who kept a promise. You have set me free."
        {@Glad:h}. The {w} [took {h} with him to his father's palace|gave {h} a chest of gold], and {@feast}. [And
        they remained good friends all their lives.|They were good friends ever after.] {@end:h}""",
        weight=1.0,
    ),
    Plot(
        titles=("The Three Wishes", "The {h.noun} and the Three Wishes", "The Wishing {f.noun}"),
        roles={
            "h": "village grown, elder, child, tame slow, worker",
            "f": "=fish, =fairy, =dwarf, =bird, =elf, =frog, =unicorn, =swan, =trout",
        },
        slots={
            "s": (
                {
                    "w1": "I had a big sausage",
                    "it": "the sausage",
                    "w2": "that it hung from your nose",
                    "on": "there it hung, fast to the end of {h.his} nose, and nobody could pull it off",
                },
                {
                    "w1": "I had a cake as big as a wheel",
                    "it": "the cake",
                    "w2": "that you were a mouse, to nibble at it all day",
                    "on": "{h.he} was no bigger than a thumb and had whiskers and a tail",
                },
                {
                    "w1": "that it were summer, and warm",
                    "it": "the heat",
                    "w2": "that it would rain and never stop",
                    "on": "the rain came down in streams, and the water rose to the window",
                },
                {
                    "w1": "I had a house full of gold",
                    "it": "the gold",
                    "w2": "that you sat on the church tower",
                    "on": "{h.he} rose up in the air and sat on the tip of the church tower, and could not get down",
                },
            )
        },
        nameless="f",
        about=("three wishes", "magic", "being content"),
        want="{H} wanted to use {h.his} three wishes well.",
        lesson="Think before you wish.",
        text="""{@begin:h} {@ordinary:h} {@one_day} {h} [found|came upon] {f.one} [who had been caught in a net|who
        was stuck fast between two stones|who could not move]. "[Set me free|Let me go], and you shall have three
        wishes," said {f.k}. So {h} [set {f.him} free|let {f.him} go], and {f.k} said, "[Use them well|Think well
        before you speak], for you have only three."

        {H} went home and sat down to think. "[Shall I wish for a castle?|What shall I wish for?]" {h.he} said.
        {H.He} thought until [{h.his} head ached|it was night], and at last {h.he} grew hungry. "Oh," {h.he}
        sighed, "I wish {s.w1}!" No sooner had {h.he} said it than there it was.

        "[Foolish {h.noun}|What have you done]!" cried a neighbour who had looked in at the window. "You could have
        wished for a kingdom. [I wish|And now you have nothing but that. One could almost wish] {s.w2}!" [But {h}
        had been just about to say the same thing, and {h.he} said it, too.| "I wish it myself!" cried {h} in
        {h.his} anger.] And at once {s.on}.

        There was a great to-do. [They pulled and they pushed, but it was of no use.|{H} wept and wrung {h.his}
        hands.] There was only one wish left. {@Think:h} "[I could still be rich,|What good is gold to me now?]"
        {h.he} said. "No! I wish that everything were just as it was before."

        And so it was. {S.it} was gone, and {h} sat by {h.his} stove as before. [{H.He} had no more than in the
        morning, but never had {h.his} soup tasted so good.|"I have had three wishes," {h.he} said, "and the last
        was the best."] {@end:h}""",
        weight=0.8,
    ),
    Plot(
        titles=("The {p.o} That Would Not Stop", "The Magic {p.o}", "The {h.noun} and the Magic {p.o}"),
        roles={
            "h": "child, worker village, elder, small tame",
            "m": "elder, =fairy, =dwarf, =witch",
            "g": "rich, sly person, =baker, =cook",
        },
        slots={"p": _POT},
        nameless="m",
        wicked="g",
        about=("a magic thing", "magic", "being greedy"),
        want="{H} wanted enough to eat.",
        lesson="He who takes what is not his may get more than he wants.",
        text="""{@begin:h} {H.He} was so poor that often there was nothing at all to eat. {@one_day} {h} went into
        the wood to look for berries, and there {h.he} met {m.one}. "[I know what you need|You look hungry]," said
        {m.k}, and gave {h.him} a little {p.o}. "[When you say|You need only say], '{p.start},' it will make good
        sweet {p.makes}; and when you say, '{p.stop},' it will stop. [Do not forget the words.|Remember both.]"

        {H} took the little {p.o} home, and now there was an end of hunger. [Whenever {h.he} liked|Every day],
        {h.he} said, "{p.start}," and there was {p.makes} enough for {h.him} and for all the poor people round
        about. [And {h} never took more than was needed.|]

        But {g.a} heard of it and looked in at the window. {G.He} heard how {h} said, "{p.start}," [and ran off
        before {h.he} said anything more|but did not wait to hear the rest]. That night, while {h} was asleep, {g}
        [crept in and stole the little {p.o}|carried the little {p.o} away].

        "[Now I shall be rich|Now it belongs to me]," said {g.k}. "{P.start}!" And it did. It made {p.makes} and
        more {p.makes}, until the [kitchen|room] was full, and then the whole house. "[Enough|Stop it|That will
        do]!" cried {g}. But {g.he} did not know the right words. The {p.makes} came out at the door and ran down
        the street, and [people opened their windows and looked out in surprise|everyone ran to the hill].

        Then {h} woke up. [{H.He} rubbed {h.his} eyes.|"That is my little {p.o}!" {h.he} cried.] {H.He} ran out
        into the street and called, "{P.stop}!" And it stopped.

        {G} [had to eat {g.his} way home|was so ashamed that {g.he} gave the little {p.o} back and never stole
        again]. And {h} said, "[Why did you not ask me?|You need only have asked.] There would have been enough for
        you, too." {@end:h}""",
        weight=0.8,
    ),
    Plot(
        titles=("The {k.noun} Who {c.t}", "The {h.noun} at Court", "How the {h.noun} Made the {k.noun} Well"),
        roles={"h": "worker village, child !royal, wanderer village, elder, small tame, =frog, =mouse", "k": "royal"},
        slots={"c": tuple({**cure, "t": cure["want"].title()} for cure in _CURES)},
        named="h",
        about=("a castle", "being yourself"),
        want="{H} wanted to help {k.k}.",
        lesson="The simplest way is often the best.",
        text="""{@begin:k} {K.He} had [everything that one could wish for|golden plates and silken clothes], but
        there was one great trouble: {k.k} {c.want}. [Doctors came from all the corners of the earth|It was cried
        through the whole land that whoever could cure {k.him} should have a rich reward], but nobody could help.

        First came a famous doctor. He {c.f1}. But it was of no use. Then came a [rich merchant|great lord|learned
        man with a long beard]. He {c.f2}. That was of no use either. Then came [a juggler|the strongest man in the
        land], and he did no better.

        Now {h.one} lived near by, and {h.his} name was {h.n}. "[May I try?|Let me try it]," said {h.n}. "[What can
        you do|You]?" said the servants, but they let {h.him} in. And {h.n} {c.how}.

        [Everyone was terrified.|Everyone stood still.] But {k.k} {c.then}.

        "At last!" [they all cried|cried the whole court], and {@feast}. "[What will you have for your reward?|Ask
        for whatever you like]," they said to {h.n}. "[Nothing at all|I have all that I need]," said {h.n}, "but I
        should like to come again tomorrow, for [{k.k} is good company|it is pleasant here]." And so {h.he} did[,
        and every day after that|]. {@end_two:h,k}""",
        weight=0.8,
    ),
    Plot(
        titles=("The Lost {h.noun}", "{h.n} in the Forest", "The Light in the Wood"),
        roles={
            "h": "child, small animal !sea !water, young animal, toy small, royal young",
            "a": "animal",
            "g": "wise, =owl, =star, =fairy, elder, =firefly",
        },
        slots={
            "w": (
                "{h.he} had followed a yellow butterfly",
                "{h.he} had gone to look for mushrooms",
                "{h.he} had chased a rolling hoop of gold leaves",
                "{h.he} had wanted to see where the brook came from",
                "{h.he} had gone after the sound of a bell",
            )
        },
        about=("being lost", "the forest", "going home", "the night"),
        want="{H} wanted to find the way home.",
        lesson="Even in the darkest wood there is a light somewhere.",
        text="""{@begin:h} {H.His} mother always said, "[Do not go too far|Stay where you can see the chimney]."
        But one day, [before {h.he} knew it|without noticing it], {h} was deep in the forest. {W}, and now {h.he}
        did not know the way back.

        [The trees stood close together|The trees were tall and black], and {@dark}. {H} called, but only the echo
        answered. {@Sad:h}.

        Then {a.a} came out of the bushes. "{@why_weep}" said {a.k}. "I [have lost my way|cannot find my way
        home]," said {h}. "[I do not know the way either|I have never been outside the wood]," said {a.k}, "but [go
        to {g.one}, who sees a great deal|{g.one} lives near the big stone and knows everything]. I will [go with
        you a little way|show you the path]." And {a} went in front, and {h} followed.

        So they came to {g.a}. "[You are far from home, little one|I have been expecting you]," said {g.k}. "Are
        you afraid of the dark?" "Yes," said {h}[, for {h.he} did not like to tell a lie|]. "[The dark is only the
        day with its eyes shut|There is nothing in it that is not there by day]," said {g.k}. "[Look up.|Now
        listen.] [Do you see that bright star? Walk towards it, and you will come to the brook.|Do you hear the
        brook? It runs past your own door.] Follow the brook, and it will take you home."

        {H} [thanked them both|said thank you] and walked on bravely. [An owl hooted, and something rustled, but
        {h.he} did not run.|{H.He} sang to keep up {h.his} heart.] {H.He} walked and walked, and there, between the
        trees, was a little light. It was {h.his} mother, standing at the door with a lantern. "{H.n}!" she cried.
        "[Where have you been?|There you are at last!]" {@Glad:h}.

        [That night {h.he} had hot milk and was put to bed.|They had supper together, and {h} told of {a.k} and
        {g.k}.] {@end:h}""",
        weight=1.5,
    ),
    Plot(
        titles=(
            "The {h.noun} and the {d.noun}",
            "The {d.noun} of the Mountain",
            "How the {h.noun} Made Peace with the {d.noun}",
        ),
        roles={
            "h": "child, royal young, worker village, small animal !tiny, wanderer village, knight, elder",
            "d": "=dragon, =giant, =ogre, =troll, =lion, =bear, =whale, =ghost, =witch, =wolf",
        },
        slots={
            "n": (
                {
                    "bad": "roared so loudly every night that nobody could sleep",
                    "why": "I have had a toothache for a hundred years",
                    "fix": "{H} looked into the great mouth, found a bone stuck between two teeth, and pulled it out",
                },
                {
                    "bad": "frightened everyone who came along the road",
                    "why": "I only wanted somebody to talk to, and they always run away",
                    "fix": "{H} sat down and told {d.him} all the news of the village",
                },
                {
                    "bad": "stole the apples from every garden",
                    "why": "I am so hungry, and nobody has ever asked me to dinner",
                    "fix": "{H} took {d.him} home and cooked the biggest pot of soup that was ever seen",
                },
                {
                    "bad": "let nobody cross the bridge",
                    "why": "they threw stones at me, and so I threw stones at them",
                    "fix": "{H} asked for pardon in the name of all the others and gave {d.him} a red scarf",
                },
                {
                    "bad": "wept so hard every night that the fields were flooded",
                    "why": "I have lost my little silver bell, and cannot sleep without it",
                    "fix": "{H} crept into the cave and found the bell behind a stone",
                },
            )
        },
        named="h",
        about=("being brave", "a monster", "courage", "making peace"),
        want="{H} wanted to find out why {d.k} was so wild.",
        lesson="Often the one whom all fear only needs a friend.",
        text="""{@begin:h} {@ordinary:h} But near by lived {d.a}, who {n.bad}. "[Somebody must do something|It
        cannot go on like this]," said the people. [Soldiers came with swords and drums, but they ran home
        again.|The mayor wrote a letter, but nobody dared to deliver it.]

        "I will go and ask what the matter is," said {h}. "[You? You are much too small|Do not go]!" they all
        cried. "[Asking costs nothing|I am afraid, too], but I will go," said {h}. {@sets_out:h}.

        {@weather} {@walk:h}, until {h.he} stood before the place where {d.k} lived. "WHO IS THERE?" cried {d.k}[
        in a terrible voice|, so that the stones shook]. {H.k}'s knees trembled, but {h.he} [stood still|bowed
        politely] and said, "My name is {h.n}, and I have come to ask you something. Why are you so angry with us?"

        {D.K} was so surprised that {d.he} [sat down|forgot to roar]. "[Nobody has ever asked me that before|You
        are the first who asks]," {d.he} said. "I am not angry. The truth is that {n.why}."

        "[Is that all?|Poor {d.noun}!]" said {h}. "[That can be mended|We shall soon put that right]." {N.fix}.
        {D.K} [heaved a sigh that blew the leaves from the trees|smiled, and it was the first time in a hundred
        years]. "[Thank you|Now I am well again]," {d.he} said.

        Then they went down to the village together. At first everyone ran away, but when they saw {h} [riding on
        {d.k}'s back|walking hand in hand with {d.k}], they came out again, one by one, and {@feast}. And from that
        day on {d.k} [kept watch over the village|carried the children to school|warmed the bath water for the
        whole village]. {@end_two:h,d}""",
        weight=1.4,
    ),
    Plot(
        titles=("The Stranger at the Door", "The {h.noun} Who Opened the Door", "The Winter Guest"),
        roles={
            "h": "village grown, elder, child, tame animal, forest slow",
            "r": "rich, castle royal, vain !sea, =miller, =merchant",
        },
        slots={
            "s": (
                {"a": "an old man in a grey cloak", "k": "old man"},
                {"a": "an old woman with a stick", "k": "old woman"},
                {"a": "a little man with snow in his beard", "k": "little man"},
                {"a": "a beggar in rags", "k": "beggar"},
            ),
            "g": (
                "the loaf on the table never grew smaller",
                "the stove stayed warm all winter long, though nobody put wood in it",
                "the lamp never burned out",
                "the jug of milk was never empty",
                "the apple tree before the door bore fruit in the snow",
            ),
        },
        wicked="r",
        about=("winter", "kindness", "the snow", "Christmas"),
        want="{H} wanted to keep the stranger warm.",
        lesson="Open your door, for you do not know who is knocking.",
        text="""{@begin:h} {H.He} had only [one room and one bed|a crust of bread and a small fire]. Not far away
        lived {r.a}, who had [more than {r.he} could eat in a lifetime|a fine house with ten chimneys].

        One [bitter cold|stormy] winter night {s.a} came along the road. The {s.k} knocked first at the house of
        {r.k}. "[Let me warm myself|Give me shelter for the night], for pity's sake." "[There is no room here|Go
        away]!" said {r.k}, and shut the door. [The snow fell thicker and thicker.|And the wind blew harder than
        ever.]

        Then the {s.k} knocked at {h.k}'s door. "[Come in, come in|Come in quickly]!" said {h}. "You must be
        frozen. [Sit down by the fire|Take my chair]. There is not much, but what there is we will share." And {h}
        gave the guest half of {h.his} supper, and {h.his} own bed, and slept on the floor.

        {@next_day} the guest [stood at the door|was ready to go]. "[You gave me all you had|You did not ask who I
        was]," said the {s.k}. "Now I will leave you something in return." And [before {h} could say a word|with
        these words] the {s.k} was gone, and there were no footprints in the snow. But from that day on {g}.

        {R} soon heard of it and [was green with envy|could not sleep for envy]. The next time it snowed {r.he}
        stood at the door and called to everyone who went by, "Come in, come in!" But [nobody came|only the wind
        came in and blew out all the candles]. So in the end {r} went over to {h.k}, and said, "[I am cold|I have
        everything, and I am lonely]. May I come in?" "[Of course|Sit down]," said {h}[, and put another plate on
        the table|, and moved a little to one side]. {@end_two:h,r}""",
        weight=1.0,
    ),
)
