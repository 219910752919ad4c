"""What the document can't say: that fields are there as required unless `fields` asks for less, and how a file is sent."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.query:
        case.query.pop("fields", None)


@schemathesis.serializer("application/x-ndjson")
def as_it_is(context, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
