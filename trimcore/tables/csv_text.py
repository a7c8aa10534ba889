"""A table as CSV that a spreadsheet may open: cells that it would carry out as a formula are told apart as text.

Names of classes and layers are somebody's folders and code: `=HYPERLINK(...)` is a name too. As OWASP advises
(https://owasp.org/www-community/attacks/CSV_Injection), an apostrophe stands before such a cell.
"""

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(table: pd.DataFrame) -> str:
    """UTF-8 text with a header, `.` decimals, a line feed after each row, and nothing where there is no value."""
    words = [name for name, column in table.items() if not pd.api.types.is_numeric_dtype(column)]
    safe = table.assign(**{str(name): table[name].map(as_text) for name in words})
    return safe.to_csv(index=False, lineterminator="\n")


def as_text(cell: object) -> object:
    """The cell, with an apostrophe before it where it is text that begins as a formula does and is no number.

    >>> [as_text(cell) for cell in ("conv1", "=1+2", "-0.5", "-x", -0.5)]
    ['conv1', "'=1+2", '-0.5', "'-x", -0.5]
    """
    if not isinstance(cell, str):
        return cell
    plain = cell.replace("\r\n", "\n").replace("\r", "\n")  # pandas would not quote it
    return f"'{plain}" if cell.startswith(FORMULA) and not _is_number(cell) else plain


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text
