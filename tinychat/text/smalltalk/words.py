"""The words that the small talk is about: plain tables, no rules."""


def listed(text: str, separator: str | None = None) -> tuple[str, ...]:
    """The words of a text, so that a long table reads like one."""
    return tuple(text.split(separator))


NAMES = listed(
    """
    Ada Adam Aisha Akira Alba Alex Alice Amara Amir Ana Anders Andrea Anna Anton Arjun Astrid
    Bea Ben Bianca Boris Bruno Camille Carl Carla Carlos Chen Chloe Clara Dana Daniel David
    Diego Dora Edith Elena Elias Elif Ella Elsa Emil Emma Erik Esther Eva Fatima Felix Fiona
    Flora Frank Frida Gabriel George Greta Hana Hanna Hassan Heidi Helen Henry Hugo Ibrahim Ida
    Igor Ines Ingrid Irene Isaac Ivan Jack Jakob James Jana Jasmin Jens Joan John Jonas Jose
    Juan Julia Jun Kai Karim Karin Kate Kenji Kira Klara Kofi Lara Laura Layla Lea Lena Leo Lia
    Lily Lina Linus Lisa Lucas Lucia Lucy Luis Luna Maja Malik Marco Maria Marie Mark Marta
    Martin Mary Mateo Max Maya Mei Mia Michael Mila Mina Miriam Mohamed Nadia Naomi Nia Nils
    Nina Nora Noah Olga Oliver Omar Oskar Otto Pablo Paul Paula Pedro Peter Petra Pia Priya
    Rafael Ravi Rita Robert Robin Rosa Ruben Ruth Sam Samira Sara Simon Sofia Sonja Stefan Susan
    Sven Tanja Tara Theo Thomas Tim Tina Tom Tomas Tuva Uma Vera Victor Viktor Walter Wanda Wei
    Yara Yuki Yusuf Zara Zoe
    """
)

ASSISTANT_NAMES = listed(
    """
    Pip Bolt Nova Echo Dot Ziggy Beep Pixel Chip Sunny Comet Widget Tinker Sparky Orbit Pebble
    Gizmo Bubbles Cosmo Sprout Button Twig Domino Marvin Kiwi Turbo Jingle Muffin Pogo Zap
    """
)

PET_NAMES = listed(
    """
    Rex Bello Fluffy Shadow Ginger Snowy Biscuit Tiger Cookie Whiskers Bandit Rocky Coco Oscar
    Lucky Patch Teddy Nala Simba Pepper Toffee Socks Buddy Daisy
    """
)

COLOURS = listed(
    """
    blue red green yellow purple pink orange brown grey silver gold turquoise violet white black
    """
)

FOODS = listed(
    "pizza, soup, rice, bread, pasta, curry, salad, chocolate, cheese, sushi, cake, noodles, "
    "pancakes, apples, strawberries, ice cream, apple pie",
    ", ",
)

# What a person may love most; the heroes of the stories are another list.
ANIMALS = listed(
    """
    horses dolphins elephants tigers rabbits turtles parrots pandas koalas wolves butterflies
    penguins cats dogs
    """
)

TOWNS = listed(
    """
    Paris London Berlin Oslo Rome Madrid Tokyo Cairo Lima Boston Delhi Nairobi Vienna Prague
    Dublin Lisbon Seoul Sydney Toronto Warsaw
    """
)

# Read both ways.
OPPOSITES = tuple(
    listed(pair, "-")
    for pair in listed(
        """
    hot-cold big-small tall-short fast-slow happy-sad up-down left-right day-night open-closed
    full-empty wet-dry early-late near-far hard-soft loud-quiet young-old rich-poor strong-weak
    clean-dirty light-dark first-last high-low in-out on-off yes-no black-white good-bad
    thick-thin wide-narrow deep-shallow sweet-sour smooth-rough true-false win-lose buy-sell
    push-pull start-stop come-go give-take laugh-cry love-hate remember-forget always-never
    before-after above-below inside-outside front-back summer-winter morning-evening north-south
    east-west friend-enemy cheap-expensive safe-dangerous asleep-awake more-less same-different
    question-answer everything-nothing here-there
        """
    )
)

# Read one way: the word on the right has another opposite.
OPPOSITES_ONE_WAY = (
    ("long", "short"),
    ("new", "old"),
    ("heavy", "light"),
    ("easy", "hard"),
    ("wrong", "right"),
    ("large", "small"),
    ("warm", "cold"),
    ("begin", "end"),
    ("little", "big"),
    ("quick", "slow"),
)

NO_OPPOSITES = listed(
    """
    table apple house spoon river banana pencil window garden bicycle cloud shoe letter tree
    music bread tiger piano lamp button water mountain
    """
)

THINGS_WITH_COLOURS = (
    ("the sky", "blue"),
    ("the sea", "blue"),
    ("the sun", "yellow"),
    ("the moon", "white"),
    ("grass", "green"),
    ("snow", "white"),
    ("milk", "white"),
    ("coal", "black"),
    ("chocolate", "brown"),
    ("a banana", "yellow"),
    ("a lemon", "yellow"),
    ("a carrot", "orange"),
    ("a pumpkin", "orange"),
    ("a tomato", "red"),
    ("a cherry", "red"),
    ("a strawberry", "red"),
    ("a frog", "green"),
    ("a leaf", "green"),
    ("a cucumber", "green"),
    ("a flamingo", "pink"),
    ("a pig", "pink"),
    ("an elephant", "grey"),
    ("a mouse", "grey"),
    ("a raven", "black"),
    ("a polar bear", "white"),
)

SOUNDS = (
    ("a cow", "moo"),
    ("a dog", "woof"),
    ("a cat", "meow"),
    ("a duck", "quack"),
    ("a sheep", "baa"),
    ("a pig", "oink"),
    ("a horse", "neigh"),
    ("a bee", "buzz"),
    ("a frog", "ribbit"),
    ("an owl", "hoo"),
    ("a lion", "roar"),
    ("a mouse", "squeak"),
    ("a snake", "hiss"),
    ("a wolf", "awoo"),
    ("a rooster", "cock-a-doodle-doo"),
    ("a bird", "tweet"),
    ("a crow", "caw"),
)

DAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = listed(
    "January February March April May June July August September October November December"
)

# One small thing to know about each.
LITTLE_FACTS = (
    ("bees", "Bees dance to show each other where the flowers are."),
    ("octopuses", "An octopus has three hearts and blue blood."),
    ("snails", "A snail carries its house wherever it goes."),
    ("otters", "Sea otters hold hands while they sleep."),
    ("penguins", "Some penguins give a pebble to the one they love."),
    ("cats", "Cats sleep for more than half of the day."),
    ("dogs", "A dog can smell far better than you can."),
    ("elephants", "Elephants cannot jump, but they can swim."),
    ("butterflies", "Butterflies taste with their feet."),
    ("owls", "An owl can turn its head almost all the way round."),
    ("whales", "The blue whale is the biggest animal of all."),
    ("ants", "An ant can carry things much heavier than itself."),
    ("giraffes", "A giraffe can clean its ears with its tongue."),
    ("flamingos", "Flamingos are pink because of what they eat."),
    ("bats", "Bats find their way in the dark by listening."),
    ("horses", "Horses can sleep standing up."),
    ("the moon", "The moon goes round the Earth in about a month."),
    ("the sun", "The sun is a star, like the ones you see at night."),
    ("rainbows", "You can see a rainbow when sun and rain meet."),
    ("honey", "Honey stays good for a very long time."),
)

JOKES = (
    "Why was six afraid of seven? Because seven ate nine!",
    "What did the zero say to the eight? Nice belt!",
    "What do you call a bear with no teeth? A gummy bear!",
    "Why do I love short talks? I can only remember 128 tokens!",
    "How does a computer say goodbye? Bye bye, byte!",
    "Why did the tiny model cross the road? It was the likely next step!",
    "What does a cloud wear under its coat? Thunderwear!",
    "Why did the robot take a nap? It was low on dreams!",
)
