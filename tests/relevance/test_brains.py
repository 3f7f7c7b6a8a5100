"""The figure of a map: what is where, in which colour."""

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from featx.images.template import template_on
from featx.images.volume import MNI152_2MM, reorient
from featx.report.figures.brains import N_CUTS, BrainMap, brain_drawing
from featx.report.figures.canvas import as_file, as_svg


def _map(*blobs):
    """A map in RAS with blobs (x, y, z, value), 12 mm wide."""
    template = reorient(template_on(MNI152_2MM), "RAS")
    values = np.zeros(template.stored.shape, np.float32)
    for *place, value in blobs:
        i, j, k = (round((one - origin) / 2) for one, origin in zip(place, template.affine[:3, 3], strict=True))
        values[i - 3 : i + 3, j - 3 : j + 3, k - 3 : k + 3] = value
    return BrainMap(values, template.data, template.affine, "years per cube")


def _pictures(one):
    """The pictures of all cuts, (row, column) from the bottom left of each, with their titles."""
    drawing = brain_drawing(one, alt="a map", prefix="r")
    axes = Figure().subplots(drawing.n_rows, drawing.n_columns).ravel()
    drawing.draw(*axes)
    return [(panel.get_title(), np.asarray(panel.images[0].get_array()), panel) for panel in axes]


def test_what_raises_is_orange_and_on_the_side_it_is_on():
    pictures = _pictures(_map((30, 0, 16, 1.0), (-30, 0, 16, -1.0)))
    title, picture, axes = pictures[2 * N_CUTS + 3]
    assert title.startswith("z = ")
    at_mm = float(title.split()[2])
    assert abs(at_mm - 16) < 6
    colour = picture[..., :3]
    orange = (colour[..., 0] > 0.6) & (colour[..., 2] < 0.4)
    blue = (colour[..., 2] > 0.6) & (colour[..., 0] < 0.4)
    middle = picture.shape[1] / 2
    assert orange.sum() == blue.sum() == 36
    assert np.argwhere(orange)[:, 1].min() > middle > np.argwhere(blue)[:, 1].max()  # R is written on the right
    assert [text.get_text() for text in pictures[2 * N_CUTS][2].texts] == ["axial", "L", "R"]
    assert axes.images[0].origin == "lower"
    assert (picture[..., 3] == 0).sum() > 0  # nothing is drawn outside the brain


def test_sizes_alone_have_a_scale_from_nothing():
    drawing = brain_drawing(_map((30, 0, 16, 1.0)), alt="a map", prefix="r")
    figure = Figure(layout="constrained")
    drawing.draw(*figure.subplots(drawing.n_rows, drawing.n_columns).ravel())
    bar = figure.axes[-1]
    assert bar.get_xlabel() == "years per cube"
    assert bar.get_xlim()[0] == 0


def test_a_map_of_nothing_is_drawn():
    pictures = _pictures(_map())
    assert len(pictures) == 3 * N_CUTS
    assert [title[:1] for title, _, _ in pictures[::N_CUTS]] == ["x", "y", "z"]


def test_the_same_map_gives_the_same_picture():
    drawing = brain_drawing(_map((10, 0, 0, 1.0)), alt="a map", prefix="r")
    data = as_file(drawing, "png")
    assert data == as_file(drawing, "png")
    assert imread(io.BytesIO(data)).shape[1] == 1536


def test_the_element_of_a_page_says_what_it_shows():
    svg = as_svg(brain_drawing(_map((10, 0, 0, 1.0)), alt="where age is", prefix="relevance"))
    assert 'aria-label="where age is"' in svg
    assert "years per cube" in svg
    assert 'id="relevance-' in svg
