"""Accept options under the names that earlier releases gave them."""

import sys

# until 0.1.0.dev1
_RENAMED = {"--artefact": "--artifact"}


def with_current_flags(argv: list[str]) -> list[str]:
    """Return a command line with the options of now, and tell on stderr which ones have another name.

    >>> with_current_flags(["predict", "--artifact=mine"])
    ['predict', '--artifact=mine']
    """
    words: list[str] = []
    for word in argv:
        option, equals, value = word.partition("=")
        if option in _RENAMED:
            now = _RENAMED[option]
            print(f"lightning-petl: {option} is written {now} now", file=sys.stderr)
            word = f"{now}{equals}{value}"
        words.append(word)
    return words
