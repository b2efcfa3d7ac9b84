"""Where half-sent files lie: known for as long as they are half-sent, and of no more files than there is room for."""

from agent.interfaces import OutputFile, SecretFiles
from agent.jobs.uploads.places import MOST_PLACES, KeptPlaces
from tests.fakes.folders import FakeFolders

JOB = "0198b2c4-0000-7000-8000-000000000001"


async def folders_of_a_job() -> FakeFolders:
    folders = FakeFolders()
    await folders.claim(JOB, "{}", SecretFiles({}))
    return folders


async def test_the_first_of_too_many_is_forgotten_and_the_others_are_not() -> None:
    places = await KeptPlaces.read(await folders_of_a_job(), JOB)
    for number in range(MOST_PLACES + 1):
        await places.keep(f"f{number}", f"https://a/{number}")
    assert [await places.find(f"f{number}") for number in (0, 1, MOST_PLACES)] == [
        None,
        "https://a/1",
        f"https://a/{MOST_PLACES}",
    ]


async def test_after_a_restart_the_places_of_files_that_are_left_are_known_however_long_ago_they_were_kept() -> (
    None
):
    folders = await folders_of_a_job()
    large = OutputFile("large", 1 << 40, 1, 0o644)
    before = await KeptPlaces.read(folders, JOB)
    before.turn_to(large)
    await before.keep("large", "https://a/large")
    folders.places[JOB] += [(f"f{number}\n1 1", "https://a/f") for number in range(MOST_PLACES)]
    after = await KeptPlaces.read(folders, JOB, frozenset({"large"}))
    after.turn_to(large)
    assert await after.find("large") == "https://a/large"


async def test_a_place_that_was_left_is_none() -> None:
    places = await KeptPlaces.read(await folders_of_a_job(), JOB)
    places.turn_to(OutputFile("a", 1, 1, 0o644))
    await places.keep("a", "https://a/1")
    places.leave("a")
    places.turn_to(OutputFile("a", 1, 1, 0o644))
    assert await places.find("a") is None
