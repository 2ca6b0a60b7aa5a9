"""What a README says of the columns of tables."""

import re


def unexplained(readme, tables):
    """The columns of tables, by the name of the table, of which the README has no line that says what they hold."""
    missing = []
    for name, table in tables.items():
        section = re.split(rf"^## .*\b{name}\.csv\n", readme, flags=re.MULTILINE)[1].partition("\n## ")[0]
        lines = re.findall(r"^- `(.+?)`(?: to `(.+?)`)?: \S.+", section, re.MULTILINE)
        columns, found = [*table], []
        for first, last in lines:
            if first in columns:
                found += columns[columns.index(first) : columns.index(last or first) + 1]
        missing += [f"{name}.csv: {column}" for column in columns if column not in found]
    return missing
