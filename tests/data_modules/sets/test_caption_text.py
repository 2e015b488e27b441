"""Captions that are refused, and the odd ones of published data sets that are not."""

# ruff: noqa: RUF001  letters that look alike are what is tested

import pytest

from data_modules.sets.captions.caption_text import fault

REAL = [
    "a man isn’t “sitting” in a café — he’s running…",
    "3",
    "...",
    "🎬🎬",
    "a 100 % naïve Ångström façade, garçon; Straße, łódź, Đà Nẵng, İstanbul",
    "a girl cooks　ａ　ｃａｋｅ，and smiles。",  # wide letters and punctuation of a Chinese keyboard
    "𝐚 𝐦𝐚𝐧 𝐫𝐮𝐧𝐬",
    "a man is playing the 二胡",
    "the word привет on a blue wall",
    "5 µm of α-particles",
    "a\u200bman\ufeff runs\u2028 away\x85",
    "he said \x93hi\x94",  # quotes of Windows in a file that was read as Latin 1
    "a man walks into a b�r",
    "cafe\u0301",
]
FOREIGN = {
    "видео становится светлее": "видео",
    "影片变得越来越亮": "影片变得越来越亮",
    "الفيديو يصبح أكثر إشراقا": "الفيديو",
    "वीडियो उज्जवल हो जाता है": "वीडियो",
    "สุนัขวิ่ง": "สุนัขวิ่ง",
    "ο σκύλος τρέχει": "ο",
    "犬が走る 🐶 2 km": "犬が走る",
    "GPS-трекер на автомобиле": "GPS-трекер",
    "개가 달린다": "개가",
}
EMPTY = [
    "",
    "  ",
    "\t\n",
    "\u200b",
    " \u200b\u2060\ufeff",
    "\u00a0",
    "\u200d\ufe0f",
    "\x00",
    "\u202e",
]


@pytest.mark.parametrize("caption", REAL, ids=ascii)
def test_oddities_of_real_captions_pass(caption: str):
    assert fault(caption, "latin") == ""


@pytest.mark.parametrize("caption", FOREIGN, ids=ascii)
def test_another_script_is_told_with_its_first_word_and_the_way_out(caption: str):
    message = fault(caption, "latin")
    assert message.startswith(
        f"is not in Latin letters, beginning with {FOREIGN[caption]!r}, "
    )
    assert "data.script=any" in message
    assert fault(caption, "any") == ""


def test_half_of_the_letters_may_be_of_another_script():
    assert fault("abc где", "latin") == ""
    assert "beginning with 'где'" in fault("ab где", "latin")


@pytest.mark.parametrize("caption", EMPTY, ids=ascii)
@pytest.mark.parametrize("script", ["latin", "any"])
def test_a_caption_of_which_nothing_can_be_seen_is_empty(caption: str, script):
    assert fault(caption, script).startswith("is empty")


@pytest.mark.parametrize("script", ["latin", "any"])
def test_lengths(script):
    assert fault("word " * 1_000, script) == ""
    assert fault("brighter " * 10_000, script).startswith(
        "has 10,000 words, 90,000 characters; more than 1,000 or"
    )
    assert fault("word " * 1_001, script).startswith("has 1,001 words, ")
    assert fault("a" * 10_000, script) == ""
    assert fault("a" * 10_001, script).startswith("has 1 words, 10,001 characters")


def test_what_is_no_text():
    assert fault(None, "latin") == "is None, expected text"
    assert fault(["a", "cat"], "latin") == "is ['a', 'cat'], expected text"
    assert fault("a \ud83d cat", "any") == "holds half a character: 'a \\ud83d cat'"
