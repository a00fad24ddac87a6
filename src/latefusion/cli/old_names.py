"""Names of the write-up's programs, and what stands for them here."""

from collections.abc import Sequence

# By command: a name of the write-up, and its new one. The commands themselves are under "".
OLD_NAMES = {
    "": {
        "gen_alpha": "latefusion prepare SRC --out DIR --train-ratio 0.9",
        "gen_alpha.py": "latefusion prepare SRC --out DIR --train-ratio 0.9",
        "main": "latefusion train STAGE, or latefusion matte PHOTO",
        "main.py": "latefusion train STAGE, or latefusion matte PHOTO",
        "classifier": "latefusion train segmentation",
        "fusion": "latefusion train fusion",
        "joint": "latefusion train joint",
        "infer": "latefusion matte PHOTO --model FILE",
        "convert": "latefusion export CHECKPOINT --target tensorflow --names write-up",
        "convert.py": "latefusion export CHECKPOINT --target tensorflow --names write-up",
    },
    "prepare": {
        "--imgDir": "SRC, a folder without an option's name",
        "--outDir": "--out",
        "--trainRatio": "--train-ratio",
    },
    "train": {
        "classifier": "segmentation",
        "--dataset": "--data, with --validation beside it",
        "--logs": "--out",
        "--outDir": "--out",
        "--outdir": "--out",
        "--input_size": "--input-size",
        "--batch_size": "--batch-size",
    },
    "matte": {
        "--image": "PHOTO, a file without an option's name",
        "--outdir": "-o",
        "--outDir": "-o",
        "--weights": "--model, a file that latefusion export has made of the weights",
        "--input_size": "--size, the longer side",
    },
    "export": {
        "--weights": "CHECKPOINT, a file without an option's name",
        "--outdir": "-o, a file",
        "--outDir": "-o, a file",
        "--input_size": "--size",
    },
    "import-keras": {"--weights": "IN.h5, a file without an option's name"},
    "evaluate": {"--dataset": "--data", "--outdir": "-o", "--outDir": "-o"},
}


def new_names(words: Sequence[str], message: str) -> str | None:
    """What stands here for the names of the write-up in a command that is a usage error.

    `words` are those of the command line, `message` is the error's, which quotes the wrong one;
    None unless that is a name of the write-up. Its others in the command are told with it.
    """
    command, *options = words if words and words[0] in OLD_NAMES else ["", *words[:1]]
    names = [option.partition("=")[0] for option in options]
    old = [name for name in dict.fromkeys(names) if name in OLD_NAMES[command]]
    wrong = next((name for name in old if name in message), None)
    if wrong is None:
        return None
    others = [name for name in old if name.startswith("--") or name == names[0]]
    told = [f"{name} is {OLD_NAMES[command][name]}" for name in dict.fromkeys([wrong, *others])]
    return f"here the write-up's {'; '.join(told)}"
