"""Cards: complete, true to the package, and fetched over a local server with checks that bite."""

import hashlib
import http.server
import shlex
import socket
import threading

import pytest
import yaml

from stgate.errors import FetchError, RequestError, StoreError
from stgate.io import catalog as module
from stgate.io.catalog import cards, check_card, fetch

CARD = {key: key for key in ("title", "source", "licence", "citation", "reader", "split")} | {"name": "tiny"}
BODY = b"time,node,y\n2020-01-01,a,1\n"


@pytest.fixture
def server():
    """Serves BODY under /good.csv; counts requests."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path not in (
                "/good.csv",
                "/cut.csv",
                "/long.csv",
                "/nolength.csv",
                "/chunks.csv",
                "/cutchunks.csv",
            ):
                self.send_error(404)
                return
            self.send_response(200)
            if "chunks" in self.path:
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%b\r\n" % (len(BODY), BODY) + (b"" if "cut" in self.path else b"0\r\n\r\n"))
                self.close_connection = True
                return
            if self.path != "/nolength.csv":
                length = {"/cut.csv": len(BODY) + 5, "/long.csv": 10**18}.get(self.path, len(BODY))
                self.send_header("content-length", str(length))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *arguments):
            pass

    asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


@pytest.fixture
def carded(monkeypatch):
    """Make a card of one file the only one there is."""

    def make(url, sha256):
        card = dict(CARD)
        card["files"] = [{"name": "tiny.csv", "url": url, "sha256": sha256}]
        monkeypatch.setattr(module, "cards", lambda: {"tiny": card})

    return make


def test_a_file_is_fetched_once_checked_and_kept(server, carded, tmp_path):
    url, asked = server
    carded(f"{url}/good.csv", hashlib.sha256(BODY).hexdigest())
    told = []
    for _ in range(2):
        (path,) = fetch("tiny", tmp_path, progress=lambda name: lambda done, total: told.append((done, total)))
        assert path == tmp_path / "tiny" / "tiny.csv" and path.read_bytes() == BODY
    assert asked == ["/good.csv"]
    assert told[-1] == (len(BODY), len(BODY))


def test_the_cache_is_where_the_environment_says(server, carded, tmp_path, monkeypatch):
    carded(f"{server[0]}/good.csv", None)
    monkeypatch.setenv("STGATE_CACHE", str(tmp_path / "cache"))
    assert fetch("tiny") == [tmp_path / "cache" / "tiny" / "tiny.csv"]


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server, carded, tmp_path):
    carded(f"{server[0]}/good.csv", "0" * 64)
    with pytest.raises(FetchError, match="checksum is not the card's"):
        fetch("tiny", tmp_path)
    assert not list((tmp_path / "tiny").glob("*"))


DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize(
    ("name", "sha256", "said"),
    [
        ("cut.csv", None, "broke off"),
        ("cut.csv", DIGEST, "broke off"),
        ("cutchunks.csv", None, "broke off"),
        ("nolength.csv", None, "gives no length and the card no checksum.*download it by hand; source: source"),
        ("nolength.csv", "0" * 64, "checksum is not the card's"),
        ("chunks.csv", "0" * 64, "checksum is not the card's"),
    ],
)
def test_what_may_not_be_whole_is_refused_and_nothing_is_kept(server, carded, tmp_path, name, sha256, said):
    carded(f"{server[0]}/{name}", sha256)
    with pytest.raises(FetchError, match=said):
        fetch("tiny", tmp_path)
    assert not list((tmp_path / "tiny").iterdir())


@pytest.mark.parametrize(("name", "sha256"), [("chunks.csv", None), ("chunks.csv", DIGEST), ("nolength.csv", DIGEST)])
def test_a_file_without_a_length_is_kept_where_its_end_is_known(server, carded, tmp_path, name, sha256):
    carded(f"{server[0]}/{name}", sha256)
    assert fetch("tiny", tmp_path)[0].read_bytes() == BODY


def test_a_file_that_the_disk_has_no_room_for_is_refused(server, carded, tmp_path):
    carded(f"{server[0]}/long.csv", DIGEST)
    with pytest.raises(StoreError, match=r"takes 1 EB and .* are free; give another folder"):
        fetch("tiny", tmp_path)


@pytest.mark.parametrize("altered", [BODY[:-3], BODY + b"more", b""])
def test_an_altered_file_of_the_cache_is_noticed(server, carded, tmp_path, altered):
    url, asked = server
    carded(f"{url}/good.csv", None)
    (path,) = fetch("tiny", tmp_path)
    path.write_bytes(altered)
    with pytest.raises(FetchError, match=f"is not what was downloaded first .sha256 {DIGEST}.; remove it"):
        fetch("tiny", tmp_path)
    carded(f"{url}/good.csv", DIGEST)
    assert fetch("tiny", tmp_path)[0].read_bytes() == BODY  # the card knows what is right
    path.unlink()
    carded(f"{url}/good.csv", None)
    assert fetch("tiny", tmp_path)[0].read_bytes() == BODY
    assert len(asked) == 3


def test_a_file_that_an_earlier_version_fetched_is_taken_as_it_is(server, carded, tmp_path):
    carded(f"{server[0]}/good.csv", None)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "tiny.csv").write_bytes(b"before")
    assert fetch("tiny", tmp_path)[0].read_bytes() == b"before" and server[1] == []
    (tmp_path / "tiny" / "tiny.csv").write_bytes(b"after")
    with pytest.raises(FetchError, match="downloaded first"):
        fetch("tiny", tmp_path)


def test_a_server_that_has_it_not_and_one_that_is_away_are_told_apart(server, carded, tmp_path):
    carded(f"{server[0]}/other.csv", None)
    with pytest.raises(FetchError, match="the server answers 404"):
        fetch("tiny", tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        carded(f"http://127.0.0.1:{free.getsockname()[1]}/good.csv", None)
        with pytest.raises(FetchError, match="cannot be reached; check your connection"):
            fetch("tiny", tmp_path)


def test_what_is_no_download_says_how_it_is_had(tmp_path):
    with pytest.raises(RequestError, match=r"take metr-la\.h5 from the Google Drive"):
        fetch("metr_la", tmp_path)
    with pytest.raises(RequestError, match="stgate simulate lorenz96"):
        fetch("lorenz96", tmp_path)
    with pytest.raises(RequestError, match="did you mean metr_la"):
        fetch("metrla", tmp_path)


def test_the_sets_of_this_wave_have_cards_that_redistribute_nothing():
    named = {"beijing_air", "german_pm10", "los_loop", "chickenpox", "irish_wind", "us_flu", "pacific_sst"}
    assert set(cards()) >= named | {"metr_la", "pems_bay", "pems04", "pems08", "lorenz96", "sensor_network"}
    folder = module.cards_folder()
    assert {p.name for p in folder.rglob("*") if p.is_file()} == {"card.yaml"}


@pytest.mark.parametrize("name", cards())
def test_each_reader_is_a_command_that_exists(name, stgate_command):
    words = shlex.split(cards()[name]["reader"])
    assert words[0] == "stgate"
    code, out, _ = stgate_command(*words[1:3], "--help")
    assert code == 0
    for option in (w for w in words if w.startswith("--")):
        assert option in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licence": None}, "`licence` is missing"),
        ({"licens": "MIT"}, "`licens` is not an entry of a card; did you mean licence"),
        ({5: "MIT"}, "`5` is not an entry"),
        ({"name": "other"}, "its folder is 'tiny'"),
        *[({"title": bad}, "`title`: must be text") for bad in (["a"], {"a": 1}, 5, True, " ")],
        ({"notes": ["a"]}, "`notes`: must be text"),
        *[({"split": bad}, "`split`: must be") for bad in (5, {"a": [1]}, [[1]], [None])],
        *[({"files": bad}, "`files`: must be a list") for bad in (5, None, [5], [["name"]], [{"name": "x"}], {"a": 1})],
        *[({"published": bad}, "`published`: must be a list") for bad in (5, [5], [{"figure": "1"}], "read")],
        *[
            ({"published": [{"figure": "1", "standing": bad}]}, "its standing")
            for bad in ("rumour", "", " ", 5, None, ["read"])
        ],
        ({"published": [{"figure": [1], "standing": "read"}]}, "must have a figure"),
        *[
            ({"files": [{"name": bad, "url": "http://u", "sha256": None}]}, "not a plain name")
            for bad in (
                "../x",
                "..",
                ".",
                "",
                "a/b",
                "a\\b",
                "a\nb",
                "a\x00b",
                " a",
                "a ",
                "a.",
                "C:x",
                "~",
                "-rf",
                ".x",
            )
        ],
        *[
            ({"files": [{"name": bad, "url": "http://u", "sha256": None}]}, "not a plain name")
            for bad in (None, 5, [], "x" * 300, "\u202ea.csv")
        ],
        *[
            ({"files": [{"name": "x", "url": bad, "sha256": None}]}, "is not a url")
            for bad in ("u", "", None, 5, "file:///etc/passwd", "https://", "https:///x", "ftp://u/x", "http://a b")
        ],
        *[
            ({"files": [{"name": "x", "url": "http://u", "sha256": bad}]}, "is not a sha256")
            for bad in ("", "abc", 0, False, [], {}, "A" * 64, "0" * 63, "0" * 64 + "\n")
        ],
        ({"files": 2 * [{"name": "x", "url": "http://u", "sha256": None}]}, "two have the same name"),
    ],
)
def test_a_broken_card_is_named(tmp_path, change, message):
    card = CARD
    path = tmp_path / "tiny" / "card.yaml"
    with pytest.raises(StoreError, match=message):
        check_card({**card, **change}, path)
    check_card(card, path)


def test_a_card_that_is_no_yaml_is_named(tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    monkeypatch.setattr(module, "cards_folder", lambda: tmp_path)
    for text in ("a: !tag b", "a:\n\tb: 1", "[" * 2000, "a: &a [*a]", "5", ""):
        (tmp_path / "tiny" / "card.yaml").write_text(text)
        with pytest.raises(StoreError, match=r"card.yaml: not (valid YAML|a card)"):
            module.cards.__wrapped__()


def test_the_commands_list_describe_and_fetch(stgate_command, server, carded, tmp_path):
    code, out, _ = stgate_command("data", "list")
    assert code == 0 and len(out.splitlines()) == len(cards())
    code, out, _ = stgate_command("data", "describe", "pems_bay")
    assert code == 0 and "sha256 unknown" in out and "(recalled)" in out
    assert stgate_command("data", "describe", "pemsbay")[2] == "stgate: data set 'pemsbay': did you mean pems_bay?\n"
    carded(f"{server[0]}/good.csv", None)
    code, out, err = stgate_command("data", "fetch", "tiny", "--folder", tmp_path)
    assert code == 0 and out == f"{tmp_path}/tiny/tiny.csv\n"
    assert hashlib.sha256(BODY).hexdigest() in err and "then: reader" in err
    assert yaml.safe_load(yaml.safe_dump(cards()["metr_la"])) == cards()["metr_la"]
