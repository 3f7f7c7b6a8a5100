"""CITATIONS: the works that methods text cites, as BibTeX. A table of facts; what is not certain has no entry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_MARK = re.compile(r"\[@([a-z0-9]+(?:;[a-z0-9]+)*)\]")


@dataclass(frozen=True)
class Work:
    """One entry.

    Attributes
    ----------
    kind : str
        "article", "inproceedings", "book", "incollection" or "misc".
    authors : str
        "Family, Given" each, separated by " and ", as BibTeX has them.
    title : str
    year : int or None
        None for software that is cited whatever its version.
    where : mapping of str to str
        Further fields, in their order: journal, booktitle, volume, pages, doi and so on.
    """

    kind: str
    authors: str
    title: str
    year: int | None
    where: Mapping[str, str] = field(default_factory=dict)


def _article(authors: str, title: str, year: int, journal: str, **more: str) -> Work:
    return Work("article", authors, title, year, {"journal": journal, **more})


def _talk(authors: str, title: str, year: int, booktitle: str, **more: str) -> Work:
    return Work("inproceedings", authors, title, year, {"booktitle": booktitle, **more})


def _arxiv(authors: str, title: str, year: int, eprint: str) -> Work:
    return Work("misc", authors, title, year, {"eprint": eprint, "archiveprefix": "arXiv"})


_CVPR = "Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition"
_JMLR = "Journal of Machine Learning Research"

_NEURO = {
    "peng2021": _article(
        "Peng, Han and Gong, Weikang and Beckmann, Christian F. and Vedaldi, Andrea and Smith, Stephen M.",
        "Accurate brain age prediction with lightweight deep neural networks",
        2021, "Medical Image Analysis", volume="68", pages="101871", doi="10.1016/j.media.2020.101871",
    ),
    "holderrieth2022": _article(
        "Holderrieth, Peter and Smith, Stephen and Peng, Han",
        "Transfer Learning for Neuroimaging via Re-use of Deep Neural Network Features",
        2022, "medRxiv", doi="10.1101/2022.12.11.22283324",
    ),
    "leonardsen2022": _article(
        "Leonardsen, Esten H. and Peng, Han and Kaufmann, Tobias and Agartz, Ingrid and Andreassen, Ole A. and "
        "Celius, Elisabeth Gulowsen and Espeseth, Thomas and Harbo, Hanne F. and H{\\o}gest{\\o}l, Einar A. and "
        "de Lange, Ann-Marie and Marquand, Andre F. and Vidal-Pi{\\~n}eiro, Didac and Roe, James M. and "
        "Selb{\\ae}k, Geir and S{\\o}rensen, {\\O}ystein and Smith, Stephen M. and Westlye, Lars T. and Wolfers, "
        "Thomas and Wang, Yunpeng",
        "Deep neural networks learn general and clinically relevant representations of the ageing brain",
        2022, "NeuroImage", volume="256", pages="119210", doi="10.1016/j.neuroimage.2022.119210",
    ),
    "gupta2021": _talk(
        "Gupta, Umang and Lam, Pradeep K. and Ver Steeg, Greg and Thompson, Paul M.",
        "Improved Brain Age Estimation with Slice-based Set Networks",
        2021, "IEEE International Symposium on Biomedical Imaging", eprint="2102.04438", archiveprefix="arXiv",
    ),
    "gupta2023": _talk(
        "Gupta, Umang and Chattopadhyay, Tamoghna and Dhinagar, Nikhil and Thompson, Paul M. and Ver Steeg, Greg",
        "Transferring Models Trained on Natural Images to 3D MRI via Position Encoded Slice Models",
        2023, "IEEE International Symposium on Biomedical Imaging", eprint="2303.01491", archiveprefix="arXiv",
    ),
    "dhinagar2023": _arxiv(
        "Dhinagar, Nikhil J. and Singh, Amit and Ozarkar, Saket and Buwa, Ketaki and Thomopoulos, Sophia I. and "
        "Owens-Walton, Conor and Laltoo, Emily and Chen, Yao-Liang and Cook, Philip and McMillan, Corey and Tsai, "
        "Chih-Chien and Wang, J-J and Wu, Yih-Ru and Thompson, Paul M.",
        "Video and Synthetic MRI Pre-training of 3D Vision Architectures for Neuroimage Analysis",
        2023, "2309.04651",
    ),
    "cole2018": _article(
        "Cole, James H. and others", "Brain age predicts mortality",
        2018, "Molecular Psychiatry", volume="23", pages="1385--1392", doi="10.1038/mp.2017.62",
    ),
    "delange2020": _article(
        "de Lange, Ann-Marie G. and Cole, James H.", "Commentary: Correction procedures in brain-age prediction",
        2020, "NeuroImage: Clinical", volume="26", pages="102229", doi="10.1016/j.nicl.2020.102229",
    ),
    "beheshti2019": _article(
        "Beheshti, Iman and Nugent, Scott and Potvin, Olivier and Duchesne, Simon",
        "Bias-adjustment in neuroimaging-based brain age frameworks: A robust scheme",
        2019, "NeuroImage: Clinical", volume="24", pages="102063", doi="10.1016/j.nicl.2019.102063",
    ),
    "fortin2018": _article(
        "Fortin, Jean-Philippe and others",
        "Harmonization of cortical thickness measurements across scanners and sites",
        2018, "NeuroImage", volume="167", pages="104--120", doi="10.1016/j.neuroimage.2017.11.024",
    ),
    "johnson2007": _article(
        "Johnson, W. Evan and Li, Cheng and Rabinovic, Ariel",
        "Adjusting batch effects in microarray expression data using empirical Bayes methods",
        2007, "Biostatistics", volume="8", number="1", pages="118--127", doi="10.1093/biostatistics/kxj037",
    ),
}  # fmt: skip

_STATISTICS = {
    "nadeau2003": _article(
        "Nadeau, Claude and Bengio, Yoshua", "Inference for the Generalization Error",
        2003, "Machine Learning", volume="52", number="3", pages="239--281", doi="10.1023/A:1024068626366",
    ),
    "delong1988": _article(
        "DeLong, Elizabeth R. and DeLong, David M. and Clarke-Pearson, Daniel L.",
        "Comparing the areas under two or more correlated receiver operating characteristic curves: a nonparametric "
        "approach",
        1988, "Biometrics", volume="44", number="3", pages="837--845", doi="10.2307/2531595",
    ),
    "benjamini1995": _article(
        "Benjamini, Yoav and Hochberg, Yosef",
        "Controlling the false discovery rate: a practical and powerful approach to multiple testing",
        1995, "Journal of the Royal Statistical Society: Series B", volume="57", number="1", pages="289--300",
        doi="10.1111/j.2517-6161.1995.tb02031.x",
    ),
    "efron1993": Work(
        "book", "Efron, Bradley and Tibshirani, Robert J.", "An Introduction to the Bootstrap", 1993,
        {"publisher": "Chapman and Hall"},
    ),
    "platt1999": Work(
        "incollection", "Platt, John C.",
        "Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods", 1999,
        {"booktitle": "Advances in Large Margin Classifiers", "publisher": "MIT Press", "pages": "61--74"},
    ),
    "zadrozny2002": _talk(
        "Zadrozny, Bianca and Elkan, Charles",
        "Transforming classifier scores into accurate multiclass probability estimates",
        2002, "Proceedings of the ACM SIGKDD International Conference on Knowledge Discovery and Data Mining",
        pages="694--699", doi="10.1145/775047.775151",
    ),
    "cox1958": _article(
        "Cox, D. R.", "Two further applications of a model for binary regression",
        1958, "Biometrika", volume="45", number="3-4", pages="562--565", doi="10.1093/biomet/45.3-4.562",
    ),
    "hoerl1970": _article(
        "Hoerl, Arthur E. and Kennard, Robert W.", "Ridge Regression: Biased Estimation for Nonorthogonal Problems",
        1970, "Technometrics", volume="12", number="1", pages="55--67", doi="10.1080/00401706.1970.10488634",
    ),
    "bohning1992": _article(
        "B{\\\"o}hning, Dankmar", "Multinomial logistic regression algorithm",
        1992, "Annals of the Institute of Statistical Mathematics", volume="44", pages="197--200",
        doi="10.1007/BF00048682",
    ),
    "zou2005": _article(
        "Zou, Hui and Hastie, Trevor", "Regularization and variable selection via the elastic net",
        2005, "Journal of the Royal Statistical Society: Series B", volume="67", number="2", pages="301--320",
        doi="10.1111/j.1467-9868.2005.00503.x",
    ),
    "friedman2010": _article(
        "Friedman, Jerome and Hastie, Trevor and Tibshirani, Robert",
        "Regularization Paths for Generalized Linear Models via Coordinate Descent",
        2010, "Journal of Statistical Software", volume="33", number="1", pages="1--22",
        doi="10.18637/jss.v033.i01",
    ),
    "mccullagh1980": _article(
        "McCullagh, Peter", "Regression Models for Ordinal Data",
        1980, "Journal of the Royal Statistical Society: Series B", volume="42", number="2", pages="109--127",
        doi="10.1111/j.2517-6161.1980.tb01109.x",
    ),
}  # fmt: skip

_NETWORKS = {
    "krizhevsky2014": _arxiv(
        "Krizhevsky, Alex", "One weird trick for parallelizing convolutional neural networks", 2014, "1404.5997"
    ),
    "iandola2016": _arxiv(
        "Iandola, Forrest N. and Han, Song and Moskewicz, Matthew W. and Ashraf, Khalid and Dally, William J. and "
        "Keutzer, Kurt",
        "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", 2016, "1602.07360",
    ),
    "simonyan2015": _talk(
        "Simonyan, Karen and Zisserman, Andrew",
        "Very Deep Convolutional Networks for Large-Scale Image Recognition",
        2015, "International Conference on Learning Representations", eprint="1409.1556", archiveprefix="arXiv",
    ),
    "he2016": _talk(
        "He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian",
        "Deep Residual Learning for Image Recognition",
        2016, _CVPR, pages="770--778", doi="10.1109/CVPR.2016.90",
    ),
    "huang2017": _talk(
        "Huang, Gao and Liu, Zhuang and van der Maaten, Laurens and Weinberger, Kilian Q.",
        "Densely Connected Convolutional Networks", 2017, _CVPR, doi="10.1109/CVPR.2017.243",
    ),
    "dosovitskiy2021": _talk(
        "Dosovitskiy, Alexey and others",
        "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        2021, "International Conference on Learning Representations", eprint="2010.11929", archiveprefix="arXiv",
    ),
    "tran2018": _talk(
        "Tran, Du and Wang, Heng and Torresani, Lorenzo and Ray, Jamie and LeCun, Yann and Paluri, Manohar",
        "A Closer Look at Spatiotemporal Convolutions for Action Recognition",
        2018, _CVPR, pages="6450--6459", doi="10.1109/CVPR.2018.00675",
    ),
    "carreira2017": _talk(
        "Carreira, Jo{\\~a}o and Zisserman, Andrew",
        "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset",
        2017, _CVPR, pages="4724--4733", doi="10.1109/CVPR.2017.502",
    ),
    "russakovsky2015": _article(
        "Russakovsky, Olga and others", "ImageNet Large Scale Visual Recognition Challenge",
        2015, "International Journal of Computer Vision", volume="115", pages="211--252",
        doi="10.1007/s11263-015-0816-y",
    ),
    "kay2017": _arxiv("Kay, Will and others", "The Kinetics Human Action Video Dataset", 2017, "1705.06950"),
    "cardoso2022": _arxiv(
        "Cardoso, M. Jorge and others", "MONAI: An open-source framework for deep learning in healthcare",
        2022, "2211.02701",
    ),
}  # fmt: skip

_SOFTWARE = {
    "torch2019": _talk(
        "Paszke, Adam and others", "PyTorch: An Imperative Style, High-Performance Deep Learning Library",
        2019, "Advances in Neural Information Processing Systems", volume="32",
    ),
    "torchvision2016": Work(
        "misc", "{TorchVision maintainers and contributors}", "TorchVision: PyTorch's Computer Vision library", 2016,
        {"url": "https://github.com/pytorch/vision"},
    ),
    "timm2019": Work(
        "misc", "Wightman, Ross", "PyTorch Image Models", 2019, {"doi": "10.5281/zenodo.4414861"},
    ),
    "lightning2019": Work(
        "misc", "Falcon, William and {The PyTorch Lightning team}", "PyTorch Lightning", 2019,
        {"doi": "10.5281/zenodo.3828935"},
    ),
    "sklearn2011": _article(
        "Pedregosa, Fabian and others", "Scikit-learn: Machine Learning in Python",
        2011, _JMLR, volume="12", pages="2825--2830",
    ),
    "xgboost2016": _talk(
        "Chen, Tianqi and Guestrin, Carlos", "XGBoost: A Scalable Tree Boosting System",
        2016, "Proceedings of the ACM SIGKDD International Conference on Knowledge Discovery and Data Mining",
        pages="785--794", doi="10.1145/2939672.2939785",
    ),
    "numpy2020": _article(
        "Harris, Charles R. and others", "Array programming with NumPy",
        2020, "Nature", volume="585", pages="357--362", doi="10.1038/s41586-020-2649-2",
    ),
    "scipy2020": _article(
        "Virtanen, Pauli and others", "SciPy 1.0: fundamental algorithms for scientific computing in Python",
        2020, "Nature Methods", volume="17", pages="261--272", doi="10.1038/s41592-019-0686-2",
    ),
    "nibabel": Work(
        "misc", "Brett, Matthew and others", "NiBabel", None, {"doi": "10.5281/zenodo.591597"},
    ),
}  # fmt: skip

CITATIONS: Mapping[str, Work] = MappingProxyType({**_NEURO, **_STATISTICS, **_NETWORKS, **_SOFTWARE})


def cited(text: str) -> list[str]:
    """Keys of the works that a text cites as ``[@key]`` or ``[@key;key]``, in the order of their first mention.

    Examples
    --------
    >>> cited("ComBat [@johnson2007;fortin2018]; tests [@nadeau2003], as before [@johnson2007].")
    ['johnson2007', 'fortin2018', 'nadeau2003']
    """
    return list(dict.fromkeys(key for found in _MARK.findall(text) for key in found.split(";")))


def numbered(text: str, order: Iterable[str]) -> str:
    """A text with its works as numbers, counted from 1 in this order.

    Examples
    --------
    >>> numbered("ComBat [@johnson2007;fortin2018].", ["fortin2018", "johnson2007"])
    'ComBat [2, 1].'
    """
    place = {key: str(at) for at, key in enumerate(order, 1)}
    return _MARK.sub(lambda found: f"[{', '.join(place[key] for key in found[1].split(';'))}]", text)


def bibtex(keys: Iterable[str]) -> str:
    """Entries of these works, one behind the other."""
    return "\n".join(_entry(key, CITATIONS[key]) for key in keys)


def _entry(key: str, work: Work) -> str:
    fields = {"author": work.authors, "title": f"{{{work.title}}}"}
    fields |= ({"year": str(work.year)} if work.year else {}) | dict(work.where)
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{work.kind}{{{key},", *lines, "}", ""])


def words(key: str) -> str:
    """A work as a line of a list.

    Examples
    --------
    >>> words("beheshti2019")[:58]
    'Beheshti I, Nugent S, Potvin O, Duchesne S. Bias-adjustmen'
    >>> words("lightning2019")
    'Falcon W, The PyTorch Lightning team. PyTorch Lightning. 2019. doi:10.5281/zenodo.3828935'
    """
    work = CITATIONS[key]
    place = work.where.get("journal") or work.where.get("booktitle") or work.where.get("publisher") or ""
    volume = work.where.get("volume", "")
    pages = work.where.get("pages", "").replace("--", "–")
    numbers = f" {volume}{':' if volume and pages else ''}{pages}" if volume or pages else ""
    link = f" doi:{work.where['doi']}" if "doi" in work.where else ""
    link = link or (f" arXiv:{work.where['eprint']}" if "eprint" in work.where else "")
    link = link or (f" {work.where['url']}" if "url" in work.where else "")
    when = f" ({work.year})" if place and work.year else f" {work.year}" if work.year else ""
    return (
        f"{_names(work.authors)}. {_plain(work.title)}.{f' {place}' if place else ''}{numbers}{when}.{link}".replace(
            "..", "."
        )
    )


_LETTERS = {"{\\o}": "ø", "{\\O}": "Ø", "{\\ae}": "æ", "{\\~n}": "ñ", "{\\~a}": "ã", '{\\"o}': "ö"}


def _plain(text: str) -> str:
    for code, letter in _LETTERS.items():
        text = text.replace(code, letter)
    return text.replace("{", "").replace("}", "")


def _names(authors: str) -> str:
    """Authors as 'Family I'; of more than six, the first three."""
    found = []
    for one in re.split(r" and (?![^{]*})", authors):
        family, _, given = _plain(one).partition(", ")
        initials = "".join(word[0] for word in re.split(r"[\s-]+", given) if word[:1].isupper())
        found.append("et al" if one == "others" else f"{family} {initials}".strip())
    if len(found) > 6:
        found = [*found[:3], "et al"]
    return ", ".join(found)
