import pytest

from data_modules.transforms.mirror import mirrored_labels, unmirrored_labels


def test_mirrored_labels_of_something_something():
    """Every class of the 174 with one of the words, and a few others; the pairs are those of the published recipes."""
    names = {
        0: "Approaching something with your camera",
        50: "Plugging something into something but pulling it right out as you remove your hand",
        85: "Pulling something from behind of something",
        86: "Pulling something from left to right",
        87: "Pulling something from right to left",
        93: "Pushing something from left to right",
        94: "Pushing something from right to left",
        119: "Putting something upright on the table",
        165: "Turning the camera downwards while filming something",
        166: "Turning the camera left while filming something",
        167: "Turning the camera right while filming something",
        168: "Turning the camera upwards while filming something",
    }
    labels = [names.get(number, f"Class {number}") for number in range(174)]
    assert mirrored_labels(labels) == {
        86: 87,
        87: 86,
        93: 94,
        94: 93,
        166: 167,
        167: 166,
    }
    assert unmirrored_labels(labels) == []


def test_mirrored_labels_of_any_case():
    assert mirrored_labels(
        ["Left turn", "right turn", "Right turn", "leftover"]
    ) == {
        0: 2,
        2: 0,
    }
    assert mirrored_labels([]) == {}
    assert unmirrored_labels(
        ["Left turn", "right turn", "Right turn", "leftover"]
    ) == ["right turn"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Swiping Left", "Swiping Right"),
        ("turn_left", "turn_right"),
        ("turn-left", "Turn Right"),
        ("TurnLeft", "TurnRight"),
        ("turnleft", "turnright"),
        ("LEFT", "RIGHT"),
        ("step leftwards", "step rightwards"),
        ("left-handed throw", "right-handed throw"),
        ("Turning Hand Clockwise", "Turning Hand Counterclockwise"),
        ("spin clockwise", "spin anti-clockwise"),
        ("from left to right", "from right to left"),
        ("left1", "right1"),
        ("L_swipe", "R_swipe"),
        ("lane change (l)", "lane change (r)"),
        ("L", "R"),
    ],
)
def test_names_that_are_mirror_images(one: str, other: str):
    assert mirrored_labels([one, "walk", other]) == {0: 2, 2: 0}
    assert unmirrored_labels([one, "walk", other]) == []


@pytest.mark.parametrize(
    "labels", [["L", "R", "S"], ["letter_l", "letter_m", "letter_r"], ["l", "walk"]]
)
def test_letters_are_no_sides(labels: list[str]):
    assert mirrored_labels(labels) == {}
    assert unmirrored_labels(labels) == []


@pytest.mark.parametrize(
    "name",
    ["turn left", "Swiping Right", "TurnLeft", "from left to right", "spin ccw"],
)
def test_a_side_without_its_mirror_image_is_named(name: str):
    assert mirrored_labels(["walk", name]) == {}
    assert unmirrored_labels(["walk", name]) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "bright light",
        "upright",
        "cleft",
        "copyright",
        "looking left and right",
        "leftover food",
        "pulling it right out",
    ],
)
def test_names_that_say_no_side(name: str):
    assert mirrored_labels(["walk", name]) == {}
    assert unmirrored_labels(["walk", name]) == []
