from pathlib import Path

import pytest

from latefusion.errors import OutputError
from latefusion.folder.jobs import Wish, bases, plan


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "in"
    for name in (
        "b.jpg",
        "a.JPG",
        "a.png",
        "notes.txt",
        ".hidden.jpg",
        "deep/a.jpg",
        "deep/c/d.webp",
    ):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return source


def targets(source: Path, wish: Wish) -> dict[str, list[str]]:
    return {
        job.name: [path.relative_to(wish.out).as_posix() for _, path in job.results]
        for job in plan([source], wish)
    }


def test_a_folder_is_mirrored_and_nothing_collides(tree: Path, tmp_path: Path) -> None:
    wish = Wish(["cutout", "alpha"], tmp_path / "out", recursive=True)
    assert targets(tree, wish) == {
        "a.JPG": ["a.JPG-cutout.png", "a.JPG-alpha.png"],
        "a.png": ["a.png-cutout.png", "a.png-alpha.png"],
        "b.jpg": ["b-cutout.png", "b-alpha.png"],
        "deep/a.jpg": ["deep/a-cutout.png", "deep/a-alpha.png"],
        "deep/c/d.webp": ["deep/c/d-cutout.png", "deep/c/d-alpha.png"],
    }


def test_folders_below_are_left_out_unless_asked_for(tree: Path, tmp_path: Path) -> None:
    assert list(targets(tree, Wish(["alpha"], tmp_path / "out"))) == ["a.JPG", "a.png", "b.jpg"]


def test_results_inside_the_source_are_no_photos(tree: Path) -> None:
    wish = Wish(["alpha"], tree / "out", recursive=True)
    before = plan([tree], wish)
    for job in before:
        for _, path in job.results:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert plan([tree], wish) == before


def test_a_folder_is_not_its_own_target(tree: Path) -> None:
    with pytest.raises(OutputError, match="both source and target"):
        plan([tree], Wish(["alpha"], tree))


def test_a_folder_link_is_not_followed(tree: Path, tmp_path: Path) -> None:
    (tree / "deep" / "loop").symlink_to(tree, target_is_directory=True)
    wish = Wish(["alpha"], tmp_path / "out", recursive=True)
    assert len(plan([tree], wish)) == 5


def test_a_result_takes_a_photos_place_only_if_asked(tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    photo.touch()
    with pytest.raises(OutputError, match="is one of the files that are read"):
        plan([photo], Wish(["cutout"], photo.with_suffix(".png")))
    wish = Wish(["cutout"], photo, overwrite=True)
    assert [job.results for job in plan([photo], wish)] == [[("cutout", photo)]]


def test_names_that_differ_in_case_only_get_numbers(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.jpg", "A.JPG"):
        (source / name).touch()
    assert targets(source, Wish(["alpha"], tmp_path / "out")) == {
        "A.JPG": ["A.JPG-alpha.png"],
        "a.jpg": ["a.jpg-2-alpha.png"],
    }


def test_names_that_become_one_by_their_suffix_get_numbers() -> None:
    assert bases(["a.jpg", "a.jpg.png", "a.png"]) == ["a.jpg", "a.jpg-2", "a.png"]
    assert bases(["a.tar", "a.tar.gz", "a.tgz"]) == ["a.tar", "a.tar-2", "a.tgz"]
    assert bases(["a.jpg", "a.jpg"]) == ["a", "a"]  # of two folders
