from pathlib import Path

import pytest

from data_modules.video.source import Source


@pytest.mark.parametrize(
    ("source", "url", "name"),
    [
        (Source(Path("/a/b c.mp4")), "/a/b c.mp4", "/a/b c.mp4"),
        (
            Source(Path("/a/x.tar"), 512, 100),
            "subfile,,start,512,end,612,,:/a/x.tar",
            "/a/x.tar (byte 512 to 612)",
        ),
        (
            Source(Path("/a/x.tar"), 512),
            "subfile,,start,512,end,0,,:/a/x.tar",
            "/a/x.tar (byte 512 to the end)",
        ),
        (
            Source(Path("/a/x.tar"), 0, 9),
            "subfile,,start,0,end,9,,:/a/x.tar",
            "/a/x.tar (byte 0 to 9)",
        ),
    ],
)
def test_what_ffmpeg_opens_and_errors_name(source: Source, url: str, name: str):
    assert source.url == url
    assert str(source) == name


def test_a_relative_name_with_a_colon_is_no_protocol():
    assert Source(Path("a:b.mp4")).url == str(Path("a:b.mp4").absolute())
