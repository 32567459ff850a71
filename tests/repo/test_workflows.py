"""The workflows of GitHub, which cannot run here: what can be said about them without it."""

import re

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from _tools.real import tabs
from _tools.versions import pins
from repository import ROOT, pyproject

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in FILES}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"]]
# Who may do more than read the repository's files, and what.
MORE = {
    ("publish.yml", "deploy"): {"pages": "write", "id-token": "write"},
    ("weekly.yml", "report"): {"issues": "write"},
}
MADE = re.compile(r"\bmake ([a-z-]+)")


def steps():
    for name, job in JOBS:
        yield from ((name, step) for step in WORKFLOWS[name]["jobs"][job]["steps"])


def test_there_are_three_workflows():
    assert TEXTS.keys() == {"publish.yml", "tests.yml", "weekly.yml"}


@pytest.mark.parametrize("name", TEXTS)
def test_every_action_is_pinned_by_commit_and_says_its_version(name):
    uses = re.findall(r"uses: (.*)", TEXTS[name])
    assert uses
    for line in uses:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_an_action_has_one_pin_in_all_workflows():
    pinned = {tuple(step["uses"].split("@")) for _, step in steps() if "uses" in step}
    assert len(dict(pinned)) == len(pinned)


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_may_do_only_what_it_needs(name, job):
    assert WORKFLOWS[name]["permissions"] == {}
    told = WORKFLOWS[name]["jobs"][job]
    assert told["permissions"] == MORE.get((name, job), {"contents": "read"})
    assert told["timeout-minutes"] <= 60


def test_no_step_keeps_the_token_or_builds_a_command_from_somebody_s_text():
    for name, step in steps():
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", ""), f"{name}: give it through env"


def test_the_matrix_is_that_of_the_book():
    jobs = WORKFLOWS["tests.yml"]["jobs"]
    older = jobs["versions"]["strategy"]["matrix"]["transformers"]
    assert [*older, pins.newest()] == pins.versions()
    systems = jobs["systems"]["strategy"]["matrix"]["include"]
    supported = SpecifierSet(pyproject()["project"]["requires-python"])
    tested = {row["python"] for row in systems}
    assert tested == {"3.10", "3.11", "3.12", "3.13"}
    assert all(supported.contains(version) for version in tested)
    assert not supported.contains("3.9")
    assert {row["os"].split("-")[0] for row in systems} == {"ubuntu", "macos", "windows"}
    others = {row["python"]: row["transformers"] for row in systems if "transformers" in row}
    assert others == {"3.10": pins.versions()[-2]}  # the newest needs Python 3.11


def test_the_commands_of_the_steps_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE))
    said = "\n".join(step.get("run", "") for _, step in steps())
    made = set(MADE.findall(said))
    once = {"adopt", "book", "colab", "elsewhere", "links", "lint", "matrix", "other-model", "pdf"}
    assert made == once | {"newest", "real", "site", "slow", "test"}
    assert made <= targets
    programs = set(re.findall(r"python book/_tools (\S+)", said))
    assert programs >= {"execute"}
    for program in programs:
        assert (ROOT / "book" / "_tools" / f"{program}.py").exists(), program


def test_the_tests_workflow_runs_what_lands_a_change():
    commands = (ROOT / ".ci" / "run").read_text(encoding="utf-8").partition("export CI=true")[2]
    wanted = set(MADE.findall(re.sub(r"(?m)^\s*#.*", "", commands)))
    assert {"test", "matrix", "book"} <= wanted
    jobs = WORKFLOWS["tests.yml"]["jobs"].values()
    assert wanted <= set(
        MADE.findall("\n".join(s.get("run", "") for j in jobs for s in j["steps"]))
    )


def test_a_failure_of_any_weekly_job_is_reported():
    jobs = WORKFLOWS["weekly.yml"]["jobs"]
    assert jobs["report"]["needs"] == [job for job in jobs if job != "report"]
    results = jobs["report"]["steps"][0]["env"].values()
    for job in jobs["report"]["needs"]:
        assert f"${{{{ needs.{job}.result }}}}" in results


def test_the_real_clip_is_recorded_once_the_chapters_run_on_it():
    steps = WORKFLOWS["weekly.yml"]["jobs"]["original"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make other-model", "make real"]
    for step in steps:
        assert not {"if", "continue-on-error"} & step.keys()
        assert "run" not in step or step["env"] == {"CLIPNOTES_MODEL": tabs.REAL}
    kept = steps[-1]
    assert kept["uses"].startswith("actions/upload-artifact@")
    assert ROOT / kept["with"]["path"] == tabs.RECORD
    assert kept["with"]["if-no-files-found"] == "error"


def test_the_hooks_are_the_makefile_s_programs():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (local,) = yaml.safe_load(text)["repos"]
    assert local["repo"] == "local"  # a hook from elsewhere would be fetched
    for hook in local["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def test_the_forms_for_issues_ask_for_what_helps():
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    form = yaml.safe_load((folder / "erratum.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"]]
    assert ids == ["place", "says", "should", "doctor"]
    assert [field["validations"]["required"] for field in form["body"][:3]] == [True] * 3


def test_a_book_with_a_failed_page_goes_nowhere():
    """`make book` builds it and ends with an error: nothing may go on after that."""
    jobs = WORKFLOWS["publish.yml"]["jobs"]
    steps = jobs["build"]["steps"]
    commands = [step.get("run", step.get("uses", "").split("@")[0]) for step in steps]
    assert commands[-2:] == ["make book", "actions/upload-pages-artifact"]
    assert jobs["deploy"]["needs"] == "build"
    for job in jobs.values():
        assert not {"if", "continue-on-error"} & job.keys()
        assert not any({"if", "continue-on-error"} & step.keys() for step in job["steps"])
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "set -euo pipefail" in script
    assert re.search(r"^make book$", script, flags=re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("site", "pdf", "links"):
        needs = re.search(rf"^{target}: ([^#\n]*)", makefile, flags=re.MULTILINE)
        assert "book" in needs[1].split(), target
    (recipe,) = re.findall(r"^book: .*\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)
    assert recipe == "\t$(BIN)/python book/_tools build\n"  # no dash in front: its exit code counts
