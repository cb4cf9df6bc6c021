"""The classes of the rooms, as numbers."""

from mtmamba.tasks import CLASS_NAMES

ROOM_CLASSES = tuple(CLASS_NAMES["rooms"])
(
    WALL,
    FLOOR,
    CEILING,
    WINDOW,
    DOOR,
    TABLE,
    CHAIR,
    SOFA,
    BED,
    SHELF,
    LAMP,
    PICTURE,
    PLANT,
    BALL,
    BOX,
    RUG,
    PERSON,
) = range(len(ROOM_CLASSES))
HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)
