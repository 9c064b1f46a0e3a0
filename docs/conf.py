"""How Sphinx builds the documentation."""

import pyscale

project = "pyscale"
author = "the pyscale developers"
project_copyright = author
version = release = pyscale.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # numpydoc's sections say it
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
default_role = "py:obj"

html_theme = "furo"
html_title = f"pyscale {version}"
