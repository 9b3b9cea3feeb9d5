"""The fixed stock of the sample world: what WikiHow lists, what videos show, what people say."""

from howto100m.kinds import Kind

THINGS = ("ball", "tile", "triangle", "star", "ring", "cross", "board", "moon")
COLOURS = {
    "red": (214, 30, 36),
    "green": (24, 150, 50),
    "blue": (28, 70, 215),
    "yellow": (250, 220, 20),
    "orange": (250, 130, 10),
    "purple": (140, 40, 170),
    "white": (248, 248, 248),
    "black": (18, 18, 20),
}
MOTIONS = ("slide", "bounce", "spin", "grow")
BACKGROUNDS = {
    "grey": (128, 130, 134),
    "sand": (196, 178, 148),
    "teal": (96, 148, 150),
    "rose": (190, 140, 146),
    "olive": (122, 124, 84),
    "slate": (88, 98, 116),
}

# %s is "colour thing"
NAMING = {
    "slide": (
        "now take the %s and slide it over the table",
        "the %s slides all the way to the right",
        "we slide the %s from the left to the right",
    ),
    "bounce": (
        "then let the %s bounce up and down a bit",
        "here the %s bounces high and comes down again",
        "pick the %s up and make it bounce off the floor",
    ),
    "spin": (
        "next turn the %s so that it can spin around",
        "look how the %s spins on the same spot",
        "give the %s a push and spin it around quickly",
    ),
    "grow": (
        "watch the %s grow larger and larger in front of you",
        "after a moment the %s grows and fills more space",
        "let the %s grow until it is really large",
    ),
}
CAPTIONS = {
    "slide": "slide the %s to the right",
    "bounce": "bounce the %s up and down",
    "spin": "spin the %s around on the spot",
    "grow": "let the %s grow larger",
}
ASIDES = (
    "next week we will use a %s for something else",
    "my sister wanted a %s but we ran out of them",
    "you do not need any %s for this at all",
)
CHAT = (
    "hi everybody and welcome back to my little channel",
    "this is so easy that my grandmother does it too",
    "I learned it from a neighbour many years ago",
    "please leave me a comment if you have a question",
    "you can find the list of materials down below",
    "take your time and do not worry about mistakes",
    "honestly I was nervous when I tried that first",
    "the weather was terrible so we stayed at home",
    "my coffee is getting cold but that is fine",
    "it does not have to be perfect the first time",
    "some people like music while they are working",
    "thanks to everybody who wrote me last month",
    "that was the difficult part and the rest is fun",
    "I always keep an old towel close to me",
    "we filmed this twice because the phone was ringing",
    "remember to subscribe if you enjoy these videos",
    "you will get a feeling for it after some practice",
    "that costs almost nothing and lasts for years",
)
GREETING = "hello and welcome everybody"
CHAT_SPANISH = (
    "ahora seguimos con calma y sin ninguna prisa",
    "esta parte es muy sencilla y bastante divertida",
    "mira bien como se mueve la pieza en la mesa",
    "luego damos otra vuelta y miramos el resultado",
    "mi abuela siempre lo hizo de esta misma manera",
    "no olvides dejar un comentario si te gusta",
)

TREE = {
    "Arts and Entertainment": {"Drawing": {}, "Music": {"Brass Instruments": {}}, "Theater": {}},
    "Cars & Other Vehicles": {"Car Maintenance": {"Car Washing": {}}, "Motorcycles": {}},
    "Computers and Electronics": {"Hardware": {"Keyboards": {}}, "Laptops": {}, "Software": {}},
    "Education and Communications": {"Geography": {}, "Presentations": {}, "Writing": {}},
    "Family Life": {"Babies": {}, "Family Activities": {}},
    "Finance and Business": {"Managing Your Money": {}, "Taxes": {}},
    "Food and Entertaining": {"Baking": {"Cakes": {}}, "Fruits and Vegetables": {}, "Drinks": {}},
    "Health": {"Injury and Accidents": {"Sprains": {}}, "Emotional Health": {}},
    "Hobbies and Crafts": {"Paper Craft": {"Origami": {}}, "Knitting": {}, "Board Games": {}},
    "Holidays and Traditions": {"Halloween": {"Pumpkins": {}}, "Christmas": {}},
    "Home and Garden": {"Outdoor Building": {"Fences": {}}, "Gardening": {}, "Furniture": {}},
    "Personal Care and Style": {"Hair Care": {"Braids": {}}, "Manners": {}},
    "Pets and Animals": {"Cats": {}, "Dogs": {}},
    "Philosophy and Religion": {"Altars": {}},
    "Relationships": {"Friends": {}},
    "Sports and Fitness": {"Cycling": {}, "Hiking": {}},
    "Travel": {"Packing": {}},
    "Work World": {"Office Skills": {}},
    "Youth": {"School Clubs": {}},
}
"""WikiHow's 19 top categories, with a few of those below each."""

TASKS = (
    ("Make an Origami Star", ("Origami",)),
    ("Bake a Chocolate Cake", ("Cakes",)),
    ("Paint a Garden Fence", ("Fences", "Gardening")),
    ("Fix a Flat Bicycle Tire", ("Cycling",)),
    ("Wash a Car by Hand", ("Car Washing",)),
    ("Brush a Long-Haired Cat", ("Cats",)),
    ("Carve a Pumpkin", ("Pumpkins", "Fruits and Vegetables")),
    ("Braid Short Hair", ("Braids",)),
    ("Wrap a Sprained Ankle", ("Sprains",)),
    ("Build a Cardboard Guitar", ("Music",)),
    ("Clean a Computer Keyboard", ("Keyboards",)),
    ("Make a Paper Globe", ("Geography", "Paper Craft")),
    ("Cut an Onion", ("Fruits and Vegetables",)),
    ("Build a Wooden Shelf", ("Furniture",)),
)
"""Tasks to keep, all with videos; the first has more than 200 results."""
SILENT_TASK = ("Polish a Brass Trumpet", ("Brass Instruments",))
"""A task to keep that no video is found for."""
REDIRECTS = (("Make Origami Stars", ("Origami",)), ("Cut Onions", ("Fruits and Vegetables",)))
OTHER_PAGES = {
    Kind.NOT_VISUAL: (
        ("Be Healthy", ("Health",)),
        ("Choose a Backpack", ("Hiking", "Packing")),
        ("Know when a Melon Is Ripe", ("Fruits and Vegetables",)),
        ("Understand Chess Openings", ("Board Games",)),
        ("Accept a Compliment", ("Manners",)),
        ("Decide Between Two Laptops", ("Laptops",)),
        ("Feel Confident on Stage", ("Theater",)),
        ("Believe in Santa Claus", ("Christmas",)),
    ),
    Kind.NO_VERB: (
        ("What Is a Carburetor?", ("Motorcycles",)),
        ("Why Do Cats Purr", ("Cats",)),
        ("10 Healthy Lunch Ideas", ("Food and Entertaining",)),
        ("Easy Halloween Costumes", ("Halloween",)),
        ("Is Coffee Bad for Dogs?", ("Dogs", "Drinks")),
    ),
    Kind.OTHER_CATEGORY: (
        ("Fold a Letter to a Friend", ("Friends",)),
        ("Make a Budget", ("Managing Your Money",)),
        ("Pack a Suitcase", ("Packing",)),
        ("Build a Blanket Fort with Children", ("Family Activities",)),
        ("Clean a Desk at Work", ("Office Skills",)),
        ("Paint a Banner for a Club", ("School Clubs",)),
        ("Build a Home Altar", ("Altars",)),
        ("Stack Firewood", ()),
    ),
}
"""Pages that are no tasks, by the reason that leaves them out."""
