"""Changes of the rows of a table, to show on which side of its rule a finding falls."""


def put(column, value, **where):
    """A change: cells of a column in the rows `where`; `value` may be a function of the row."""

    def change(rows):
        hit = [r for r in rows if all(r[k] == v for k, v in where.items())]
        assert hit, where
        for r in hit:
            r[column] = value(r) if callable(value) else value

    return change


def times(column, factor, **where):
    return put(column, lambda r: factor * r[column], **where)


def both(*changes):
    def change(rows):
        for one in changes:
            one(rows)

    return change
