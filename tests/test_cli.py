"""The command line: help that helps, errors of one line, exit codes, completion."""

import logging
import os
import pty
import shlex
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from howto100m import cli
from howto100m.examples import EXAMPLES
from howto100m.kinds import StageStopped, UserError
from howto100m.progress import Progress, counted

COMMANDS = typer.main.get_command(cli.app)


def howto100m(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "howto100m", *arguments], capture_output=True, text=True, check=False
    )


def test_every_command_has_an_example_that_it_takes() -> None:
    context = typer.Context(COMMANDS)
    names = COMMANDS.list_commands(context)
    for name in names:
        command = COMMANDS.get_command(context, name)
        program, said, *arguments = shlex.split(EXAMPLES[name])
        assert (program, said) == ("howto100m", name)
        command.make_context(name, arguments)
        assert f"Example: {EXAMPLES[name]}" == command.epilog


def test_every_option_says_what_it_is() -> None:
    context = typer.Context(COMMANDS)
    for name in COMMANDS.list_commands(context):
        command = COMMANDS.get_command(context, name)
        assert command.help, name
        lacking = [p.name for p in command.params if not getattr(p, "hidden", False) and not p.help]
        assert not lacking, (name, lacking)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("evaluate --benchmark ", "msrvtt youcook2 lsmdc crosstask"),
        ("embedding --loss mil", "mil_nce"),
        ("extract --dtype b", "bfloat16"),
        ("media --output ", ""),  # a path: left to the shell
    ],
)
def test_a_shell_completes_values_that_are_few(line: str, values: str) -> None:
    words = {"COMP_WORDS": f"howto100m {line}", "COMP_CWORD": str(len(line.split(" ")))}
    ended = CliRunner().invoke(
        cli.app, env=words | {"_HOWTO100M_COMPLETE": "complete_bash"}, prog_name="howto100m"
    )
    assert ended.output.split() == values.split()


def test_the_help_names_the_commands_and_the_exit_codes() -> None:
    shown = CliRunner().invoke(cli.app, ["--help"]).output
    for words in ("Exit codes: 0 done", "--debug", "--install-completion", "clips", "serve"):
        assert words in shown
    assert "howto100m find" in CliRunner().invoke(cli.app, ["find", "--help"]).output
    assert (
        CliRunner().invoke(cli.app, ["--version"]).output == f"howto100m {version('howto100m')}\n"
    )


def completed(line: str) -> set[str]:
    """What bash offers for the last word of a line, by the script that is installed."""
    program = Path(sys.executable).with_name("howto100m")
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    script = subprocess.run(
        [program],
        env=environment | {"_HOWTO100M_COMPLETE": "source_bash"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    words = line.split(" ")
    asked = f"""
        {script}
        COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}
        complete -p howto100m | grep -q -- '-F _howto100m_completion' || exit 3
        _howto100m_completion howto100m
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """
    ended = subprocess.run(
        ["bash", "--norc", "-c", asked],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_and_their_options() -> None:
    assert {"index", "find", "serve", "clips"} <= completed("howto100m ")
    assert completed("howto100m ser") == {"serve"}
    assert completed("howto100m serve --po") == {"--port"}
    assert {"--k", "--json", "--index"} & completed("howto100m find --")
    assert completed("howto100m nothing-like-it") == set()


def run_main(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    def broken() -> None:
        raise error

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("clips.parquet is missing"), 2, "howto100m: clips.parquet is missing\n"),
        (StageStopped("blocked"), 3, "howto100m: blocked\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "howto100m: /x: Permission denied\n"),
    ],
)
def test_an_error_is_one_line_and_debug_adds_the_traceback(
    error: Exception,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli.log, "level", logging.NOTSET)
    assert run_main(error, monkeypatch, capsys) == (code, line)
    monkeypatch.setattr(cli.log, "level", logging.DEBUG)
    cli.log.manager._clear_cache()  # type: ignore[attr-defined]
    found, text = run_main(error, monkeypatch, capsys)
    assert found == code and text.endswith(line) and "Traceback" in text
    monkeypatch.setattr(cli.log, "level", logging.NOTSET)
    cli.log.manager._clear_cache()  # type: ignore[attr-defined]


def test_a_fault_of_ours_is_named_so_and_a_log_has_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = run_main(KeyError("clip"), monkeypatch, capsys)
    assert code == 1 and "Traceback" in text
    assert text.endswith(
        "a fault of ours, please report it (--debug shows where): KeyError('clip')\n"
    )
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    code, text = run_main(KeyError("clip"), monkeypatch, capsys)
    assert code == 1 and len(text.splitlines()) == 1


def test_the_program_itself_ends_with_2_and_one_line(tmp_path: Path) -> None:
    ended = howto100m("find", "onion", "--index", str(tmp_path))
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.count("\n") == 1 and "holds no index: run `howto100m index`" in ended.stderr
    ended = howto100m("--debug", "find", "onion", "--index", str(tmp_path))
    assert ended.returncode == 2 and "Traceback" in ended.stderr


def watched(code: str) -> str:
    """What a program writes to a terminal."""
    pid, terminal = pty.fork()
    if not pid:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-c", code])
    shown = b""
    try:
        while part := os.read(terminal, 65536):
            shown += part
    except OSError:  # the end of a terminal
        pass
    os.waitpid(pid, 0)
    return shown.decode()


def test_who_watches_sees_a_bar_after_two_seconds_and_a_log_has_plain_lines(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = watched(
        "from howto100m import progress; progress.PATIENCE = 0.2; import time\n"
        "bar = progress.Progress('clips', 4)\n"
        "for _ in range(4): time.sleep(0.15); bar.add(1, 'ok')"
    )
    assert "clips" in shown and "4/4" in shown and "4 ok" in shown and "\x1b[?25h" in shown
    quick = watched("from howto100m import progress; progress.Progress('clips', 1).add(1)")
    assert quick == ""
    with caplog.at_level(logging.INFO):
        bar = Progress("clips", 2, started=time.monotonic() - 1)
        bar.add(1, "ok")
        bar.add(1, "failed")
    assert [r.message.partition(" (")[0] for r in caplog.records] == [
        "1/2 clips: 1 ok",
        "2/2 clips: 1 failed, 1 ok",
    ]


def test_what_an_earlier_run_did_counts_as_done_but_not_for_the_rate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        bar = Progress("steps", 100, before=90, started=time.monotonic() - 2)
        bar.add(4, note="loss 0.1")
    assert caplog.messages == ["94/100 steps: loss 0.1 (2.0/s, 3 s to go)"]


def test_what_is_counted_comes_whole_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(counted("shards", "abc")) == ["a", "b", "c"]
        assert list(counted("shards", "")) == []
    assert caplog.messages[-1].startswith("3/3 shards (")
