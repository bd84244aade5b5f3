"""The tiny stories: who may be in them, where they happen, what is found, and how one is told.

A story is a function of its hero and of its place or thing, so a model can be asked for a pair
it never met."""

from collections.abc import Mapping

# hero -> (what it is like, where it is at home, how its stories end)
HEROES: Mapping[str, tuple[str, str, str]] = {
    "fox": ("clever", "in the forest", "smiled and wrote a song about it"),
    "owl": ("wise", "in a library", "told the whole story to the stars"),
    "cat": ("sleepy", "in the attic", "curled up and dreamed about it"),
    "dog": ("happy", "on a farm", "ran home to tell everybody"),
    "mouse": ("tiny", "in the kitchen", "was not afraid any more"),
    "bear": ("gentle", "in a cave", "shared some honey with everyone"),
    "rabbit": ("quick", "in the garden", "jumped for joy three times"),
    "hedgehog": ("shy", "in the garden", "made a new friend that day"),
    "frog": ("green", "by the river", "sang about it all night long"),
    "duck": ("funny", "by the river", "laughed until the sun went down"),
    "horse": ("white", "on a farm", "danced in the moonlight"),
    "lion": ("brave", "in the desert", "gave a great and happy roar"),
    "elephant": ("big", "in the jungle", "never forgot that day"),
    "monkey": ("cheeky", "in the jungle", "did a somersault for everyone"),
    "penguin": ("polite", "in the snow", "bowed and said thank you"),
    "turtle": ("slow", "on an island", "walked home with a big smile"),
    "bird": ("small", "in the forest", "flew up to tell the clouds"),
    "snail": ("patient", "in the garden", "was proud for a whole year"),
    "whale": ("blue", "under the sea", "hummed a deep and happy song"),
    "bee": ("busy", "in the garden", "took a long nap in a flower"),
    "dragon": ("young", "in a cave", "lit a hundred candles to celebrate"),
    "robot": ("curious", "in space", "learned what it means to be glad"),
    "wizard": ("old", "in a library", "wrote it down in a secret book"),
    "pirate": ("loud", "on a ship", "gave all the gold away"),
    "knight": ("noble", "in a castle", "promised to come back every spring"),
    "princess": ("bold", "in a castle", "planted a tree to remember it"),
    "king": ("kind", "in a castle", "invited everybody to a feast"),
    "queen": ("proud", "in a castle", "learned to laugh again"),
    "giant": ("lonely", "on a mountain", "was never lonely again"),
    "ghost": ("friendly", "in the attic", "whispered good night to everyone"),
}

# place -> what happens there; "{hero}" is "the fox", or a person's name
PLACES: Mapping[str, str] = {
    "in the forest": "One night {hero} saw the trees dance.",
    "in the garden": "One morning {hero} heard the roses sing.",
    "in a castle": "Behind a little door {hero} found a room full of toys.",
    "in a cave": "Deep inside {hero} found a lake of light.",
    "in the city": "Up on a roof {hero} met the moon.",
    "in the desert": "Under the sand {hero} found a cool spring.",
    "in the jungle": "High in a tree {hero} found a golden nest.",
    "in the snow": "One day {hero} built a house of ice.",
    "in the kitchen": "One evening {hero} baked a cake as big as a wheel.",
    "in a library": "One rainy day {hero} fell into a book.",
    "in the attic": "In an old box {hero} found a map.",
    "on the moon": "With one big jump {hero} touched a star.",
    "on an island": "On the beach {hero} found a letter in a bottle.",
    "on a farm": "One morning {hero} taught the cows to count.",
    "on a mountain": "At the very top {hero} caught a cloud.",
    "on a ship": "In a great storm {hero} held the wheel.",
    "on a train": "At the last stop {hero} found a town of sweets.",
    "by the sea": "One day {hero} heard a shell tell a secret.",
    "by the river": "One day {hero} built a bridge for the ants.",
    "at school": "One day {hero} learned to read the word love.",
    "at the circus": "One evening {hero} walked along the high rope.",
    "under the sea": "Far below {hero} found a city of pearls.",
    "under the bed": "In the dark {hero} found a lost button and a dream.",
    "in space": "Past the last star {hero} heard soft music.",
}

# thing -> what it does
FINDS: Mapping[str, str] = {
    "a lantern": "It made the darkest night as bright as day.",
    "a key": "It opened a door to a secret garden.",
    "a book": "Every page told a new dream.",
    "a drum": "With one boom the rain began to dance.",
    "a kite": "It pulled {hero} high above the hills.",
    "a hat": "Under it there were a hundred little songs.",
    "a balloon": "It carried {hero} over the sea.",
    "a map": "It showed the way to a hidden valley.",
    "a flute": "Its music woke the sleeping flowers.",
    "a ring": "It could make any wish come true.",
    "a boat": "It sailed all the way to the rainbow.",
    "an egg": "A tiny dragon came out and said hello.",
    "a mirror": "In it {hero} saw the world of tomorrow.",
    "a feather": "It could write without any ink.",
    "a cake": "It was big enough for the whole village.",
    "a clock": "It could turn back the time by one hour.",
    "a blanket": "It could fly as far as the clouds.",
    "a coin": "Each time it was given away, it came back.",
    "a seed": "By morning it was a tree up to the sky.",
    "a snowball": "It did not melt, not even in summer.",
    "a bell": "It rang whenever somebody told the truth.",
    "a star": "It was warm and only wanted to go home.",
}


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def story_of_place(hero: str, place: str) -> str:
    trait, _, ending = HEROES[hero]
    beginning = f"Once {with_article(trait)} {hero} lived {place}."
    return f"{beginning} {PLACES[place].format(hero=f'the {hero}')} The {hero} {ending}."


def story_at_home(hero: str) -> str:
    return story_of_place(hero, HEROES[hero][1])


def story_of_find(hero: str, find: str) -> str:
    trait, _, ending = HEROES[hero]
    beginning = f"Once {with_article(trait)} {hero} found {find}."
    return f"{beginning} {FINDS[find].format(hero=f'the {hero}')} The {hero} {ending}."


def story_of_person(name: str, place: str) -> str:
    """The same, with the person who asks as its hero."""
    event = PLACES[place].format(hero=name)
    return f"Once {name} lived {place}. {event} Everybody there loved {name}."
