"""The authors' pytest plugin, in test runs of its own: with no path to the SDK but the plugin's."""

import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
# Programs that are started and ended: seconds together.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
ALONE = ("-p", "agent.sdk.pytest_chutes")
WITH_ASYNCIO = (
    *ALONE, "-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function",
    # Its name as a plugin is that of a module, which is in use by then.
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip
CHUTE = """
from chutes.chute import Chute
import beside
chute = Chute(username="me", name="mine")
seen = []

@chute.job()
async def work(self, number: int = 1):
    seen.append(number)
    beside.seen.append(number)
    return {"seen": list(seen), "beside": list(beside.seen)}
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    # The plugin is named and not found by its entry point, so that these tests need no installation.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makefile(".py", main=CHUTE, beside="seen = []")
    return pytester


def run(project: pytest.Pytester, *words: str, test: str) -> pytest.RunResult:
    project.makefile(".py", test_it=test)
    return project.runpytest_subprocess("--strict-markers", "-W", "error", *words)


@pytest.mark.parametrize("plugins", [ALONE, WITH_ASYNCIO], ids=["alone", "with pytest-asyncio"])
def test_coroutines_run_with_pytest_asyncio_and_without(
    project: pytest.Pytester, plugins: tuple[str, ...]
) -> None:
    told = run(project, *plugins, test="""
        import asyncio, pytest
        from chutes.chute.job import Port  # found without an installation

        pytestmark = pytest.mark.chute("main.py:chute")

        class TestJobs:
            @pytest.mark.asyncio
            async def test_marked(self, chute_instance):
                assert (await chute_instance.work())["seen"] == [1]

            @pytest.mark.asyncio
            async def test_that_fails(self):
                await asyncio.sleep(0)
                assert False, "as it should"

        @pytest.mark.integration
        async def test_workflow(chute_instance, tmp_path):
            assert tmp_path.is_dir()
            assert (await chute_instance.work(2))["seen"] == [2]

        async def test_unmarked(chute_instance):
            assert (await chute_instance.work(3))["seen"] == [3]

        def test_plain(chute_instance):
            assert chute_instance.name == "mine"
        """)  # fmt: skip
    told.assert_outcomes(passed=4, failed=1)
    told.stdout.fnmatch_lines(["*as it should*"])


def test_each_test_gets_the_file_and_what_lies_beside_it_anew(project: pytest.Pytester) -> None:
    told = run(project, *ALONE, "-o", "chute_file=main.py", test="""
        import asyncio, sys, main
        own = main

        def test_first(chute_instance):
            assert asyncio.run(chute_instance.work(1)) == {"seen": [1], "beside": [1]}
            assert sys.modules["main"] is not own

        def test_second(chute_instance):
            chute_instance.work_more = 1
            assert asyncio.run(chute_instance.work(2))["seen"] == [2]

        def test_third(chute_instance):
            assert not hasattr(chute_instance, "work_more")

        def test_without():
            assert sys.modules["main"] is own
        """)  # fmt: skip
    told.assert_outcomes(passed=4)


def test_what_lies_beside_and_was_not_imported_before_is_new_as_well(project: pytest.Pytester) -> None:
    told = run(project, *ALONE, "-o", "chute_file=main.py", test="""
        import asyncio, sys

        def test_first(chute_instance):
            assert asyncio.run(chute_instance.work(1))["beside"] == [1]

        def test_second(chute_instance):
            assert asyncio.run(chute_instance.work(2))["beside"] == [2]

        def test_nothing_is_left():
            assert not {"main", "beside"} & set(sys.modules)
        """)  # fmt: skip
    told.assert_outcomes(passed=3)


def test_a_library_below_the_same_folder_is_not_imported_twice(project: pytest.Pytester) -> None:
    library = project.mkdir("env") / "site-packages" / "heavy"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("loads = []")
    project.makefile(".py", main=CHUTE + "\nimport heavy\nheavy.loads.append(1)\n")
    told = run(project, *ALONE, "-o", "chute_file=main.py", "-o", "pythonpath=env/site-packages", test="""
        def test_first(chute_instance): ...

        def test_second(chute_instance):
            import heavy
            assert heavy.loads == [1, 1]
        """)  # fmt: skip
    told.assert_outcomes(passed=2)


def test_a_file_is_looked_for_beside_the_test_and_then_from_the_root_on(project: pytest.Pytester) -> None:
    folder = project.mkdir("tests")
    (folder / "near.py").write_text(
        "from chutes.chute import Chute\nmine = Chute(username='me', name='near')\n"
    )
    (folder / "test_deep.py").write_text(
        "import pytest\n"
        "@pytest.mark.chute('near.py:mine')\n"
        "def test_near(chute_instance): assert chute_instance.name == 'near'\n"
        "@pytest.mark.chute('main.py')\n"
        "def test_far(chute_instance): assert chute_instance.name == 'mine'\n"
    )
    told = project.runpytest_subprocess(*ALONE, "--rootdir", str(project.path), "tests")
    told.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("ini", "file", "said"),
    [
        (
            "",
            "",
            '*mark the test with @pytest.mark.chute("main.py:chute"), or write chute_file = main.py:chute*',
        ),
        ("missing.py", "", "*there is no file missing.py; looked for in *"),
        ("main.py:other", "", "*has nothing under the name 'other'*"),
        ("bad.py", "@chute.job(timeout=1)\ndef work(self): ...\n", "*timeout*30*"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    project: pytest.Pytester, ini: str, file: str, said: str
) -> None:
    project.makefile(
        ".py", bad="from chutes.chute import Chute\nchute = Chute(username='me', name='bad')\n" + file
    )
    told = run(project, *ALONE, "-o", f"chute_file={ini}", test="def test_it(chute_instance): ...")
    told.assert_outcomes(errors=1)
    told.stdout.fnmatch_lines([said])


def test_what_the_file_itself_raises_is_shown_where_it_was_raised(project: pytest.Pytester) -> None:
    project.makefile(".py", bad="import chutes\n1 / 0  # here\n")
    told = run(project, *ALONE, "-o", "chute_file=bad.py", test="def test_it(chute_instance): ...")
    told.assert_outcomes(errors=1)
    told.stdout.fnmatch_lines(["*1 / 0  # here*"])


def test_a_published_package_is_left_alone_and_the_fixture_says_so(project: pytest.Pytester) -> None:
    package = project.mkdir("installed") / "chutes"
    package.mkdir()
    (package / "__init__.py").write_text("published = True")
    told = run(project, *ALONE, "-o", "chute_file=main.py", "-o", "pythonpath=installed", test="""
        import chutes

        def test_it_is_theirs():
            assert chutes.published

        def test_fixture(chute_instance): ...
        """)  # fmt: skip
    told.assert_outcomes(passed=1, errors=1)
    told.stdout.fnmatch_lines(["*gpu-agent's own `chutes` package*installed/chutes/__init__.py*"])


def test_a_mere_folder_of_that_name_hides_nothing(project: pytest.Pytester) -> None:
    project.mkdir("chutes")
    told = run(
        project,
        *ALONE,
        "-o",
        "chute_file=main.py",
        "-o",
        "pythonpath=.",
        test="def test_it(chute_instance): ...",
    )
    told.assert_outcomes(passed=1)


def test_nothing_beside_the_package_hides_a_module_of_the_authors(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.mkdir("libraries") / "chutes_launch.py").write_text("theirs = True")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{project.path}/libraries")
    told = run(project, *ALONE, test="""
        import chutes, chutes_launch

        def test_it():
            assert chutes_launch.theirs
        """)  # fmt: skip
    told.assert_outcomes(passed=1)


def test_the_folder_of_the_chute_is_on_the_path_for_its_test_alone(project: pytest.Pytester) -> None:
    folder = project.mkdir("deep")
    (folder / "deep_main.py").write_text(
        "from chutes.chute import Chute\nchute = Chute(username='me', name='deep')\n"
    )
    told = run(project, *ALONE, "-o", "chute_file=deep/deep_main.py", test="""
        import sys

        def is_on_the_path():
            return any(folder.endswith("deep") for folder in sys.path)

        def test_it(chute_instance):
            assert is_on_the_path()

        def test_behind_it():
            assert not is_on_the_path()
        """)  # fmt: skip
    told.assert_outcomes(passed=2)


def test_a_conftest_may_import_it(project: pytest.Pytester) -> None:
    project.makeconftest("import chutes.testing")
    run(project, *ALONE, test="def test_it(): ...").assert_outcomes(passed=1)


def test_other_coroutines_are_none_of_its_business(project: pytest.Pytester) -> None:
    told = run(project, *ALONE, test="async def test_it(): ...")
    told.assert_outcomes(failed=1)


def test_it_costs_a_test_run_nothing_to_have_it(project: pytest.Pytester) -> None:
    code = "import agent.sdk.pytest_chutes, sys; print([name for name in sys.modules if name.startswith(('chutes', 'agent.'))])"
    told = project.run(sys.executable, "-c", code)
    assert told.outlines == ["['agent.sdk', 'agent.sdk.pytest_chutes']"]
