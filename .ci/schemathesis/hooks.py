"""What the document can't say: that fields are there as required unless `fields` asks for less."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.query:
        case.query.pop("fields", None)
