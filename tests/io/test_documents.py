"""YAML of anybody: plain values come back, anything else is one line that names file and place."""

import pytest

from stgate.errors import StoreError
from stgate.io.safe.documents import parse_yaml, read_yaml

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: !!python/object:os.system x", "line 1: could not determine a constructor"),
        (b"a: 1\nb: !own y", "line 2: could not determine a constructor"),
        (b"a: 1\n\tb: 2", r"line 2: found character '\\t'"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "not text"),
        (b"a: \x00", "not text"),
        (b"a: [1, 2", "line 1: expected"),
        (b"[" * 5000, "more than 50 levels"),
        (b"a: " + b"{b: " * 60 + b"1" + b"}" * 60, "more than 50 levels"),
        (LAUGHS.encode(), "aliases that expand to over 20000 entries"),
        (b"a: &a [1, *a]", "an alias that holds itself"),
        (b"a: *none", "undefined alias"),
        (b"a: 1\n---\nb: 2", "another document"),
        (b"? [a]\n: b", "unhashable key"),
        (b"day: 2020-13-45", "month must be in 1..12"),
        (b"n: " + b"9" * 5000, "4300 digits"),
        (b"x: !!timestamp q", "not valid YAML"),
        (b"x: !!int ''", "not valid YAML"),
        (b"x: !!bool q", "not valid YAML"),
        (b"#" * 300_000, "more than 262,144 bytes"),
    ],
)
def test_what_is_no_yaml_of_plain_values_is_one_line(tmp_path, content, said):
    path = tmp_path / "card.yaml"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=said) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_file_that_is_away_or_a_folder_is_one_line(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(StoreError, match=r"cannot be read|no such file"):
            read_yaml(path)


def test_plain_values_come_back():
    text = "a: &a {x: 1}\nb: *a\nc: {<<: *a, y: [2.5, null, true]}\n"
    assert parse_yaml(text, "here") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": [2.5, None, True]}}
    assert parse_yaml("", "here") is None


@pytest.mark.parametrize("text", ["window: 014", "[0017]", "a: 1:30", "a: {b: -010}", "a: [1, 190:20:30]"])
def test_numbers_that_yaml_reads_in_another_base_are_refused(text):
    with pytest.raises(StoreError, match=r"line 1: YAML reads .* in another base"):
        parse_yaml(text, "a.yaml")


@pytest.mark.parametrize(
    "text", ["0", "-1", "0.5", "10", "1e-3", "'014'", "01:30", "2020-01-01", "1_000", "007x", "v1:30"]
)
def test_other_numbers_and_texts_are_taken(text):
    parse_yaml(f"a: {text}", "a.yaml")
