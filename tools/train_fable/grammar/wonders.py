"""Plots of everyday wonders: toys, seeds, the sea, the moon, fear and its end."""

from __future__ import annotations

from grammar.plot import Plot

_FEARS = (
    {"of": "the dark", "try": "go to bed without a candle", "found": "the dark was soft and full of stars"},
    {
        "of": "the water",
        "try": "put one foot into the pond",
        "found": "the water was cool and carried whoever trusted it",
    },
    {
        "of": "the thunder",
        "try": "look out of the window while it rumbled",
        "found": "the thunder only wanted to water the fields",
    },
    {"of": "high places", "try": "climb to the first branch", "found": "from up there one could see the whole world"},
    {
        "of": "strangers",
        "try": "say good morning to somebody new",
        "found": "most strangers are only friends whose names one does not know",
    },
)
_LIGHTS = (
    {
        "it": "the moon",
        "gone": "the nights were as black as pitch",
        "back": "the moon rose over the hill, round and bright",
    },
    {
        "it": "the sun",
        "gone": "it was dark all day long, and nothing grew",
        "back": "the sun rose and everything turned green",
    },
    {
        "it": "the evening star",
        "gone": "no ship could find its way home",
        "back": "the star shone brighter than before",
    },
    {
        "it": "the church bell",
        "gone": "nobody knew any more what time it was",
        "back": "the bell rang out over the whole valley",
    },
    {
        "it": "the spring",
        "gone": "the snow lay on the fields until midsummer",
        "back": "the snow melted, and the first violets opened",
    },
    {"it": "the wind", "gone": "the mills stood still, and no leaf moved", "back": "the wind sang in the trees again"},
)
_SWEETS = (
    "the plum cake",
    "the apple pie",
    "the last of the honey",
    "the big cheese",
    "the strawberry tart",
    "the gingerbread",
)

PLOTS: tuple[Plot, ...] = (
    Plot(
        titles=("The {h.noun} Who Fell Out of the Window", "The Lost {h.noun}", "The Journey of the {h.noun}"),
        roles={
            "h": "toy !magic !forest",
            "c": "child",
            "a": "bird, =rat, =cat, =dog",
            "b": "animal water, small forest",
        },
        about=("a toy", "coming home", "a long journey"),
        want="{H} wanted to get home to {c.n}.",
        lesson="What is loved is never quite lost.",
        text="""{@begin:h} {H.He} belonged to {c.a}, who loved {h.him} more than all the other toys. [Every night
        {h.he} stood beside {c.k}'s bed and kept watch.|They were never apart, not even at supper.]

        {@one_day} [the wind blew the window open|somebody left the window open], and {h} fell out, down and down,
        into the street below. "[Pick me up|Here I am]!" {h.he} wanted to cry, but nobody heard. [Rain began to
        fall.|A cart went by and splashed {h.him} with mud.] {C} came running down to look for {h.him}, but {h} had
        rolled into the gutter, and the water carried {h.him} away.

        {H.He} went under a bridge, where it was as dark as in a box. There sat {a.a}. "[Where are you going?|Have
        you a passport?]" asked {a.k}. "[I do not know|I am going wherever the water goes]," said {h}, "but I am
        thinking of {c.n}." "[Think of something else|That will not help you]," said {a}, but {h} could not.

        Then the water grew [wider and deeper|quick and wild]. {H} [stood up straight, as well as {h.he} could|did
        not complain]. At a bend of the stream {b.a} saw {h.him} and pulled {h.him} out. "[You are not good to
        eat|What a strange fish]," said {b.k}. "[What are you|Who are you], then?" "I am {c.n}'s {h.noun}," said
        {h}, "and I should like to go home."

        "{C.n}? [I know that name|That must be the child that has been crying by the water all day long]," said
        {b}. "The child is sitting on the bank at this moment." And {b} [carried {h.him} there|pushed {h.him} along
        the bank], as carefully as if {h.he} had been made of glass.

        {C} saw something shine in the grass, bent down, and cried aloud for joy. "[You have come back|My own dear
        {h.noun}]!" said {c.n}, and {c.he} dried {h.him} and [kissed {h.him}|put {h.him} by the stove]. [A little
        of the paint was gone, but {c} loved {h.him} all the more.|That night {h} stood in {h.his} old place
        again.] {@end_two:h,c}""",
        weight=1.1,
    ),
    Plot(
        titles=(
            "The {h.noun} and the {o.noun} Change Places",
            "The {h.noun} Who Wanted to Be a {o.noun}",
            "A Day in Another's Shoes",
        ),
        roles={
            "h": "worker village, animal tame, royal, child, forest animal",
            "o": "worker village, royal, tame animal, bird animal",
        },
        about=("changing places", "being content", "envy"),
        want="{H} wanted to live like {o.k}.",
        lesson="Every life has its own troubles and its own joys.",
        text="""{@begin:h} "[How hard my life is|Nobody has it as hard as I have]!" said {h} every day. "[How much
        better {o.k} has it|If only I were {o.k}]!" For near by lived {o.a}, and {o.he} seemed to [have nothing to
        do but enjoy {o.himself}|be happy from morning till night].

        {@one_day} {h} said to {o.k}, "Let us change places for a day." "[With pleasure,|Why not?]" said {o}. "[I
        have always thought that you have the better life|I have long wanted to do the same]."

        So in the morning {h} went to {o.k}'s place, and {o} went to {h.k}'s. At first {h} [was delighted|laughed
        with pleasure]. But soon {h.he} found out that it was not so easy. [{H.He} had to get up before the
        sun.|Everyone wanted something from {h.him} at the same time.] [The bed was hard|The food was strange], and
        nothing was where {h.he} looked for it. {H.He} [dropped everything that {h.he} took hold of|did everything
        the wrong way round], and by noon {h.he} was [so tired that {h.he} could have cried|black and blue all
        over].

        And {o}? {O.He} fared no better. [{O.He} fell into the brook.|{O.He} burned {o.his} dinner, such as it
        was.] [The flies bit {o.him}|Nothing would do what {o.he} wanted], and {o.he} [longed for {o.his} own
        corner|sighed for {o.his} own bed].

        In the evening the two met half-way. "[Well?|How was it?]" asked {h}. "[Terrible|I never knew how much you
        had to do]!" said {o}. "And you?" "[I want to go home|Give me back my own life]," said {h}. Then they
        looked at each other, [all mud and scratches|tired and hungry], and both of them began to laugh.

        [So each went home, and was content.|And each went gladly back to what was {h.his} own.] And whenever {h}
        met {o} after that, {h.he} [took off {h.his} hat|bowed low] and said, "[Good day, neighbour; I would not be
        in your shoes for anything.|I know now what you do all day.]" {@end:h}""",
        weight=0.9,
    ),
    Plot(
        titles=("The Empty Pot", "The {h.noun} and the Seed", "The Honest {h.noun}"),
        roles={
            "h": "child !castle, worker village, small forest, tame small",
            "k": "=king, =queen, =old man, =old woman, =fairy, =merchant",
        },
        slots={"f": ("the most beautiful flower", "the finest tree", "the sweetest fruit", "the tallest sunflower")},
        nameless="k",
        about=("a flower", "telling the truth", "a garden", "honesty"),
        want="{H} wanted to make the seed grow.",
        lesson="Honesty is the best seed of all.",
        text="""{@begin:h} {H.He} [loved flowers better than anything|could make anything grow, even in stony
        ground].

        Now in that land lived {k.one} who had grown old and had no children. So one spring {k.k} called everyone
        together, and gave each of them one seed. "[Whoever brings me|The one who grows] {f} from this seed," said
        {k.k}, "shall have [all that I own when I die|my house and my garden]. [Come back in a year.|We shall see
        in a year.]"

        {H} ran home and planted the seed in a pot of good black earth. [Every day {h.he} gave it water.|{H.He} set
        it in the sun by day, and took it in by night.] But nothing grew. {H} [took a larger pot|talked to it and
        sang to it|tried better earth]. Still nothing grew. And all the while {h.he} saw the others' pots, [full of
        red and yellow flowers|with green shoots as high as a hand].

        When the year was over, they all came again with the most wonderful plants. Only {h} came with an empty
        pot. [Everyone laughed.|"You might have stayed at home," said the others.] {H} [hung {h.his} head|would
        have liked to sink into the ground].

        {K.K} went slowly from one to the next and [said nothing|shook {k.his} head]. Before {h} {k.he} stood
        still. "And where is your flower?" {k.he} asked. "I did [all I could|everything I know]," said {h}, "[but
        nothing would grow|and I watered it every day, but my pot is empty]. I am sorry."

        Then {k.k} smiled[ for the first time that day|]. "[Look at this one|Here is the one I have been looking
        for]!" {k.he} cried. "The seeds that I gave you had all been [boiled|baked in the oven]. Not one of them
        could grow! [You others bought new seeds.|All the rest of you have cheated me.] Only {h.n} had the courage
        to bring me the truth."

        So {h} [got what had been promised|got it all], and [made a garden of it in which everyone could walk|was
        as honest in good fortune as in bad]. {@end:h}""",
        weight=0.8,
    ),
    Plot(
        titles=("How the {h.noun} Brought Back {l.t}", "The Night {l.t} Was Gone", "The {h.noun} and the {g.noun}"),
        roles={
            "h": "animal small, child, bird animal, worker village, animal meek, royal young",
            "a": "strong animal",
            "b": "sly animal",
            "g": "=giant, =ogre, =troll, =wizard, =witch, =dragon, =goblin",
        },
        slots={"l": tuple({**light, "t": light["it"].title().replace("The ", "the ")} for light in _LIGHTS)},
        nameless="g",
        wicked="g",
        about=("the moon", "the sun", "the stars", "being brave", "courage"),
        want="{H} wanted to bring back {l.it}.",
        lesson="The one who dares is not always the strongest.",
        text="""{@once} {l.it} was stolen. Yes, it was gone, and {l.gone}. [Everyone ran about and asked, "Who has
        done it?"|Nobody knew what to do.] At last the owl said, "{G.one} has [locked it up in a chest|put it in a
        sack], because [it was too loud or too bright for {g.him}|{g.he} grudges it to all the rest of us]. Who
        will fetch it back?"

        "[I will|Let me go]!" said {a.a}, who was very strong. {A} went and [beat upon the door|roared before the
        house]. But {g.k} only laughed and [blew so hard that {a} rolled all the way down the hill|threw a bucket
        of cold water over {a.him}].

        "[I will do it by cunning|I know a better way]," said {b.a}. {B} crept in by the back door. But {g.k}
        [smelled {b.him} and trod on {b.his} tail|was waiting behind it with a broom], and {b} came home limping.

        Then {h.a} spoke up[ in a small voice|]. "[Let me try|I should like to try]." [They all laughed|"You?" said
        the others], but there was nobody else. {@sets_out:h}.

        {H} came to the house and knocked politely. "[Who is there?|What do you want?]" growled {g.k}. "[Only
        {h.n}|A guest], and I have brought you something," said {h}. [{H.He} had brought a jug of honey
        beer.|{H.He} had baked a cake.|{H.He} sang {g.him} a song.] {G.K} had never had [a visitor|a present] in
        all {g.his} life. {G.He} [liked it so well that {g.he} asked for more|sat down and shut {g.his} eyes], and
        soon {g.he} was snoring. Then {h} took the key from {g.his} belt, opened the lock, and [let {l.it} out|ran
        off with it as fast as {h.he} could].

        And {l.back}. {G.K} woke up and rubbed {g.his} eyes. "[How beautiful that is|Oh]!" {g.he} said. "[I have
        never looked at it properly|I had it in a box and never saw it]." And {g.he} was not angry any more.

        All the others [carried {h} home on their shoulders|made {h} a crown of leaves], and {@feast}. {@end:h}""",
        weight=1.1,
    ),
    Plot(
        titles=("The {h.noun} and the {s.noun}", "The Storm", "The {h.noun} on the Sea"),
        roles={
            "h": "=fisherman, =sailor, =pirate, =merchant, child, =old man, =prince, =princess, =cat",
            "s": "=whale, =dolphin, =mermaid, =seal, =fish, =turtle, =crab, =swan",
        },
        slots={
            "p": (
                "a net full of fish",
                "a pearl as big as a pigeon's egg",
                "a shell in which one could hear the whole sea",
                "a chest of old gold",
            )
        },
        about=("the sea", "a storm", "a ship"),
        want="{H} wanted to get home from the sea.",
        lesson="Spare another today, and he may save you tomorrow.",
        text="""{@once} there was {h.a} who had a little boat. Every [morning|day] {h.he} rowed out [to fish|upon
        the sea], and every evening {h.he} came home. [The sea was like a mother to {h.him}, sometimes kind and
        sometimes cross.|{H.He} knew every rock and every bird.]

        {@one_day} {h.he} saw {s.a} [lying on the sand, where the tide had left {s.him}|caught in an old net].
        "[Help me|Put me back into the water], or I must die," said {s.k}. "[My neighbours would give good money
        for you|You are beautiful]," said {h}, "but [what is yours is the sea|I have no heart to hurt you]." And
        {h.he} [carried|pulled] {s.him} back into the water. {S} looked round once and was gone.

        [Not long after|That autumn] there came a terrible storm. The waves were as high as houses, and the wind
        [broke the mast like a straw|tore the oars out of {h.his} hands]. "Now I shall never see [my home|land]
        again," thought {h}. The boat [filled with water|turned over], and {h} sank.

        Then something lifted {h.him} up. It was {s}! "[Hold on to me|Do not be afraid]," said {s.k}. "[You helped
        me once|I have not forgotten you]." And {s} [carried {h.him} through the waves all night long|swam and
        swam], until {@calm}. There lay the shore, and {h.his} own house with the light in the window.

        "How can I thank you?" asked {h}. "[You thanked me before I had done anything|We are quits]," said {s}, and
        {s.he} laid {p} on the sand. "[Come down to the water now and then, and tell me what happens on land.|Throw
        your net on the right side of the boat, and it will never be empty.]"

        And {h} did so. [Every evening one could see the two of them, one on the stone and the other in the
        water.|{H.He} never wanted for anything again.] {@end_two:h,s}""",
        weight=1.1,
    ),
    Plot(
        titles=("The {h.noun} Who Was Afraid", "The Brave Little {h.noun}", "The {h.noun} and the {w.noun}"),
        roles={
            "h": "small, child, young animal, animal !wild, royal young, odd",
            "w": "wise, elder, =owl, =grandmother, =tortoise",
        },
        slots={"f": _FEARS},
        about=("being afraid", "the dark", "being brave", "courage", "bedtime"),
        want="{H} wanted not to be afraid of {f.of} any more.",
        lesson="To be brave is to be afraid and to try all the same.",
        text="""{@begin:h} {H.He} was afraid of {f.of}. [The others teased {h.him} about it.|{H.He} never spoke of
        it, but everyone knew.] "[Do not be so silly|What is there to be afraid of]?" they said. But that did not
        help at all.

        {@one_day} {h} went to {w.a}, who [was very old and had seen a great deal|knew something about everything].
        "[I am afraid of {f.of}|Can you make me brave]," said {h}. "[All the others are brave, and only I am not.|I
        should so like not to be afraid.]"

        "[Sit down|Come closer]," said {w.k}. "I will tell you a secret. When I was as [small|young] as you are, I
        was afraid of {f.of}, too."

        "You?" said {h}. "[And how did you get over it?|What did you do?]"

        "[Little by little|A very small piece at a time]," said {w}. "[On the first day I only thought of it, and
        drank a cup of milk afterwards.|Nobody eats a whole cheese in one bite.] Do you think that you could
        {f.try}? Only for as long as it takes to count to three. I will stay beside you."

        {H}'s heart beat fast, but {h.he} did it. "One, two, three!" [Nothing happened.|And it was over.]
        "[Again|Was that all]?" said {h}. And the next day they counted to ten, and on the third day [to a
        hundred|{h} forgot to count]. And what did {h} find out? That {f.found}.

        [From then on {h} was the one who took the little ones by the hand.|"I am still a little afraid," said {h}.
        "So is everyone," said {w}, "but you went all the same."] And when somebody said, "I am afraid of {f.of},"
        {h} did not laugh, but said, "[Come, I will go with you|Shall I tell you a secret]?" {@end:h}""",
        weight=1.0,
    ),
    Plot(
        titles=("The Forgotten Birthday", "The {h.noun}'s Birthday", "The Surprise"),
        roles={
            "h": "animal, child, royal, magic person, toy, odd",
            "a": "animal",
            "b": "small animal",
            "c": "animal !tiny",
        },
        slots={
            "p": (
                "a cake with {h.his} name on it",
                "a lantern made of a gourd",
                "a warm red scarf",
                "a little boat of bark",
                "a whistle cut from a willow twig",
                "a necklace of blue beads",
            )
        },
        about=("a birthday", "friends", "a surprise"),
        want="{H} wanted somebody to remember {h.his} birthday.",
        lesson="Friends do not forget.",
        text="""{@begin:h} One morning {h} woke up and thought, "Today is my birthday!" {H.He} [brushed {h.himself}
        until {h.he} shone|put everything in order] and sat down by the door to wait. {@weather}

        First {a.a} came by. "Good morning, {a.n}!" said {h}. "[Do you know what day it is?|Is it not a fine day?]"
        "[It is Tuesday, I think|A day like any other]," said {a.k}, "and I am in a great hurry." And {a.he} ran
        on.

        Then came {b.a}, [dragging something wrapped in leaves|carrying a big bundle]. ["What have you there?"
        asked {h}. "Nothing, nothing at all,"|"Where are you going?" asked {h}. "Only to the wood,"] said {b.k},
        and turned quite red. And {b.he} was gone.

        Then came {c.a}, who [did not even stop|only waved]. "They have all forgotten it," said {h}, and
        {@sad_tail:h}. The day went by, and {@dark}. {H} was just going to [bed|lie down], when there was a knock
        at the door. "[Come quickly|Please come]!" cried {a}. "[Something has happened in the clearing|We need you
        under the big tree]!"

        {H} ran after {a.him} as fast as {h.he} could. And there, under the tree, hung [a hundred little
        lights|lanterns on every branch]. {B} and {c} jumped out from behind the tree, and all together they cried,
        "Happy birthday, {h.n}!" {@Glad:h}.

        "And I thought that you had forgotten me," said {h}. "[How could we?|It was very hard not to tell you,]"
        said {b}. "[I nearly spoiled it all this morning|We have been getting ready for a week]." Then {h} got {p},
        and they ate and sang until the moon stood high above the tree. [{H.He} never had a better birthday.|And
        {h} thought that it was the best birthday in the world.]""",
        weight=0.9,
    ),
    Plot(
        titles=("Who Ate {s}?", "The {h.noun} Who Found the Thief", "The Crumbs"),
        roles={"h": "animal, child, elder, royal", "a": "animal", "b": "sly animal", "c": "small animal"},
        slots={"s": _SWEETS},
        about=("a mystery", "a thief", "telling the truth", "a cake"),
        want="{H} wanted to find out who had eaten {s}.",
        lesson="It is better to ask than to take.",
        text="""{@begin:h} {@one_day} {h} had put {s} on the window-sill to cool. But when {h.he} came back, there
        was nothing left of it but a few crumbs. "[Who has done that?|Somebody has eaten it!]" cried {h}. "I will
        find out."

        So {h} went to {a.a}. "Did you eat {s}?" {h.he} asked. "[Not I|Certainly not]," said {a.k}. "[I have been
        asleep all the morning|I do not care for sweet things]. Look, my [mouth|chin] is quite clean." And so it
        was.

        Then {h} went to {b.a}. "Was it you who ate {s}?" "[I? Never|How can you think so]!" said {b.k}[, a little
        too quickly|, and looked the other way]. "[It was surely {c.k}|Ask {c.k}]; {c.he} was near your window."
        {H} looked at {b.him} closely, but {h.he} said nothing. [There was a crumb on {b.his} nose.|There was
        something sticky on {b.his} chin.]

        Then {h} went to {c.a}. {C} began to [cry|tremble]. "[I only smelled it|I did not touch it]," said {c.k}.
        "I am too small to reach the window-sill." And {h} saw that this was true.

        {@Think:h} Then {h.he} called them all together and said in a loud voice, "[I know who it was.|It does not
        matter any more.] The thief has a crumb on the nose." At once {b} felt for {b.his} nose, [and so everybody
        knew|and all the others laughed].

        "[I am sorry|Forgive me]," said {b}, and wept. "[It smelled so good, and I was so hungry.|I only wanted to
        taste it, and then it was gone.]" "[You should have asked me|Why did you not ask?]," said {h}. "[And you
        should not have blamed {c.k}|To put it on another was worse than to eat it]." "That is true," said {b}, and
        {b.he} [helped {h} to bake a new one|begged {c.k}'s pardon].

        Then they sat down, all four of them, and {h} cut the new one into four pieces, and [{c} got the
        largest|every piece was as large as the next].""",
        weight=0.9,
    ),
    Plot(
        titles=("The Wonderful Fiddle", "The {h.noun} and the Dancing Music", "The {h.noun} Who Could Play"),
        roles={
            "h": "wanderer village, child, singer, worker village, tame animal, forest sly",
            "m": "elder, =dwarf, =fairy, =elf",
            "r": "rich, sly person, =wolf, =ogre, =king",
        },
        slots={"f": ("fiddle", "flute", "whistle", "pipe", "horn", "little drum")},
        nameless="m",
        wicked="r",
        about=("music", "dancing", "magic"),
        want="{H} wanted to be paid what {h.he} had earned.",
        lesson="Pay what you owe, or you may have to dance.",
        text="""{@begin:h} {H} had served {r.a} for a whole year, [late and early|and had done all the work]. But
        when the year was over, {r.k} gave {h.him} [three pennies|nothing but a dry crust] and sent {h.him} away.
        "[That is all|Be glad that you get anything]," said {r.k}.

        {H} [put what {h.he} had in {h.his} pocket|did not complain] and went {h.his} way. On the road {h.he} met
        {m.one}. "[I am poor and old|I am so hungry]," said {m.k}. "[Give me what you have.|Can you spare me
        something?]" "[Take it|There, it is yours]," said {h}. "[I am young and can earn some more|I can always
        find something]." "Because you have a good heart," said {m.k}, "I will give you this {f}. Whoever hears it
        must dance, as long as you play."

        {@Glad:h}, and {h.he} went on. [It was not long before|Round the next bend] {h.he} met {r.k}, who was
        [counting money|sitting in a coach]. "[Good day|We meet again]," said {h}. "Will you not pay me what you
        owe me?" "[I owe you nothing|Not a penny]!" cried {r}.

        Then {h} took the {f} and began to play. {R} [lifted first one foot and then the other|jumped up as if the
        ground were hot], and then {r.he} danced. [{R.He} danced through the brook and through the thorns.|{R.His}
        hat flew off, and then {r.his} shoes.] "[Stop|Stop playing]!" {r.he} cried. "[I cannot|That is not in my
        contract]," said {h}, and played faster. The birds danced in the air, and [the cows danced in the
        meadow|even the trees swayed].

        "[I will pay|You shall have it all], only stop!" cried {r}, [out of breath|gasping]. Then {h} let the {f}
        sink. And {r} paid down every penny, and [one over for the music|never cheated anyone again].

        And {h} went through the land with the {f}, and wherever {h.he} came, {@feast}. {@end:h}""",
        weight=0.7,
    ),
    Plot(
        titles=(
            "The {h.noun} and the Moon in the Water",
            "The Moon in the Well",
            "How the {h.noun} Fished for the Moon",
        ),
        roles={
            "h": "animal !sea, child, worker village, magic person !wise",
            "w": "wise, elder, =hedgehog, =frog, =cat",
        },
        slots={"p": ("well", "pond", "bucket", "lake", "rain barrel")},
        about=("the moon", "the night", "bedtime"),
        want="{H} wanted to get the moon out of the {p}.",
        lesson="Lift up your eyes before you weep.",
        text="""{@begin:h} One night {h} could not sleep, and {h.he} went out to [look at the stars|get a drink of
        water]. {H.He} bent over the {p}, and what did {h.he} see? Down there in the water lay the moon.

        "[Oh dear|How terrible]!" cried {h}. "The moon has fallen in! [It will be drowned.|It must be very cold
        down there.]" And {h.he} ran and fetched [a rake|a net|a long pole with a hook] to fish it out. But each
        time the water moved, the moon [broke into a hundred pieces|ran away in little waves]. "[Hold still|Wait],
        dear moon," said {h}, "I shall have you in a moment."

        At last [the pole caught under a stone|the net caught on a root]. "Now I have it!" cried {h}, and pulled
        with all {h.his} might. It gave way all at once, and {h} fell over backwards and lay [flat on {h.his}
        back|in the wet grass]. And there, high up in the sky, stood the moon, round and bright.

        "[There you are|You are safe]!" said {h}. "[That was hard work, but I have done it.|I have put you back in
        your place.]"

        {W.a} had watched it all from [the wall|under a bush]. "[What have you been doing?|Why are you lying
        there?]" asked {w.k}. "I have saved the moon," said {h} proudly. {W} [looked at the {p}, and at the sky,
        and smiled|wanted to laugh, but did not]. "[That was well done|Thank you]," said {w.k}. "[Everyone will
        sleep better now|Without you we should all be sitting in the dark]."

        So {h} went to bed, and the moon looked in at the window and shone on {h.him} all night long. [And if it
        had not gone down in the morning, it would be shining there still.|And {h} slept like a stone.]""",
        weight=0.6,
    ),
)

SHORT: tuple[Plot, ...] = (
    Plot(
        titles=("The {h.noun} and the {f}", "The {f}"),
        roles={"h": "animal, child"},
        slots={"f": ("grapes", "cherries", "pears", "plums")},
        about=("sour grapes",),
        want="{H} wanted the fruit.",
        lesson="It is easy to despise what you cannot get.",
        text="""{@once} {h.a} saw some fine ripe {f} hanging high above the road. [{H.His} mouth watered.|"Those
        are just what I want," said {h}.] {H.He} jumped once, and {h.he} jumped twice, and {h.he} jumped until
        {h.he} was quite out of breath, but {h.he} could not reach them. Then {h} turned away with {h.his} nose in
        the air. "[They are sour, I am sure,|Who would want such sour things?]" said {h.he}. But [a bird sat in the
        branches, ate the sweetest one, and laughed|all the way home {h.he} thought of them].""",
        weight=0.6,
    ),
    Plot(
        titles=("The {h.noun} and the Water", "The {h.noun} on the Bridge"),
        roles={"h": "animal !bird !sea"},
        slots={"f": ("a piece of meat", "a fish", "an apple", "a bone", "a cheese", "a carrot")},
        about=("being greedy",),
        want="{H} wanted what {h.he} saw in the water.",
        lesson="Grasp at the shadow, and you lose the substance.",
        text="""{@once} {h.a} was going home over a bridge with {f} in {h.his} mouth. {H.He} looked down into the
        water, and there was another {h.noun}, who had {f} as well. "[His looks bigger than mine|I will have that
        one, too]," thought {h}, and {h.he} snapped at it. But as soon as {h.he} opened {h.his} mouth, {f} fell
        into the river and was gone. And the other {h.noun} had nothing either. "[That serves us both right|Now we
        are both hungry]," said {h}, and went home.""",
        weight=0.6,
    ),
    Plot(
        titles=("The Two on the Bridge", "The {h.noun} and the {o.noun} on the Narrow Bridge"),
        roles={"h": "animal !bird !sea !water !tiny", "o": "animal !bird !sea !water !tiny"},
        about=("being stubborn", "quarrelling"),
        want="{H} wanted to cross the bridge first.",
        lesson="He who gives way goes farther.",
        text="""{@once} {h.a} met {o.a} in the middle of a bridge that was so narrow that only one could pass. "[Go
        back|Let me by]," said {h}, "for I was here first." "[Go back yourself|I will not]," said {o}. So they
        stood there all the morning, nose to nose, and neither would give way. At last [they began to push, and
        both fell into the water|it began to rain, and both were wet to the skin]. "[This is foolish|What fools we
        are]," said {o}. "You lie down, and I will step over you, and tomorrow we will do it the other way round."
        And so they did, and [both came home dry the next day|from that day on they were good friends].""",
        weight=0.6,
    ),
    Plot(
        titles=("The {h.noun} and the Star", "The Little Star"),
        roles={"h": "small, child, animal, royal, elder"},
        about=("a star", "a wish", "bedtime", "the night"),
        want="{H} wanted a star of {h.his} own.",
        lesson="Some things are loveliest where they are.",
        text="""{@begin:h} Every night {h.he} looked at one little star and wished for it. {@one_day} the star
        heard it and fell, right into {h.his} lap. {@Glad:h}. {H.He} put the star in a [box|jar|cup] beside {h.his}
        bed. But the star grew paler and paler. "[What do you need?|Are you ill?]" asked {h}. "[Only the sky|I miss
        my brothers and sisters]," said the star. Then {h} was sad, but {h.he} carried it up the highest hill and
        let it go. It flew up like a spark, and that night it shone [brighter than all the rest|just above {h.k}'s
        roof], and twinkled. "[Good night|Thank you], {h.n}," it said.""",
        weight=0.8,
    ),
    Plot(
        titles=("The {h.noun} and the {o.noun}", "The Good Neighbours"),
        roles={"h": "animal, village, royal", "o": "animal, village"},
        slots={"s": ("a sack of corn", "a basket of apples", "a jar of honey", "a load of wood", "a pot of soup")},
        about=("sharing", "friendship"),
        want="{H} wanted {o.k} to have enough.",
        lesson="Two who give to each other are both rich.",
        text="""{@begin:h} Next door lived {o.a}. One hard winter {h} thought, "[{O.n} has less than I have|My
        neighbour must be hungry]. I will carry over {s} in the night, and say nothing." And {h.he} did so. But
        that same night {o} thought, "{H.n} has worked so hard. I will bring {h.him} {s}, and say nothing." And
        {o.he} did so, too. In the morning each of them found as much as before, and could not understand it. The
        second night it was the same. But on the third night they met half-way [in the snow|in the moonlight], each
        with {s}. They looked at each other, and then [they laughed until the tears came|they put down what they
        carried and shook hands]. {@end_two:h,o}""",
        weight=0.7,
    ),
    Plot(
        titles=("Good Night, Little {h.noun}", "The {h.noun} Goes to Sleep"),
        roles={"h": "small, child, young, royal young, animal", "w": "wise, elder, =star, =owl, =cat"},
        about=("sleep", "bedtime", "the night", "the moon"),
        want="{H} did not want to go to sleep.",
        lesson="The day needs a night.",
        text="""{@begin:h} {H.He} did not want to go to sleep. "[I might miss something|The day is not over yet],"
        said {h}. Then {w.a} sat down beside {h.him} and said, "[Listen.|Shut your eyes and listen.] The wind is
        going to bed in the trees. The brook is going to bed among the stones. The bees are in the hive, and the
        sheep are in the fold." "And the moon?" asked {h}. "The moon [stays up for all of us|keeps the lamp
        burning]," said {w.k}, "so that nothing can be lost in the night. [All that you have not done today will
        wait for you|Tomorrow will be here in the morning]." "[All of it?|Really?]" asked {h}. "All of it," said
        {w}. And {h} [yawned|sighed], and curled up, and before {w} had said another word, {h.he} was asleep.""",
        weight=0.8,
    ),
)
