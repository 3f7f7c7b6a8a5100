"""FreeSurfer's subjects folder: SUBJECTS_DIR/<subject>/mri/brain.mgz, or another volume of each subject.

``brain.mgz`` is skull-stripped, bias-corrected and intensity-normalised, on FreeSurfer's conformed 1 mm grid in the
subject's own space; ``norm.mgz`` is it before the last normalisation. Average subjects (fsaverage and its kin) are
left out, and so are the templates of the longitudinal stream, which are no scan of anybody (their folder holds a file
``base-tps``, or a longitudinal run beside it names them). Of a time point that was run on its own and again in the
longitudinal stream, the run on its own is taken; ``--file '*.long.*/mri/brain.mgz'`` takes the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from featx.images.finding.bids import entities
from featx.images.finding.naming import Found, make_image, some

DEFAULT = "mri/brain.mgz"
_VOLUME = re.compile(
    r"/mri/(?:orig/\d{3}|rawavg|orig|orig_nu|nu|T1|T2|FLAIR|brain|brain\.finalsurfs|brainmask|norm|"
    r"(?:aparc|aseg)[^/]*|wmparc|wm|filled|(?:[lr]h\.)?ribbon)\.mg[zh]$"
)
_AVERAGE = re.compile(r"^(?:fsaverage.*|cvs_avg35.*|[lr]h\.EC_average|V1_average|bert_average)$")
_TEMPLATE_END = re.compile(r"[._-]?(?:base|template)$", re.IGNORECASE)


def is_subject_volume(path: str) -> bool:
    """Whether a path is that of a volume which recon-all makes.

    Examples
    --------
    >>> is_subject_volume("/subjects/bert/mri/brain.mgz"), is_subject_volume("/study/mri/sub-01_T1w.nii.gz")
    (True, False)
    """
    return "/mri/" in path and _VOLUME.search(path) is not None


def subject_folder(path: str) -> str:
    """The folder of the subject whose volume this is.

    Examples
    --------
    >>> subject_folder("/subjects/bert/mri/orig/001.mgz")
    '/subjects/bert'
    """
    return path[: path.rindex("/mri/")]


def find_subjects(paths: Sequence[str], is_there: Callable[[str], bool], file: str) -> Found:
    """One volume of each subject.

    Parameters
    ----------
    paths : sequence of str
        Volumes in subjects' folders.
    is_there : callable
        Whether a file is there: ``base-tps`` marks a template.
    file : str
        "" for brain.mgz; else `paths` are what was chosen already.
    """
    there: dict[str, list[str]] = {}
    for path in paths:
        if "/mri/" in path:
            there.setdefault(subject_folder(path), []).append(path)
    names = {folder: folder.rpartition("/")[2] for folder in there}
    averages = {folder for folder, name in names.items() if _AVERAGE.match(name)}
    runs = {folder: folder.rpartition(".long.") for folder, name in names.items() if ".long." in name}
    based = {f"{folder.rpartition('/')[0]}/{template}" for folder, (_, _, template) in runs.items()}
    templates = {folder for folder in there if folder in based or is_there(f"{folder}/base-tps")} - averages
    kept = [folder for folder in there if folder not in averages | templates]
    again = {folder for folder, (own, _, _) in runs.items() if own in there}  # each time point is decided by itself
    alone = [folder for folder in kept if folder in runs and folder not in again]
    told = [
        f"{len(aside)} {what} left aside: {some(sorted(names[folder] for folder in aside))}"
        for aside, what in (
            (averages, "average subjects are"),
            (templates, "templates of the longitudinal stream are"),
            (again, "longitudinal runs of time points that were run on their own too are"),
        )
        if aside
    ]
    told.insert(0, f"FreeSurfer subjects: {file or DEFAULT} of each")
    if alone and len(alone) + len(again) < len(kept):
        told.append(
            f"{len(alone)} longitudinal runs are taken, for their time points were not run on their own: "
            f"{some(sorted(names[folder] for folder in alone))}"
        )
    images = []
    for folder in (one for one in kept if one not in again):
        ids = subject_ids(names[folder])
        for path in there[folder] if file else [f"{folder}/{DEFAULT}"]:
            images.append(make_image(path, *ids))
    return Found(images, told)


def subject_ids(name: str) -> tuple[str, str, str]:
    """Participant, session and run of a subject's folder.

    Of a longitudinal run ``TIMEPOINT.long.TEMPLATE`` without BIDS names, the template stands for the person, whom all
    time points share, unless it is called base or template alone.

    Examples
    --------
    >>> subject_ids("sub-01_ses-02_run-1"), subject_ids("bert")
    (('sub-01', 'ses-02', 'run-1'), ('bert', '', ''))
    >>> subject_ids("sub-01_ses-02.long.sub-01"), subject_ids("bert_tp1.long.bert_base")
    (('sub-01', 'ses-02', ''), ('bert', 'tp1', ''))
    >>> subject_ids("bert.long.base")
    ('bert', '', '')
    """
    timepoint, _, template = name.partition(".long.")
    found = entities(timepoint)
    if timepoint.startswith("sub-") and "sub" in found:
        session, run = (f"{entity}-{found[entity]}" if entity in found else "" for entity in ("ses", "run"))
        return f"sub-{found['sub']}", session, run
    person = _TEMPLATE_END.sub("", template)
    if not person:
        return timepoint, "", ""
    session = timepoint.removeprefix(person).lstrip("._-") if timepoint.startswith(person) else timepoint
    return person, session, ""
