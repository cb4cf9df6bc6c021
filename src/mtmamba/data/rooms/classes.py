"""The classes of the rooms, as numbers."""

ROOM_CLASSES = (
    "wall", "floor", "ceiling", "window", "door", "table", "chair", "sofa", "bed", "shelf", "lamp", "picture", "plant",
    "ball", "box", "rug", "person",
)  # fmt: skip

(WALL, FLOOR, CEILING, WINDOW, DOOR, TABLE, CHAIR, SOFA, BED, SHELF, LAMP, PICTURE, PLANT, BALL, BOX, RUG, PERSON) = range(
    len(ROOM_CLASSES)
)
HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)
