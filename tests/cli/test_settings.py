"""`relay config`, and the settings as flags of `relay serve`."""

from pathlib import Path

from tests.cli.conftest import invoke


def test_config_example_is_a_file_that_config_check_accepts(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(invoke("config", "example").stdout)
    result = invoke("config", "check", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}: good, 0 settings\n")


def test_config_check_names_the_line_at_fault(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text("\nlogin_delay_max = 3\n")
    result = invoke("config", "check", str(file))
    assert result.exit_code == 1
    assert result.stderr == (
        f"relay: {file}, line 2: 'login_delay_max' is not a setting; did you mean 'login_delay_max_s'?\n"
    )
