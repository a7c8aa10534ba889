"""A table as CSV that is safe to open in a spreadsheet: cells that look like a formula are marked as text.

Names of classes and layers come from user folders and user code, so a name can be `=HYPERLINK(...)`. Such cells get a
leading apostrophe, as OWASP advises (https://owasp.org/www-community/attacks/CSV_Injection).
"""

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(table: pd.DataFrame) -> str:
    """The table as CSV text: a header, `.` decimals, a line feed after each row, empty cells for missing values."""
    texts = [name for name, column in table.items() if not pd.api.types.is_numeric_dtype(column)]
    safe = table.assign(
        **{  # `map` would turn whole numbers beside empty cells into floats
            str(name): pd.Series([as_text(cell) for cell in table[name]], table.index, dtype=object) for name in texts
        }
    )
    return safe.to_csv(index=False, lineterminator="\n")


def as_text(cell: object) -> object:
    """The cell, with a leading apostrophe if it is text that starts like a formula and is not a number.

    >>> [as_text(cell) for cell in ("conv1", "=1+2", "-0.5", "-x", -0.5)]
    ['conv1', "'=1+2", '-0.5', "'-x", -0.5]
    """
    if not isinstance(cell, str):
        return cell
    plain = cell.replace("\r\n", "\n").replace("\r", "\n")  # pandas does not quote "\r"
    return f"'{plain}" if cell.startswith(FORMULA) and not _is_number(cell) else plain


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text
