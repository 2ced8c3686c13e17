"""Sentences and word lists that the expander draws from where the user gives none of his own."""

TEMPLATES = (
    "A {style} photograph of {a_class} {outdoors} {time}, {weather}, {viewpoint}, with "
    "{background} behind it.",
    "{A_class} {outdoors}, photographed {viewpoint} {time}, {weather}, with {background} in the "
    "distance.",
    "A {style} picture that shows {a_class} {outdoors} and nothing else, {viewpoint}, {weather}, "
    "{time}.",
    "{A_class} alone {outdoors}, {weather}, {time}, seen {viewpoint} in a {style} photograph.",
    "A {style} photograph of {a_class} {indoors}, {viewpoint}, lit by {light}, with {backdrop} "
    "behind it.",
    "{A_class} {indoors}, photographed {viewpoint} and lit by {light}, with {backdrop} behind it.",
    "A {style} picture that shows {a_class} {indoors} and nothing else, {viewpoint}, lit by "
    "{light}.",
    "{A_class} alone {indoors}, lit by {light} and seen {viewpoint} in a {style} photograph.",
    "A {style} studio photograph of {a_class} against {backdrop}, {viewpoint}, lit by {light}, "
    "with soft shadows.",
    "{A_class} before {backdrop} in a {style} studio photograph, taken {viewpoint} and evenly lit "
    "by {light}.",
)
"""`{a_class}` is the class with its article, `{A_class}` at a sentence's start, `{class}` bare;
every other placeholder is a list of `LISTS`. Each makes 15 words or more."""

LISTS: dict[str, tuple[str, ...]] = {
    "style": (
        *("sharp", "candid", "crisp", "detailed", "grainy", "muted", "high-contrast", "natural"),
        *("documentary", "professional", "slightly blurred", "warm-toned", "cool-toned", "simple"),
    ),
    "outdoors": (
        *("on a gravel path", "on wet cobblestones", "in a grassy meadow", "on a sandy beach"),
        *("at the edge of a forest", "on a wooden pier", "in an empty square", "on a quiet lane"),
        *("beside a stone wall", "on a rocky hillside", "in a walled garden", "by a calm lake"),
        *("on a concrete terrace", "in a wide field", "on a riverbank", "in a narrow courtyard"),
        *("on a flat roof", "in a village market", "on a mountain pass", "on dry sand"),
        *("among fallen leaves", "on a harbour quay", "in a desert valley", "on a suburban lawn"),
    ),
    "indoors": (
        *("on a wooden floor", "in a bright kitchen", "on a plain white table", "in a workshop"),
        *("in a tidy living room", "on a woven rug", "in an empty hall", "in an old library"),
        *("beside a tall window", "in a tiled corridor", "in a dim attic", "in a large warehouse"),
        *("on a marble counter", "in a small studio", "in a museum room", "in a quiet office"),
        *("on a velvet cloth", "in a bare concrete room", "in a glass pavilion", "in a barn"),
    ),
    "time": (
        *("at dawn", "early in the morning", "late in the morning", "at noon", "at midday"),
        *("early in the afternoon", "late in the afternoon", "in the evening", "at sunset"),
    ),
    "weather": (
        *("under a clear sky", "under heavy clouds", "in light rain", "in thick fog"),
        *("in falling snow", "in still air", "after a thunderstorm", "in hazy light"),
        *("in strong wind", "under scattered clouds", "in golden light", "under an overcast sky"),
    ),
    "viewpoint": (
        *("from the front", "from the side", "from slightly above", "from a low angle"),
        *("from close up", "from a distance", "from behind", "at eye level", "from overhead"),
        *("at a three-quarter angle", "slightly off centre", "through a wide-angle lens"),
    ),
    "light": (
        *("soft daylight", "a single lamp", "candlelight", "cold fluorescent tubes"),
        *("a warm spotlight", "morning sun through blinds", "diffuse light", "hard side light"),
        *("a string of small bulbs", "a bright skylight", "dim evening light", "two softboxes"),
    ),
    "background": (
        *("a blurred landscape", "pale sky", "a dark green hedge", "a row of distant trees"),
        *("low hills", "a weathered brick wall", "an old wooden fence", "still water"),
        *("a line of rooftops", "bare branches", "a stretch of open land", "misty mountains"),
    ),
    "backdrop": (
        *("a plain grey wall", "a white backdrop", "a soft beige backdrop", "rough concrete"),
        *("old wooden boards", "peeling blue paint", "a dark curtain", "out-of-focus lights"),
        *("a pattern of shadows", "a faded mural", "a red brick wall", "pale green tiles"),
    ),
}
