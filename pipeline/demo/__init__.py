"""Synthetic radiographs that show findings by their radiographic sign.

`write_demo` writes a data set in CheXpert's layout; `contact_sheet` draws an overview.
The films are drawings for trying out and testing the software. They show no patient,
and nothing that is learned from them is of medical use.

In the order of the work: `population` invents people and their signs, `anatomy` places
a chest, `tissue`, `skeleton` and `vessels` fill it, `findings` draws the signs,
`exposure` and `markers` make a film of it, `labels` and `layout` write it down.
"""

from .contact import contact_sheet
from .layout import DemoSummary, write_demo

__all__ = ["DemoSummary", "contact_sheet", "write_demo"]
