"""Plots of animals: tricks, races, friendships."""

from __future__ import annotations

from grammar.plot import Plot

_HUNGRY = "hunter"
_BAITS = (
    {"ask": "let me sing one last song", "do": "sang so loudly that", "bring": "the dogs heard it and came running"},
    {
        "ask": "let me call my sisters, so that you may eat us all together",
        "do": "called so loudly that",
        "bring": "the farmer heard it and came with his stick",
    },
    {
        "ask": "let me dance for you once before I die",
        "do": "danced nearer and nearer to the gate, until",
        "bring": "the gate was so near that one jump was enough",
    },
    {
        "ask": "wash your face first, as all fine gentlefolk do before dinner",
        "do": "waited until the water was in the hungry one's eyes, and then",
        "bring": "one leap was enough to be far away",
    },
    {
        "ask": "let us say grace first, with our eyes shut",
        "do": "kept one eye open, and as soon as the other's eyes were shut,",
        "bring": "there was time to slip into a hollow tree",
    },
    {
        "ask": "let me fetch some salt, for I taste of nothing without it",
        "do": "ran straight home and shut the door, so that",
        "bring": "there was nothing left to bite but the door-post",
    },
)
_PRIZES = (
    "a basket of red apples",
    "a golden cup",
    "a crown of oak leaves",
    "a round white cheese",
    "a jar of honey",
    "a silver bell",
)
_BIG_TROUBLES = (
    {
        "trap": "walked into a net that the hunters had hung between the trees",
        "help": "bit through the ropes, one after another, until the net fell open",
    },
    {
        "trap": "got a sharp thorn in one foot and could not take a step",
        "help": "took hold of the thorn and pulled and pulled until it came out",
    },
    {
        "trap": "fell into a pit that the hunters had dug",
        "help": "scratched the earth down from the edge, little by little, until there was a slope to climb",
    },
    {"trap": "was tied to a post with a thick rope", "help": "chewed the rope through while the hunters slept"},
)
_DINNERS = (
    "a pot of soup",
    "a fat cheese",
    "a basket of cherries",
    "a dish of pancakes",
    "a honey cake",
    "a pie",
    "a bowl of cream",
)
_STORES = ("nuts and seeds", "grain and dried berries", "apples and roots", "corn and beans")

PLOTS: tuple[Plot, ...] = (
    Plot(
        titles=("The {H.noun} and the {v.noun}", "The Clever {v.noun}", "How the {v.noun} Got Away"),
        roles={"h": _HUNGRY, "v": "prey, small meek animal"},
        slots={"b": _BAITS},
        about=("being clever", "a trick"),
        wicked="h",
        want="{H} wanted to eat {v.k}.",
        lesson="It is better to use your head than your teeth.",
        text="""{@begin:h} [{H.He} was always hungry.|{H.He} liked {h.food}, but {h.he} liked stealing even
        better.| {H.He} had eaten nothing for two days.] {@one_day} {h.he} met {v.a}[, who was looking for
        something to eat| , who was on the way to market|, who was sitting in the sun|]. {@weather}

        "Good morning," said {h.k}. "[How plump you look today!|What luck that I have met you!|Where are you going
        all alone?]"

        "Good morning," said {v.k}, and {v.his} heart began to beat fast[, for {v.he} saw how sharp {h.k}'s teeth
        were|]. "[I am going home to my mother|I am only taking a walk|I am going to see my cousin]."

        "[You will not get there|You need not go any farther|That is a pity]," said {h.k}, "for I am going to eat
        you."

        {V} [trembled, but {v.he} did not lose {v.his} head|was frightened, but {v.he} was not stupid| wanted to
        run away, but there was nowhere to run]. "If I must be eaten, I must," {v.he} said. "But grant me one
        little wish. {B.ask}."

        "[Why not?|So be it,|That can do no harm,]" said {h.k}[, and licked {h.his} lips|, who was sure of {h.his}
        dinner|]. So {v} {b.do} {b.bring}. {V} was [gone like the wind|away before anyone could count three|safe],
        and {h} [stood there with nothing in {h.his} mouth but {h.his} own tongue|had to run for {h.his} life|went
        home hungry].

        ["Next time," said {h.k}, "I will eat first and talk afterwards." But there was no next time.| "What a fool
        I was!" said {h.k}. "Who listens when he should eat must go hungry."| {V} laughed all the way home, and
        told everyone how {v.he} had tricked {h.k}.| Since then {h} has never believed a word that {v.one} says.]""",
        weight=1.5,
    ),
    Plot(
        titles=("The {H.noun} and the {s.noun}", "The Race", "The {s.noun} Who Won the Race"),
        roles={"h": "quick animal", "s": "slow animal"},
        slots={"p": _PRIZES},
        about=("a race", "being too proud", "patience"),
        want="{H} wanted to show that {h.he} was the fastest of all.",
        lesson="Slow and steady wins the race.",
        text="""{@begin:h} [{H.He} could run faster than anyone else, and {h.he} never let anyone forget it.|
        {H.He} was very quick on {h.his} feet and very proud of it.] {@boast:h}

        {@one_day} {h} met {s.a}. ["How slowly you go!" said {h.k}. "Do you ever arrive anywhere?"| "Do not hurry
        so," laughed {h.k}, "or you will fall asleep on the way."]

        "[I get where I want to go|I always arrive in the end|I am slow, but I do not stop]," said {s.k}. "[Let us
        run a race|Run a race with me|I will race you to the old mill], and we shall see [who is there first|who
        wins]."

        {H} [laughed until {h.he} had to sit down|thought that it was the best joke {h.he} had ever heard]. But all
        the animals came to watch, and [the owl|the old goose|the raven] brought {p} for a prize. "One, two,
        three!" — and away they went.

        {H} ran like the wind, and soon {s} was far behind. "[There is plenty of time|I have as good as won]," said
        {h.k}[, and {h.he} lay down in the shade and fell asleep|. {H.He} stopped to eat {h.food}, and then {h.he}
        was so full that {h.he} fell asleep|. {H.He} stopped to look at {h.himself} in a pool, and forgot the
        time]. But {s} went on, step by step, [without looking to the left or to the right|and did not rest
        once|past the hedge, past the brook, past the sleeping {h.noun}].

        When {h} [woke up|looked up again], the sun was low. {H.He} [ran as {h.he} had never run before|jumped up
        and ran], but it was too late. There sat {s} at the end of the road with the prize and [smiled|said, "Good
        evening! What kept you so long?"|said, "Well, here I am."]

        [{H} was ashamed, and from that day {h.he} never laughed at {s} again.|{H} hung {h.his} head. "You have
        won," {h.he} said, "and I have been a fool."| Then {s} shared the prize with everybody, even with {h}, [and they
        became good friends|who had learned {h.his} lesson].]""",
    ),
    Plot(
        titles=("The {H.noun} and the {w.noun}", "How the {h.noun} Saved the {w.noun}", "The Little Friend"),
        roles={"h": "small animal", "w": "big animal, strong hunter"},
        slots={"t": _BIG_TROUBLES},
        about=("kindness", "a small friend", "being brave"),
        want="{H} wanted to live, and later {h.he} wanted to help {w.k}.",
        lesson="Even the smallest friend can be a great help.",
        text="""{@begin:w} {W.He} was so strong that all the others were afraid of {w.him}. {@one_day}, while {w}
        was asleep, {h.a} ran over {w.his} nose [by mistake|because {h.he} had not looked where {h.he} was going].
        {W} woke up and [caught {h.him}|held {h.him} fast].

        "[How dare you wake me?|Who is tickling my nose?]" cried {w}. "I will eat you up!"

        "[Please, let me go|Oh, do not eat me|Spare my life]!" begged {h.k}. "I am so small that I would not even
        fill a tooth. [Let me go, and one day I will help you.|If you are kind to me now, I will be kind to you
        some day.]"

        {W} laughed out loud. "You help me? [Such a little thing as you?|That will be the day!]" But [{w.he} had
        already had {w.his} dinner|it had made {w.him} laugh| {w.he} was not cruel], and so {w.he} let {h} go.

        [Not long afterwards|A few weeks later|When winter came], {w} {t.trap}. {W.He} [roared|cried out] so that
        the whole wood heard it, but nobody dared to come. Only {h} [knew that voice|pricked up {h.his} ears] and
        came as fast as {h.he} could.

        "[Hold still|Be quiet], my friend," said {h.k}. "[Now it is my turn|I have come to keep my promise]." And
        {h.he} {t.help}. [It took the whole night.|It was hard work, but {h.he} did not give up.|Nobody would have
        thought that so small a thing could do it.]

        "[I laughed at you, and you have saved my life|You are small, but your heart is great]," said {w}.
        "[Forgive me.|I will never laugh at little people again.]" {@end_two:h,w}""",
        weight=1.2,
    ),
    Plot(
        titles=("The {H.noun} and the {f.noun}", "The {H.noun} in Winter", "The Song and the Store"),
        roles={"h": "singer animal, vain animal, lazy", "f": "busy, small animal"},
        slots={"s": _STORES},
        about=("winter", "being lazy", "summer and winter"),
        want="{H} wanted to sing all summer long.",
        lesson="Think of the winter while it is summer.",
        text="""{@once}, in a [meadow|field|garden] full of flowers, there lived {h.a}. All summer long {h} [sang
        and danced|sat in the sun and sang|did nothing but play], and never thought of tomorrow.

        In the same place lived {f.a}. {F.He} worked from morning till night, carrying home {s} for the winter.
        ["Come and sing with me!" called {h.k}. "Why do you work so hard?"|"Put that down and dance!" said {h.k}.
        "The day is too fine for work."]

        "[I am putting something by for the winter|Winter will come], and you should do the same," said {f.k}.

        "[Winter is a long way off|Who thinks of winter now]?" said {h.k}, and went on singing.

        But [the leaves fell, and the wind grew cold|the days grew short, and one morning the grass was white with
        frost]. Snow covered everything, and {h} could not find a crumb. {H.He} was [cold and hungry|so hungry that
        {h.he} could hardly stand]. At last {h.he} knocked at {f.k}'s door. "[Please, give me something to eat|
        Dear neighbour, help me]," {h.he} said, "or I shall die."

        "What did you do all summer?" asked {f}.

        "I sang," said {h}[ in a small voice|, and looked at the ground|].

        {F} [looked at {h.him} for a long time|thought a little]. Then {f.he} opened the door wide. "[Come in and
        sit by the stove|Come in, for it is cold outside]," {f.he} said. "[I have enough for two, and the winter
        evenings are long without music.|You shall eat with me, and you shall sing for me; and next summer you
        shall help me.]"

        So {h} sang all winter long, and {f} [listened and was happy|kept time with one foot]. [And when summer
        came again, {h} worked for half of every day, and sang for the other half.|And the next summer nobody
        carried home more {s} than {h}.] {@end_two:h,f}""",
    ),
    Plot(
        titles=("The Greedy {h.noun}", "The {H.noun} Who Would Not Share", "The {h.noun} and the {g.noun}"),
        roles={"h": "animal, grown worker", "a": "small animal", "b": "animal !small", "g": "wise, elder"},
        slots={"d": _DINNERS},
        about=("sharing", "being greedy"),
        want="{H} wanted to keep {d} all for {h.himself}.",
        lesson="What you share tastes best.",
        text="""{@begin:h} {@one_day} {h.he} found {d} [standing under a tree|by the side of the road|on the
        doorstep], and nobody was near. "[What luck|How lucky I am]!" said {h}. "[This is all for me|Nobody shall
        have any of it but me]."

        {H.He} had hardly sat down when {a.a} came by. "[Good day|Good morning], {h.n}," said {a.k}. "That smells
        good. [Will you give me a little?|May I have a taste?]"

        "[No, no|Certainly not]," said {h}. "There is [only enough for one|far too little]." And {a} went away
        sadly.

        Then came {b.a}. "[I have not eaten since yesterday|I am so hungry]," said {b.k}. "Will you not give me one
        bite?"

        "[Find something for yourself|Not a crumb]," said {h}[, and turned away|]. And {b} went away too.

        At last {g.a} came slowly along the road. "[And whom do you share it with?|Who is going to eat with you?]"
        asked {g.k}. "Nobody," said {h}. "Then [I am sorry for you|you will not enjoy it]," said {g}, and walked
        on.

        {H} ran off to [hide {h.his} treasure|eat where nobody could see {h.him}]. But {h.he} looked behind {h.him}
        all the time and not before {h.him}, and so [{h.he} stumbled over a root| {h.he} ran straight into a
        tree|{h.he} slipped on the wet stones of the brook]. Down {h.he} fell, and {h.his} dinner [fell into the
        water and was gone|was spilled, every bit of it| lay in the mud]. {H} sat on the ground and [wept|did not know
        where to look].

        Then who should come by but {a} and {b}! They had found [a bush full of berries|some bread and apples|a
        tree full of ripe plums], and they were [laughing together|sharing it like brothers]. "[Come and eat with
        us|There is enough for three]," they said. {H} was so ashamed that {h.he} could hardly swallow. But [it was
        the best meal {h.he} had ever had|never had anything tasted so good]. And from that day on {h} [always
        shared what {h.he} had|never ate alone again].""",
    ),
    Plot(
        titles=("The {H.noun} Who Wanted a Friend", "The Lonely {h.noun}", "The {h.noun} and the {f.noun}"),
        roles={"h": "animal, magic, toy, odd", "a": "animal", "b": "animal", "f": "animal, child, small"},
        about=("friendship", "a friend", "being lonely"),
        want="{H} wanted to find a friend.",
        lesson="A friend is often nearer than you think.",
        text="""{@begin:h} {H.He} had [a warm bed and enough to eat|everything that {h.he} needed], but {h.he} had
        no friend. [In the evening {h.he} talked to the moon, but the moon did not answer.|"How I wish that I had
        somebody to talk to!" {h.he} often said.]

        {@one_day} {h} made up {h.his} mind. "I will go and look for a friend," {h.he} said. {@weather}

        First {h.he} came to {a.a}. "[Will you be my friend?|Shall we be friends?]" asked {h}. "[I have no time|I
        am much too busy]," said {a.k}. "[Come back next week.|I have to count my {@food_or_things}.]"

        Then {h.he} met {b.a}. "[Will you be my friend?|Would you like to be friends with me?]" asked {h}. "[You
        are not like me at all|I have so many friends already]," said {b.k}. "[What should we do together?|Ask
        somebody else.]" And {b.he} turned away.

        {@Sad:h}. [A little rain began to fall.|"Nobody wants me," {h.he} thought.|It was growing dark.] Then
        {h.he} heard a small voice. Under [a bush|a big leaf|the bridge] sat {f.a}, all alone. "[Are you lost
        too?|Why do you look so sad?]" asked {f.k}.

        "I was looking for a friend," said {h}, "but I have found none."

        "[That is strange|How funny]," said {f}, "for I have been sitting here [all day|since this morning],
        wishing for the very same thing."

        They looked at each other, and then they both [began to laugh|smiled]. {H} [shared {h.his} supper with
        {f.him}|told {f.him} about the moon|held a leaf over {f.him} to keep off the rain], and {f} [told {h.him} a
        story|sang a little song|showed {h.him} a path through the wood]. [The evening was over before they knew
        it.|They talked until the stars were out.] {@end_two:h,f}""",
        weight=1.5,
    ),
    Plot(
        titles=("The {H.noun} Who Cried for Help", "The {h.noun} and the Wolf", "The Foolish Joke"),
        roles={"h": "young, child, vain animal, sly small", "a": "worker grown, farm animal big"},
        slots={
            "w": (
                {"cry": "Wolf", "none": "wolf"},
                {"cry": "A bear", "none": "bear"},
                {"cry": "Fire", "none": "fire"},
                {"cry": "The river is rising", "none": "flood"},
            )
        },
        about=("telling the truth", "lying"),
        want="{H} wanted to have some fun.",
        lesson="Nobody believes a liar, even when he tells the truth.",
        text="""{@begin:h} {H.He} [was often bored|loved a joke better than {h.his} dinner]. {@one_day} {h} thought
        of something funny. {H.He} ran out and cried as loudly as {h.he} could, "{W.cry}! {W.cry}! Help, help!"

        {A.a} heard it and came running as fast as {a.he} could, and all the neighbours came too. But there was no
        {w.none}. There was only {h}, who [lay on the ground and laughed|laughed till the tears ran down]. "[It was
        only a joke|How funny you all look]!" said {h}. {A} [shook {a.his} head|was angry] and went back to work.

        {@next_day} {h} did the same thing again. "{W.cry}! {W.cry}!" And again they all came running, and again
        {h} laughed at them. "[That was not kind|Take care]," said {a}. "[One day you will be sorry.|He who lies
        once is not believed twice.]"

        But on the third day, when {h} was all alone, there really was danger. {H} [turned white|felt {h.his} heart
        stand still]. "{W.cry}! {W.cry}!" {h.he} screamed. "[This time it is true|Come quickly, please]!" The
        neighbours heard it, but they [went on with their work|only laughed]. "We know that joke," they said.

        {H} [climbed up a high tree|hid in a hollow log|ran to the top of the hill] and sat there trembling all
        night long. In the morning {a} found {h.him} there, [cold and hungry|pale as the moon], and [took {h.him}
        home| carried {h.him} home].

        "Why did nobody come?" asked {h}, weeping. "[Because you had cried so often for nothing|Because we did not
        believe you]," said {a}. "I will never tell a lie again," said {h}. And [{h.he} kept {h.his} word| that was
        the truth].""",
        weight=0.7,
    ),
    Plot(
        titles=("The {H.noun} Who Ran Away", "The Four Friends", "The {h.noun} and {h.his} Friends"),
        roles={
            "h": "tame big, slow tame, strong tame",
            "a": "tame animal",
            "b": "tame animal, bird animal",
            "c": "feathered, small animal",
        },
        about=("robbers", "friends", "going out into the world"),
        want="{H} wanted to go out into the world and not be beaten any more.",
        lesson="Friends together are strong.",
        text="""{@once} there was {h.a}, who [had worked hard all {h.his} life|had served the same master for many
        years]. But now {h.he} was [old and tired|no longer so strong], and {h.his} master said, "[You eat more
        than you are worth.|Tomorrow I will sell you.]" {H} heard it, and that very night {h.he} ran away.

        {H.He} had not gone far when {h.he} met {a.a}, who sat by the road and [sighed|wept]. "{A.n}, why are you
        so sad?" asked {h}. "[They mean to cook me on Sunday|My mistress has driven me out]," said {a.k}. "Then
        come with me," said {h}. "[We shall find something better than that anywhere.|Two are better than one.]"

        Soon they met {b.a}, and then {c.a}, and [both of them were in the same trouble|neither of them had a
        home]. So all four went on together [into the forest|along the road], until {@dark}.

        "I see a light," said {c.k}. They went towards it and came to a little house. {H} looked in at the window.
        "[What do you see?|Well, what is there?]" whispered the others. "[I see a table full of good things|I see
        gold on the table]," said {h}, "and round it sit robbers, eating and drinking."

        Then they made a plan. {H} stood up against the window, {a} climbed on {h.k}'s back, {b} got on top of {a},
        and {c} got on top of all. "One, two, three!" And they all [cried out together|sang at the top of their
        voices], each in {@own_voice}. The robbers [thought that a ghost had come|jumped up in terror] and ran away
        into the dark.

        The four friends sat down at the table and ate [as if they were never to eat again|until they were full].
        Then they put out the light and lay down, each where {@own_place}. At midnight one robber crept back, but
        {a} [scratched him|bit his leg], {b} flew at his face, {c} screamed, and {h} gave him such a kick that he
        [flew out at the door|never came back].

        [The robbers did not dare to go near the house again|No robber ever came there again], and the four friends
        liked it so well that they stayed. And there they are living still.""",
        weight=0.8,
    ),
    Plot(
        titles=("The Great Turnip", "The {H.noun} and the Big Turnip", "All Together"),
        roles={
            "h": "village grown worker, elder, farm animal, forest animal",
            "a": "person !big, tame animal",
            "b": "animal !small",
            "c": "animal",
            "d": "=mouse, =ant, =sparrow, =snail, =kitten",
        },
        slots={"v": ("turnip", "carrot", "pumpkin", "radish", "cabbage", "beet")},
        about=("a turnip", "helping", "working together"),
        want="{H} wanted to pull up the big {v}.",
        lesson="When everybody helps, even the smallest counts.",
        text="""{@begin:h} In spring {h} put a little seed into the ground and said, "Grow, little seed, grow big
        and sweet." And [it rained, and the sun shone|the seed heard it], and the {v} grew and grew until it was
        [as big as a house|the biggest {v} in the world].

        {@one_day} {h} went out to pull it up. {H.He} pulled and pulled, but the {v} did not move. So {h} called
        {a.a}. {A.K} took hold of {h.k}, and they pulled and pulled, but the {v} did not move.

        Then {a.k} called {b.a}. {B.K} took hold of {a.k}, {a.k} took hold of {h.k}, and they pulled and pulled,
        but they could not pull it up.

        Then {b.k} called {c.a}. {C.K} took hold of {b.k}, {b.k} took hold of {a.k}, {a.k} took hold of {h.k}, and
        they pulled and pulled [with all their might|until they were red in the face], but still the {v} would not
        come.

        At that moment {d.a} came along. "[May I help?|Let me help, too!]" said {d.k}. They all laughed. "[You are
        much too small,|What can you do?]" they said. But {h} said, "[Every little helps|Let {d.him} try]." So {d.k}
        took hold of {c.k}, {c.k} took hold of {b.k}, {b.k} took hold of {a.k}, {a.k} took hold of {h.k}, and they
        pulled and pulled, and — plop! — up came the {v}, and they all fell down on top of one another.

        [How they laughed!|Nobody was hurt.] Then {h} made [a great pot of soup|a pie] out of the {v}, and everyone
        had as much as they could eat. And {d.k}, [who was the smallest, got the first spoonful|the smallest of
        all, sat at the head of the table].""",
        weight=0.6,
    ),
    Plot(
        titles=("The {H.noun} Who Wanted to Be Different", "The Proud {h.noun}", "The {h.noun} in Borrowed Colours"),
        roles={"h": "animal !tiny", "a": "vain, feathered", "m": "wise, elder, =owl"},
        slots={
            "c": (
                {
                    "want": "to have golden feathers",
                    "do": "stuck yellow straw all over {h.himself}",
                    "loss": "the wind blew the straw away",
                },
                {
                    "want": "to be as white as snow",
                    "do": "rolled in a sack of flour",
                    "loss": "the rain washed the flour off",
                },
                {
                    "want": "to be red like a rose",
                    "do": "rubbed {h.himself} with berries",
                    "loss": "{h.he} fell into the brook, and the colour ran out",
                },
                {
                    "want": "to be as tall as a tree",
                    "do": "walked about on two long sticks",
                    "loss": "one of the sticks broke",
                },
                {
                    "want": "to have a crown",
                    "do": "made {h.himself} a crown of paper",
                    "loss": "the rain turned the paper to pulp",
                },
            )
        },
        about=("being yourself", "being proud"),
        want="{H} wanted {c.want}.",
        lesson="It is best to be yourself.",
        text="""{@begin:h} {@ordinary:h} But {h.he} was not content. [All day long {h.he} looked at {h.himself} in
        the water.|"I look like everybody else," {h.he} sighed.] {H.He} wanted {c.want}.

        {@one_day} {h} saw {a.a} go by. ["How fine {a.he} is!" thought {h}. "And how plain I am!"|Everyone turned
        round to look at {a.him}, and {h} was full of envy.] So {h} went home and {c.do}. Then {h.he} went out and
        walked up and down, with {h.his} nose in the air. {@boast:h}

        [{H.His} old friends did not know {h.him}.|{H.His} friends came to ask {h.him} to play, but {h.he} would
        not even look at them.] "Are you not {h.n}?" they asked. "[I do not know you|Certainly not]," said {h}.

        But [in the middle of the market-place|just when everybody was looking|that very afternoon] {c.loss}. And
        there stood {h}, just as {h.he} had always been. How everybody laughed! {H} ran away and hid [behind a
        bush|in the long grass].

        There {m.a} found {h.him}. {@asks_why:m} "[Because I am only what I am|Nobody likes me as I am]," said {h}.
        "[That is nonsense|Now listen to me]," said {m.k}. "[There are many in the world like {a.k}, but there is
        only one of you.| Your friends liked you before, and they did not like you for your looks.]"

        {@Think:h} Then {h.he} went back to {h.his} friends and said that {h.he} was sorry. ["We are glad to have
        you back," they said.|They were not angry long.] And they played together until {@dark}. {@end:h}""",
    ),
    Plot(
        titles=("The {h.noun} and the {b.noun} with the Broken Wing", "The Broken Wing", "The {h.noun} and the Bird"),
        roles={"h": "person !sea, forest animal, tame", "b": "bird animal !hunter !wild"},
        about=("kindness", "a bird", "winter"),
        want="{H} wanted {b.k} to be well again.",
        lesson="Kindness always comes back to you.",
        text="""{@begin:h} {@ordinary:h}

        [One day|One morning] in autumn {h} found {b.a} lying [in the grass|on the doorstep|under the hedge]. One
        of {b.his} wings was broken. "All the other birds have flown away to the south," said {b.k}, "and I cannot
        follow them. [When the snow comes, I must die.|I shall never fly again.]"

        "[You shall stay with me|Come home with me]," said {h}. {H.He} [carried {b.him} home as gently as {h.he}
        could|picked {b.him} up with great care], made {b.him} a bed of [moss|wool|soft hay], and tied up the wing
        with a [thread|little strip of linen]. Every day {h.he} gave {b.him} {b.food} and fresh water. [Outside the
        snow was falling, but inside it was warm.|All winter long the two sat together by the fire.] And {b} [told
        {h} about the lands where it is always summer|sang to {h.him} in the evenings].

        When spring came, the wing was well again. {B} [hopped to the window and looked out at the blue sky|beat
        {b.his} wings and flew once round the room]. "[I must go now|The others will be coming back]," said {b},
        "but I shall not forget you." {H} was sad, but {h.he} opened the window wide. "[Fly, then|Good-bye, my
        friend], and be happy," {h.he} said.

        The summer went by. Then {h} fell [ill|on hard times], and [there was nothing left to eat|nobody came to
        see {h.him}]. One morning there was a tapping at the window. It was {b}! In {b.his} beak {b.he} carried [a
        red berry|a little green leaf|a shining seed]. "[Plant this|Eat this], and all will be well," said {b}. And
        so it was: [before a week had passed, {h} was as strong as ever|out of it grew a bush full of golden fruit,
        and {h} was never hungry again].

        [Every spring {b} came back and built {b.his} nest under {h.k}'s roof.|From that time on {b} came back
        every year.] {@end_two:h,b}""",
    ),
)
