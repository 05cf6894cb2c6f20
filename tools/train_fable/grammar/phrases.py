"""Phrases that many tales share. In those with an argument, `x` is the character named."""

from __future__ import annotations

PHRASES: dict[str, str] = {
    "once": """[Once upon a time|Once upon a time|Once upon a time|Once upon a time|Once|Long ago|Long, long ago|
        A long time ago|Many years ago|In the old days|In the days when animals could talk|
        Once upon a time, when the world was young,]""",
    # An opening sentence that introduces x.
    "begin": """[{@once} there [was|lived] {x.a} who lived {x.home}.|{@once} there lived {x.a}.
        {X.his} home was {x.home}.|{@once}, {x.home}, there lived {x.a}.|{@once} there was {x.a}.|
        {@once}, there was {x.a}, and {x.he} lived {x.home}.|There was once {x.a} who lived {x.home}.|
        There once lived {x.a}, {x.home}.|{X.home} there once lived {x.a}.|
        In a land far away from here there lived {x.a}.|Far away, {x.home}, lived {x.a}.]""",
    "ordinary": """[Every morning {x.he} got up with the sun, and every evening {x.he} went to bed with the birds.|
        {X.He} had not much, but {x.he} was content with what {x.he} had.|
        Nothing much ever happened there, and {x.k} liked it that way.|
        {X.He} was fond of {x.food}, and fonder still of a long sleep.|
        There was nothing in the world that {x.he} liked so well as {x.food}.|
        Everyone who passed by knew {x.n} and wished {x.him} good day.|
        {X.He} worked hard all day long, and at night {x.he} looked up at the stars.|
        In summer {x.he} sat in the sun, and in winter {x.he} kept close to the warm stove.|
        {X.He} had a kind heart, though few people knew it.|
        The years went by, one much like the other.|
        {X.He} talked a great deal and laughed even more.|
        {X.He} lived all alone, and sometimes the evenings seemed very long.|]""",
    "one_day": "{day}",
    "next_day": """[The next morning|The next day|Early the next morning|On the following day|
        When the sun rose again|As soon as it was light]""",
    "weather": "{sky}",
    "walk": """[{X.he} walked and walked|{x.he} went on and on|{x.he} went up hill and down hill|
        {x.he} went along the road|{x.he} went through the fields and over the brook|
        {x.he} went a long, long way]""",
    "sets_out": """[So {x.he} set out|So {x} took a piece of bread and set out|
        Then {x.he} said good-bye and went on {x.his} way|
        So {x} set off that very day|Without another word {x.he} set out into the wide world|
        {X.He} did not wait a moment, but went on {x.his} way]""",
    "sad": """[{x} sat down and wept|{x} began to cry|{x} was very sad|{x} hung {x.his} head|
        {x} did not know what to do|{x} could neither eat nor sleep|{x} sighed from the bottom of {x.his} heart]""",
    "glad": """[{x} was so happy that {x.he} danced|{x} was glad from head to foot|{x} laughed for joy|
        {x} could hardly believe {x.his} eyes|{x} was happier than {x.he} had ever been|{x} clapped and sang]""",
    "asks_why": """["Why are you [crying|so sad|weeping]?" asked {x}.|"What is the matter?" asked {x}.|
        "What has happened to you?" {x} asked.|"Tell me what troubles you," said {x}.]""",
    "thanks": """["Thank you," said {x}. "I shall never forget it."|"Thank you a thousand times!" cried {x}.|
        "You have been good to me," said {x}, "and I will be good to you."|
        "How can I ever thank you?" said {x}.|"I am small, but I do not forget," said {x}.|
        {X} thanked {y} with all {x.his} heart.]""",
    "end": """[And {x.he} lived happily ever after.|And from that day on {x} was never lonely again.|
        And if {x.he} is not dead, {x.he} is living there still.|
        After that {x} lived in peace to the end of {x.his} days.|
        And there {x.he} lives to this day.|That night {x} slept better than ever before.|
        And {x} often told the story afterwards, when the fire was low.|
        And so everything came right in the end.|And they all lived happily ever after.|
        Whoever passes that way may see {x.him} there still.|That is the end of the story of {x.n}.]""",
    "end_two": """[And they lived happily together ever after.|From that day on the two were the best of friends.|
        And {x} and {y} were friends as long as they lived.|And if they are not dead, they are living still.|
        And whenever you saw {x}, {y} was not far away.|After that they shared everything that they had.|
        And so {x} and {y} lived in peace and plenty.|Ever since then they have kept each other company.]""",
    "dark": """[night came on|it grew dark|the sun went down|evening fell|the stars came out one by one]""",
    "rude": """["Get out of my way," said {x}.|"I have no time for the likes of you," said {x}.|
        "What is that to me?" said {x}, and walked on.|"Help yourself," said {x}, and did not even turn round.|
        "Go and ask somebody else," said {x}.]""",
    "gentle": """["With all my heart," said {x}.|"You are welcome to what I have," said {x}.|
        "It is not much, but we will share it," said {x}.|"Poor thing!" said {x}. "Of course I will help you."|
        "Come, let me help you," said {x} kindly.]""",
    "boast": """["There is nobody like me in the whole world," said {x}.|"Look at me!" said {x}. "Am I not wonderful?"|
        "I can do everything better than you can," said {x}.|"Make way," cried {x}, "for I am the best of all!"]""",
    "think": """[{x} thought for a while.|{x} thought about it all night.|{x} scratched {x.his} head.|
        {x} shut {x.his} eyes and thought hard.|{x} said nothing, but {x.he} thought the more.|
        Then {x} had an idea.]""",
    "feast": """[a great feast was held|there was music and dancing for three days|
        all the bells were rung|the whole village sat down to supper together|
        there was cake for everyone|the fiddlers played until morning]""",
    # Somebody small in trouble, found by h; and what h does.
    "trouble": """[There {h.he} found {x.one} caught in a thorn bush. {@asks_why:h} "I cannot get free," said {x.k},
        "and nobody will help me." {H} bent the thorns back, one by one, until {x.k} was free.|
        There lay {x.one} under a heavy stone. "Please, take it away," begged {x.k}, "for I can hardly breathe."
        {H} pushed with all {h.his} might, and the stone rolled away.|
        By the road sat {x.one}, too weak to move. "I have had nothing to eat for three days," said {x.k}.
        {H} gave {x.him} half of {h.his} bread, and soon {x.k} felt better.|
        {X.one} had fallen into a deep hole and could not climb out. "Help, help!" called {x.k}.
        {H} let down a long branch and pulled until {x.k} stood safely on the grass.|
        There was {x.one} tangled in a hunter's net. "Dear friend," said {x.k}, "set me free, or I must die."
        {H} tore the net and let {x.him} go.|
        {X.one} sat shivering in the cold. "I have lost my way," said {x.k}, "and I am freezing."
        {H} warmed {x.him} until {x.he} stopped shivering, and showed {x.him} the way home.]""",
    # The same for one that lives in the water.
    "stranded": """[There lay {x.one} on the sand, where the waves had thrown {x.him}. "Put me back into the water,"
        begged
        {x.k}, "or I must die." {H} took {x.him} up gently and put {x.him} back.|
        {X.one} was caught in an old net between two stones. "Set me free," said {x.k}, "for the water is running out."
        {H} tore the net and let {x.him} swim away.|
        In a little pool that was almost dry lay {x.one}. "The sun is drinking my pool," said {x.k}, "and soon there
        will be
        nothing left." {H} carried {x.him} down to the deep water.]""",
    "promise": """["You have saved me," said {x.k}. "When you are in need, call me, and I will come."|
        "One day I will help you as you have helped me," said {x.k}.|
        "I will not forget this," said {x.k}, and {x.he} went away.|
        "If ever you need me, say my name three times," said {x.k}.|
        {X.K} thanked {h.him} and said, "Good deeds are never lost."]""",
    "food_or_things": "[nuts|buttons|stones|feathers|eggs|spots|leaves]",
    "own_voice": "[its own way|its own voice|its own tune]",
    "own_place": "[it liked best|it was most used to]",
    "modest": """[It is not hard, if one listens.|My grandmother asked me that every evening.|The wind told me.|
        I had time to think about it while I was milking.]""",
    "why_weep": "[Why are you crying?|What is the matter?|Why so sad?|What troubles you?]",
    "sad_tail": """[a tear ran down {x.his} nose|{x.he} was very sad|{x.he} went in and shut the door|
        {x.he} sighed deeply]""",
    "calm": "[the wind fell and the sky grew light|the storm was over|morning came]",
}

# "One day" and the weather of that day, which must not quarrel.
SEASONS: tuple[tuple[str, str], ...] = (
    (
        "[One day|One morning|One fine day|One day in spring|One spring morning|Now one day]",
        """[The sun was shining, and a soft wind blew over the grass.|The first flowers were looking out of the grass.|
        The sky was blue, and the birds were singing.|The apple trees were white with blossom.|A warm rain had fallen in
        the night, and everything was green.|The brook was full and talked to itself.]""",
    ),
    (
        "[One day|One morning|One hot day|One bright summer morning|One summer day|One evening in summer|Now one day]",
        """[It was so hot that even the flies were asleep.|The sun was shining, and the bees hummed in the clover.|
        The sky was blue, without a single cloud.|The corn stood high and yellow.|Far away there was thunder.|
        The air smelled of hay.|It was so still that one could hear the dew fall.]""",
    ),
    (
        """[One day|One morning|One autumn day|One windy morning|One day in autumn|Now one day]""",
        """[The leaves were red and yellow, and the air smelled of apples.|A thick mist lay over the fields.|
        The wind howled, and the rain beat against the leaves.|Dark clouds hung low over the hills.|
        The swallows had already flown away.|The wind shook the last nuts from the trees.]""",
    ),
    (
        "[One day|One morning|One cold day|One winter morning|One day in the middle of the winter|Now one day]",
        """[It had snowed all night, and the whole world was white.|The snow creaked at every step.|
        It was so cold that the breath froze in the air.|The brook was frozen, and the trees were white.|
        Little white flakes were falling.|The sun was small and red.]""",
    ),
    (
        "[One day|One morning|One evening|It happened one day that|One fine morning|Now one day]",
        """[The wind was blowing.|The moon was already up, round and bright.|The sun was just rising.|
        Nobody else was to be seen far and wide.|It was very quiet.|A bird sang somewhere.]""",
    ),
)
