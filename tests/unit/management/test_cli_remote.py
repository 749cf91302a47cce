# SPDX-License-Identifier: Apache-2.0
"""`neurowall --url`: whom it trusts, whose token it sends, and what it says if that fails. Real TLS."""

import ssl
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from neurowall.management.cli.main import app
from neurowall.management.errors import ExitCode
from tests.unit.management.certificates import Certificate, self_signed, signed
from tests.unit.management.scripted import Answer, by_tls, problem

pytestmark = pytest.mark.tool("openssl")

TOKEN = "nw_abcdefghijkl_" + "s" * 43
LIMITS = Answer({"limits": [], "bans": [], "ban_count": 0, "warnings": []})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Who signs servers."""
    return self_signed(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Certificate) -> Certificate:
    """A server at 127.0.0.1, signed."""
    return signed(tmp_path_factory.mktemp("server"), "server", authority, "IP:127.0.0.1")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller's shell says is not meant here."""
    for name in ("URL", "CA", "TOKEN", "TOKEN_FILE"):
        monkeypatch.delenv(f"NEUROWALL_{name}", raising=False)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A token, as `token create --save` leaves it."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(stat.S_IRUSR)
    return path


def ask(*arguments: object) -> Result:
    """One command."""
    return CliRunner().invoke(app, ["limits", *map(str, arguments)])


def refused(code: ExitCode, *arguments: object) -> str:
    """What a command says that must fail with *code*; never the token."""
    done = ask(*arguments)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "sss" not in done.output
    return str(done.stderr)


class TestTrust:
    def test_a_signed_server_is_asked_with_the_token(
        self, authority: Certificate, server: Certificate, token_file: Path
    ) -> None:
        """By whom it is signed says --ca."""
        with by_tls(server, LIMITS) as script:
            done = ask("--url", script.url, "--ca", authority.cert, "--token-file", token_file)
        assert done.exit_code == 0, done.output
        assert script.asked[0].headers["authorization"] == f"Bearer {TOKEN}"

    def test_one_that_nobody_signed_gets_no_token(self, server: Certificate, token_file: Path) -> None:
        """Exit 3, and what --ca is for."""
        with by_tls(server, LIMITS) as script:
            text = refused(ExitCode.UNREACHABLE, "--url", script.url, "--token-file", token_file)
        assert script.asked == []
        assert "is not trusted" in text
        assert "--ca FILE" in text

    def test_another_authority_is_not_this_one(
        self, tmp_path: Path, server: Certificate, token_file: Path
    ) -> None:
        """Even if it has the same name."""
        other = self_signed(tmp_path, "authority")
        with by_tls(server, LIMITS) as script:
            text = refused(
                ExitCode.UNREACHABLE, "--url", script.url, "--ca", other.cert, "--token-file", token_file
            )
        assert script.asked == []
        assert "is not trusted" in text

    def test_a_self_signed_server_is_its_own_authority(self, tmp_path: Path, token_file: Path) -> None:
        """As small installations have it."""
        alone = self_signed(tmp_path, "alone", "IP:127.0.0.1")
        with by_tls(alone, LIMITS) as script:
            done = ask("--url", script.url, "--ca", alone.cert, "--token-file", token_file)
        assert done.exit_code == 0, done.output

    def test_a_certificate_for_another_host_is_refused(
        self, tmp_path: Path, authority: Certificate, token_file: Path
    ) -> None:
        """Exit 3; it names the host that was asked for."""
        other = signed(tmp_path, "other", authority, "DNS:gateway.example", "IP:192.0.2.1")
        with by_tls(other, LIMITS) as script:
            arguments = ("--url", script.url, "--ca", authority.cert, "--token-file", token_file)
            text = refused(ExitCode.UNREACHABLE, *arguments)
            named = refused(
                ExitCode.UNREACHABLE, "--url", script.url.replace("127.0.0.1", "localhost"), *arguments[2:]
            )
        assert script.asked == []
        assert "is not for 127.0.0.1" in text
        assert "is not for localhost" in named

    def test_what_speaks_no_tls_is_said(self, authority: Certificate, token_file: Path) -> None:
        """The port of something else."""
        with by_tls(None, LIMITS) as script:
            url = script.url.replace("http:", "https:")
            text = refused(
                ExitCode.UNREACHABLE, "--url", url, "--ca", authority.cert, "--token-file", token_file
            )
        assert "no TLS connection" in text

    def test_where_nothing_listens(self, token_file: Path) -> None:
        """Exit 3, with the option that is missing there."""
        with by_tls(None) as script:
            url = script.url
        text = refused(ExitCode.UNREACHABLE, "--url", url, "--token-file", token_file)
        assert "nothing listens" in text
        assert "--listen" in text

    def test_a_host_that_nobody_knows(self, token_file: Path) -> None:
        """Exit 3."""
        text = refused(
            ExitCode.UNREACHABLE, "--url", "https://gateway.invalid:8443", "--token-file", token_file
        )
        assert "no address is known" in text

    def test_a_file_without_certificates(self, tmp_path: Path, token_file: Path) -> None:
        """Exit 2: trusting nobody is no way to trust anybody."""
        (tmp_path / "empty.pem").write_text("nothing\n")
        for name, why in (("empty.pem", "holds no certificate"), ("none.pem", "No such file")):
            text = refused(
                ExitCode.USAGE,
                *("--url", "https://127.0.0.1:1", "--ca", tmp_path / name, "--token-file", token_file),
            )
            assert why in text

    @pytest.mark.filterwarnings("ignore:.*TLSv1_1:DeprecationWarning")
    def test_old_tls_is_refused(self, authority: Certificate, server: Certificate, token_file: Path) -> None:
        """1.1 has been broken for long."""
        with by_tls(server, LIMITS, most=ssl.TLSVersion.TLSv1_1) as script:
            text = refused(
                ExitCode.UNREACHABLE, "--url", script.url, "--ca", authority.cert, "--token-file", token_file
            )
        assert script.asked == []
        assert "no TLS connection" in text


class TestToken:
    @pytest.mark.parametrize(
        "url",
        [
            "http://192.0.2.1:8443",
            "http://gateway.example",
            "ftp://127.0.0.1",
            "gateway.example:8443",
            "https://",
            "https://alice:secret@127.0.0.1",
            "https://127.0.0.1:99999",
            "https://127.0.0.1:8443/?token=x",
        ],
    )
    def test_a_url_that_would_give_a_token_away_is_refused(self, url: str, token_file: Path) -> None:
        """Nothing is sent unencrypted to another machine, and nothing secret is in a URL."""
        refused(ExitCode.USAGE, "--url", url, "--token-file", token_file)

    def test_loopback_needs_no_tls(self, token_file: Path) -> None:
        """There is a tunnel before it."""
        with by_tls(None, LIMITS) as script:
            assert ask("--url", script.url, "--token-file", token_file).exit_code == 0
        assert script.asked[0].headers["authorization"] == f"Bearer {TOKEN}"

    def test_the_environment_has_one_too(self, monkeypatch: pytest.MonkeyPatch, token_file: Path) -> None:
        """NEUROWALL_TOKEN, NEUROWALL_TOKEN_FILE, NEUROWALL_URL; the command line wins."""
        other = TOKEN.replace("abc", "xyz")
        with by_tls(None, LIMITS, LIMITS, LIMITS) as script:
            monkeypatch.setenv("NEUROWALL_URL", script.url)
            monkeypatch.setenv("NEUROWALL_TOKEN", other)
            assert ask().exit_code == 0
            assert ask("--token-file", token_file).exit_code == 0
            monkeypatch.setenv("NEUROWALL_TOKEN_FILE", str(token_file))
            assert ask().exit_code == 0
        sent = [each.headers["authorization"] for each in script.asked]
        assert sent == [f"Bearer {other}", f"Bearer {TOKEN}", f"Bearer {TOKEN}"]

    def test_an_instance_on_the_command_line_wins_over_the_environments_url(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """What is typed is meant."""
        monkeypatch.setenv("NEUROWALL_URL", "https://192.0.2.1:8443")
        assert "api.sock" in refused(ExitCode.UNREACHABLE, "--run-dir", tmp_path)
        text = refused(ExitCode.USAGE, "--url", "https://192.0.2.1:8443", "--instance", "lab")
        assert "leave --instance" in text

    def test_without_a_token_nobody_is_asked(self) -> None:
        """Exit 2: how to make one and how to give it."""
        text = refused(ExitCode.USAGE, "--url", "https://192.0.2.1:8443")
        assert "--token-file" in text
        assert "token create" in text

    def test_a_file_that_holds_no_token_is_not_sent(self, tmp_path: Path) -> None:
        """It could be a private key; it is not quoted either."""
        file = tmp_path / "key"
        file.write_text("-----BEGIN sssecret\n")
        with by_tls(None, LIMITS) as script:
            text = refused(ExitCode.USAGE, "--url", script.url, "--token-file", file)
            none = refused(ExitCode.USAGE, "--url", script.url, "--token-file", tmp_path / "none")
        assert script.asked == []
        assert "does not hold a token" in text
        assert "No such file" in none

    def test_what_works_here_only_takes_no_url(self) -> None:
        """A daemon is not started elsewhere."""
        done = CliRunner().invoke(app, ["--url", "https://192.0.2.1:8443", "down"])
        assert done.exit_code == ExitCode.USAGE
        assert "takes no --url" in done.stderr
        assert CliRunner().invoke(app, ["down", "--url", "https://192.0.2.1"]).exit_code == ExitCode.USAGE


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "code", "expected"),
        [
            (problem(401, "not-authenticated", "the token was revoked"), 1, "neurowall token list"),
            (problem(403, "insufficient-scope", "this needs the scope rules:write"), 1, "--scope"),
            (problem(404, "not-found", "no such path"), 1, "no such path"),
            (problem(409, "pending", "a policy waits"), 1, "a policy waits"),
            (problem(412, "generation-changed", "generation 9 is in force"), 1, "--if-match"),
            (problem(422, "invalid-request", "limit: too large"), 2, "limit: too large"),
            (problem(429, "too-many-attempts", "too many", retry_after="7"), 1, "try again in 7 s"),
            (problem(500, "internal", "a bug"), 1, "a bug"),
            (problem(503, "storage-unavailable", "no database", retry_after="1"), 1, "try again in 1 s"),
            (Answer({"hello": 1}, 502), 1, "HTTP 502"),
        ],
    )
    def test_each_refusal_has_its_exit_code_and_next_step(
        self, answer: Answer, code: int, expected: str, token_file: Path
    ) -> None:
        """Scripts test the code, people read the next step."""
        with by_tls(None, answer) as script:
            text = refused(ExitCode(code), "--url", script.url, "--token-file", token_file)
        assert text.startswith(f"error: {answer.body.get('detail', 'HTTP 502')}\n")
        assert expected in text

    def test_what_answers_but_is_no_neurowall(self, token_file: Path) -> None:
        """A list instead of an object, say."""
        with by_tls(None, Answer(["hello"])) as script:  # type: ignore[arg-type]
            text = refused(ExitCode.FAILED, "--url", script.url, "--token-file", token_file)
        assert "is no Neurowall" in text
